"""Convolutions in every rank.

Where `correlation` has kernels (real numbers), these do the work. The rest is windows and matrix
products: a convolution reads its padded input through a strided view whose dimensions are [batch,
channel, *kernel, *out]; copied to rows, that view is the right factor of a product with the
weights. Its two gradients are the same product transposed: with respect to the weights directly,
with respect to the input through `fold_windows`, which adds windows back.
"""

import itertools
import math

from flambeau import ir
from flambeau.types import channels_last, layout, looks_channels_last, row_major

from . import winograd
from .convolve import convolve
from .correlation import (
    contract,
    contract_volumes,
    correlate,
    correlate_volumes,
    factor,
    fits,
    planes,
    reading,
    resolved,
    working_type,
    writing,
)
from .facts import c_name
from .family import Chain
from .family.chain import viewed
from .modes import set_grad, state
from .op import composite, is_tensor, rounded_once
from .views import channels_kept, slice_


def output_size(n, kernel, stride, padding, dilation, ceil=False):
    """Windows along one dimension; with `ceil` also a last one that only starts inside."""
    reach = n + padding[0] + padding[1] - dilation * (kernel - 1) - 1
    size = (reach + (stride - 1 if ceil else 0)) // stride + 1
    if ceil and (size - 1) * stride >= n + padding[0]:
        size -= 1
    return size


@composite(
    "aten::_zero_pad(Tensor self, int[] pad, Scalar value=0) -> Tensor",
    method=False,
    function=False,
    grad=dict(self=lambda grad, self_layout, pad: crop(grad, pad, self_layout.shape)),
)
def zero_pad(self, pad, value):
    """The tensor inside a frame of `value`: `pad` holds (before, after) for each of the last
    dimensions, in order.
    """
    shape = self.layout.shape
    lead = len(shape) - len(pad) // 2
    sizes = [
        n if d < lead else n + pad[2 * (d - lead)] + pad[2 * (d - lead) + 1]
        for d, n in enumerate(shape)
    ]
    out = self.new_full(sizes, value)
    crop(out, pad, shape).copy_(self)
    return out


def crop(x, pad, shape):
    """The view of `x` that `zero_pad` leaves unchanged."""
    lead = len(shape) - len(pad) // 2
    for d in range(lead, len(shape)):
        start = pad[2 * (d - lead)]
        x = slice_(x, d, start, start + shape[d])
    return x


def both_sides(padding):
    """(before, after) pairs, flat, from symmetric paddings."""
    return tuple(p for p in padding for _ in (0, 1))


def windows(x, kernel, stride, dilation, out):
    """A view of contiguous-enough `x` [N, C, *S] as [N, C, *kernel, *out]."""
    steps = x.layout.strides
    inner = steps[2:]
    shape = (*x.layout.shape[:2], *kernel, *out)
    strides = (
        *steps[:2],
        *(d * s for d, s in zip(dilation, inner, strict=True)),
        *(d * s for d, s in zip(stride, inner, strict=True)),
    )
    return x.as_strided(shape, strides)


def fold_windows(columns, padded_shape, stride, dilation):
    """Adds windows [N, C, *kernel, *out] to zeros of `padded_shape`: the transpose of `windows`."""
    rank = len(stride)
    shape = columns.layout.shape
    kernel, out = shape[2 : 2 + rank], shape[2 + rank :]
    total = columns.new_zeros(padded_shape)
    for place in itertools.product(*map(range, kernel)):
        target, source = total, columns
        for d in range(rank):
            start = place[d] * dilation[d]
            stop = start + (out[d] - 1) * stride[d] + 1 if out[d] else start
            target = slice_(target, 2 + d, start, stop, stride[d])
            source = source.select(2, place[d])
        target.add_(source)
    return total


