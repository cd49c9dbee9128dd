"""Writes docs/special.md and the plots in docs/special/ from docs/special.json.

    python tools/special_page.py                      the page, from what was measured
    python tools/special_page.py --errors [NAMES]     measures errors against mpmath first
    python tools/special_page.py --speed FILE         takes in what bench/special.py printed

Measuring needs mpmath, and PyTorch and SciPy where they are to be compared.
"""

import argparse
import importlib
import json
import math
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

import numpy
from mpmath import mp
from special_reference import BEYOND, FUNCTIONS, POLYNOMIALS

FOLDER = TOP / "docs" / "special"
FIGURES = TOP / "docs" / "special.json"
DTYPES = {"float64": 53, "float32": 24}
LIBRARIES = ("flambeau", "torch", "scipy")
SCIPY = {
    "bessel_j0": "j0", "bessel_j1": "j1", "bessel_y0": "y0", "bessel_y1": "y1", "digamma": "psi",
    "modified_bessel_i0": "i0", "modified_bessel_i1": "i1", "modified_bessel_k0": "k0",
    "modified_bessel_k1": "k1", "scaled_modified_bessel_k0": "k0e",
    "scaled_modified_bessel_k1": "k1e", "hermite_polynomial_h": "eval_hermite",
    "hermite_polynomial_he": "eval_hermitenorm", "laguerre_polynomial_l": "eval_laguerre",
    "legendre_polynomial_p": "eval_legendre", "chebyshev_polynomial_t": "eval_chebyt",
    "chebyshev_polynomial_u": "eval_chebyu", "shifted_chebyshev_polynomial_t": "eval_sh_chebyt",
    "shifted_chebyshev_polynomial_u": "eval_sh_chebyu",
}  # fmt: skip


def by_tensors(library, name, dtype, arrays):
    """The function of flambeau or PyTorch on NumPy arrays; None where it has none."""
    function = getattr(library.special, name, None)
    if function is None:
        return None
    given = [library.tensor(a, dtype=getattr(library, dtype)) for a in arrays]
    if name in ("polygamma", "multigammaln"):
        orders, x = given
        out = library.empty_like(x)
        for n in orders.unique().tolist():
            chosen = orders == n
            part = x[chosen]
            pair = (int(n), part) if name == "polygamma" else (part, int(n))
            out[chosen] = function(*pair)
        return out.numpy()
    if name in POLYNOMIALS:
        given.reverse()
    return function(*given).numpy()


def by_scipy(special, name, dtype, arrays):
    if name in ("airy_ai", "spherical_bessel_j0", "sinc", "multigammaln"):
        return {
            "airy_ai": lambda x: special.airy(x)[0],
            "spherical_bessel_j0": lambda x: special.spherical_jn(0, x),
            "sinc": numpy.sinc,
            "multigammaln": lambda p, a: numpy.array(
                [special.multigammaln(float(y), int(n)) for n, y in zip(p, a, strict=True)]
            ),
        }[name](*arrays)
    function = getattr(special, SCIPY.get(name, name), None)
    if function is None:
        return None
    if name in ("expn", "polygamma", "hermite_polynomial_h", "hermite_polynomial_he"):
        arrays = [arrays[0].astype(int), arrays[1]]
    return numpy.real(function(*arrays)).astype(dtype)


def error(got, want, size, bits):
    """In units of the last place of `size`; inf for a number in the place of nan, and for a wrong
    infinity.
    """
    largest = mp.mpf(2) ** (1024 if bits == 53 else 128)
    if mp.isnan(want) or not mp.isfinite(want) or abs(want) >= largest:
        right = numpy.isnan(got) if mp.isnan(want) else got == float(mp.sign(want)) * math.inf
        return 0.0 if right else math.inf
    if not numpy.isfinite(got):
        return math.inf
    unit = mp.mpf(2) ** max(mp.mag(size) - bits, -1074 if bits == 53 else -149)
    return float(abs(mp.mpf(float(got)) - want) / unit)


def measure(name):
    """For each dtype the greatest error of each library, and what there is to draw."""
    function, row = FUNCTIONS[name], {"domain": FUNCTIONS[name].domain}
    for dtype, bits in DTYPES.items():
        arrays = [numpy.array(a, dtype) for a in zip(*function.points(dtype), strict=True)]
        points = [[float(v) for v in p] for p in zip(*arrays, strict=True)]
        wanted = [function.value(p) for p in points]
        for library in LIBRARIES:
            try:
                module = importlib.import_module("scipy.special" if library == "scipy" else library)
            except ImportError:
                continue
            call = by_scipy if library == "scipy" else by_tensors
            with numpy.errstate(all="ignore"):
                got = call(module, name, dtype, arrays)
            if got is None:
                continue
            errors = [error(g, *w, bits) for g, w in zip(got, wanted, strict=True)]
            row[f"{library} {dtype}"] = max(errors)
            if library == "flambeau":
                row[f"worst {dtype}"] = points[errors.index(max(errors))]
            if dtype == "float64" and library != "scipy":
                drawn = [(p[-1], e) for p, e in zip(points, errors, strict=True)][:160]
                row[f"points {library}"] = [[float(f"{x:.4g}"), brief(e)] for x, e in drawn]
    return row


def brief(e):
    return float(f"{min(e, 1e17):.2g}")


