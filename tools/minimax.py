"""Derives the coefficients of flambeau/ir/coefficients.py: `python tools/minimax.py >
flambeau/ir/coefficients.py`. With names of entries, prints only these, for float64.

Each entry is the polynomial or rational function that minimises the greatest weighted error on an
interval, found by Remez' exchange (E. Remez, 1934; the rational form as in Cody, Fraser & Hart,
Numer. Math. 12, 1968) on a fine grid in 60 digits. The degree is the lowest one that reaches the
wanted number of bits. Needs mpmath; takes minutes.
"""

import sys

from mpmath import mp, mpf

mp.dps = 60
BITS = {"float32": 28, "float64": 57}


def exchange(target, weight, grid, above, below, fixed):
    """Coefficients (p, q) and error of the best p(x)/(1 + x q(x)) of degrees `above`, `below`; p
    starts at `fixed`.
    """
    free = above + 1 - (fixed is not None)
    unknowns = free + below + 1
    nodes = [len(grid) * (2 * i + 1) // (2 * unknowns) for i in range(unknowns)]
    level, bottom = mpf(0), [mpf(1)] * len(grid)
    for _ in range(40):
        rows, sides = [], []
        for i, n in enumerate(nodes):
            x, g = grid[n], target[n]
            start = 0 if fixed is None else 1
            row = [x**k for k in range(start, above + 1)] + [-g * x**k for k in range(1, below + 1)]
            rows.append([*row, (-1) ** i * bottom[n] / weight[n]])
            sides.append(g - (fixed or 0))
        solved = list(mp.lu_solve(mp.matrix(rows), mp.matrix(sides)))
        p = ([] if fixed is None else [mpf(fixed)]) + solved[:free]
        q = [mpf(1), *solved[free : free + below]]
        bottom = [mp.polyval(q[::-1], x) for x in grid]
        errors = [
            weight[n] * (mp.polyval(p[::-1], x) / bottom[n] - target[n]) for n, x in enumerate(grid)
        ]
        level, worst = abs(solved[-1]), max(map(abs, errors))
        if worst < level * mpf("1.02") or level == 0:
            break
        nodes = alternation(errors, unknowns) or nodes
    return p, q, worst


def alternation(errors, wanted):
    """Indices of the greatest errors of alternating sign, `wanted` of them."""
    peaks = []
    for i, e in enumerate(errors):
        if peaks and (e > 0) == (errors[peaks[-1]] > 0):
            if abs(e) > abs(errors[peaks[-1]]):
                peaks[-1] = i
        else:
            peaks.append(i)
    while len(peaks) > wanted:
        if len(peaks) == wanted + 1:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
            continue
        i = min(range(len(peaks)), key=lambda i: abs(errors[peaks[i]]))
        del peaks[max(0, min(i, len(peaks) - 2)) : max(0, min(i, len(peaks) - 2)) + 2]
    return peaks if len(peaks) == wanted else None


def fit(function, weight, low, high, bits, below=None, fixed=None, start=1):
    """The lowest-degree fit to 2**-bits. `below`: None for polynomials, else degree of denominator
    minus numerator.
    """
    count = 400
    grid = [
        (low + high) / 2 - (high - low) / 2 * mp.cospi(mpf(2 * i + 1) / (2 * count))
        for i in range(count)
    ]
    target, scale = [function(x) for x in grid], [weight(x) for x in grid]
    for degree in range(start, 40):
        under = 0 if below is None else degree + below
        p, q, error = exchange(target, scale, grid, degree, under, fixed)
        if error < mpf(2) ** -bits:
            print(
                f"  degree {degree}/{under}: 2**{mp.nstr(mp.log(error, 2), 5)}",
                file=sys.stderr,
            )
            return p, q
    raise ValueError("no fit")


root_half, root_two = mp.sqrt(mpf("0.5")), mp.sqrt(mpf(2))
quarter = (mp.pi / 4) ** 2 * mpf("1.02")
half_log2 = mp.log(2) / 2 * mpf("1.002")
digamma_root = mp.findroot(mp.digamma, 1.46)


def odd(function):
    """(target, weight) of f(x) = x + x z P(z), z = x*x."""

    def ratio(z):
        return function(mp.sqrt(z)) / mp.sqrt(z)

    return (lambda z: (ratio(z) - 1) / z), (lambda z: z / ratio(z))


def relative(function):
    return function, lambda x: 1 / function(x)


def beside(part, function):
    """(target, weight) of f(x) - part, relative to f."""
    return (lambda x: function(x) - part), (lambda x: 1 / function(x))


def erfcx_scaled(t):
    """(x + 5/2) exp(x*x) erfc(x) at x = 5/2 (1 + t)/(1 - t), after M. Shepherd & J. Laframboise,
    Math. Comp. 36, 1981.
    """
    x = (1 + t) / (1 - t) * 5 / 2
    if x < 60:
        return (x + 2.5) * mp.exp(x * x) * mp.erfc(x)
    term, total = mpf(1), mpf(1)
    for k in range(1, 25):
        term *= -mpf(2 * k - 1) / (2 * x * x)
        total += term
    return (x + 2.5) / (x * mp.sqrt(mp.pi)) * total


def inverse_erfc(log_p):
    """y > 0 with log erfc(y) = log_p."""
    y = mp.sqrt(-log_p) if log_p < -1.5 else mpf("0.5")
    while True:
        tail = mp.erfc(y)
        step = (mp.log(tail) - log_p) * tail * mp.sqrt(mp.pi) / 2 * mp.exp(y * y)
        y += step
        if abs(step) < mpf(10) ** -52:
            return y


def quantile(q):
    return mp.sqrt(2) * mp.erfinv(2 * q) / q


def lgamma_middle(t):
    return mp.loggamma(t + 0.5) / ((t - 0.5) * (t - 1.5))


def stirling(v):
    x = 1 / mp.sqrt(v)
    return (mp.loggamma(x) - ((x - 0.5) * mp.log(x) - x + mp.log(2 * mp.pi) / 2)) * x


def digamma_tail(v):
    x = 1 / mp.sqrt(v)
    return (mp.log(x) - 1 / (2 * x) - mp.digamma(x)) / v


def bessel_small(order):
    start = 1 / mpf(order + 1)

    def ratio(t):
        return mp.besseli(order, 2 * mp.sqrt(t)) / mp.sqrt(t) ** order

    return (lambda t: (ratio(t) - 1) / t), (lambda t: start * t / ratio(t))


def bessel_large(order):
    """sqrt(x) exp(-x) I(x) at 1/x = (s + 1)/16."""
    return relative(
        lambda s: mp.besseli(order, 16 / (s + 1)) * mp.exp(-16 / (s + 1)) * 4 / mp.sqrt(s + 1)
    )


def phase(order, x):
    """How far the phase of J + iY is ahead of x - (2 order + 1) pi/4."""
    turned = (mp.besselj(order, x) + 1j * mp.bessely(order, x)) * mp.expj(
        -(x - (2 * order + 1) * mp.pi / 4)
    )
    return mp.arg(turned)


def bessel_phase(order):
    """x times that at 1/x**2 = t; its error counts in absolute terms."""
    return (lambda t: phase(order, 1 / mp.sqrt(t)) / mp.sqrt(t)), mp.sqrt


def bessel_amplitude(order):
    """sqrt(x) |J + iY| at 1/x**2 = t."""

    def scaled(t):
        x = 1 / mp.sqrt(t)
        return mp.sqrt(x) * mp.hypot(mp.besselj(order, x), mp.bessely(order, x))

    return relative(scaled)


def of_root(function, weight=lambda z: 1):
    """A function of sqrt(z), with the weight of its absolute error."""
    return (lambda z: function(mp.sqrt(z))), weight


def regular_y0(x):
    return mp.bessely(0, x) - 2 / mp.pi * mp.log(x) * mp.besselj(0, x)


def regular_y1(x):
    return (mp.bessely(1, x) - 2 / mp.pi * (mp.log(x) * mp.besselj(1, x) - 1 / x)) / x


def regular_k0(x):
    return mp.besselk(0, x) + mp.log(x) * mp.besseli(0, x)


def regular_k1(x):
    return (mp.besselk(1, x) - mp.log(x) * mp.besseli(1, x) - 1 / x) / x


def decaying(order):
    """sqrt(x) exp(x) K(x) at 1/x = s."""
    return relative(lambda s: mp.besselk(order, 1 / s) * mp.exp(1 / s) / mp.sqrt(s))


def airy_decaying(prime):
    """exp(z) Ai(x) x**(1/4), or exp(z) Ai'(x)/x**(1/4), at z = 2/3 x**(3/2) = 1/s."""

    def scaled(s):
        x = (3 / (2 * s)) ** (mpf(2) / 3)
        power = mpf(-1) / 4 if prime else mpf(1) / 4
        return mp.airyai(x, derivative=prime) * mp.exp(1 / s) * x**power

    return relative(scaled)


def airy_wave(prime, x):
    """Ai(-x) + i Bi(-x), or the derivatives, with the phase of exp(i z) taken off."""
    wave = mp.airyai(-x, derivative=prime) + 1j * mp.airybi(-x, derivative=prime)
    return wave * mp.expj(mpf(2) / 3 * x * mp.sqrt(x) - (2 * prime + 1) * mp.pi / 4)


def airy_phase(prime):
    """x**(3/2) times the phase's remainder, at 1/x**3 = t."""

    def scaled(t):
        x = 1 / mp.cbrt(t)
        return mp.arg(airy_wave(prime, x)) / mp.sqrt(t)

    return scaled, mp.sqrt


def airy_amplitude(prime):
    """|Ai + i Bi| x**(1/4) at -x, or of the derivatives over that power, at 1/x**3 = t."""

    def scaled(t):
        x = 1 / mp.cbrt(t)
        return abs(airy_wave(prime, x)) * x ** (mpf(-1) / 4 if prime else mpf(1) / 4)

    return relative(scaled)


def temme(rows, count):
    """Coefficients d of the series c_k(y) = d_k0 + d_k1 y + … in N. Temme's expansion (NIST DLMF
    8.12.12), fewer for later k.
    """
    size = count + 2 * rows + 2
    alpha = [mpf(0), mpf(1), mpf(1) / 3]
    for n in range(3, size + 1):
        inner = sum(j * alpha[j] * alpha[n - j + 1] for j in range(2, n))
        alpha.append((alpha[n - 1] - inner) / (n + 1))
    first = [mpf(-1) / 3] + [(n + 2) * alpha[n + 2] for n in range(1, size - 1)]
    # Gamma(a) over Stirling's leading term, in powers of 1/a
    stirling_terms = mp.taylor(
        lambda v: mp.exp(
            sum(mp.bernoulli(2 * j) * v ** (2 * j - 1) / (2 * j * (2 * j - 1)) for j in range(1, 9))
        ),
        0,
        rows,
    )
    series = [first]
    for k in range(1, rows):
        before = series[-1]
        series.append(
            [
                (-1) ** k * stirling_terms[k] * first[n] + (n + 2) * before[n + 2]
                for n in range(len(before) - 2)
            ]
        )
    return [row[: max(count - 2 * k, 4)] for k, row in enumerate(series)]


def tail_of_normal(w):
    return mp.sqrt(2) * inverse_erfc(mp.log(2) - w * w / 2) / w


# name: (target, weight), interval per type or for both, options (`below`: rational; `fixed`: first
# coefficient)
tiny = mpf(10) ** -12
DOUBLE = {"only": "float64"}
RATIO = {"only": "float64", "below": 0, "start": 3}
SPECS = {
    # exp(r) = 1 + r + r*r*P(r), the error relative to that or to what it is above 1
    "exp": (
        (lambda r: (mp.expm1(r) - r) / r**2, lambda r: r**2 / mp.exp(r)),
        (-half_log2, half_log2),
        {},
    ),
    "expm1": (
        (lambda r: (mp.expm1(r) - r) / r**2, lambda r: r**2 / abs(mp.expm1(r))),
        (-half_log2, half_log2),
        {},
    ),
    # 2**r = 1 + r*P(r)
    "exp2": (
        (lambda r: (mp.mpf(2) ** r - 1) / r, lambda r: r / mpf(2) ** r),
        (-mpf("0.501"), mpf("0.501")),
        {},
    ),
    # log(1 + f) = f - f*f/2 + f**3 P(f)
    "log": (
        (lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, lambda f: f**3 / mp.log1p(f)),
        (root_half - 1, root_two - 1),
        {"only": "float32", "bits": {"float32": 27}},
    ),
    # log((1+s)/(1-s)) = 2 s + s z P(z), and from the second term on for pow
    "log_ratio": (
        (lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z, lambda z: z / 2),
        (mpf(0), mpf("0.02945")),
        {"only": "float64"},
    ),
    "log_double": (
        (lambda z: (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1 - z / 3) / z**2, lambda z: z**2),
        (tiny, mpf("0.02945")),
        {"only": "float64", "bits": {"float64": 69}},
    ),
    "tanh": (
        odd(mp.tanh),
        {"float32": (mpf(0), mpf("0.625") ** 2), "float64": (mpf(0), mpf(1))},
        {"below": 0, "bits": {"float32": 27, "float64": 57}},
    ),
    "sinh": (odd(mp.sinh), (mpf(0), mpf(1)), {}),
    "sin": (odd(mp.sin), (mpf(0), quarter), {}),
    "cos": (
        (lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, lambda z: z**2),
        (mpf(0), quarter),
        {},
    ),
    "tan": (
        relative(lambda z: mp.tan(mp.sqrt(z)) / mp.sqrt(z)),
        (mpf(0), quarter),
        {"below": 0, "fixed": 1},
    ),
    # sin(pi r) = pi r + r z P(z)
    "sinpi": (
        (
            lambda z: (mp.sinpi(mp.sqrt(z)) / mp.sqrt(z) - mp.pi) / z,
            lambda z: z * mp.sqrt(z) / mp.sinpi(mp.sqrt(z)),
        ),
        (mpf(0), mpf("0.25")),
        {},
    ),
    "asin": (odd(mp.asin), (mpf(0), mpf("0.2501")), {}),
    "atan": (odd(mp.atan), (mpf(0), mpf(1)), {}),
    "asinh": (odd(mp.asinh), (mpf(0), mpf("0.25")), {}),
    "atanh": (odd(mp.atanh), (mpf(0), mpf("0.25")), {}),
    # erf(x) = x + x P(z)
    "erf": (
        (lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z))),
        (tiny, mpf(1)),
        {},
    ),
    # erf(x) = 1 - 2**P(x)
    "erf_tail": (
        (lambda x: mp.log(mp.erfc(x), 2), lambda x: mp.log(2) * mp.erfc(x) / mp.erf(x)),
        {"float32": (mpf(1), mpf(4)), "float64": (mpf(1), mpf(6))},
        {"start": 5},
    ),
    "erfcx": (relative(erfcx_scaled), (mpf(-1), mpf(1) - tiny), {"start": 9}),
    # erfinv(x) = x + x R(9/16 - z) near 0, w + w R(w - 1) with w = sqrt(-log(1 - |x|)) in the
    # tails; likewise the quantile of the normal distribution, 2.5 x + x R(0.16 - z) and w + w R(w -
    # 2) with w = sqrt(-2 log p). Rational functions are of the distance from the left end, which
    # makes all coefficients of one sign.
    "erfinv": (
        beside(1, lambda v: mp.erfinv(mp.sqrt(0.5625 - v)) / mp.sqrt(0.5625 - v)),
        (mpf(0), mpf("0.5625") - tiny),
        {"below": 0},
    ),
    "erfinv_tail": (
        beside(1, lambda v: inverse_erfc(-((v + 1) ** 2)) / (v + 1)),
        {"float32": (mpf("0.17"), mpf("3.1")), "float64": (mpf("0.17"), mpf("5.1"))},
        {"below": 0},
    ),
    "ndtri": (
        beside(mpf("2.5"), lambda v: quantile(mp.sqrt(mpf("0.16") - v))),
        (mpf(0), mpf("0.16") - tiny),
        {"below": 0},
    ),
    "ndtri_tail": (
        beside(1, lambda v: tail_of_normal(v + 2)),
        {"float32": (mpf("0.14"), mpf("12.5")), "float64": (mpf("0.14"), mpf("36.8"))},
        {"below": 0, "start": 4},
    ),
    # log gamma(x) = (x - 1)(x - 2) (7/16 + R(x - 1/2)) from 0.6 to 3 or 4; Stirling's remainder
    # times x as a function of 1/x**2
    "lgamma": (
        beside(mpf("0.4375"), lgamma_middle),
        {"float32": (mpf("0.1"), mpf("2.5")), "float64": (mpf("0.1"), mpf("3.5"))},
        {"below": 0},
    ),
    "stirling": (
        (stirling, lambda v: mp.sqrt(v) / mp.loggamma(1 / mp.sqrt(v))),
        {"float32": (tiny, mpf(1) / 9), "float64": (tiny, mpf(1) / 16)},
        {},
    ),
    "digamma": (
        beside(mpf("0.75"), lambda t: mp.digamma(t + 0.5) / (t + 0.5 - digamma_root)),
        (mpf(0), mpf("2.5")),
        {"below": 0, **DOUBLE},
    ),
    "digamma_tail": (
        (digamma_tail, lambda v: v / mp.digamma(1 / mp.sqrt(v))),
        (tiny, mpf(1) / 9),
        DOUBLE,
    ),
    "i0": (bessel_small(0), (mpf(0), mpf(16)), {}),
    "i1": (bessel_small(1), (mpf(0), mpf(16)), {}),
    "i0_large": (bessel_large(0), (tiny * 10**7 - 1, mpf(1)), {"start": 5}),
    "i1_large": (bessel_large(1), (tiny * 10**7 - 1, mpf(1)), {"start": 5}),
    # What follows serves float32 through float64. Up to 2: J0 = 1 + z P, J1 = x/2 + x z P, Y0 and
    # Y1 less their logarithms and the pole; above, amplitude and phase (J. Harrison, Fast and
    # accurate Bessel function computation, 2009).
    "j0": (of_root(lambda x: (mp.besselj(0, x) - 1) / x**2, lambda z: z), (tiny, mpf(4)), DOUBLE),
    "j1": (
        of_root(lambda x: (mp.besselj(1, x) / x - 0.5) / x**2, lambda z: z),
        (tiny, mpf(4)),
        DOUBLE,
    ),
    "y0": (of_root(regular_y0), (tiny, mpf(4)), DOUBLE),
    "y1": (of_root(regular_y1), (tiny, mpf(4)), DOUBLE),
    "amplitude0": (bessel_amplitude(0), (tiny, mpf("0.2501")), RATIO),
    "amplitude1": (bessel_amplitude(1), (tiny, mpf("0.2501")), RATIO),
    "phase0": (bessel_phase(0), (tiny, mpf("0.2501")), RATIO),
    "phase1": (bessel_phase(1), (tiny, mpf("0.2501")), RATIO),
    # K0 = P - log(x) I0, K1 = 1/x + log(x) I1 + x P up to 1, and sqrt(x) exp(x) K at 1/x above
    "k0": (of_root(regular_k0), (tiny, mpf(1)), DOUBLE),
    "k1": (of_root(regular_k1), (tiny, mpf(1)), DOUBLE),
    "k0_large": (decaying(0), (mpf("1e-4"), mpf(1)), RATIO),
    "k1_large": (decaying(1), (mpf("1e-4"), mpf(1)), RATIO),
    "airy": ((mp.airyai, lambda x: 1), (mpf(-1), mpf(1)), {**DOUBLE, "bits": {"float64": 60}}),
    "airy_prime": (
        (lambda x: mp.airyai(x, derivative=1), lambda x: 1),
        (mpf(-1), mpf(1)),
        {**DOUBLE, "bits": {"float64": 60}},
    ),
    "airy_large": (airy_decaying(0), (mpf("1e-4"), mpf("1.501")), RATIO),
    "airy_prime_large": (airy_decaying(1), (mpf("1e-4"), mpf("1.501")), RATIO),
    "airy_amplitude": (airy_amplitude(0), (tiny, mpf("1.001")), RATIO),
    "airy_prime_amplitude": (airy_amplitude(1), (tiny, mpf("1.001")), RATIO),
    "airy_phase": (airy_phase(0), (tiny, mpf("1.001")), RATIO),
    "airy_prime_phase": (airy_phase(1), (tiny, mpf("1.001")), RATIO),
    "spherical_j1": (
        of_root(lambda x: (mp.sin(x) / x - mp.cos(x)) / x**2, lambda z: 3),
        (mpf("1e-8"), mpf("2.25")),
        DOUBLE,
    ),
    "log_reciprocal": (
        (lambda a: -mp.loggamma(a + 1) / a, lambda a: 1),
        (mpf("1e-8"), mpf(1)),
        RATIO,
    ),
    "reciprocal_gamma": (relative(lambda a: 1 / mp.gamma(a + 1)), (mpf(0), mpf(4)), RATIO),
}