class Geometry:
    """The sizes of one convolution, worked out and checked."""

    def __init__(self, x_shape, w_shape, stride, padding, dilation, groups):
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.pad = both_sides(padding)
        self.kernel = tuple(w_shape[2:])
        self.out = tuple(
            output_size(n, k, s, (p, p), d)
            for n, k, s, p, d in zip(
                x_shape[2:], self.kernel, stride, padding, dilation, strict=True
            )
        )
        self.padded = tuple(n + 2 * p for n, p in zip(x_shape[2:], padding, strict=True))
        if any(
            p < k
            for p, k in zip(self.padded, ((k - 1) * d + 1 for k, d in zip(self.kernel, dilation)))
        ):
            reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, dilation, strict=True)]
            raise RuntimeError(
                f"Calculated padded input size per channel: ({' x '.join(map(str, self.padded))}). "
                f"Kernel size: ({' x '.join(map(str, reach))}). Kernel size can't be greater than "
                "actual input size"
            )
        self.plain = (
            all(k == 1 for k in self.kernel) and all(s == 1 for s in stride) and not any(padding)
        )

    def columns(self, x):
        """[N, groups, C/groups * kernel, out]: the windows of `x` as columns; a view where the
        kernel is 1.
        """
        n, c = x.layout.shape[:2]
        rows = c // self.groups * math.prod(self.kernel)
        if self.plain:
            return x.reshape(n, self.groups, rows, math.prod(self.out))
        if any(self.pad):
            x = zero_pad(x, self.pad)
        view = windows(x, self.kernel, self.stride, self.dilation, self.out)
        return view.reshape(n, self.groups, rows, math.prod(self.out))


