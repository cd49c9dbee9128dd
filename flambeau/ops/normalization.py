"""Normalisations: one pass for the moments, one for the result, in one launch; likewise backward.

Layer, group, instance and batch normalisation differ in the dimensions that are averaged over and
in how weight and bias lie; each is a view, `normalize_over`, and a view. Those by channel are in
`batch_norm`.
"""

import math

from flambeau import ir
from flambeau.types import by_name

from .facts import type_name
from .family import Buffer, Fold, chain, fixed
from .family.launch import expand as expand_layout
from .op import composite
from .promotion import compute_type
from .reductions import folded
from .softmax import SHORT, reduced, sum_fold
from .statistics import moments
from .views import channels_kept

FLOAT64 = by_name("float64")


def _spread(buffer: Buffer, shape) -> Buffer:
    """A weight or bias as an operand of the input's rank."""
    return Buffer(expand_layout(buffer.layout, shape), buffer.source)


def _affine(x, weight, bias):
    """(operands after the first, body of weight and bias) for those that are there."""
    shape, more = x.layout.shape, [b for b in (weight, bias) if b is not None]
    inner = compute_type(x.dtype)

    def body(value, *rest):
        rest = [ir.cast(r, inner) for r in rest]
        value = value * rest.pop(0) if weight is not None else value
        return value + rest.pop(0) if bias is not None else value

    return [_spread(b, shape) for b in more], body


def _build_centred(steps, x, weight, bias, dim, eps):
    shape, inner = x.layout.shape, compute_type(x.dtype)
    kept = reduced(shape, dim)
    out = steps.result(shape, x.dtype)
    mean, scale, variance = (steps.result(kept, inner) for _ in range(3))
    fold = moments(inner, inner)

    def finish(s, n):
        middle, squares = fold.finish(s, n)
        spread_of = squares / ir.cast(n, FLOAT64)
        return middle, 1.0 / ir.sqrt(spread_of + eps), spread_of

    count = math.prod(shape[d] for d in dim)
    if inner is not FLOAT64 and 0 < count <= SHORT:
        _short_moments(steps, x, dim, eps, (mean, scale, variance), count)
    else:
        steps.reduce(fold._replace(finish=finish), [x], dim, [mean, scale, variance])
    more, affine = _affine(x, weight, bias)
    steps.pointwise(
        lambda v, m, s, *rest: affine((v - m) * s, *rest), [x, mean, scale, *more], [out]
    )


def _short_moments(steps, x, dim, eps, outputs, count):
    """Mean, then squares of what is left without it: no digits cancel, so that the sums need no
    wider type, whose conversions cost more than another pass over a row in the cache."""
    mean, scale, variance = outputs
    inner = mean.dtype

    def fold(element, finish):
        total = sum_fold(element, inner, count=count)
        return total._replace(finish=lambda s, n: finish(_share(s[0], n)))

    steps.reduce(fold(lambda v: v, lambda middle: (middle,)), [x], dim, [mean])
    square = fold(
        lambda v, m: (v - m) * (v - m), lambda spread: (1.0 / ir.sqrt(spread + eps), spread)
    )
    steps.reduce(square, [x, mean], dim, [scale, variance])


def _share(total, n):
    return ir.cast(total, FLOAT64) / ir.cast(n, FLOAT64)


def _build_rms(steps, x, weight, dim, eps):
    shape, inner = x.layout.shape, compute_type(x.dtype)
    out, scale = steps.result(shape, x.dtype), steps.result(reduced(shape, dim), inner)

    def finish(s, n):
        return (1.0 / ir.sqrt(s[0] / ir.cast(n, FLOAT64) + eps),)

    fold = sum_fold(lambda v: ir.cast(v, FLOAT64) * ir.cast(v, FLOAT64), inner)
    steps.reduce(fold._replace(finish=finish), [x], dim, [scale])
    more, affine = _affine(x, weight, None)
    steps.pointwise(lambda v, s, *rest: affine(v * s, *rest), [x, scale, *more], [out])


def _two_sums(inner, first, second, count, mean=True):
    """The means of two values of `count` elements, or their sums."""
    wide = inner if count <= SHORT else FLOAT64

    def element(*x):
        return ir.cast(first(*x), wide), ir.cast(second(*x), wide)

    def finish(s, n):
        return (_share(s[0], n), _share(s[1], n)) if mean else s

    return Fold(((0, wide), (0, wide)), element, lambda a, b: (a[0] + b[0], a[1] + b[1]), finish)


