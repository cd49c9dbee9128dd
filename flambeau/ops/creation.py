"""New tensors: filled, empty, ranges; copies in another dtype or memory order."""

from __future__ import annotations

import operator

from flambeau import ir, runtime
from flambeau.types import DType, Layout, by_name, contiguous, cpu, dense_like, layout

from .arithmetic import copy
from .family import Steps
from .family.launch import Slots, launch
from .fitting import fitting
from .modes import defaults
from .op import Op, composite

INT64, FLOAT32, FLOAT64 = map(by_name, ("int64", "float32", "float64"))


def new_layout(size, dtype: DType, device) -> Layout:
    """A contiguous layout, after checking the sizes."""
    for n in size:
        if operator.index(n) < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {n}: "
                f"[{', '.join(map(str, size))}]"
            )
    device = device or cpu
    if device.type not in ("cpu", "meta"):
        raise no_device(device)
    return contiguous(size, dtype, device)


def no_device(device):
    """The error for a device that is not there."""
    if device.type == "cuda":
        return AssertionError("Torch not compiled with CUDA enabled: no CUDA device is there")
    return RuntimeError(f"no {device.type} device is there")


def make_empty(made: Layout):
    """A tensor of that layout with memory nobody has written."""
    if made.device.type == "meta":
        return runtime.wrap(runtime.foreign(0, 0, None), made, 0)
    return runtime.wrap(runtime.empty(made.nbytes), made, 0)


class Full(Op):
    """Every element one number, given at run time."""

    family = "create"

    def plan(self, args):
        size, value, dtype, device = args
        made = new_layout(size, dtype or _dtype_of(value), device)
        slots = Slots()
        slots.skip()
        number = slots.number(type(value))
        slots.skip()
        slots.skip()
        kernel = ir.Pointwise("full", (), [made.dtype], (ir.cast(number, _inner(made.dtype)),))
        run = fitting(self, launch(kernel, slots, [made]), 1, type(value), made.dtype)
        if made.dtype.name != "uint64" or type(value) is not int:
            return run
        # Kernels get numbers as signed words.
        return lambda size, value, *rest: run(size, value - (value >> 63 << 64), *rest)


def _inner(dtype):
    return by_name("float32") if dtype.name in ("float16", "bfloat16") else dtype


def _dtype_of(value):
    if isinstance(value, bool):
        return by_name("bool")
    if isinstance(value, int):
        return INT64
    return defaults.dtype.to_complex() if isinstance(value, complex) else defaults.dtype


full = Full(
    "aten::full(int[] size, Scalar fill_value, *, ScalarType? dtype=None, Device? device=None) -> "
    "Tensor",
    """A tensor of shape `size` whose elements all are `fill_value`.""",
    method=False,
    function=False,
)


class Empty(Op):
    """Memory that nobody has written."""

    family = "create"

    def plan(self, args):
        size, dtype, device = args
        made = new_layout(size, dtype or defaults.dtype, device)
        return lambda *_: make_empty(made)


empty = Empty(
    "aten::empty(int[] size, *, ScalarType? dtype=None, Device? device=None) -> Tensor",
    """A tensor of shape `size` with unspecified contents.""",
    method=False,
    function=False,
)


class EmptyStrided(Op):
    """Unwritten memory under given strides."""

    family = "create"

    def plan(self, args):
        size, stride, dtype, device = args
        if len(size) != len(stride):
            raise RuntimeError(
                f"dimensionality of sizes ({len(size)}) must match dimensionality of strides "
                f"({len(stride)})"
            )
        if min(stride, default=0) < 0:
            raise RuntimeError(
                f"Storage size calculation overflowed with sizes={list(size)} and "
                f"strides={list(stride)}"
            )
        made = layout(tuple(size), tuple(stride), dtype or defaults.dtype, device or cpu)
        return lambda *_: make_empty(made)


empty_strided = EmptyStrided(
    "aten::empty_strided(int[] size, int[] stride, *, ScalarType? dtype=None, Device? device=None) "
    "-> Tensor",
    """A tensor of shape `size` and strides `stride` (in elements) with unspecified contents.""",
    method=False,
)


