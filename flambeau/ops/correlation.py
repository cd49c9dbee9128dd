"""Convolutions by their kernels: which taps of which rows meet, as numbers for the kernels.

Here everything has two dimensions beside batch and channels; one dimension is the second of two.
"""

import math
from typing import NamedTuple

from flambeau import ir
from flambeau._base import knobs
from flambeau.compiler import convolution as kernels
from flambeau.types import DType, Layout, by_name

from .family import Buffer, Steps
from .promotion import compute_type
from .softmax import sum_fold

FLOAT32, FLOAT64 = by_name("float32"), by_name("float64")
RATE = 60.0  # multiplications that one core does in a nanosecond, roughly
TASKS = 16  # tasks that are enough to keep threads busy
PART = 128  # output channels for which windows are worth being packed once more
SWEPT_TAPS = 27  # weights that stay in registers


class Axis(NamedTuple):
    """How windows lie along one dimension.

    Place `i` of `places` reads, for each of `taps` = (which weight, offset), the input of `size`
    at ``i * step + offset``; its result is number ``first + i * apart`` of the output.
    """

    size: int
    places: int
    step: int
    taps: tuple[tuple[int, int], ...]
    first: int = 0
    apart: int = 1


def reading(size, count, kernel, stride, padding, dilation) -> Axis:
    """The axis of a convolution with `count` windows."""
    return Axis(size, count, stride, tuple((t, t * dilation - padding) for t in range(kernel)))


