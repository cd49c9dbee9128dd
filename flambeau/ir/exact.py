"""Fused multiply-add of arrays, rounded once, which NumPy lacks: computed in steps whose errors are
known, and asked of the C library, number by number, where these leave a doubt.
"""

import ctypes
import functools

from flambeau._base import numpy

_SPLIT = 134217729.0  # 2**27 + 1
_FEW32, _FEW64 = 12, 36  # numbers that the C library is done with before NumPy


def two_sum(a, b):
    """(s, e) with s = fl(a + b) and s + e = a + b exactly (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a, b):
    """(p, e) with p = fl(a b) and p + e = a b exactly, for factors of moderate size (Dekker,
    Veltkamp).
    """
    p = a * b
    t = _SPLIT * a
    a1 = t - (t - a)
    t = _SPLIT * b
    b1 = t - (t - b)
    a2, b2 = a - a1, b - b1
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


def fma32(a, b, c):
    """a * b + c of float32 arrays, rounded once."""
    if max(numpy.size(a), numpy.size(b), numpy.size(c)) <= _FEW32:
        return _called(numpy.float32, a, b, c)
    wide = numpy.multiply(a, b, dtype=numpy.float64)  # exact: 48 bits
    made = numpy.add(wide, c, dtype=numpy.float64)
    # What float64 rounded to the middle of two float32 numbers, or where they lie closer, may not
    # have been there.
    doubtful = (made.view(numpy.int64) & 0x1FFFFFFF) == 0x10000000
    doubtful |= (numpy.abs(made) < 2.0**-126) & (made != 0)
    return _settled(made.astype(numpy.float32), doubtful, a, b, c)


def fma64(a, b, c):
    """a * b + c of float64 arrays, rounded once."""
    if max(numpy.size(a), numpy.size(b), numpy.size(c)) <= _FEW64:
        return _called(numpy.float64, a, b, c)
    product, low = two_product(a, b)
    total, rest = two_sum(product, c)
    rest = rest + low
    made = numpy.where(rest == 0, total, total + rest)  # the total may be -0
    # `rest` is rounded: what it is at most and at least must make the same sum (Ziv's test). Parts
    # of small products are lost, and those of large ones are no numbers, which equal nothing.
    sure = (total + rest * (1 + 2.0**-52) == made) & (total + rest * (1 - 2.0**-52) == made)
    sure &= (numpy.abs(product) > 1e-280) | (a == 0) | (b == 0)
    return _settled(made, ~sure, a, b, c)


def _settled(made, doubtful, *factors):
    """`made`, with what is doubtful asked of the C library."""
    if doubtful.any():
        given = (numpy.broadcast_to(x, made.shape)[doubtful] for x in factors)
        made[doubtful] = _called(made.dtype.type, *given)
    return made


def _called(kind, *given):
    return numpy.asarray(_function(kind)(*given)).astype(kind)


@functools.cache
def _function(kind):
    """C's `fma` or `fmaf`, as a function of arrays."""
    name, number = ("fma", ctypes.c_double) if kind is numpy.float64 else ("fmaf", ctypes.c_float)
    function = getattr(ctypes.PyDLL(None), name)
    function.restype, function.argtypes = number, [number] * 3
    return numpy.frompyfunc(function, 3, 1)
