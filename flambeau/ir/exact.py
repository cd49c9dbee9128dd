"""Fused multiply-add in NumPy, rounded once, where numpy has none.

The sum is rounded to odd before the last rounding, which makes the second one harmless: S. Boldo
and G. Melquiond, "Emulation of a FMA and correctly rounded sums", IEEE Trans. Computers 57(4),
2008.
"""

from flambeau._base import numpy

_SPLIT = 134217729.0  # 2**27 + 1


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


def odd_sum(a, b):
    """a + b in float64; where it is inexact, the neighbour with odd last bit."""
    s, e = two_sum(a, b)
    even = (s.view(numpy.int64) & 1) == 0
    toward = numpy.nextafter(s, numpy.where(e > 0, numpy.inf, -numpy.inf))
    return numpy.where((e != 0) & even, toward, s)


def fma32(a, b, c):
    """a * b + c of float32 arrays, rounded once."""
    wide = numpy.asarray(a, numpy.float64) * numpy.asarray(b, numpy.float64)  # exact: 48 bits
    wide, c = numpy.broadcast_arrays(wide, numpy.asarray(c, numpy.float64))
    plain = wide + c
    return numpy.where(numpy.isfinite(plain), odd_sum(wide, c), plain).astype(numpy.float32)


def fma64(a, b, c):
    """a * b + c of float64 arrays, rounded once."""
    a, b, c = numpy.broadcast_arrays(*(numpy.asarray(x, numpy.float64) for x in (a, b, c)))
    plain = _moderate(a) & _moderate(b) & (_moderate(c) | (c == 0))
    if plain.all():
        return _fma_moderate(a, b, c)
    result = numpy.empty(plain.shape)
    result[plain] = _fma_moderate(a[plain], b[plain], c[plain])
    result[~plain] = _fma_any(a[~plain], b[~plain], c[~plain])
    return result


def _moderate(x):
    """Where no product of two is so large or small that a part of it is lost."""
    size = numpy.abs(x)
    return (size > 1e-130) & (size < 1e130)


def _fma_moderate(a, b, c):
    high, low = two_product(a, b)
    addend, rest = two_sum(c, low)
    total, more = two_sum(high, addend)
    return total + odd_sum(more, rest)


def _fma_any(a, b, c):
    finite = numpy.isfinite(a) & numpy.isfinite(b)
    plain = numpy.where(finite & ~numpy.isfinite(c), c, a * b + c)
    (ma, ea), (mb, eb), (mc, ec) = map(numpy.frexp, (a, b, c))
    # The addend in units of 2**(ea + eb); beyond 200 bits apart only its sign and being non-zero
    # matter.
    apart = numpy.where(c == 0, 0, ec - ea - eb)
    near = numpy.clip(apart, -200, 200)
    unit = ea + eb + numpy.maximum(apart - near, 0)
    high, low = two_product(ma, mb)
    addend, rest = two_sum(numpy.ldexp(mc, near), low)
    total, more = two_sum(high, addend)
    tail = odd_sum(more, rest)
    exact, left = two_sum(total, tail)
    result = numpy.ldexp(exact, unit)
    # A denormal result was rounded twice: undo where the first rounding made or broke a tie.
    dropped = exact - numpy.ldexp(result, -unit)
    half = numpy.ldexp(0.5, numpy.clip(-1074 - unit, -1000, 1000))
    step = numpy.where((dropped == half) & (left > 0), 1, 0) - numpy.where(
        (dropped == -half) & (left < 0), 1, 0
    )
    result = numpy.where(step == 0, result, result + step * 5e-324)
    return numpy.where(finite & numpy.isfinite(c) & (a != 0) & (b != 0), result, plain)
