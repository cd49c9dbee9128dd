#!/usr/bin/env python3
"""Times every function of `torch.special` on 10**6 elements, in turns with another library.

    python bench/special.py --against torch [--dtype float64] [NAMES]

Prints a table in Markdown: milliseconds of flambeau, of the other, and how many times faster
flambeau is. Figures are processor time of one thread, which other programs hardly disturb, and the
least of the rounds.
"""

import argparse
import importlib
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

COUNT = 1_000_000
# name -> interval of the argument, and of further ones
ONE = {
    "airy_ai": (-10, 10), "bessel_j0": (-30, 30), "bessel_j1": (-30, 30), "bessel_y0": (0, 30),
    "bessel_y1": (0, 30), "digamma": (0.1, 10), "entr": (0, 2), "erf": (-3, 3), "erfc": (-3, 5),
    "erfcx": (-3, 10), "erfinv": (-1, 1), "exp2": (-10, 10), "expit": (-10, 10), "expm1": (-2, 2),
    "gammaln": (0.1, 20), "i0": (-10, 10), "i0e": (-10, 10), "i1": (-10, 10), "i1e": (-10, 10),
    "log1p": (0, 5), "log_ndtr": (-10, 5), "logit": (0, 1), "modified_bessel_i0": (-10, 10),
    "modified_bessel_i1": (-10, 10), "modified_bessel_k0": (0, 10), "modified_bessel_k1": (0, 10),
    "ndtr": (-5, 5), "ndtri": (0, 1), "psi": (0.1, 10), "round": (-9, 9),
    "scaled_modified_bessel_k0": (0, 10), "scaled_modified_bessel_k1": (0, 10), "sinc": (-5, 5),
    "spherical_bessel_j0": (-10, 10),
}  # fmt: skip
TWO = {
    "gammainc": ((0.1, 40), (0, 50)), "gammaincc": ((0.1, 40), (0, 50)),
    "xlog1py": ((-2, 2), (0, 5)), "xlogy": ((-2, 2), (0, 5)), "zeta": ((1.1, 10), (0.1, 10)),
}  # fmt: skip
POLYNOMIALS = [
    *(f"{s}chebyshev_polynomial_{k}" for s in ("", "shifted_") for k in "tuvw"),
    "hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l",
    "legendre_polynomial_p",
]  # fmt: skip
LINES = ("log_softmax", "logsumexp", "softmax")


def arguments(library, name, dtype):
    """What the function is called with."""

    def uniform(low, high):
        return library.rand(COUNT, dtype=dtype) * (high - low) + low

    if name in ONE:
        return [uniform(*ONE[name])]
    if name in TWO:
        return [uniform(*interval) for interval in TWO[name]]
    if name in LINES:
        return [uniform(-5, 5).reshape(1000, 1000), 1]
    if name == "polygamma":
        return [2, uniform(0.1, 10)]
    if name == "multigammaln":
        return [uniform(2, 10), 3]
    return [uniform(-1, 1), library.randint(0, 20, (COUNT,)).to(dtype)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--against", default="torch")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    libraries = [importlib.import_module(name) for name in ("flambeau", options.against)]
    every = sorted([*ONE, *TWO, *POLYNOMIALS, *LINES, "polygamma", "multigammaln"])
    print(
        f"| {options.dtype} | flambeau, ms | {options.against}, ms | ratio |\n|---|---:|---:|---:|"
    )
    for library in libraries:
        library.set_num_threads(1)
    for name in options.names or every:
        calls = []
        for library in libraries:
            library.manual_seed(0)
            function = getattr(library.special, name)
            calls.append((function, arguments(library, name, getattr(library, options.dtype))))
            function(*calls[-1][1])
        best = [float("inf"), float("inf")]
        for _ in range(options.rounds):
            for k, (function, given) in enumerate(calls):
                begin = time.thread_time()
                function(*given)
                best[k] = min(best[k], time.thread_time() - begin)
        ours, theirs = (1e3 * t for t in best)
        print(f"| {name} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