def rounded(x, bits):
    """`x` to `bits` bits, to nearest."""
    with mp.workprec(bits):
        return +x


def parts(x, sizes):
    """`x` as a sum of numbers of these sizes in bits, each the remainder rounded."""
    out = []
    for bits in sizes:
        out.append(rounded(x, bits))
        x -= out[-1]
    return out


def window(x, bits, count):
    """Successive `bits`-bit digits of 0 < x < 1, each scaled to [0, 1)."""
    out = []
    for _ in range(count):
        x *= mpf(2) ** bits
        digit = mp.floor(x)
        out.append(digit / mpf(2) ** bits)
        x -= digit
    return out


def constants(bits):
    """Sums of `bits`-bit numbers; the first of those that a count multiplies exactly is shorter."""
    mp.dps = 400
    log2, short = mp.log(2), bits - (11 if bits == 53 else 8)
    turn = 1 / (2 * mp.pi)
    names = {
        "log2": parts(log2, (bits, bits)),
        "log2_short": parts(log2, (short, bits)),
        "log2e": parts(1 / log2, (bits, bits)),
        "log10e": parts(1 / mp.log(10), (bits, bits)),
        "log10_2_short": parts(mp.log10(2), (short, bits)),
        "pi": parts(mp.pi, (bits, bits)),
        "log_pi": parts(mp.log(mp.pi), (bits, bits)),
        "half_pi": parts(mp.pi / 2, (bits, bits, bits)),
        "root_half": parts(mp.sqrt(mpf("0.5")), (bits, bits)),
        "third": parts(mpf(1) / 3, (bits, bits)),
        "digamma_root": parts(digamma_root, (bits, bits)),
        # 1/(2 pi): digits whose product with 24 bits is exact in float64; or words of a window that
        # is moved along
        "turn": [d * mpf(2) ** (-29 * i) for i, d in enumerate(window(turn, 29, 5))]
        if bits == 24
        else window(turn, 53, 24),
    }
    if bits == 53:
        names |= {f"temme{k}": row for k, row in enumerate(temme(10, 18))}
    if bits == 24:
        names["turn"].append(rounded(turn - sum(names["turn"]), 53))
    mp.dps = 60
    return names