def _build_centred_backward(steps, grad, x, mean, scale, weight, dim):
    out = steps.result(x.layout.shape, x.dtype)
    _centred_steps(steps, [grad, x, mean, scale], weight, dim, out)


def _centred_steps(steps, operands, weight, dim, out):
    x = operands[1]
    shape, inner = x.layout.shape, compute_type(x.dtype)
    more, affine = _affine(x, weight, None)

    def weighted(g, v, m, s, *rest):
        return affine(ir.cast(g, inner), *rest)

    def product(g, v, m, s, *rest):
        return weighted(g, v, m, s, *rest) * ((v - m) * s)

    operands = [*operands, *more]
    level, slope = (steps.scratch(reduced(shape, dim), inner) for _ in range(2))
    count = math.prod(shape[d] for d in dim)
    steps.reduce(_two_sums(inner, weighted, product, count), operands, dim, [level, slope])

    def body(lv, sl, g, v, m, s, *rest):
        return s * (weighted(g, v, m, s, *rest) - lv - (v - m) * s * sl)

    steps.pointwise(body, [level, slope, *operands], [out])


def _build_rms_backward(steps, grad, x, scale, weight, dim):
    shape, inner = x.layout.shape, compute_type(x.dtype)
    more, affine = _affine(x, weight, None)
    operands, slope = [grad, x, scale, *more], steps.scratch(reduced(shape, dim), inner)
    fold = sum_fold(lambda g, v, s, *rest: affine(ir.cast(g, inner), *rest) * (v * s), inner)
    count = math.prod(shape[d] for d in dim)
    fold = fold._replace(finish=lambda total, n: (total[0] * (1.0 / max(count, 1)),))
    steps.reduce(fold, operands, dim, [slope])

    def body(sl, g, v, s, *rest):
        return s * (affine(ir.cast(g, inner), *rest) - v * s * sl)

    steps.pointwise(body, [slope, *operands], [steps.result(shape, x.dtype)])


def _centred_backward(grad, x, mean, scale, weight, dim):
    """The same in differentiable ops; the statistics again, so that gradients flow through them."""
    count, kind = max(folded(x.layout, dim), 1), scale.layout.dtype
    wide = x.to(kind)
    mean = wide.mean(dim, True)
    offset = wide - mean
    variance = (offset * offset).mean(dim, True)
    scale = _rebased(scale, variance)
    g = grad.to(kind) if weight is None else grad.to(kind) * weight
    hat = offset * scale
    inner = g - g.sum(dim, True) * (1 / count) - hat * ((g * hat).sum(dim, True) * (1 / count))
    return (scale * inner).to(x.layout.dtype)


def _rebased(scale, variance):
    """1 / sqrt(variance + eps), with the eps that the known `scale` tells: its value, with the
    variance's history."""
    scale = scale.detach()
    shift = (scale * scale).reciprocal() - variance.detach()
    return (variance + shift).rsqrt()


def _rms_backward(grad, x, scale, weight, dim):
    count, kind = max(folded(x.layout, dim), 1), scale.layout.dtype
    wide = x.to(kind)
    scale = _rebased(scale, (wide * wide).mean(dim, True))
    g = grad.to(kind) if weight is None else grad.to(kind) * weight
    hat = wide * scale
    return (scale * (g - hat * ((g * hat).sum(dim, True) * (1 / count)))).to(x.layout.dtype)


centred_backward = chain(
    "aten::_normalize_backward(Tensor grad, Tensor self, Tensor mean, Tensor scale, Tensor? "
    "weight, int[] dim) -> Tensor",
    """The gradient of `_normalize` for its input.""",
    build=_build_centred_backward,
    body=_centred_backward,
    method=False,
    function=False,
)
rms_backward = chain(
    "aten::_rms_normalize_backward(Tensor grad, Tensor self, Tensor scale, Tensor? weight, int[] "
    "dim) -> Tensor",
    """The gradient of `_rms_normalize` for its input.""",
    build=_build_rms_backward,
    body=_rms_backward,
    method=False,
    function=False,
)


