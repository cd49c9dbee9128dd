"""New tensors whose values follow a rule: ranges, identity matrices, indices of triangles."""

from __future__ import annotations

import math

from flambeau import ir, runtime
from flambeau._base import numpy
from flambeau.types import by_name, contiguous

from .creation import Placed, new_layout, rounded_twice, stepped, wide
from .facts import c_name, no_memory
from .family import pointwise
from .family.arrays import adopt
from .family.pointwise import type_name
from .modes import defaults
from .op import Op, composite

INT64 = by_name("int64")


class Made(Op):
    """`run(dtype, *args)` gives the values as a NumPy array, whose type is then brought to
    `dtype`."""

    family = "create"

    def __init__(self, schema, doc, run):
        super().__init__(schema, doc, method=False, function=False)
        self.run = run
        self.unkeyed = frozenset(a.name for a in self.schema.arguments)

    def plan(self, args):
        names = [a.name for a in self.schema.arguments]
        at_dtype, at_device = names.index("dtype"), names.index("device")
        run, normalise = self.run, self.schema.normalise

        def make(*raw):
            args = normalise(raw)
            dtype = args[at_dtype] or defaults.dtype
            try:
                values = rounded(run(dtype, *args[:at_dtype]), dtype)
            except MemoryError as error:
                raise no_memory(error) from None
            if args[at_device] is not None and args[at_device].type == "meta":
                return runtime.wrap(
                    runtime.foreign(0, 0, None), contiguous(values.shape, dtype, args[at_device]), 0
                )
            new_layout((), dtype, args[at_device])  # refuses devices that are not there
            return adopt(values)

        return make


def rounded(values, dtype):
    """An array in `dtype`; the half types by way of float32."""
    if dtype.name in ("float16", "bfloat16"):
        values = values.astype(numpy.float32)
    with numpy.errstate(all="ignore"):
        return values.astype(dtype.numpy, copy=False)


def made(schema, doc, run):
    """Declares an op that makes a tensor out of numbers: see `Made`."""
    return Made(f"aten::{schema}, ScalarType? dtype=None, Device? device=None) -> Tensor", doc, run)


def _spaced(position, dtype, start, end, step, count):
    """Symmetric: both ends are exact, and the middle is approached from both."""
    from_start = wide(start) + wide(step) * wide(position)
    from_end = wide(end) - wide(step) * wide(count - 1 - position)
    return rounded_twice(ir.select(position < (count >> 1), from_start, from_end), dtype)


spaced = Placed(
    "_spaced(int[] size, Scalar start, Scalar end, Scalar step, Scalar count",
    """`count` numbers, `step` apart, from `start` to `end`.""",
    _spaced,
)
diagonal = Placed(
    "_diagonal(int[] size", """Ones on the diagonal.""",
    lambda position, dtype: ir.cast(position.equals(0), dtype),
)  # fmt: skip
diagonal.steps = (1, -1)
_RANGE = ", *, ScalarType? dtype=None, Device? device=None) -> Tensor"


@composite(f"aten::arange(Scalar start, Scalar end, Scalar step{_RANGE}", method=False,
           function=False)  # fmt: skip
