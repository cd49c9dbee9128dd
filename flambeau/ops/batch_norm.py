"""Batch and instance normalisation: by channel, with statistics that are kept or given."""

from flambeau import ir
from flambeau.types import by_name, looks_channels_last

from .family import chain, fused
from .family.chain import viewed
from .normalization import as_input, floats_only, normalize_over
from .op import composite
from .promotion import compute_type
from .reductions import folded
from .views import channels_before, channels_behind

FLOAT64 = by_name("float64")


@fused(
    "aten::_normalize_by(Tensor self, Tensor mean, Tensor variance, Tensor? weight, Tensor? bias, "
    "float eps) -> Tensor",
    method=False,
    function=False,
)
def normalize_by(self, mean, variance, weight, bias, eps):
    """(self - mean) / sqrt(variance + eps) * weight + bias, with statistics that are given."""
    scale = (variance + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    out = (self - mean) * scale
    return out if bias is None else out + bias


def _per_channel(p, ndim):
    return None if p is None else p.reshape((1, -1) + (1,) * (ndim - 2))


def _build_by_channel(steps, x, mean, variance, weight, bias, eps):
    shape, given = x.layout.shape, [b for b in (mean, variance, weight, bias) if b is not None]
    wide = any(b.dtype is FLOAT64 for b in given)
    inner = FLOAT64 if wide else compute_type(x.dtype)
    rest = (1,) * (len(shape) - 2)
    rows = [
        viewed(b, (1, *b.layout.shape, *rest), (0, *b.layout.strides, *(0 for _ in rest)))
        for b in given
    ]

    def body(v, m, s, *more):
        v, m, s, *more = (ir.cast(y, inner) for y in (v, m, s, *more))
        scale = 1.0 / ir.sqrt(s + eps)
        scale = scale if weight is None else scale * more.pop(0)
        out = (v - m) * scale
        return out if bias is None else out + more.pop(0)

    steps.pointwise(body, [x, *rows], [steps.result(shape, x.dtype)])


def _by_channel(input, mean, variance, weight, bias, eps):
    rows = (_per_channel(p, input.layout.ndim) for p in (mean, variance, weight, bias))
    return normalize_by(input, *rows, eps).to(input.layout.dtype)


normalize_by_channel = chain(
    "aten::_normalize_by_channel(Tensor self, Tensor mean, Tensor variance, Tensor? weight, "
    "Tensor? bias, float eps) -> Tensor",
    """`_normalize_by` with one element for each channel: without the views that it takes there.""",
    build=_build_by_channel,
    body=_by_channel,
    method=False,
    function=False,
)


def _track(running, fresh, momentum):
    """running = (1 - momentum) * running + momentum * fresh, in place."""
    if running is not None:
        running.mul_(1 - momentum).add_(
            fresh.detach().reshape(running.layout.shape).to(running.layout.dtype), alpha=momentum
        )


def _check_channels(input, **named):
    """Raises where a per-channel tensor has not as many elements as `input` has channels."""
    channels = input.layout.shape[1] if input.layout.ndim > 1 else 1
    for name, tensor in named.items():
        if tensor is not None and tensor.layout.numel != channels:
            raise RuntimeError(
                f"{name} should contain {channels} elements not {tensor.layout.numel}"
            )


def _batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """(result, mean, scale): batch normalisation; updates the running statistics in training. None
    for what is not computed."""
    ndim = input.layout.ndim
    floats_only("batch_norm", input)
    if ndim < 2 and not input.layout.numel:  # no batch: PyTorch passes it through
        return input.clone(), None, None
    _check_channels(
        input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError(
                "Expected running_mean and running_var to be defined when training=False"
            )
        given = running_mean, running_var, weight, bias
        lines = all(p is None or p.layout.ndim == 1 for p in given)
        plain = lines and input.layout.contiguous and input.layout.dtype.kind == "f"
        return (normalize_by_channel if plain else _by_channel)(input, *given, eps), None, None
    w, b = _per_channel(weight, ndim), _per_channel(bias, ndim)
    dims = (0, *range(2, ndim))
    if looks_channels_last(input.layout):
        last = [None if p is None else p.reshape((*(1,) * (ndim - 1), -1)) for p in (weight, bias)]
        over = tuple(range(ndim - 1))
        out, mean, scale, variance = normalize_over(channels_behind(input), *last, over, eps)
        out = channels_before(out)
    else:
        out, mean, scale, variance = normalize_over(input, w, b, dims, eps)
    count = folded(input.layout, dims)
    if count and (running_mean is not None or running_var is not None):
        _track(running_mean, mean, momentum)
        _track(running_var, variance.detach() * (count / max(count - 1, 1)), momentum)
    return out, mean.reshape(-1), scale.reshape(-1)


_RUNNING = "Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var"


@composite(
    f"aten::batch_norm({_RUNNING}, bool training, float momentum, float eps, bool cudnn_enabled) "
    "-> Tensor",
    method=False,
)
def batch_norm(
    input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled
):
    """Each channel normalised over the batch (Ioffe, Szegedy 2015), or by the running
    statistics."""
    return _batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)[0]


@composite(
    f"aten::native_batch_norm({_RUNNING}, bool training, float momentum, float eps) -> (Tensor, "
    "Tensor, Tensor)",
    method=False,
)
def native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """`batch_norm`, the means, and the reciprocal deviations."""
    found = _batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)
    results = tuple(input.new_zeros((0,)) if y is None else y for y in found)
    return as_input(input, weight, results)


@composite(
    f"aten::instance_norm({_RUNNING}, bool use_input_stats, float momentum, float eps, bool "
    "cudnn_enabled) -> Tensor",
    method=False,
)
def instance_norm(
    input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled
):
    """Each channel of each sample normalised (Ulyanov, Vedaldi, Lempitsky 2016)."""
    ndim = input.layout.ndim
    floats_only("batch_norm", input)
    if not use_input_stats:
        return _batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps)[0]
    _check_channels(
        input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    w, b = _per_channel(weight, ndim), _per_channel(bias, ndim)
    dims = tuple(range(2, ndim))
    out, mean, _, variance = normalize_over(input, w, b, dims, eps)
    count = folded(input.layout, dims)
    _track(running_mean, mean.detach().mean(0), momentum)
    _track(running_var, variance.detach().mean(0) * (count / max(count - 1, 1)), momentum)
    return out