def _weight_grad(grad_result, self, mean, scale, weight_layout):
    if grad_result is None:
        return None
    return weight_sums(grad_result, self, mean, scale, weight_layout.shape).to(weight_layout.dtype)


def _build_weight_sums(steps, grad, x, mean, scale, size):
    inner, shape = compute_type(x.dtype), x.layout.shape
    size = (1,) * (len(shape) - len(size)) + tuple(size)
    axes = tuple(d for d, n in enumerate(shape) if size[d] == 1 and n != 1)
    operands = [grad, x, scale] + ([mean] if mean is not None else [])
    fold = sum_fold(lambda g, v, s, *m: ir.cast(g, inner) * ((v - m[0] if m else v) * s), inner)
    steps.reduce(fold, operands, axes, [steps.result(size, inner)])


def _weight_sums(grad, x, mean, scale, size):
    wide = x.to(scale.layout.dtype)
    hat = (wide if mean is None else wide - mean) * scale
    return (grad * hat).sum_to_size((1,) * (x.layout.ndim - len(size)) + tuple(size))


_weight_sums_full = chain(
    "aten::_normalize_weight_sums(Tensor grad, Tensor self, Tensor? mean, Tensor scale, int[] "
    "size) -> Tensor",
    """The gradient of a normalisation's weight: the sum of grad times the normalised input, in the
    weight's shape.""",
    build=_build_weight_sums,
    body=_weight_sums,
    method=False,
    function=False,
)


def weight_sums(grad, x, mean, scale, size):
    """The sums in exactly the shape `size`."""
    return _weight_sums_full(grad, x, mean, scale, size).reshape(size)


def _pieces(layout, dim, parameters):
    """Into how many pieces of equal length the rows are cut for one pass over them; 0 where the
    parameters are not one for each element of a row, or rows cannot be cut into enough pieces for
    all threads and few enough for short sums."""
    start = layout.ndim - len(dim)
    if dim != tuple(range(start, layout.ndim)):
        return 0
    if any(p.layout.shape != layout.shape[start:] for p in parameters):
        return 0
    rows = math.prod(layout.shape[:start])
    counts = (*range(64, 257), *range(63, 31, -1))
    return next((n for n in counts if rows and rows % n == 0), 0)


def _build_whole_backward(steps, grad, x, mean, scale, weight, pieces):
    steps.rows = 1
    inner, height = compute_type(x.dtype), mean.layout.numel // pieces
    columns = x.layout.numel // mean.layout.numel

    def piecewise(buffer):
        across = buffer.layout.numel // (pieces * height)
        made = steps.plain((pieces, height, across), buffer.dtype)
        return Buffer(made, buffer.source)

    operands = [piecewise(b) for b in (grad, x, mean, scale)]
    out = piecewise(steps.result(x.layout.shape, x.dtype))
    weight = weight and Buffer(steps.plain((columns,), weight.dtype), weight.source)
    slopes, levels = (steps.result((pieces, 1, columns), inner) for _ in range(2))
    _centred_steps(steps, operands, weight, (2,), out)
    slope = lambda g, v, m, s: g * ((v - m) * s)  # noqa: E731
    fold = _two_sums(inner, slope, lambda g, v, m, s: g, height, mean=False)
    steps.reduce(fold, operands, (1,), [slopes, levels])