def arange(start, end, step, dtype, device):
    """Numbers from `start` up to `end`."""
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start:g} -> {end:g}")
    if (step > 0 and end < start) or (step < 0 and end > start):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    dtype = dtype or defaults.dtype
    if start.__class__ is end.__class__ is step.__class__ is int:
        return stepped((-((start - end) // step),), start, step, dtype, device)
    count = math.ceil((end - start) / step)
    if dtype.kind in "iu":
        start, step = int(start), int(step)
    return stepped((count,), start, step, dtype, device)


@composite(f"aten::linspace(Scalar start, Scalar end, int steps{_RANGE}", method=False,
           function=False)  # fmt: skip
def linspace(start, end, steps, dtype, device):
    """Equal steps, both ends included. Integers are steps between whole numbers."""
    dtype = dtype or defaults.dtype
    if dtype.kind == "c":
        return _complex_spaced(start, end, steps, dtype, device)
    _refuse_complex("linspace", start, end, dtype)
    if dtype.kind in "iu":
        start, end = int(start), int(end)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    step = (end - start) / max(steps - 1, 1)
    return spaced((steps,), start, end if steps > 1 else start, step, steps, dtype, device)


def _refuse_complex(name, start, end, dtype):
    if isinstance(start, complex) or isinstance(end, complex):
        raise RuntimeError(
            f"torch.{name}(): inferred dtype c10::complex<float> can't be safely cast to passed "
            f"dtype {c_name(dtype)}"
        )


def _complex_spaced(start, end, steps, dtype, device):
    parts = [
        linspace(a, b, steps, dtype=dtype.to_real(), device=device)
        for a, b in ((start.real, end.real), (start.imag, end.imag))
    ]
    return complex_(*parts)


@composite(f"aten::eye(int n, int m{_RANGE}", method=False, function=False)
def eye(n, m, dtype, device):
    """Ones on the diagonal."""
    for name, size in (("n", n), ("m", m)):
        if size < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    return diagonal((n, m), dtype or defaults.dtype, device)


def _exponents(dtype, start, end, steps):
    if dtype.kind != "c":
        _refuse_complex("logspace", start, end, dtype)
    if dtype.kind in "iu":
        start, end = int(start), int(end)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    index = numpy.arange(steps)
    step = (end - start) / max(steps - 1, 1)
    if steps == 1:
        return numpy.array([start])
    return numpy.where(index < steps // 2, start + step * index, end - step * (steps - 1 - index))


def _triangle(pick):
    def indices(dtype, row, col, offset):
        if row < 0 or col < 0:
            name, size = ("row", row) if row < 0 else ("col", col)
            raise RuntimeError(f"{name} must be non-negative, got{size}")
        return numpy.stack(
            getattr(numpy, pick)(numpy.ones((row, col), numpy.bool_), offset).nonzero()
        )

    return indices


logspace = made(
    "logspace(Scalar start, Scalar end, int steps, float base, *",
    """Powers of `base` with equal steps of the exponent.""",
    lambda dtype, start, end, steps, base: numpy.power(
        numpy.array(base, dtype=numpy.complex128 if base < 0 else numpy.float64),
        _exponents(dtype, start, end, steps),
    ),
)
tril_indices = made(
    "tril_indices(int row, int col, int offset, *",
    """Where a lower triangle lies.""",
    _triangle("tril"),
)
triu_indices = made(
    "triu_indices(int row, int col, int offset, *",
    """Where an upper triangle lies.""",
    _triangle("triu"),
)


def _real_pair(common, real, imag):
    if real.dtype.name == imag.dtype.name == "float16":
        raise NotImplementedError("complex numbers of half precision are not there")
    if real.dtype.name not in ("float32", "float64") or imag.dtype.kind != "f":
        raise RuntimeError(
            "Expected both inputs to be Half, Float or Double tensors but got "
            f"{type_name(real.dtype)} and {type_name(imag.dtype)}"
        )
    if real.dtype is not imag.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {type_name(real.dtype)} but got scalar type "
            f"{type_name(imag.dtype)} for second argument"
        )


def to_complex(common):
    """Real in, complex of the same precision out."""
    return common, common.to_complex()


complex_ = pointwise(
    "aten::complex(Tensor real, Tensor imag) -> Tensor",
    """Complex numbers from their real and imaginary parts.""",
    scalar=lambda real, imag: ir.Pair(real, imag),
    dtype=to_complex,
    check=_real_pair,
    method=False,
    grad=dict(real=lambda grad: grad.real, imag=lambda grad: grad.imag),
)
complex_.inplace_form = False
complex_.exact_out = True


@composite("aten::polar(Tensor abs, Tensor angle) -> Tensor", method=False)
def polar(abs, angle):
    """Complex numbers from their absolute values and angles."""
    _real_pair(None, abs, angle)
    return complex_(abs * angle.cos(), abs * angle.sin())


__all__ = ["INT64", "arange", "eye", "linspace", "logspace"]
