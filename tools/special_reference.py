"""What the special functions are measured against: mpmath's values, and where."""

import random

from mpmath import mp


def linear(low, high):
    return lambda share: low + (high - low) * share


def spread(low, high):
    """Evenly on a logarithmic scale; both ends of one sign."""
    return lambda share: low * (high / low) ** share


def below_one(low, high):
    """1 less a number that is spread evenly on a logarithmic scale."""
    off = spread(low, high)
    return lambda share: 1 - off(share)


def whole(low, high):
    return lambda share: float(int(low + (high + 1 - low) * share * 0.999999))


def nearby(centre, *distances):
    """On both sides of a zero or a pole, ever nearer."""
    near, far = distances

    def place(share):
        off = near * (far / near) ** (abs(share - 0.5) * 2)
        return centre + (off if share > 0.5 else -off)

    return place


class Function:
    """One function: its reference, and the ranges of its arguments. The last argument is what
    errors are drawn over, on `drawn`; `further` are more ranges of all arguments. Near the zeros of
    what oscillates, `size` is what errors count by. `only` float64: beyond float32's numbers.
    """

    def __init__(self, reference, *ranges, domain, further=(), wide=(), size=None, digits=50):
        self.reference, self.ranges, self.domain = reference, ranges, domain
        self.further, self.wide, self.size, self.digits = further, wide, size, digits

    def points(self, dtype, count=160):
        """Rows of arguments: first those to draw, in order."""
        source = random.Random(1)
        groups = [self.ranges, *self.further, *(self.wide if dtype == "float64" else ())]
        for i, group in enumerate(groups):
            *others, last = group
            for k in range(count if i == 0 else count // 3):
                share = (k + source.random()) / (count if i == 0 else count // 3)
                yield [*(r(source.random()) for r in others), last(share)]

    def value(self, arguments):
        """The function, and the size that errors count by, of exact arguments."""
        with mp.workdps(self.digits):
            exact = [mp.mpf(a) for a in arguments]
            want = self.reference(*exact)
            want = mp.re(want) if mp.im(want) == 0 else mp.nan
            size = mp.mpf(self.size(*exact)) if self.size else mp.mpf(0)
            return want, max(abs(want), size) if mp.isfinite(want) else abs(want)


def wave(v, x):
    """The amplitude of the Bessel functions where they oscillate."""
    return mp.hypot(mp.besselj(v, x), mp.bessely(v, abs(x))) if abs(x) > max(abs(v), 1) else 0


def airy_wave(x):
    return mp.hypot(mp.airyai(x), mp.airybi(x)) if x < -1 else 0


def mirrored(function):
    """Left of 0, the value at 1 - x: what is reflected there, and cancels near zeros."""
    return lambda x: max(1, function(1 - x)) if x < 0 else 0


def poles(n, x):
    """What polygamma's two nearest poles contribute, which cancel in between."""
    r = x - mp.floor(x)
    return mp.factorial(n) * (r ** -(n + 1) + (1 - r) ** -(n + 1)) if x < 0 and r else 0


def bessel(function, order):
    return lambda x: function(order, x)


def size(order):
    return lambda x: wave(order, x)


def scaled(function, order, sign):
    return lambda x: function(order, x) * mp.exp(sign * abs(x))


def chebyshev(kind):
    return {
        "t": mp.chebyt,
        "u": mp.chebyu,
        "v": lambda n, x: mp.chebyu(n, x) - (mp.chebyu(n - 1, x) if n else 0),
        "w": lambda n, x: mp.chebyu(n, x) + (mp.chebyu(n - 1, x) if n else 0),
    }[kind]


def shifted(plain):
    return lambda n, x: plain(n, 2 * x - 1)


def beta(a, b, x):
    return mp.betainc(a, b, 0, x, regularized=True)


def lower(a, x):
    return mp.gammainc(a, 0, x, regularized=True)


def upper(a, x):
    return mp.gammainc(a, x, mp.inf, regularized=True)


def inverse(rising, low, high, of=mp.exp):
    """Where `rising(*others, of(u))` has the value of the last argument: by halving."""

    def found(*arguments):
        *others, wanted = arguments
        ends = [mp.mpf(low), mp.mpf(high)]
        for _ in range(110):
            middle = (ends[0] + ends[1]) / 2
            ends[rising(*others, of(middle)) > wanted] = middle
        return of(ends[0])

    return found


def logistic(u):
    return 1 / (1 + mp.exp(-u))


def quantile(p):
    return -mp.sqrt(2) * mp.erfinv(1 - 2 * p)


tiny, huge = spread(1e-30, 1e-2), spread(1e2, 1e30)
ANY = "all real"
POSITIVE, NOT_NEGATIVE, UNIT = "x > 0", "x ≥ 0", "0 < x < 1"
ONE = {
    "airy_ai": Function(
        mp.airyai,
        linear(-15, 8),
        domain="x > -2^70",
        further=[[spread(8, 25)], [spread(-1e4, -15)], [spread(-1e15, -1e4)]],
        size=airy_wave,
    ),
    "bessel_j0": Function(
        bessel(mp.besselj, 0),
        linear(-30, 30),
        domain=ANY,
        further=[[spread(30, 1e6)], [tiny]],
        size=size(0),
    ),
    "bessel_j1": Function(
        bessel(mp.besselj, 1),
        linear(-30, 30),
        domain=ANY,
        further=[[spread(30, 1e6)], [tiny]],
        size=size(1),
    ),
    "bessel_y0": Function(
        bessel(mp.bessely, 0),
        linear(0, 30),
        domain=POSITIVE,
        further=[[spread(30, 1e6)], [tiny]],
        size=size(0),
    ),
    "bessel_y1": Function(
        bessel(mp.bessely, 1),
        linear(0, 30),
        domain=POSITIVE,
        further=[[spread(30, 1e6)], [tiny]],
        size=size(1),
    ),
    "digamma": Function(
        mp.digamma,
        linear(-6, 12),
        domain="x not 0, -1, …",
        size=mirrored(mp.digamma),
        further=[[huge], [tiny], [nearby(1.4616321449683622, 1e-9, 0.1)]],
    ),
    "entr": Function(
        lambda x: -x * mp.log(x),
        linear(0, 4),
        domain=ANY,
        further=[[tiny], [huge], [nearby(1, 1e-6, 0.1)]],
    ),
    "erf": Function(mp.erf, linear(-5, 5), domain=ANY, further=[[tiny]]),
    "erfc": Function(mp.erfc, linear(-5, 9), domain=ANY, wide=[[linear(9, 27)]]),
    "erfcx": Function(
        lambda x: mp.exp(x * x) * mp.erfc(x),
        linear(-9, 12),
        domain=ANY,
        further=[[huge]],
        wide=[[linear(-26, 0)]],
    ),
    "erfinv": Function(
        mp.erfinv,
        linear(-1, 1),
        domain="-1 < x < 1",
        further=[[tiny], [nearby(0.99, 1e-6, 0.01)]],
    ),
    "exp2": Function(
        lambda x: mp.mpf(2) ** x, linear(-40, 40), domain=ANY, wide=[[linear(-1070, 1020)]]
    ),
    "expit": Function(
        lambda x: 1 / (1 + mp.exp(-x)), linear(-40, 40), domain=ANY, wide=[[linear(-740, 40)]]
    ),
    "expm1": Function(
        mp.expm1, linear(-10, 20), domain=ANY, further=[[tiny]], wide=[[linear(20, 700)]]
    ),
    "gammaln": Function(
        lambda x: mp.log(abs(mp.gamma(x))) if abs(x) < 1e5 else mp.loggamma(x),
        linear(-8, 20),
        domain="x not 0, -1, …",
        size=mirrored(mp.loggamma),
        further=[[huge], [tiny], [nearby(1, 1e-6, 0.1)], [nearby(2, 1e-6, 0.1)]],
    ),
    "log1p": Function(mp.log1p, linear(-1, 8), domain="x > -1", further=[[tiny], [huge]]),
    "log_ndtr": Function(
        lambda x: mp.log(mp.ncdf(x)),
        linear(-20, 8),
        domain=ANY,
        further=[[spread(-1e4, -20)]],
        digits=80,
    ),
    "logit": Function(
        lambda x: mp.log(x / (1 - x)),
        linear(0, 1),
        domain=UNIT,
        further=[[tiny], [nearby(0.5, 1e-6, 0.1)]],
    ),
    "modified_bessel_i0": Function(
        bessel(mp.besseli, 0), linear(-30, 30), domain=ANY, further=[[linear(30, 80)]]
    ),
    "modified_bessel_i1": Function(
        bessel(mp.besseli, 1), linear(-30, 30), domain=ANY, further=[[linear(30, 80)], [tiny]]
    ),
    "i0e": Function(
        scaled(mp.besseli, 0, -1), linear(-30, 30), domain=ANY, further=[[spread(30, 1e6)]]
    ),
    "i1e": Function(
        scaled(mp.besseli, 1, -1), linear(-30, 30), domain=ANY, further=[[spread(30, 1e6)], [tiny]]
    ),
    "modified_bessel_k0": Function(
        bessel(mp.besselk, 0),
        linear(0, 30),
        domain=POSITIVE,
        further=[[tiny]],
        wide=[[linear(30, 700)]],
    ),
    "modified_bessel_k1": Function(
        bessel(mp.besselk, 1),
        linear(0, 30),
        domain=POSITIVE,
        further=[[tiny]],
        wide=[[linear(30, 700)]],
    ),
    "scaled_modified_bessel_k0": Function(
        scaled(mp.besselk, 0, 1),
        linear(0, 30),
        domain=POSITIVE,
        further=[[tiny], [spread(30, 1e6)]],
    ),
    "scaled_modified_bessel_k1": Function(
        scaled(mp.besselk, 1, 1),
        linear(0, 30),
        domain=POSITIVE,
        further=[[tiny], [spread(30, 1e6)]],
    ),
    "multigammaln": Function(
        lambda p, a: (
            p * (p - 1) / 4 * mp.log(mp.pi)
            + sum(mp.loggamma(a - mp.mpf(j) / 2) for j in range(int(p)))
        ),
        whole(1, 4),
        linear(1.6, 20),
        domain="a > (p - 1)/2",
        size=lambda p, a: 1,
    ),
    "ndtr": Function(mp.ncdf, linear(-12, 8), domain=ANY, wide=[[linear(-37, -12)]], digits=80),
    "ndtri": Function(quantile, linear(0, 1), domain=UNIT, further=[[tiny]], digits=80),
    "polygamma": Function(
        lambda n, x: mp.polygamma(int(n), x),
        whole(1, 5),
        linear(0.01, 12),
        domain="n ≥ 0, x not 0, -1, …",
        size=poles,
        digits=90,
        further=[[whole(1, 5), linear(-6, 0)], [whole(1, 4), spread(1e2, 1e5)]],
    ),
    "sinc": Function(
        mp.sincpi,
        linear(-12, 12),
        domain=ANY,
        further=[[tiny]],
        size=lambda x: 1 / (mp.pi * abs(x)) if abs(x) > 0.6 else 0,
    ),
    "spherical_bessel_j0": Function(
        mp.sinc,
        linear(-30, 30),
        domain=ANY,
        further=[[tiny]],
        size=lambda x: 1 / abs(x) if abs(x) > 1 else 0,
    ),
}
for _name in ("i0", "i1"):
    ONE[_name] = ONE[f"modified_bessel_{_name}"]
ONE["psi"] = ONE["digamma"]
TWO = {
    "gammainc": Function(
        lower,
        linear(0.1, 30),
        linear(0, 60),
        domain="a > 0, x ≥ 0",
        further=[
            [spread(1e-5, 1), spread(1e-5, 3)],
            [spread(1e-9, 1), linear(0.7, 1.5)],
            [linear(100, 120), linear(80, 150)],
        ],
    ),
    "gammaincc": Function(
        upper,
        linear(0.1, 30),
        linear(0, 60),
        domain="a > 0, x ≥ 0",
        further=[
            [spread(1e-5, 1), spread(1e-5, 3)],
            [spread(1e-9, 1), linear(0.7, 1.5)],
            [linear(100, 120), linear(80, 150)],
        ],
    ),
    "xlog1py": Function(
        lambda x, y: x * mp.log1p(y), linear(-3, 3), linear(-1, 8), domain="y > -1"
    ),
    "xlogy": Function(lambda x, y: x * mp.log(y), linear(-3, 3), linear(0, 8), domain="y > 0"),
    "zeta": Function(
        lambda x, q: mp.zeta(x, q),
        linear(1.01, 12),
        linear(0, 20),
        domain="x > 1, q > 0",
        further=[[spread(1.0001, 60), spread(1e-3, 1e4)]],
        digits=160,
    ),
}


def polynomial(reference, low=-1.5, high=1.5, domain=ANY):
    return Function(
        lambda n, x: reference(int(n), x), whole(0, 20), linear(low, high), domain=domain, digits=80
    )


POLYNOMIALS = {
    **{f"chebyshev_polynomial_{k}": polynomial(chebyshev(k)) for k in "tuvw"},
    **{
        f"shifted_chebyshev_polynomial_{k}": polynomial(shifted(chebyshev(k)), -0.5, 1.5)
        for k in "tuvw"
    },
    "hermite_polynomial_h": polynomial(mp.hermite, -4, 4),
    "hermite_polynomial_he": polynomial(
        lambda n, x: mp.hermite(n, x / mp.sqrt(2)) / mp.sqrt(2) ** n, -4, 4
    ),
    "laguerre_polynomial_l": polynomial(lambda n, x: mp.laguerre(n, 0, x), -2, 20),
    "legendre_polynomial_p": polynomial(mp.legendre),
}
ORDER = {
    "jv": Function(
        mp.besselj,
        linear(-5, 20),
        linear(0, 60),
        domain="x ≥ 0; for whole v, all x",
        size=wave,
        further=[
            [linear(0, 100), linear(0, 150)],
            [linear(0, 3), spread(1e-20, 1e5)],
            [linear(-9, 0), spread(1e-12, 1)],
        ],
        digits=90,
    ),
    "yv": Function(
        mp.bessely,
        linear(-5, 20),
        linear(0, 60),
        domain=POSITIVE,
        size=wave,
        further=[
            [linear(0, 100), linear(0, 150)],
            [linear(0, 3), spread(1e-10, 1e5)],
            [linear(-9, 0), spread(1e-12, 1)],
        ],
        digits=90,
    ),
    "iv": Function(
        mp.besseli,
        linear(-5, 20),
        linear(0, 60),
        domain="x ≥ 0; for whole v, all x",
        further=[[linear(0, 40), linear(0, 80)], [linear(-9, 0), spread(1e-12, 1)]],
        digits=90,
    ),
    "ive": Function(
        lambda v, x: mp.besseli(v, x) * mp.exp(-abs(x)),
        linear(-5, 20),
        linear(0, 60),
        domain="x ≥ 0; for whole v, all x",
        further=[[linear(0, 9), spread(60, 1e4)], [linear(-9, 0), spread(1e-12, 1)]],
        digits=90,
    ),
    "kv": Function(
        mp.besselk,
        linear(-5, 20),
        linear(0, 60),
        domain=POSITIVE,
        further=[[linear(0, 3), spread(1e-9, 1)], [linear(-20, 20), spread(1e-60, 1e-9)]],
        digits=90,
    ),
    "kve": Function(
        lambda v, x: mp.besselk(v, x) * mp.exp(x),
        linear(-5, 20),
        linear(0, 60),
        domain=POSITIVE,
        further=[[linear(0, 3), spread(1e-9, 1)], [linear(0, 9), spread(60, 1e4)]],
        digits=90,
    ),
    "struve": Function(
        mp.struveh,
        linear(-1.4, 20),
        linear(0, 60),
        domain="v > -3/2; x ≥ 0, for whole v all x",
        size=wave,
        further=[[linear(0, 3), spread(1e-9, 1e3)], [linear(100, 150), linear(50, 150)]],
        digits=110,
    ),
}
BEYOND = {
    **ORDER,
    "betaln": Function(
        lambda a, b: mp.log(mp.beta(a, b)),
        linear(0, 10),
        linear(0, 20),
        domain="a, b > 0",
        further=[[spread(1e-6, 1e4), spread(1e-6, 1e4)]],
    ),
    "betainc": Function(
        beta,
        linear(0, 10),
        linear(0, 10),
        linear(0, 1),
        domain="a, b > 0, 0 ≤ x ≤ 1",
        further=[
            [spread(1e-3, 1e3), spread(1e-3, 1e3), linear(0, 1)],
            [spread(0.1, 30), spread(1e-12, 1e-6), below_one(1e-12, 1e-6)],
        ],
    ),
    "betaincinv": Function(
        inverse(beta, -600, 600, logistic),
        linear(0.05, 10),
        linear(0.05, 10),
        linear(0, 1),
        domain="a, b > 0, 0 ≤ y ≤ 1",
    ),
    "gammaincinv": Function(
        inverse(lower, -1700, 9),
        linear(0.02, 10),
        linear(0, 1),
        domain="a > 0, 0 ≤ y ≤ 1",
        further=[[spread(0.01, 1e2), spread(1e-9, 1)]],
    ),
    "gammainccinv": Function(
        lambda a, y: inverse(lambda a, x: -upper(a, x), -1700, 9)(a, -y),
        linear(0.02, 10),
        linear(0, 1),
        domain="a > 0, 0 ≤ y ≤ 1",
        further=[[spread(0.1, 1e2), spread(1e-9, 1)]],
    ),
    "ellipk": Function(mp.ellipk, linear(-4, 1), domain="m ≤ 1", further=[[spread(-1e20, -4)]]),
    "ellipe": Function(mp.ellipe, linear(-4, 1), domain="m ≤ 1", further=[[spread(-1e20, -4)]]),
    "expi": Function(
        mp.ei,
        linear(-20, 40),
        domain=ANY,
        further=[[tiny], [linear(40, 85)], [nearby(0.37250741078136663, 1e-9, 0.1)]],
    ),
    "expn": Function(
        mp.expint,
        whole(0, 12),
        linear(0, 20),
        domain="whole n, x ≥ 0",
        further=[[whole(0, 9), tiny], [whole(0, 60), linear(20, 80)]],
    ),
    "hyp2f1": Function(
        mp.hyp2f1,
        linear(-4, 4),
        linear(-4, 4),
        linear(0.1, 6),
        linear(-5, 1),
        domain="x ≤ 1",
        further=[
            [linear(-8, 8), linear(-8, 8), linear(0.1, 9), linear(-30, 1)],
            [linear(-6, 6), linear(-6, 6), linear(-9, 9), below_one(1e-12, 0.5)],
            [linear(-6, 6), whole(-6, 6), whole(-6, 6), spread(-1e12, -1)],
        ],
    ),
    "lambertw": Function(
        mp.lambertw,
        linear(-0.36787944, 5),
        domain="x ≥ -1/e",
        further=[[tiny], [huge], [spread(-0.3678, -1e-9)]],
    ),
}
FUNCTIONS = {**ONE, **TWO, **POLYNOMIALS, **BEYOND}
