"""The kernel of long normal draws in single precision.

PyTorch's has logarithm, sine and cosine after Cephes (S. Moshier, netlib.org/cephes: `logf`,
`sinf`, `cosf`) with fused multiply-adds. Here are the same steps, rounded at the same places, so
that every bit agrees; `ir.math`'s functions are more exact and would not.
"""

import math

from flambeau import ir, runtime
from flambeau.types import by_name, layout

from .family.launch import Slots, launch
from .op import Op

BLOCK = 16
INT32, FLOAT32 = map(by_name, ("int32", "float32"))

# Coefficients of Cephes, highest power first.
_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_LOG2_LOW, _LOG2 = -2.12194440e-4, 0.693359375
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_QUARTER_PI = (0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8)  # a sum of three


def _polynomial(x, coefficients):
    value = ir.const(coefficients[0], FLOAT32)
    for coefficient in coefficients[1:]:
        value = ir.fma(value, x, coefficient)
    return value


def _log(x):
    """log(x) for 2**-24 <= x <= 1."""
    bits = ir.bitcast(x, INT32)
    exponent = ir.cast((bits >> 23) - 126, FLOAT32)
    mantissa = ir.bitcast((bits & 0x007FFFFF) | 0x3F000000, FLOAT32)
    low = mantissa < math.sqrt(0.5)
    exponent = ir.select(low, exponent - 1.0, exponent)
    f = (mantissa - 1.0) + ir.select(low, mantissa, 0.0)
    square = f * f
    tail = ir.fma(_polynomial(f, _LOG) * f, square, exponent * _LOG2_LOW)
    return ir.fma(exponent, _LOG2, f + ir.fma(-square, 0.5, tail))


def _sin_and_cos(x):
    """Sine and cosine of 0 <= x < 2 pi."""
    octant = (ir.cast(x * (4 / math.pi), INT32) + 1) & ~1
    number = ir.cast(octant, FLOAT32)
    for part in _QUARTER_PI:
        x = ir.fma(number, -part, x)
    square = x * x
    cosine = ir.fma(_polynomial(square, _COS) * square, square, -(square * 0.5)) + 1.0
    sine = ir.fma(_polynomial(square, _SIN) * square, x, x)
    swap = (octant & 2).differs(0)
    first, second = ir.select(swap, cosine, sine), ir.select(swap, sine, cosine)
    first = ir.select((octant & 4).differs(0), -first, first)
    return first, ir.select(((octant + 2) & 4).differs(0), -second, second)


def uniform_of(word):
    """24 bits of a word as a number in [0, 1)."""
    return ir.cast(word & 0xFFFFFF, FLOAT32) * 2.0**-24


def normals_of(radius_word, angle_word, mean, std):
    """Two normals of two words."""
    radius = ir.sqrt(_log(1.0 - uniform_of(radius_word)) * -2.0)
    sine, cosine = _sin_and_cos(uniform_of(angle_word) * (2 * math.pi))
    return tuple(ir.fma(radius * wave, std, mean) for wave in (cosine, sine))


class BoxMuller(Op):
    """Random words to normals, in place (Box and Muller, Ann. Math. Stat. 29, 1958)."""

    family = "random"

    def plan(self, args):
        target = args[0].layout
        slots = Slots()
        for _ in range(2):
            slots.tensor(layout(target.shape, target.strides, INT32, target.device))
        mean, std = (ir.cast(slots.number(float), FLOAT32) for _ in range(2))
        body = normals_of(ir.load(0, INT32), ir.load(1, INT32), mean, std)
        kernel = ir.Pointwise(self.name, [INT32, INT32], [FLOAT32, FLOAT32], body)
        return launch(kernel, slots, [target, target], (0, 1))


box_muller = BoxMuller(
    "aten::_box_muller(Tensor radius, Tensor angle, Scalar mean, Scalar std) -> Tensor",
    """Makes normals of the random words that lie in the memory of two float32 tensors.""",
    method=False,
    function=False,
)


def _transform(array, mean, std):
    """Turns the words in a float32 array of whole blocks into normals."""
    made = layout((array.size // BLOCK, BLOCK // 2), (BLOCK, 1), FLOAT32)
    storage = runtime.foreign(array.ctypes.data, array.nbytes, array)
    box_muller(*(runtime.wrap(storage, made, start) for start in (0, BLOCK // 2)), mean, std)


def fill_blocks(stream, array, mean, std, redraw=True):
    """Fills a flat float32 array of at least 16 elements with normals of that mean and standard
    deviation, two floats.

    Where blocks do not fit, the last 16 are drawn once more; without `redraw`, what that
    overwrites is not drawn at all.
    """
    ragged = array.size % BLOCK
    whole = array.size - ragged
    stream.fill(array.ctypes.data, array.size if redraw else whole)
    _transform(array[:whole], mean, std)
    if ragged:
        stream.fill(array[-BLOCK:].ctypes.data, BLOCK)
        _transform(array[-BLOCK:], mean, std)