def strides_like(source: Layout, memory_format=None):
    """The strides of a copy of `source`: its own order of dimensions, or that of
    `memory_format`.
    """
    if memory_format is None or memory_format.preserves:
        return dense_like(source.shape, source.strides)
    return memory_format.strides(source.shape)


class Cast(Op):
    """A copy in another dtype; the tensor itself where nothing changes."""

    family = "pointwise"

    def plan(self, args):
        tensor, dtype, force = args
        if tensor.layout.dtype is dtype and not force:
            return lambda tensor, *_: tensor
        return self.copier(args, dtype)

    def copier(self, args, dtype):
        """The launcher that copies the first argument."""
        source = args[0].layout
        made = layout(source.shape, dense_like(source.shape, source.strides), dtype, source.device)
        slots = Slots()
        value = slots.tensor(source)
        for _ in args[1:]:
            slots.skip()
        if dtype is not source.dtype:
            value = ir.cast(ir.cast(value, _inner(source.dtype)), _inner(dtype))
        kernel = ir.Pointwise(self.name, [source.dtype], [dtype], (value,))
        record = None
        if source.dtype.kind in "fc" and dtype.kind in "fc":
            record = self.recorder(args)
        return launch(kernel, slots, [made], record=record)


cast = Cast(
    "aten::_to_copy(Tensor self, ScalarType dtype, bool copy=False) -> Tensor",
    """The values in another dtype.""",
    dict(
        self=lambda grad, self_layout: cast(
            grad.real if grad.layout.dtype.kind == "c" and self_layout.dtype.kind == "f" else grad,
            self_layout.dtype,
        )
    ),
    method=False,
    function=False,
)


class Clone(Cast):
    """A copy, with its dimensions in the same order."""

    def plan(self, args):
        return self.copier(args, args[0].layout.dtype)


_clone = Clone(
    "aten::_clone(Tensor self) -> Tensor",
    """A copy with the same values.""",
    dict(self=lambda grad: grad),
    method=False,
    function=False,
)


@composite("aten::clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor")
def clone(self, memory_format):
    """A copy with the same values; its gradient flows back to the original."""
    if memory_format is None or memory_format.preserves:
        return _clone(self)
    made = self.layout
    strides = strides_like(made, memory_format)
    out = empty_strided(made.shape, strides, dtype=made.dtype, device=made.device)
    return out.copy_(self)


@composite(
    "aten::contiguous(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor", function=False
)
def contiguous_(self, memory_format):
    """The tensor itself where it lies in row-major order (or that of `memory_format`), else a copy
    that does.
    """
    if memory_format is None or memory_format.is_row_major:
        if self.layout.contiguous:
            return self
        out = empty(self.layout.shape, dtype=self.layout.dtype, device=self.layout.device)
        return out.copy_(self)
    return self if memory_format.fits(self.layout) else clone(self, memory_format=memory_format)


def filled_like(name, value, doc):
    """zeros_like and ones_like."""

    def body(self, dtype, device, memory_format):
        source = self.layout
        made = dtype or source.dtype
        if source.contiguous and (memory_format is None or memory_format.preserves):
            return full(source.shape, value if made.kind != "b" else bool(value), dtype=made,
                        device=device or source.device)  # fmt: skip
        strides = strides_like(source, memory_format)
        out = empty_strided(source.shape, strides, dtype=made, device=device or source.device)
        return out.fill_(value)

    body.__doc__ = doc
    return composite(
        f"aten::{name}(Tensor self, *, ScalarType? dtype=None, Device? device=None, "
        "MemoryFormat? memory_format=None) -> Tensor",
        method=False,
    )(body)


zeros_like = filled_like("zeros_like", 0, """Zeros in the shape and memory order of a tensor.""")
ones_like = filled_like("ones_like", 1, """Ones in the shape and memory order of a tensor.""")