def text(values, bits):
    return (
        "("
        + ", ".join(repr(float(rounded(x, 53 if abs(bits) == 53 else 24))) for x in values)
        + ",)"
    )


def emit(name, values, bits):
    words = text(values, bits)[1:-2].split(", ")
    line, lines = f"    {name}: (", []
    for word in words:
        if len(line) + len(word) + 2 > 98:
            lines.append(line.rstrip())
            line = "        "
        line += word + ", "
    print("\n".join([*lines, line.rstrip() + "),"]))


def entry(name, dtype, bits):
    """Prints the table's entry, if there is one for this type."""
    (function, weight), interval, options = SPECS[name]
    if options.get("only", dtype) != dtype:
        return
    low, high = interval[dtype] if isinstance(interval, dict) else interval
    wanted = options.get("bits", {}).get(dtype, BITS[dtype])
    print(name, dtype, file=sys.stderr)
    below, fixed, start = options.get("below"), options.get("fixed"), options.get("start", 1)
    p, q = fit(function, weight, low, high, wanted, below, fixed, start)
    emit(f'"{name}"', p, bits)
    if name == "erfcx":
        emit('"erfcx_low"', [p[0] - rounded(p[0], bits)], bits)
    if below is not None:
        emit(f'"{name}/"', q, bits)


def main(names):
    if names:
        for name in names:
            entry(name, "float64", 53)
        return
    print('"""Coefficients and constants of the functions in math.py, by tools/minimax.py."""\n')
    print("# fmt: off\n")
    for dtype, bits in (("float32", 24), ("float64", 53)):
        print(f"{dtype} = {{")
        for name in SPECS:
            entry(name, dtype, bits)
        if dtype == "float64":
            # For float32 results through float64.
            (function, weight), (low, high), _ = SPECS["log"]
            emit('"log_short"', fit(function, weight, low, high, 38)[0], bits)
            (function, weight), (low, high), _ = SPECS["exp"]
            emit('"exp_short"', fit(function, weight, low, high, 31)[0], bits)
        for name, values in constants(bits).items():
            emit(f'"{name}"', values, 53 if name == "turn" else bits)
        print("}")


if __name__ == "__main__":
    main(sys.argv[1:])