def writing(size, count, kernel, stride, padding, dilation) -> list[Axis]:
    """The axes of a transposed convolution: results that lie `stride` apart meet the same taps."""
    axes = []
    for first in range(min(stride, count)):
        reach = ((t, first + padding - t * dilation) for t in range(kernel))
        taps = tuple((t, at // stride) for t, at in reach if at % stride == 0)
        axes.append(Axis(size, -(-(count - first) // stride), 1, taps, first, stride))
    return axes


class Planes(NamedTuple):
    """A [N, C, *S] operand in two dimensions: its buffer, sizes and strides in elements, and its
    first element."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    first: int = 0

    @property
    def itemsize(self) -> int:
        return self.buffer.dtype.itemsize


def planes(buffer: Buffer) -> Planes:
    shape, strides = buffer.layout.shape, buffer.layout.strides
    if len(shape) == 3:
        shape = (*shape[:2], 1, shape[2])
        strides = (*strides[:2], 0, strides[2])
    if shape[3] == 1:  # its stride says nothing, and kernels count lanes by it
        strides = (*strides[:3], 1)
    return Planes(buffer, shape, strides)


def fits(layouts: list[Layout], kernel) -> bool:
    """Whether there are kernels for these operands: real floats, kernels of moderate size,
    offsets inside a plane that fit in 32 bits. Where kernels are interpreted, there are none."""
    return (
        knobs.backend != "interpret"
        and all(y.dtype.kind == "f" and y.numel for y in layouts)
        and max(kernel) <= kernels.TAPS
        and 0 < math.prod(kernel) <= kernels.MOST_TAPS
        and all(math.prod(y.shape[2:]) < 1 << 27 for y in layouts)
    )


def working_type(dtype: DType) -> DType:
    """Half types are computed in float32."""
    return compute_type(dtype)


def resolved(steps: Steps, buffer: Buffer, adjacent=True) -> Buffer:
    """The buffer in its working type, without lazy bits; `adjacent`: with rows that are dense."""
    y, wide = buffer.layout, working_type(buffer.dtype)
    scattered = adjacent and y.shape[-1] > 1 and y.strides[-1] != 1
    if wide is buffer.dtype and not (scattered or y.neg):
        return buffer
    made = steps.scratch(y.shape, wide)
    steps.pointwise(lambda v: v, [buffer], [made])
    return made


def _geometry(x: Planes, groups: int, down: Axis, across: Axis) -> dict[str, int]:
    size, (image, channel, row, column) = x.itemsize, x.strides
    inner = x.shape[1] // groups
    return dict(
        PLACES=down.places * across.places,
        WIDTH=across.places,
        HEIGHT_IN=down.size,
        WIDTH_IN=across.size,
        STEP_Y=down.step,
        STEP_X=across.step,
        TAP_ROWS=len(down.taps),
        TAP_COLUMNS=len(across.taps),
        X_FIRST=x.first * size,
        X_IMAGE=image * size,
        X_GROUP=inner * channel * size,
        X_CHANNEL=channel * size,
        X_ROW=row * size,
        X_COLUMN=column * size,
        CHANNELS=inner,
        GROUPS=groups,
    )


def _step(x: Planes, across: Axis) -> int:
    """The step at which kernels read: 1 and 2 have code of their own."""
    return across.step if x.strides[3] == 1 and across.step <= 2 else 0


class Factor(NamedTuple):
    """The weights as the kernel reads them: strides in elements from one output channel, one input
    channel, one group to the next, and along the taps."""

    buffer: Buffer
    row: int
    channel: int
    group: int
    taps: tuple[int, int]
    first: int = 0


def factor(w: Buffer, groups: int, transposed: bool) -> Factor:
    strides = w.layout.strides if w.layout.ndim > 4 else planes(w).strides
    first, second, *taps = strides
    group = w.layout.shape[0] // groups * first
    row, channel = (second, first) if transposed else (first, second)
    return Factor(w, row, channel, group, (taps[-2], taps[-1]))


class Epilogue(NamedTuple):
    """What is made of the sums, and its operands [images, channels, places], outputs first."""

    kernel: ir.Pointwise
    buffers: list[Buffer]

    def ending(self) -> kernels.Ending:
        """What code is made for."""
        ways = (y.layout.strides[2] for y in self.buffers)
        return kernels.Ending(self.kernel, "".join("Z" if step == 0 else "U" for step in ways))

    def words(self) -> list[int]:
        """What the kernel reads: see `compiler.finish`."""
        return [step * y.layout.itemsize for y in self.buffers for step in (0, *y.layout.strides)]


def correlate(
    steps, x: Planes, w: Factor, bias, out: Planes, groups, axes, flag=None, add=False,
    epilogue: Epilogue | None = None,
):  # fmt: skip
    """out = the sums over taps and channels, plus `bias`, at the places that `axes` describe.
    With a `flag`: only where it is set. `add`: to what there is."""
    down, across = axes
    shape = kernels.Shape(x.buffer.dtype, _step(x, across), down.apart > 1 or across.apart > 1)
    size, rows = x.itemsize, out.shape[1] // groups
    values = _geometry(x, groups, down, across)
    channels, places, images = values["CHANNELS"], values["PLACES"], x.shape[0]
    taps = [(a * w.taps[0] + b * w.taps[1]) for a, _ in down.taps for b, _ in across.taps]
    blocks = -(-channels * len(taps) // kernels.PANEL_ROWS) or 1
    block = -(-channels // blocks)
    vectors = -(-places * size // kernels.host().vector_bytes)
    slivers = -(-vectors // kernels.MAX_VECTORS)
    parts = max(1, min(TASKS // (images * groups * slivers), rows // PART))
    part_rows = -(-rows // (parts * 8)) * 8
    parts = -(-rows // part_rows)
    values |= dict(
        BLOCK=block,
        ROWS=rows,
        SLIVERS=slivers,
        PARTS=parts,
        PART_ROWS=part_rows,
        OUT_IMAGE=out.strides[0] * size,
        OUT_GROUP=rows * out.strides[1] * size,
        OUT_ROW=out.strides[1] * size,
        OUT_FIRST=(out.first + down.first * out.strides[2] + across.first) * size,
        OUT_Y=down.apart * out.strides[2] * size,
        OUT_X=across.apart * size,
        W_GROUP=w.group * size,
        W_ROW=w.row * size,
        W_CHANNEL=w.channel * size,
        BIAS=int(bias is not None),
        ADD=int(add),
        GUARD=int(flag is not None),
    )
    words: list[int] = []
    if swept(channels, rows, axes) and not add:
        name, total = "sweep", images * groups * rows
        shape = shape._replace(taps=(len(down.taps), len(across.taps)))
        offsets = [t * size for t in taps]
    else:
        name, total = "correlate", images * groups * slivers * parts
        offsets = [(w.first + c * w.channel + t) * size for c in range(block) for t in taps]
        words = epilogue.words() if epilogue else []
    dims = kernels.descriptor(
        values, [t for _, t in down.taps], [t for _, t in across.taps], offsets, words
    )
    data = [out.buffer, x.buffer, w.buffer, *(b for b in (bias, flag) if b is not None)]
    data += epilogue.buffers if epilogue else []
    work = 0 if flag else images * groups * rows * channels * (len(taps) + 1) * places
    _launch(steps, name, shape, data, dims, total, work, epilogue and epilogue.ending())


def correlate_volumes(steps, x: Buffer, w: Factor, out: Buffer, groups, axes) -> None:
    """The same in three dimensions, added to what `out` has: each tap along the first of them is
    a convolution of planes."""
    _, *plane = axes
    for tap, planes_in, planes_out in _by_planes(x, out, axes[0]):
        weights = w._replace(first=tap * w.buffer.layout.strides[2])
        correlate(steps, planes_in, weights, None, planes_out, groups, plane, add=True)


def contract_volumes(steps, x: Buffer, grad: Buffer, out: Buffer, groups, axes) -> None:
    """The same for the weights, added to what `out` [taps along the first dimension, o, c, *taps]
    has."""
    _, *plane = axes
    for tap, planes_in, planes_out in _by_planes(x, grad, axes[0]):
        contract(steps, planes_in, planes_out, out, groups, plane, add=tap)


def _by_planes(x: Buffer, out: Buffer, depth: Axis):
    """For each image and each tap along the first of three dimensions: the tap, the planes that it
    reads, and those of the result."""
    for image in range(x.layout.shape[0]):
        for tap, offset in depth.taps:
            # The places at which this tap lies inside.
            begin = max(0, -(offset // depth.step))
            end = min(depth.places, (depth.size - 1 - offset) // depth.step + 1)
            if begin < end:
                read = begin * depth.step + offset
                made = depth.first + begin * depth.apart
                yield (
                    tap,
                    _layers(x, image, read, depth.step, end - begin),
                    _layers(out, image, made, depth.apart, end - begin),
                )


def _layers(buffer: Buffer, image, first, step, count) -> Planes:
    """So many planes of one image's volumes, `step` apart, as images."""
    shape, (images, channel, depth, row, column) = buffer.layout.shape, buffer.layout.strides
    column = 1 if shape[4] == 1 else column
    start = image * images + first * depth
    return Planes(
        buffer, (count, shape[1], *shape[3:]), (step * depth, channel, row, column), start
    )


def swept(channels, rows, axes) -> bool:
    """Whether planes are added, with all weights or sums in registers."""
    taps = math.prod(len(axis.taps) for axis in axes)
    return channels == 1 and rows < 4 and 0 < taps <= SWEPT_TAPS


def _launch(steps, name, shape, data, dims, total, work, ending=None):
    cost = work / RATE * (shape.dtype.itemsize / 4)
    steps.call(kernels.kernel(name, shape, ending), data, dims, total, cost)


def contract(steps, x: Planes, grad: Planes, out: Buffer, groups, axes, flag=None, add=None):
    """out[o, c, *taps] = the sums of grad times windows over images and places. With a `flag`:
    only where it is set. `add`: to the weights of that number."""
    down, across = axes
    shape = kernels.Shape(x.buffer.dtype, _step(x, across), False)
    size, rows, images = x.itemsize, grad.shape[1] // groups, x.shape[0]
    values = _geometry(x, groups, down, across)
    channels, places = values["CHANNELS"], values["PLACES"]
    taps = len(down.taps) * len(across.taps)
    block = max(1, min(channels, 36 // taps))
    panel = min(64, kernels.PANEL_VECTORS // (block * taps))
    vectors = -(-places * size // kernels.host().vector_bytes)
    together = max(1, panel // vectors)
    name, tasks = "contract", groups * -(-channels // block)
    if swept(channels, rows, axes) and add is None:
        name, tasks, together = "sweep_sums", groups * rows, 1
        shape = shape._replace(taps=(len(down.taps), len(across.taps)))
    chunks = min(-(-images // together), -(-2 * TASKS // tasks))
    chunks = max(1, min(chunks, x.buffer.layout.nbytes // max(out.layout.nbytes, 1)))
    chunks = chunks if flag is add is None else 1
    weights = rows * groups * channels * taps
    values |= dict(
        ADD=int(add is not None),
        GUARD=int(flag is not None),
        BLOCK=block,
        ROWS=rows,
        OUT_FIRST=(add or 0) * weights * size,
        OUT_GROUP=rows * channels * taps * size,
        OUT_ROW=channels * taps * size,
        IMAGES=images,
        CHUNKS=chunks,
        PANEL=panel,
        GRAD_FIRST=grad.first * size,
        GRAD_IMAGE=grad.strides[0] * size,
        GRAD_GROUP=rows * grad.strides[1] * size,
        GRAD_ROW=grad.strides[1] * size,
        OUT_CHUNK=weights * size,
    )
    sums = steps.scratch((chunks, weights), x.buffer.dtype) if chunks > 1 else out
    dims = kernels.descriptor(values, [t for _, t in down.taps], [t for _, t in across.taps])
    data = [sums, x.buffer, grad.buffer, *([] if flag is None else [flag])]
    work = 0 if flag else images * groups * rows * channels * taps * places
    _launch(steps, name, shape, data, dims, tasks * chunks, work)
    if chunks > 1:
        flat = Buffer(out.layout.reshaped((1, weights), (weights, 1)), out.source)
        steps.reduce(sum_fold(lambda v: v, x.buffer.dtype), [sums], (0,), [flat])
