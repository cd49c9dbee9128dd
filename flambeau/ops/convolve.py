"""Convolutions as a whole: the kernels that sum, and what is made of the sums."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau import ir, runtime
from flambeau.types import Layout, contiguous

from . import winograd
from .correlation import Axis, Epilogue, correlate, factor, planes, swept
from .family import Buffer, Steps


class Convolve(NamedTuple):
    """A convolution, and what is made of its sums, bias included: as `Multiply`, of operands
    outputs, input, weight, a bias where there is one, and what the epilogue reads beside the sums.
    The first and the last are [images, channels, places]; `result` is the layout of the sums."""

    kernel: ir.Pointwise
    operands: tuple[Layout, ...]
    sources: tuple[int, ...]
    starts: tuple[int, ...] | None
    result: Layout
    factors: int
    groups: int
    axes: tuple[Axis, Axis]
    transposed: bool
    repeats: bool = True  # where Winograd's results are not finite, the direct kernel runs as well

    def stages(self, scratch: Callable[[int], int]) -> list[runtime.Stage]:
        """The stages of a launch; `scratch(nbytes)` gives the source of memory."""
        steps, count = Steps(self.result.device), len(self.kernel.outputs)
        buffers = [Buffer(layout, k) for k, layout in enumerate(self.operands)]
        x, w, *bias = buffers[count : count + self.factors]
        sums, epilogue = self._epilogue(steps, buffers, count)
        weights = factor(w, self.groups, self.transposed)
        operands = (
            planes(x), weights, bias[0] if bias else None, planes(sums), self.groups, self.axes,
        )  # fmt: skip
        tiles = winograd.tiling(*operands)
        flag = tiles and winograd.filtered(steps, *operands, tiles, epilogue)
        correlate(steps, *operands, flag, epilogue=epilogue)
        places = list(zip(self.sources, self.starts or (0,) * len(self.sources), strict=True))
        made = [(scratch(nbytes), 0) for _, nbytes in steps.fresh]
        stages = []
        for stage in steps.calls():
            found = [places[k] if k >= 0 else made[-1 - k] for k in stage.data]
            data, starts = zip(*found, strict=True)
            stages.append(stage._replace(data=data, starts=starts))
        return stages

    def _epilogue(self, steps, buffers, count) -> tuple[Buffer, Epilogue | None]:
        """Where the sums go, and what follows them."""
        kernel, first = self.kernel, self.operands[0]
        if count == 1 and kernel.body == (ir.load(0, self.result.dtype),):
            return Buffer(self.result, 0), None
        sums = Buffer(self.result, 0)
        if first.dtype is not self.result.dtype or not first.contiguous:
            sums = steps.scratch(self.result.shape, self.result.dtype)
        flat = Buffer(planar(self.result), sums.source)
        used = [*buffers[:count], flat, *buffers[count + self.factors :]]
        return sums, Epilogue(kernel, used)


def planar(layout: Layout) -> Layout:
    """A dense layout [images, channels, *S] as [images, channels, places]."""
    shape = (*layout.shape[:2], math.prod(layout.shape[2:]))
    return layout.reshaped(shape, contiguous(shape, layout.dtype).strides)


def convolve(steps: Steps, x: Buffer, w: Buffer, bias, out: Buffer, sizes, axes) -> bool:
    """Adds the convolution to the steps; or gives False where it is none for `Convolve`."""
    inner = x.layout.shape[1] // sizes.groups, out.layout.shape[1] // sizes.groups
    if any(axis.apart > 1 for axis in axes) or swept(*inner, axes):
        return False
    kernel = ir.Pointwise("convolution", [out.dtype], [out.dtype], (ir.load(0, out.dtype),))
    factors: list[Any] = [x, w, *([] if bias is None else [bias])]
    operands = (planar(out.layout), *(b.layout for b in factors))
    sources = tuple(b.source for b in (out, *factors))
    steps.whole(
        Convolve(
            kernel, operands, sources, None, out.layout, len(factors), sizes.groups, tuple(axes),
            sizes.transposed,
        )
    )  # fmt: skip
    return True
