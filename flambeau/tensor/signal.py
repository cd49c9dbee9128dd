"""Windows of signals: PyTorch's `torch.signal.windows`.

A symmetric window has its largest value in the middle; a periodic one (``sym=False``) is what a
symmetric window that is one longer has before its last value. Both as SciPy has them:
https://docs.scipy.org/doc/scipy/reference/signal.windows.html
"""

import functools
import inspect
import math
from collections.abc import Iterable

from flambeau.ops import find, modes
from flambeau.types import by_name

from .creation import arange, as_device, as_dtype, finish
from .formats import strided

_FLOATS = (by_name("float32"), by_name("float64"))


def _window(values):
    """A public window function. ``values(k, n, **parameters)`` are its values at the places k of
    0…n; a window of one value is 1 unless `values` says otherwise.
    """
    name = values.__name__
    parameters = inspect.signature(values).parameters

    @functools.wraps(values)
    def window(
        M, *given, sym=True, dtype=None, layout=strided, device=None, requires_grad=False, **more
    ):
        if given:
            raise TypeError(f"{name}() takes 1 positional argument but {1 + len(given)} were given")
        kind = as_dtype(dtype) or modes.defaults.dtype
        if M < 0:
            raise ValueError(f"{name} requires non-negative window length, got M={M}")
        if layout is not strided:
            raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
        if kind not in _FLOATS:
            raise ValueError(f"{name} expects float32 or float64 dtypes, got: {kind}")
        k = arange(M, dtype=by_name("float64"), device=as_device(device))
        more |= {"sym": sym} if "sym" in parameters else {}
        made = values(k, M - 1 if sym or M <= 1 else M, **more)
        return finish(made.to(kind), None, requires_grad)

    common = inspect.signature(window, follow_wrapped=False).parameters
    own = [p for name, p in parameters.items() if name not in ("k", "n", "sym")]
    rest = [p for name, p in common.items() if name not in ("M", "given", "more")]
    window.__signature__ = inspect.Signature([common["M"], *own, *rest])
    window.__module__ = "torch.signal.windows"
    return window


def _cosines(k, n, weights):
    turn = 2 * math.pi / n if n else 0.0
    signs = (weight * (-1) ** i for i, weight in enumerate(weights))
    return sum(weight * (k * (turn * i)).cos() for i, weight in enumerate(signs))


@_window
def general_cosine(k, n, *, a):
    """A sum of cosines, of alternating sign, with the weights `a`."""
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    return _cosines(k, n, a) if n else k + 1


@_window
def general_hamming(k, n, *, alpha=0.54):
    """``alpha - (1 - alpha) * cos``."""
    return _cosines(k, n, (alpha, 1 - alpha)) if n else k + 1


@_window
def hamming(k, n):
    """Hamming's raised cosine: 0.08 at the ends."""
    return _cosines(k, n, (0.54, 0.46)) if n else k + 1


@_window
def hann(k, n):
    """Hann's raised cosine: 0 at the ends."""
    return _cosines(k, n, (0.5, 0.5)) if n else k + 1


@_window
def blackman(k, n):
    """Blackman's sum of two cosines."""
    return _cosines(k, n, (0.42, 0.5, 0.08)) if n else k + 1


@_window
def nuttall(k, n):
    """Nuttall's sum of three cosines."""
    return _cosines(k, n, (0.3635819, 0.4891775, 0.1365995, 0.0106411)) if n else k + 1


@_window
def bartlett(k, n):
    """The triangle: 0 at the ends."""
    return 1 - (k * (2 / n) - 1).abs() if n else k + 1


@_window
def cosine(k, n):
    """Half a period of a sine, without its zeros."""
    return ((k + 0.5) * (math.pi / max(n + 1, 1))).sin()


@_window
def exponential(k, n, *, center=None, tau=1.0, sym):
    """``exp(-|k - center| / tau)``. Symmetric ones have their center in the middle."""
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    return (-(k - (n / 2 if center is None else center)).abs() / tau).exp()


@_window
def gaussian(k, n, *, std=1.0):
    """The bell curve of standard deviation `std` around the middle."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return (-((k - n / 2) / std).square() / 2).exp()


@_window
def kaiser(k, n, *, beta=12.0):
    """Kaiser's window of shape `beta`."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    if not n:
        return k + 1
    i0 = find("i0").door
    inside = (1 - (k * (2 / n) - 1).square()).clamp_min(0)
    return i0(inside.sqrt() * beta) / i0(k.new_tensor(float(beta)))


__all__ = [
    "bartlett",
    "blackman",
    "cosine",
    "exponential",
    "gaussian",
    "general_cosine",
    "general_hamming",
    "hamming",
    "hann",
    "kaiser",
    "nuttall",
]