WIDTH, HEIGHT, LEFT, BOTTOM, ROWS = 420, 150, 34, 18, 8  # powers of ten from 0.1 on
STYLE = (
    "text{font:10px sans-serif;fill:#57606a}.g{stroke:#d0d7de}path{stroke-width:3;"
    "stroke-linecap:round;fill:none}.f{stroke:#2da44e}.t{stroke:#cf7a1c;stroke-opacity:.6}"
    "@media(prefers-color-scheme:dark){text{fill:#9198a1}.g{stroke:#3d444d}}"
)


def plot(name, row):
    """The errors over the last argument, in units of the last place, as SVG."""
    own = row["points flambeau"]
    low, high = min(x for x, _ in own), max(x for x, _ in own)

    def height(e):
        share = (math.log10(min(max(e, 0.1), 10.0 ** (ROWS - 1))) + 1) / ROWS
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - 6)

    def dots(points):
        places = ((LEFT + (x - low) / (high - low) * (WIDTH - LEFT - 6), e) for x, e in points)
        return "".join(f"M{x:.0f} {height(e):.0f}h0" for x, e in places)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img"><title>{name}: error in units of the last place</title>',
        f"<style>{STYLE}</style>",
    ]
    for power in range(-1, ROWS, 2):
        y = height(10.0**power)
        out.append(f'<path class="g" style="stroke-width:1" d="M{LEFT} {y:.0f}H{WIDTH}"/>')
        out.append(f'<text x="{LEFT - 4}" y="{y + 3:.0f}" text-anchor="end">1e{power}</text>')
    for x, anchor, value in ((LEFT, "start", low), (WIDTH - 4, "end", high)):
        text = f"{value:.3g}"
        out.append(f'<text x="{x}" y="{HEIGHT - 5}" text-anchor="{anchor}">{text}</text>')
    if "points torch" in row:
        out.append(f'<path class="t" d="{dots(row["points torch"])}"/>')
    out.append(f'<path class="f" d="{dots(own)}"/>')
    return "\n".join([*out, "</svg>", ""])


HEAD = """# Special functions

Written by `tools/special_page.py`. Errors are the greatest that were found against mpmath, in units
of the last place, on a grid over the domain, its tails and the neighbourhood of poles and zeros;
where a function oscillates, near zeros relative to the size of its waves, and left of 0 in
`digamma`, `gammaln` and `polygamma` relative to what cancels there. *wrong* means a finite number,
an infinity or nan where another of these is right, or an error above 1e15. Speed is PyTorch's time
over flambeau's for a million float32 elements, processor time of one thread (`bench/special.py`).
In the plots: float64 errors over the last argument, flambeau's green, PyTorch's orange; what is
above the frame is drawn on its edge.

Every function is differentiable to any order, in reverse and forward mode, in every real argument
(degrees of polynomials and orders of `polygamma`, `multigammaln` and `expn` are whole numbers).
Arguments may be complex, to an error of a few units of the larger part, and twice differentiable,
for `airy_ai`, `digamma`, `erf`, `erfc`, `erfcx`, `exp2`, `expit`, `expm1`, `log1p`, `log_ndtr`,
`logit`, `ndtr`, `polygamma`, `sinc`, `spherical_bessel_j0`, `xlog1py`, `xlogy`, all polynomials,
`logsumexp`, `softmax` and `log_softmax`. float16 and bfloat16 are computed in float32 and rounded.
Exact by definition or made of others, hence not here: `round`, `logsumexp`, `softmax`,
`log_softmax`.

| function | domain | flambeau, PyTorch, SciPy: float64 | float32 | speed | plot |
|---|---|---|---|---:|---|
"""


def figure(e):
    if e is None:
        return "–"
    return "**wrong**" if e > 1e15 else f"{e:.1f}" if e < 100 else f"**{e:.0e}**"


def page(rows):
    """The text of docs/special.md."""
    lines = []
    for title, names in (
        ("of PyTorch", [n for n in rows if n not in BEYOND]),
        ("beyond PyTorch", [n for n in rows if n in BEYOND]),
    ):
        lines.append(f"| *{title}* | | | | | |")
        for name in sorted(names):
            row = rows[name]
            cells = [
                ", ".join(figure(row.get(f"{library} {dtype}")) for library in LIBRARIES)
                for dtype in DTYPES
            ]
            speed = f"{row['speed']:.1f}" if "speed" in row else ""
            drawn = f"[plot](special/{name}.svg)"
            lines.append(
                f"| `{name}` | {row['domain']} | {' | '.join(cells)} | {speed} | {drawn} |"
            )
    return HEAD + "\n".join(lines) + "\n"


def speeds(text):
    """The ratios of the table that bench/special.py prints."""
    return {n: float(r) for n, r in re.findall(r"^\| (\w+) \|.*\| ([\d.]+) \|$", text, re.M)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--errors", action="store_true")
    parser.add_argument("--speed", type=pathlib.Path)
    options = parser.parse_args()
    rows = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    if options.errors:
        for name in options.names or FUNCTIONS:
            kept = {k: v for k, v in rows.get(name, {}).items() if k == "speed"}
            rows[name] = measure(name) | kept
            print(name, {k: v for k, v in rows[name].items() if "points" not in k}, flush=True)
            FIGURES.write_text(json.dumps(rows, separators=(",", ":")) + "\n")
    if options.speed:
        for name, ratio in speeds(options.speed.read_text()).items():
            if name in rows:
                rows[name]["speed"] = ratio
    FIGURES.write_text(json.dumps(rows, separators=(",", ":")) + "\n")
    FOLDER.mkdir(exist_ok=True)
    for name, row in rows.items():
        (FOLDER / f"{name}.svg").write_text(plot(name, row))
    (TOP / "docs" / "special.md").write_text(page(rows))


if __name__ == "__main__":
    main()