def forward(x, w, stride, padding, dilation, groups, out=None):
    """The convolution (cross-correlation) of x [N, C, *S] with w [O, C/groups, *K]; `out`: only so
    many windows.
    """
    g = Geometry(x.layout.shape, w.layout.shape, stride, padding, dilation, groups)
    g.out = out or g.out
    n, o = x.layout.shape[0], w.layout.shape[0]
    columns = g.columns(x)
    factor = w.reshape(1, groups, o // groups, columns.layout.shape[2])
    return factor.matmul(columns).reshape((n, o, *g.out))


def input_gradient(grad, w, x_shape, stride, padding, dilation, groups):
    """The transpose of `forward` in its first argument: also what a transposed convolution
    computes.
    """
    n, o = grad.layout.shape[:2]
    out, kernel, c = grad.layout.shape[2:], w.layout.shape[2:], x_shape[1]
    factor = w.reshape(1, groups, o // groups, c // groups * math.prod(kernel)).transpose(2, 3)
    columns = factor.matmul(grad.reshape(n, groups, o // groups, math.prod(out)))
    if (
        all(k == 1 for k in kernel)
        and all(s == 1 for s in stride)
        and not any(padding)
        and out == x_shape[2:]
    ):
        return columns.reshape(x_shape)
    padded = (n, c, *(s + 2 * p for s, p in zip(x_shape[2:], padding, strict=True)))
    total = fold_windows(columns.reshape((n, c, *kernel, *out)), padded, stride, dilation)
    return crop(total, both_sides(padding), x_shape) if any(padding) else total


def weight_gradient(x, grad, w_shape, stride, padding, dilation, groups):
    """The transpose of `forward` in its second argument."""
    g = Geometry(x.layout.shape, w_shape, stride, padding, dilation, groups)
    g.out = tuple(grad.layout.shape[2:])
    n, o = grad.layout.shape[:2]
    rows = grad.reshape(n, groups, o // groups, math.prod(g.out))
    product = rows.matmul(g.columns(x).transpose(2, 3))
    return product.sum(0).reshape(w_shape)


class Correlation(Chain):
    """A chain of convolution kernels, or `body`, in other ops, where `fits` says there are none."""

    def __init__(self, schema, doc, fits, build, body, gradients):
        super().__init__(schema, doc, build, None, gradients, method=False)
        self.fits, self.general = fits, rounded_once(body)

    def plan(self, args):
        if self.fits(*args):
            return super().plan(args)
        record = self.recorder(args) if self.gradients else None
        general = self.general

        def plan(*args):
            wanted = state.grad and any(is_tensor(a) and a._node is not None for a in args)
            if not wanted:
                return general(*args)
            set_grad(False)
            try:
                result = general(*args)
            finally:
                set_grad(True)
            record(result, *args)
            return result

        return plan


class Sizes:
    """The arguments of one convolution, of full rank, and the sizes of its result."""

    def __init__(
        self, input, weight, stride, padding, dilation, transposed, output_padding, groups
    ):
        rank = weight.ndim - 2
        self.stride, self.padding, self.dilation, extra = (
            tuple(v) * rank if len(v) == 1 else tuple(v)
            for v in (stride, padding, dilation, output_padding)
        )
        self.transposed, self.groups, self.kernel = transposed, groups, weight.shape[2:]
        every = zip(
            input.shape[2:],
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            extra,
            strict=True,
        )
        if transposed:
            self.out = tuple(
                (n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in every
            )
            channels = weight.shape[1] * groups
        else:
            rest = self.stride, self.padding, self.dilation, groups
            self.out = Geometry(input.shape, weight.shape, *rest).out
            channels = weight.shape[0]
        self.shape = (input.shape[0], channels, *self.out)

    def axes(self, sizes, outs):
        """For each of two dimensions, the axes that results of size `outs` are computed along."""
        every = list(
            zip(sizes, outs, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        )
        if len(every) == 1:
            every.insert(0, (1, 1, 1, 1, 0, 1))
        if self.transposed:
            return [writing(*one) for one in every]
        return [[reading(*one)] for one in every]


MOST_VOLUMES = 512  # convolutions of planes, in turn, of which one of volumes is made


def _has_kernels(input, weight, bias, *rest):
    _check_operands("convolution", input, weight, bias, *rest)
    tensors = [t.layout for t in (input, weight, bias) if t is not None]
    sizes = Sizes(input.layout, weight.layout, *rest)
    dense = 0 not in sizes.shape and math.prod(sizes.out) < 1 << 27 and min(sizes.out) > 0
    few = len(sizes.kernel) < 3 or input.layout.shape[0] * sizes.kernel[0] <= MOST_VOLUMES
    return dense and few and fits(tensors, sizes.kernel)


def _check_operands(
    name, x, w, bias, stride, padding, dilation, transposed, output_padding, groups
):
    rank = w.layout.ndim - 2
    _check(name, x, w, bias, stride, padding, dilation, groups, rank,
           transposed)  # fmt: skip


def _result_layout(shape, input, weight):
    """Channels lie innermost in the result where they do in the input or in the weight."""
    last = looks_channels_last(input) or looks_channels_last(weight)
    strides = channels_last(shape) if last else row_major(shape)
    return layout(shape, strides, input.dtype, input.device)


def _build(steps, input, weight, bias, *rest):
    sizes = Sizes(input.layout, weight.layout, *rest)
    kind, wide = input.dtype, working_type(input.dtype)
    out = made = steps.result_as(_result_layout(sizes.shape, input.layout, weight.layout))
    if kind is not wide or not made.layout.contiguous:
        out = steps.scratch(sizes.shape, wide)
    x, w = resolved(steps, input), resolved(steps, weight, adjacent=False)
    bias = None if bias is None else resolved(steps, bias)
    weights, rank = factor(w, sizes.groups, sizes.transposed), len(sizes.kernel)
    if rank == 3:
        _fill(steps, out, bias)
    every = list(itertools.product(*sizes.axes(input.layout.shape[2:], sizes.out)))
    if rank < 3 and len(every) == 1 and convolve(steps, x, w, bias, out, sizes, every[0]):
        every = []
    for axes in every:
        if rank == 3:
            correlate_volumes(steps, x, weights, out, sizes.groups, axes)
            continue
        correlate(steps, planes(x), weights, bias, planes(out), sizes.groups, axes)
    if out is not made:
        steps.pointwise(lambda v: v, [out], [made])


def _fill(steps, out, bias):
    """out = the bias of each channel, or zeros."""
    if bias is None:
        steps.pointwise(lambda: ir.const(0.0, out.dtype), [], [out])
        return
    [channels], [step] = bias.layout.shape, bias.layout.strides
    steps.copy(out, viewed(bias, (1, channels, 1, 1, 1), (0, step, 0, 0, 0)))


def _body(input, weight, bias, *rest):
    sizes = Sizes(input.layout, weight.layout, *rest)
    more = sizes.stride, sizes.padding, sizes.dilation, sizes.groups
    if sizes.transposed:
        out = input_gradient(input, weight, sizes.shape, *more)
    else:
        out = forward(input, weight, *more)
    if bias is not None:
        out = out + bias.reshape((-1,) + (1,) * len(sizes.kernel))
    return channels_kept(channels_kept(out, input), weight)


def _conj(x):
    return x.conj() if x.layout.dtype.kind == "c" else x


def _back(grad, weight, shape, stride, padding, dilation, transposed, groups):
    """The gradient for an input of `shape`: the transposed convolution."""
    rank = weight.layout.ndim - 2
    stride, padding, dilation = (
        v * rank if len(v) == 1 else v for v in (stride, padding, dilation)
    )
    extra = (0,) * rank
    if not transposed:
        every = zip(
            shape[2:], grad.layout.shape[2:], weight.layout.shape[2:], stride, padding, dilation,
            strict=True,
        )  # fmt: skip
        extra = tuple(n - ((o - 1) * s - 2 * p + d * (k - 1) + 1) for n, o, k, s, p, d in every)
    weight = _conj(weight)
    out = convolution(grad, weight, None, stride, padding, dilation, not transposed, extra, groups)
    # An output padding of a stride and more makes windows that the input did not have.
    return out if out.layout.shape == shape else crop(out, (0, 0) * rank, shape)


def _weights(input, grad, shape, stride, padding, dilation, transposed, groups):
    rank = len(shape) - 2
    more = (v * rank if len(v) == 1 else v for v in (stride, padding, dilation))
    factors = (grad, _conj(input)) if transposed else (_conj(input), grad)
    return weight_sums(*factors, shape, *more, groups)


convolution = Correlation(
    "aten::convolution(Tensor input, Tensor weight, Tensor? bias, int[] stride, int[] padding, "
    "int[] dilation, bool transposed, int[] output_padding, int groups) -> Tensor",
    """The convolution of input [N, C, *S] with weight [O, C/groups, *K] (transposed: [C, O/groups,
    *K]).""",
    _has_kernels,
    _build,
    _body,
    dict(
        input=lambda grad, input_layout, weight, stride, padding, dilation, transposed, groups: (
            _back(grad, weight, input_layout.shape, stride, padding, dilation, transposed, groups)
        ),
        weight=lambda grad, input, weight_layout, stride, padding, dilation, transposed, groups: (
            _weights(
                input, grad, weight_layout.shape, stride, padding, dilation, transposed, groups
            )
        ),
        bias=lambda grad: grad.sum((0, *range(2, grad.layout.ndim))),
    ),
)


def _reread(input, weight, shape, stride, padding, dilation, groups):
    """The convolution, of which only a result of `shape` is wanted."""
    extra = (0,) * len(stride)
    out = convolution(input, _conj(weight), None, stride, padding, dilation, False, extra, groups)
    return out if out.layout.shape == shape else crop(out, (0, 0) * len(stride), shape)


def _check_sums(x, slope, size, stride, padding, dilation, groups):
    """Raises RuntimeError where no convolution of `x` has a result like `slope`."""
    shape, out, rank = x.shape, slope.shape, len(size) - 2
    numbers = (stride, padding, dilation)
    fits = rank > 0 and {len(shape), len(out), *(len(n) + 2 for n in numbers)} == {len(size)}
    if fits:
        _check_numbers(rank, stride, padding, dilation, groups)
        whole = zip(shape[2:], size[2:], *numbers, strict=True)
        most = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in whole]
        fits = min(size) >= 0 and shape[0] == out[0] and size[0] == out[1]
        fits = fits and shape[1] == size[1] * groups and size[0] % groups == 0
        fits = fits and all(0 < k and n <= m for k, n, m in zip(size[2:], out[2:], most))
    if not fits:
        raise RuntimeError(
            f"a convolution of {list(shape)} with a weight of {list(size)} has no result of "
            f"{list(out)}"
        )


def _sums_have_kernels(input, slope, size, stride, padding, dilation, groups):
    _check_sums(input.layout, slope.layout, size, stride, padding, dilation, groups)
    few = len(size) < 5 or input.layout.shape[0] * size[2] <= MOST_VOLUMES
    return few and fits([input.layout, slope.layout], size[2:])


def _build_sums(steps, input, slope, size, stride, padding, dilation, groups):
    kind, wide = input.dtype, working_type(input.dtype)
    out = steps.result(size, kind)
    x, g = resolved(steps, input), resolved(steps, slope)
    g = steps.dense(g)
    axes = [
        reading(*one)
        for one in zip(
            input.layout.shape[2:], slope.layout.shape[2:], size[2:], stride, padding, dilation,
            strict=True,
        )
    ]  # fmt: skip
    if len(axes) == 1:
        axes.insert(0, reading(1, 1, 1, 1, 0, 1))
    if len(axes) == 3:
        sums = steps.scratch((size[2], *size[:2], *size[3:]), wide)
        _fill(steps, sums, None)
        contract_volumes(steps, x, g, sums, groups, axes)
        order = (1, 2, 0, 3, 4)
        strides = [sums.layout.strides[d] for d in order]
        steps.copy(out, viewed(sums, size, strides))
        return
    made = out if kind is wide else steps.scratch(size, wide)
    operands = planes(x), planes(g), made, groups, axes
    cut = winograd.cutting(*operands)
    flag = cut and winograd.filtered_sums(steps, *operands, cut)
    contract(steps, *operands, flag)
    if made is not out:
        steps.copy(out, made)


weight_sums = Correlation(
    "aten::_convolution_weight(Tensor input, Tensor slope, int[] size, int[] stride, "
    "int[] padding, int[] dilation, int groups) -> Tensor",
    """The gradient of a convolution for its weight of shape `size`: linear in both operands.""",
    _sums_have_kernels,
    _build_sums,
    weight_gradient,
    dict(
        input=lambda grad, input_layout, slope, stride, padding, dilation, groups: _back(
            _conj(slope), _conj(grad), input_layout.shape, stride, padding, dilation, False, groups
        ),
        slope=lambda grad, input, slope_layout, stride, padding, dilation, groups: _reread(
            _conj(input), _conj(grad), slope_layout.shape, stride, padding, dilation, groups
        ),
    ),
)


def _check(name, x, w, bias, stride, padding, dilation, groups, rank, transposed):
    _check_numbers(rank, stride, padding, dilation, groups)
    if w.layout.ndim < 3:
        raise RuntimeError("weight should have at least three dimensions")
    if w.layout.ndim != rank + 2 and x.layout.ndim in (rank + 1, rank + 2):
        raise RuntimeError(
            f"Expected {w.layout.ndim}-dimensional input for {w.layout.ndim}-dimensional weight"
            f"{list(w.shape)}, but got {rank + 2}-dimensional input of size "
            f"{[1, *x.shape][-rank - 2 :]} instead"
        )
    if x.layout.ndim not in (rank + 1, rank + 2):
        kind = f"{rank + 1}D (unbatched) or {rank + 2}D (batched)"
        raise RuntimeError(
            f"Expected {kind} input to {name}, but got input of size: {list(x.shape)}"
        )
    for other, what in ((bias, "bias"), (w, "weight")):
        if other is not None and other.layout.dtype is not x.layout.dtype:
            raise RuntimeError(
                f"Input type ({c_name(x.layout.dtype)}) and {what} type "
                f"({c_name(other.layout.dtype)}) should be the same"
            )
    channels = x.layout.shape[-rank - 1]
    if w.layout.shape[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but "
            f"got weight of size {list(w.shape)} instead"
        )
    expected = w.layout.shape[0] if transposed else w.layout.shape[1] * groups
    if channels != expected:
        raise RuntimeError(
            f"Given {'transposed=1, ' if transposed else 'groups=' + str(groups) + ', '}weight of "
            f"size {list(w.shape)}, expected input{list(x.shape)} to have {expected} channels, but "
            f"got {channels} channels instead"
        )
    outputs = w.layout.shape[1] * groups if transposed else w.layout.shape[0]
    if not transposed and outputs % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size {list(w.shape)} instead"
        )
    if bias is not None and bias.layout.shape != (outputs,):
        raise RuntimeError(
            f"Given weight of size {list(w.shape)}, expected bias to be 1-dimensional with "
            f"{outputs} elements, but got bias of size {list(bias.shape)} instead"
        )


def _check_numbers(rank, stride, padding, dilation, groups):
    for sizes, what in ((stride, "stride"), (padding, "padding"), (dilation, "dilation")):
        if len(sizes) not in (1, rank):
            raise RuntimeError(
                f"expected {what} to be a single integer value or a list of {rank} values to match "
                f"the convolution dimensions, but got {what}={list(sizes)}"
            )
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(dilation) <= 0:
        raise RuntimeError("dilation should be greater than zero")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")


def _same_padding(x, w, stride, dilation):
    """Padding that keeps the size; odd totals get the extra element behind, as an explicit
    frame.
    """
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for d, k in zip(dilation, w.layout.shape[2:], strict=True)]
    if all(t % 2 == 0 for t in totals):
        return x, tuple(t // 2 for t in totals)
    extra = [t % 2 for t in totals]
    x = channels_kept(zero_pad(x, tuple(p for e in extra for p in (0, e))), x)
    return x, tuple(t // 2 for t in totals)


def _declare(rank):
    @composite(
        f"aten::conv{rank}d(Tensor input, Tensor weight, Tensor? bias=None, int[{rank}] stride=1, "
        f"Padding padding=0, int[{rank}] dilation=1, int groups=1) -> Tensor",
        method=False,
    )
    def conv(input, weight, bias, stride, padding, dilation, groups):
        same = padding == "same"
        if same or padding == "valid":
            padding = 0
        elif isinstance(padding, str):
            raise RuntimeError("Invalid padding string: '" + padding + "'")
        padding = (padding,) * rank if isinstance(padding, int) else tuple(padding)
        _check(f"conv{rank}d", input, weight, bias, stride, padding, dilation, groups, rank, False)
        single = input.layout.ndim == rank + 1
        x = input.unsqueeze(0) if single else input
        if same:
            x, padding = _same_padding(x, weight, stride, dilation)
        padding = padding * rank if len(padding) == 1 else padding
        out = convolution(x, weight, bias, stride, padding, dilation, False, (0,) * rank, groups)
        return out.squeeze(0) if single else out

    @composite(
        f"aten::conv_transpose{rank}d(Tensor input, Tensor weight, Tensor? bias=None, int[{rank}] "
        f"stride=1, int[{rank}] padding=0, int[{rank}] output_padding=0, int groups=1, int[{rank}] "
        "dilation=1) -> Tensor",
        method=False,
    )
    def conv_transpose(input, weight, bias, stride, padding, output_padding, groups, dilation):
        name = f"conv_transpose{rank}d"
        _check(name, input, weight, bias, stride, padding, dilation, groups, rank, True)
        if len(output_padding) != rank:
            raise RuntimeError(
                f"expected output_padding to be a single integer value or a list of {rank} values "
                "to match the convolution dimensions, but got "
                f"output_padding={list(output_padding)}"
            )
        for extra, s, d in zip(output_padding, stride, dilation, strict=True):
            if extra >= max(s, d):
                raise RuntimeError(
                    "output padding must be smaller than either stride or dilation, but got "
                    f"output_padding: {list(output_padding)} stride: {list(stride)} dilation: "
                    f"{list(dilation)}"
                )
        single = input.layout.ndim == rank + 1
        x = input.unsqueeze(0) if single else input
        out = convolution(x, weight, bias, stride, padding, dilation, True, output_padding, groups)
        return out.squeeze(0) if single else out

    conv.doc = (
        f"The {rank}-dimensional convolution; `padding` may be 'same' or 'valid'; unbatched input "
        "is fine."
    )
    conv_transpose.doc = f"The transpose of the {rank}-dimensional convolution."
    return conv, conv_transpose


conv1d, conv_transpose1d = _declare(1)
conv2d, conv_transpose2d = _declare(2)
conv3d, conv_transpose3d = _declare(3)


@composite("aten::conv_tbc(Tensor self, Tensor weight, Tensor bias, int pad=0) -> Tensor")
def conv_tbc(self, weight, bias, pad):
    """The convolution over the first dimension of self [T, B, C] with weight [K, C, O]."""
    if self.layout.ndim != 3 or weight.layout.ndim != 3:
        what = "Input" if self.layout.ndim != 3 else "Weight"
        dims = (
            "time, batch, in_channels"
            if what == "Input"
            else ("kernel_width, input_channels, output_channels")
        )
        raise RuntimeError(f"{what} must have 3 dims: {dims}.")
    if bias.layout.ndim != 1:
        raise RuntimeError("Bias must be 1-D")
    if self.layout.shape[2] != weight.layout.shape[1]:
        raise RuntimeError("Input dim 2 (input channels) is not == dim 1 in the weight tensor")
    if weight.layout.shape[2] != bias.layout.shape[0]:
        raise RuntimeError("Bias size must equal dim 2 in the weight tensor (output channels).")
    made = conv1d(self.permute(1, 2, 0), weight.permute(2, 1, 0), bias, 1, pad)
    return made.permute(2, 0, 1)