@composite(
    "aten::empty_like(Tensor self, *, ScalarType? dtype=None, Device? device=None, MemoryFormat? "
    "memory_format=None) -> Tensor",
    method=False,
)
def empty_like(self, dtype, device, memory_format):
    """Unwritten memory in the shape and memory order of a tensor."""
    source = self.layout
    strides = strides_like(source, memory_format)
    return empty_strided(
        source.shape, strides, dtype=dtype or source.dtype, device=device or source.device
    )


class Placed(Op):
    """A tensor whose elements follow from their places: ``value(position, dtype, *numbers)``, with
    numbers that are known at run time only.
    """

    family = "create"
    steps: tuple[int, ...] = (1,)  # of the position, along each dimension

    def __init__(self, schema, doc, value):
        text = f"aten::{schema}, ScalarType dtype, Device? device=None) -> Tensor"
        super().__init__(text, doc, method=False, function=False)
        self.value = value

    def plan(self, args):
        size, *numbers, dtype, device = args
        made = new_layout(size, dtype, device)
        if made.device.type == "meta":
            return lambda *_: runtime.wrap(runtime.foreign(0, 0, None), made, 0)
        steps, slots = Steps(made.device), Slots()
        slots.skip()
        given = [slots.number(type(n)) for n in numbers]
        out = steps.result_as(made)
        steps.pointwise(
            lambda: self.value(ir.position, dtype, *given), [], [out], counter=(self.steps, 0)
        )
        return steps.launch("".join(slots.letters) + "--", (*slots.itemsizes, 0, 0), None)


def _stepped(position, dtype, start, step):
    """Integers are exact; else steps are taken in double precision."""
    if start.dtype.kind == step.dtype.kind == "i":
        return start + position * step
    return rounded_twice(wide(start) + wide(position) * wide(step), dtype)


def wide(number):
    return ir.cast(number, FLOAT64)


def rounded_twice(value, dtype):
    """Half types are rounded by way of float32."""
    return ir.cast(value, FLOAT32) if dtype.itemsize == 2 and dtype.kind == "f" else value


stepped = Placed(
    "_stepped(int[] size, Scalar start, Scalar step", """Numbers from `start`, `step` apart.""",
    _stepped,
)  # fmt: skip


@composite("aten::_iota(int n, int step=1) -> Tensor", method=False, function=False)
def iota(n, step):
    """The int64 numbers 0, step, 2 step, …: `n` of them."""
    return stepped((n,), 0, step, INT64)


def _new(name, value, doc):
    def body(self, size, dtype, device):
        return full(
            size, value, dtype=dtype or self.layout.dtype, device=device or self.layout.device
        )

    body.__doc__ = doc
    schema = (
        f"aten::{name}(Tensor self, int[] size, *, ScalarType? dtype=None, Device? device=None) "
        "-> Tensor"
    )
    return composite(schema, function=False)(body)


new_zeros = _new(
    "new_zeros", 0, """Zeros of shape `size`, with this tensor's dtype and device by default."""
)
new_ones = _new(
    "new_ones", 1, """Ones of shape `size`, with this tensor's dtype and device by default."""
)


@composite(
    "aten::new_full(Tensor self, int[] size, Scalar fill_value, *, ScalarType? dtype=None, "
    "Device? device=None) -> Tensor",
    function=False,
)
def new_full(self, size, fill_value, dtype, device):
    """A tensor of shape `size` filled with a number, with this tensor's dtype and device by
    default.
    """
    return full(
        size, fill_value, dtype=dtype or self.layout.dtype, device=device or self.layout.device
    )


@composite(
    "aten::new_empty(Tensor self, int[] size, *, ScalarType? dtype=None, Device? device=None) -> "
    "Tensor",
    function=False,
)
def new_empty(self, size, dtype, device):
    """Unwritten memory of shape `size`, with this tensor's dtype and device by default."""
    return empty(size, dtype=dtype or self.layout.dtype, device=device or self.layout.device)


__all__ = ["cast", "copy", "empty", "full", "iota"]