def _whole_backward(grad, x, mean, scale, weight, pieces):
    rows, kind = mean.layout.numel, scale.layout.dtype
    g, flat = (y.reshape(rows, -1) for y in (grad, x))
    middle, scale = (y.reshape(rows, 1) for y in (mean, scale))
    row = weight if weight is None else weight.reshape(-1)
    hat = (flat.to(kind) - middle) * scale
    total = _centred_backward(g, flat, middle, scale, row, (1,)).reshape(x.layout.shape)
    parts = [y.reshape(pieces, rows // pieces, -1).sum(1, True) for y in (g * hat, g.to(kind))]
    return total, *parts


whole_backward = chain(
    "aten::_normalize_rows_backward(Tensor grad, Tensor self, Tensor mean, Tensor scale, Tensor? "
    "weight, int pieces) -> (Tensor, Tensor, Tensor)",
    """The gradient of a normalised row's input, and those of weight and bias summed over each of
    `pieces` pieces of the rows, in one pass over memory.""",
    build=_build_whole_backward,
    body=_whole_backward,
    method=False,
    function=False,
)


def _build_even_backward(steps, grad, x, mean, scale, weight, dim):
    shape, inner = x.layout.shape, compute_type(x.dtype)
    operands, kept = [grad, x, mean, scale], reduced(shape, dim)
    out = steps.result(shape, x.dtype)
    slopes, levels = (steps.result(kept, inner) for _ in range(2))

    def wide(g, v, m, s):
        g = ir.cast(g, inner)
        return g * ((v - m) * s), g

    count = math.prod(shape[d] for d in dim)
    fold = _two_sums(inner, lambda *y: wide(*y)[0], lambda *y: wide(*y)[1], count, mean=False)
    steps.reduce(fold, operands, dim, [slopes, levels])
    share = 1.0 / max(count, 1)
    more, affine = _affine(x, weight, None)

    def body(slope, level, g, v, m, s, *rest):
        middle = ir.cast(g, inner) - level * share - (v - m) * s * (slope * share)
        return affine(s, *rest) * middle

    steps.pointwise(body, [slopes, levels, *operands, *more], [out])


def _even_backward(grad, x, mean, scale, weight, dim):
    kind = scale.layout.dtype
    hat = (x.to(kind) - mean) * scale
    sums = ((grad * hat).sum(dim, True), grad.to(kind).sum(dim, True))
    return _centred_backward(grad, x, mean, scale, weight, dim), *sums


even_backward = chain(
    "aten::_normalize_even_backward(Tensor grad, Tensor self, Tensor mean, Tensor scale, Tensor? "
    "weight, int[] dim) -> (Tensor, Tensor, Tensor)",
    """The gradient of `_normalize` for its input where the weight is the same along `dim`. The sums
    that it takes are those of the weight's and the bias's gradients: they are results, too.""",
    build=_build_even_backward,
    body=_even_backward,
    method=False,
    function=False,
)


def _is_even(layout, dim, parameters) -> bool:
    """Whether no parameter varies along `dim`."""
    lead = layout.ndim
    return all(
        p.layout.ndim == lead and all(p.layout.shape[d] == 1 for d in dim) for p in parameters
    )


def _gradients(
    grad_result, grad_mean, grad_scale, grad_variance, tensors, needs, mean, scale, weighted, dim
):
    x, weight, bias = _unpacked(tensors, weighted)
    total, sums = None, [None, None]
    if grad_result is not None:
        parameters = [p for p in (weight, bias) if p is not None]
        pieces = _pieces(x.layout, dim, parameters) if all(needs) and parameters else 0
        if pieces:
            plain = [_plain(y) for y in (grad_result, x, mean, scale, weight)]
            total, *sums = whole_backward(*plain, pieces)
            sums = [part.sum((0, 1)) for part in sums]
        elif parameters and all(needs) and _is_even(x.layout, dim, parameters):
            total, *sums = even_backward(grad_result, x, mean, scale, weight, dim)
            sums = [part.sum_to_size(parameters[0].layout.shape) for part in sums]
        else:
            total = centred_backward(grad_result, x, mean, scale, weight, dim) if needs[0] else None
            if weight is not None and needs[1]:
                sums[0] = weight_sums(grad_result, x, mean, scale, weight.layout.shape)
            if bias is not None and needs[-1]:
                sums[1] = grad_result.sum_to_size(bias.layout.shape)
    found = [_input_grad(total, grad_mean, grad_scale, grad_variance, x, mean, scale, dim)]
    for part, parameter in zip(sums, (weight, bias), strict=True):
        if parameter is not None:
            found.append(part if part is None else _as_parameter(part, parameter.layout))
    return found


def _plain(y):
    """The tensor, or what it says in row-major order."""
    if y is None or (y.layout.contiguous and not y.layout.neg):
        return y
    return y.contiguous().resolve_neg()


def _as_parameter(part, layout):
    part = part.to(layout.dtype)
    return part if part.layout.shape == layout.shape else part.reshape(layout.shape)


def _input_grad(total, grad_mean, grad_scale, grad_variance, x, mean, scale, dim):
    """`total`, which came through the result, and what came through the statistics, where somebody
    used them."""
    count = max(folded(x.layout, dim), 1)
    if grad_scale is not None:
        through = grad_scale * (scale * scale * scale) * -0.5
        grad_variance = through if grad_variance is None else grad_variance + through
    for part in (
        None if grad_mean is None else (grad_mean * (1 / count)).expand(x.layout.shape),
        None if grad_variance is None else (x - mean) * (grad_variance * (2 / count)),
    ):
        if part is not None:
            part = part.to(x.layout.dtype)
            total = part if total is None else total + part
    return total


def _rms_input_grad(grad_result, grad_scale, self, self_layout, scale, weight, dim):
    """The same of the root mean square."""
    total = None
    if grad_result is not None:
        total = rms_backward(grad_result, self, scale, weight, dim)
    if grad_scale is not None:
        count = max(folded(self_layout, dim), 1)
        part = (self * (grad_scale * (scale * scale * scale) * (-1 / count))).to(self_layout.dtype)
        total = part if total is None else total + part
    return total


normalize_rows = chain(
    "aten::_normalize_rows(Tensor self, Tensor? weight, Tensor? bias, int[] dim, float eps)"
    " -> (Tensor result, Tensor mean, Tensor scale, Tensor variance)",
    """The kernels of `_normalize`.""",
    build=_build_centred,
    method=False,
    function=False,
)


@composite(
    "aten::_normalize(Tensor[] tensors, bool weighted, int[] dim, float eps)"
    " -> (Tensor result, Tensor mean, Tensor scale, Tensor variance)",
    grad=dict(tensors=_gradients),
    method=False,
    function=False,
)
def normalize(tensors, weighted, dim, eps):
    """(x - mean) * scale * weight + bias, where mean and scale = 1 / sqrt(variance + eps) are over
    `dim`, which counts from the front; weight and bias broadcast. `tensors` are x, the weight if
    there is one (`weighted`), and perhaps the bias."""
    return normalize_rows(*_unpacked(tensors, weighted), dim, eps)


def _unpacked(tensors, weighted):
    """(x, weight or None, bias or None)."""
    x, *rest = tensors
    weight = rest.pop(0) if weighted else None
    return x, weight, rest[0] if rest else None


def normalize_over(x, weight, bias, dim, eps):
    """`normalize` of x, with weight and bias or None for each."""
    tensors = [t for t in (x, weight, bias) if t is not None]
    return normalize(tensors, weight is not None, dim, eps)


rms_normalize_over = chain(
    "aten::_rms_normalize(Tensor self, Tensor? weight, int[] dim, float eps) -> (Tensor result, "
    "Tensor scale)",
    """self * scale * weight with scale = 1 / sqrt(mean(self^2) + eps) over `dim`.""",
    build=_build_rms,
    grad=dict(
        self=_rms_input_grad,
        weight=lambda grad_result, self, scale, weight_layout: None if grad_result is None
        else _weight_grad(grad_result, self, None, scale, weight_layout),
    ),
    method=False,
    function=False,
)  # fmt: skip


# The public normalisations.


def _last_dims(input, normalized_shape, **parameters):
    shape, size = tuple(input.layout.shape), tuple(normalized_shape)
    if not size:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
            "one element, but got normalized_shape = []"
        )
    for role, p in parameters.items():
        if p is not None and tuple(p.layout.shape) != size:
            raise RuntimeError(
                f"Expected {role} to be of same shape as normalized_shape, but got {role} of shape "
                f"{list(p.layout.shape)} and normalized_shape = {list(size)}"
            )
    if len(shape) < len(size) or shape[len(shape) - len(size) :] != size:
        star = ", ".join(map(str, ("*", *size)))
        raise RuntimeError(
            f"Given normalized_shape={list(size)}, expected input with shape [{star}], but got "
            f"input of size{list(shape)}"
        )
    return tuple(range(len(shape) - len(size), len(shape)))


@fixed(
    "aten::native_layer_norm(Tensor input, int[] normalized_shape, Tensor? weight, Tensor? bias, "
    "float eps) -> (Tensor, Tensor, Tensor)",
    method=False,
)
def native_layer_norm(input, normalized_shape, weight, bias, eps):
    """`layer_norm`, the means, and the reciprocal deviations."""
    dims = _last_dims(input, normalized_shape, weight=weight, bias=bias)
    return as_input(input, weight, normalize_over(input, weight, bias, dims, eps)[:3])


def floats_only(name, input):
    if input.layout.dtype.kind != "f":
        kind = type_name(input.layout.dtype)
        raise NotImplementedError(f"\"{name}\" not implemented for '{kind}'")


def as_input(input, weight, results):
    """Statistics in the input's dtype, but where the parameters have another one."""
    if weight is not None and weight.layout.dtype is not input.layout.dtype:
        return results
    return tuple(r.to(input.layout.dtype) for r in results)


@fixed(
    "aten::layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, Tensor? "
    "bias=None, float eps=1e-05, bool cudnn_enable=True) -> Tensor",
    method=False,
)
def layer_norm(input, normalized_shape, weight, bias, eps, cudnn_enable):
    """Mean 0 and variance 1 over the last dimensions, then weight and bias (Ba, Kiros, Hinton
    2016)."""
    dims = _last_dims(input, normalized_shape, weight=weight, bias=bias)
    floats_only("LayerNormKernelImpl", input)
    return normalize_over(input, weight, bias, dims, eps)[0]


_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@fixed(
    "aten::rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None) -> "
    "Tensor",
    method=False,
)
def rms_norm(input, normalized_shape, weight, eps):
    """Mean square 1 over the last dimensions, then weight (Zhang, Sennrich 2019)."""
    dims = _last_dims(input, normalized_shape, weight=weight)
    if input.layout.dtype.kind in "biu":
        kind = type_name(input.layout.dtype)
        raise NotImplementedError(f"\"rms_norm\" not implemented for '{kind}'")
    if input.layout.dtype.kind == "c":
        # As PyTorch: the square, not the squared magnitude.
        scale = ((input * input).mean(dims, True) + (eps or 2.0**-23)).rsqrt()
        out = input * scale
        return out if weight is None else out * weight
    if eps is None:  # that of the type it is computed in
        eps = _EPSILON[compute_type(input.layout.dtype).name]
    return rms_normalize_over(input, weight, dims, eps)[0]


def _groups(input, groups, weight, bias):
    """`input` as [N, groups, channels, rest], and weight and bias beside it."""
    shape = input.layout.shape
    if len(shape) < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {len(shape)}"
        )
    channels = shape[1]
    if groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {groups}")
    if channels % groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(shape)} and num_groups={groups}"
        )
    for role, p in (("weight", weight), ("bias", bias)):
        if p is not None and tuple(p.layout.shape) != (channels,):
            raise RuntimeError(
                f"Expected {role} to be a vector of size equal to the number of channels in input, "
                f"but got {role} of shape {list(p.layout.shape)} and input of shape {list(shape)}"
            )
    rest = math.prod(shape[2:])
    folded_input = input.reshape((shape[0], groups, channels // groups, rest))
    size = (1, groups, channels // groups, 1)
    return folded_input, *(None if p is None else p.reshape(size) for p in (weight, bias))


@fixed(
    "aten::group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float "
    "eps=1e-05, bool cudnn_enabled=True) -> Tensor",
    method=False,
)
def group_norm(input, num_groups, weight, bias, eps, cudnn_enabled):
    """Mean 0 and variance 1 over groups of channels and all places, then weight and bias (Wu, He
    2018)."""
    x, w, b = _groups(input, num_groups, weight, bias)
    out = normalize_over(x, w, b, (2, 3), eps)[0].reshape(input.layout.shape)
    return channels_kept(out, input)


@fixed(
    "aten::native_group_norm(Tensor input, Tensor? weight, Tensor? bias, int N, int C, int HxW, "
    "int group, float eps) -> (Tensor, Tensor, Tensor)",
    method=False,
)
def native_group_norm(input, weight, bias, N, C, HxW, group, eps):
    """`group_norm`, the means, and the reciprocal deviations."""
    x, w, b = _groups(input.reshape((N, C, HxW)), group, weight, bias)
    out, mean, scale, _ = normalize_over(x, w, b, (2, 3), eps)
    results = out.reshape(input.layout.shape), mean.reshape((N, group)), scale.reshape((N, group))
    return as_input(input, weight, results)
