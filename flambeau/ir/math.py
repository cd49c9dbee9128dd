"""The scalar functions, for real and complex arguments."""

from . import math_exponential as _e
from . import math_special as _s
from . import math_trigonometric as _t
from .loop import Pair, bitcast, cast, const, copysign, float32, floor, int32, int64, node, rem, select, sqrt as _sqrt

log2, log10, asinh, acosh, atanh = _e.log2, _e.log10, _e.asinh, _e.acosh, _e.atanh
erf, erfc, erfinv, lgamma, digamma, i0, i0e, i1, i1e, ndtri, log_ndtr = (
    _s.erf, _s.erfc, _s.erfinv, _s.lgamma, _s.digamma, _s.i0, _s.i0e, _s.i1, _s.i1e, _s.ndtri, _s.log_ndtr,
)  # fmt: skip
asin, acos, atan, atan2, hypot = _t.asin, _t.acos, _t.atan, _t.atan2, _t.hypot


def _both(real, complex_):
    return lambda x: complex_(x) if isinstance(x, Pair) else real(x)


def _exp(z):
    size = _e.exp(z.re)
    return Pair(size * _t.cos(z.im), size * _t.sin(z.im))


def _log(z):
    return Pair(_e.log(_t.hypot(z.re, z.im)), _t.atan2(z.im, z.re))


def _root(z):
    size = _t.hypot(z.re, z.im)
    re = _sqrt((size + abs(z.re)) * 0.5)
    zero = re.equals(0.0)
    im = z.im / (select(zero, const(1.0, re.dtype), re) * 2)
    right = z.re >= 0.0
    return Pair(select(right, re, abs(im)), select(right, im, copysign(re, z.im)))


exp, log = _both(_e.exp, _exp), _both(_e.log, _log)
sqrt = _both(_sqrt, _root)
rsqrt = _both(_e.rsqrt, lambda z: 1 / _root(z))
exp2 = _both(_e.exp2, lambda z: _exp(z * 0.6931471805599453))
expm1 = _both(_e.expm1, lambda z: _exp(z) - 1)
log1p = _both(_e.log1p, lambda z: _log(z + 1))
sigmoid = _both(_e.sigmoid, lambda z: 1 / (1 + _exp(-z)))
sin = _both(_t.sin, lambda z: Pair(_t.sin(z.re) * _e.cosh(z.im), _t.cos(z.re) * _e.sinh(z.im)))
cos = _both(_t.cos, lambda z: Pair(_t.cos(z.re) * _e.cosh(z.im), -(_t.sin(z.re) * _e.sinh(z.im))))
sinh = _both(_e.sinh, lambda z: Pair(_e.sinh(z.re) * _t.cos(z.im), _e.cosh(z.re) * _t.sin(z.im)))
cosh = _both(_e.cosh, lambda z: Pair(_e.cosh(z.re) * _t.cos(z.im), _e.sinh(z.re) * _t.sin(z.im)))


def _tanh(z):
    t, tan = _e.tanh(z.re), _t.tan(z.im)
    return (Pair(t, tan)) / Pair(1 + t * 0, t * tan)


tanh = _both(_e.tanh, _tanh)
tan = _both(_t.tan, lambda z: _unturn(_tanh(_turn(z))))


def _turn(z):
    return Pair(-z.im, z.re)


def _unturn(z):
    return Pair(z.im, -z.re)


def pow(x, y):
    if isinstance(x, Pair) or isinstance(y, Pair):
        zero = x.equals(0.0)
        return select(zero, select(y.equals(0.0), Pair(const(1.0, x.re.dtype), const(0.0, x.re.dtype)), x), _exp(y * _log(x)))
    return _e.power(x, y)


def ipow(x, n):
    """Integer power by squaring; negative exponents leave only 1 and -1."""
    one, zero = const(1, x.dtype), const(0, x.dtype)
    result, base, rest = one, x, n
    for _ in range(min(8 * x.dtype.itemsize, 64)):
        result = select((rest & one).equals(one), result * base, result)
        base = base * base
        rest = rest >> one
    if x.dtype.kind == "u":
        return result
    odd = (n & one).equals(one)
    inverse = select(x.equals(1), one, select(x.equals(-1), select(odd, -one, one), zero))
    return select(n < 0, inverse, result)


def fmod(x, y):
    return rem(x, y)


def remainder(x, y):
    if x.dtype.kind == "u":
        return rem(x, y)
    r = rem(x, y)
    zero = r.equals(0)
    turn = ~zero & ((r < 0) ^ (y < 0))
    return select(turn, r + y, select(zero, copysign(r, y), r) if x.dtype.kind == "f" else r)


def floor_divide(x, y):
    if x.dtype.kind == "u":
        return x / y
    if x.dtype.kind in "i":
        q, r = x / y, rem(x, y)
        return select(~r.equals(0) & ((r < 0) ^ (y < 0)), q - 1, q)
    r = rem(x, y)
    q = (x - r) / y
    q = select(~r.equals(0.0) & ((r < 0.0) ^ (y < 0.0)), q - 1.0, q)
    low = floor(q)
    q = select(q.equals(0.0), copysign(const(0.0, x.dtype), x / y), select((q - low) > 0.5, low + 1.0, low))
    return select(y.equals(0.0), x / y, q)


def nextafter(x, y):
    integer = int32 if x.dtype is float32 else int64
    bits = bitcast(x, integer)
    up = (x < y) ^ (x < 0.0)
    step = select(up, bits + 1, bits - 1)
    tiny = copysign(bitcast(const(1, integer), x.dtype), y)
    moved = select(x.equals(0.0), tiny, bitcast(step, x.dtype))
    nan = x.differs(x) | y.differs(y)
    return select(nan, x + y, select(x.equals(y), y, moved))


__all__ = ["cast", "node"]
