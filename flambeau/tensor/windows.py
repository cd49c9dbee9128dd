"""Window functions for short-time spectra: the cosine sums, the triangle, Kaiser's."""

import math

from flambeau.ops import find, modes, type_name
from flambeau.types import by_name

from .creation import arange, as_device, as_dtype, finish


def _window(name, values):
    """A public window function. `values(k, n, *parameters)` are its values at places k of n + 1."""

    def make(count, periodic, parameters, dtype, layout, device, requires_grad):
        kind = as_dtype(dtype) or modes.defaults.dtype
        if kind.kind not in "fc":
            raise RuntimeError(f"{name} expects floating point dtypes, got: {type_name(kind)}")
        if count < 0:
            raise RuntimeError(
                f"{name} requires non-negative window_length, got window_length={count}"
            )
        k = arange(count, dtype=by_name("float64"), device=as_device(device, layout))
        if count < 2:
            made = k + 1
        else:
            made = values(k, count if periodic else count - 1, *parameters)
        return finish(made.to(kind), None, requires_grad)

    return make


def _cosines(*weights):
    """A sum of cosines, of alternating sign."""

    def values(k, n, *_):
        total = weights[0]
        for j, weight in enumerate(weights[1:], 1):
            total = total + (-1) ** j * weight * (k * (2 * math.pi * j / n)).cos()
        return total

    return values


def _triangle(k, n):
    return 1 - (k * (2 / n) - 1).abs()


def _kaiser(k, n, beta):
    inside = (1 - (k * (2 / n) - 1).square()).clamp_min(0)
    i0 = find("i0").door
    return i0(inside.sqrt() * beta) / i0(k.new_tensor(float(beta)))


_PLAIN = {
    "hann_window": (_cosines(0.5, 0.5), "The raised cosine of Hann."),
    "blackman_window": (_cosines(0.42, 0.5, 0.08), "Blackman's sum of two cosines."),
    "bartlett_window": (_triangle, "The triangle."),
}


def _plain(name):
    make = _window(name, _PLAIN[name][0])

    def window(
        window_length, periodic=True, *, dtype=None, layout=None, device=None, pin_memory=False,
        requires_grad=False,
    ):  # fmt: skip
        return make(window_length, periodic, (), dtype, layout, device, requires_grad)

    window.__name__ = window.__qualname__ = name
    window.__module__ = "torch"
    window.__doc__ = f"{_PLAIN[name][1]} Periodic ones are cut out of a window one longer."
    return window


hann_window, blackman_window, bartlett_window = map(_plain, _PLAIN)


def hamming_window(
    window_length, periodic=True, alpha=0.54, beta=0.46, *, dtype=None, layout=None, device=None,
    pin_memory=False, requires_grad=False,
):  # fmt: skip
    """``alpha - beta * cos``; periodic ones are cut out of a window one longer."""
    make = _window("hamming_window", _cosines(alpha, beta))
    return make(window_length, periodic, (), dtype, layout, device, requires_grad)


def kaiser_window(
    window_length, periodic=True, beta=12.0, *, dtype=None, layout=None, device=None,
    pin_memory=False, requires_grad=False,
):  # fmt: skip
    """Kaiser's window of shape `beta`; periodic ones are cut out of a window one longer."""
    make = _window("kaiser_window", _kaiser)
    return make(window_length, periodic, (beta,), dtype, layout, device, requires_grad)


PUBLIC = (
    "bartlett_window",
    "blackman_window",
    "hamming_window",
    "hann_window",
    "kaiser_window",
)
__all__ = [*PUBLIC]
