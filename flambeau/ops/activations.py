"""Activations. Those with a derivative of their own are one kernel forward and one backward."""

import math as _math

from flambeau import ir
from flambeau.ir import math

from .arithmetic import masked
from .creation import empty_like
from .facts import type_name
from .family import fixed, fused, pointwise
from .family.reduction import wrap_dim
from .op import also, composite, find

ROOT_HALF, ROOT_TWO_OVER_PI = _math.sqrt(0.5), _math.sqrt(2 / _math.pi)
ROOT_TWO_PI_INVERSE = 1 / _math.sqrt(2 * _math.pi)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def where(condition, yes, no):
    return find("where").door(condition, yes, no)


def private(schema):
    """A fused composite that only derivatives use."""
    return fused(f"nn::{schema}", method=False, function=False)


def _check_relu(common, self):
    if common.kind == "b":
        raise RuntimeError("Boolean inputs not supported for relu")
    if common.kind == "c":
        raise NotImplementedError("clamp is not supported for complex types")


positive_only = pointwise(
    "aten::_positive_only(Tensor self, Tensor sign) -> Tensor",
    """`self` where `sign` is positive or nan, else 0.""",
    scalar=lambda self, sign: ir.select(
        sign <= ir.const(0, sign.dtype), ir.const(0, self.dtype), self
    ),
    promotes=("self",),
    method=False,
    function=False,
    grad=dict(self=lambda grad, sign: positive_only(grad, sign)),
)
relu = pointwise(
    "aten::relu(Tensor self) -> Tensor",
    """``max(self, 0)``.""",
    scalar=lambda self: ir.maximum(self, ir.const(0, self.dtype)),
    check=_check_relu,
    grad=dict(self=lambda grad, result: positive_only(grad, result)),
)


def _hardtanh(self, min_val, max_val):
    return ir.minimum(ir.maximum(self, min_val), max_val)


hardtanh = pointwise(
    "nn::hardtanh(Tensor self, Scalar min_val=-1, Scalar max_val=1) -> Tensor",
    """Every element brought into [min_val, max_val].""",
    scalar=_hardtanh,
    promotes=("self",),
    grad=dict(
        self=lambda grad, self, min_val, max_val: masked(grad, (self > min_val) & (self < max_val)),
    ),
)


@composite("nn::relu6(Tensor self) -> Tensor")
def relu6(self):
    """``min(max(self, 0), 6)``."""
    return hardtanh(self, 0.0, 6.0) if self.layout.dtype.kind == "f" else hardtanh(self, 0, 6)


relu6.inplace_form = True


@private("_leaky(Tensor grad, Tensor self, Scalar negative_slope) -> Tensor")
def _leaky(grad, self, negative_slope):
    """The derivative of leaky_relu."""
    return where(self > 0, grad, grad * negative_slope)


leaky_relu = pointwise(
    "nn::leaky_relu(Tensor self, Scalar negative_slope=0.01) -> Tensor",
    """The element where it is positive, `negative_slope` times it elsewhere.""",
    scalar=lambda self, negative_slope: ir.select(self > 0, self, self * negative_slope),
    promotes=("self",),
    grad=dict(self=lambda grad, self, negative_slope: _leaky(grad, self, negative_slope)),
)


def _elu(self, alpha, scale, input_scale):
    return ir.select(self > 0, self * scale, math.expm1(self * input_scale) * (alpha * scale))


@private(
    "_elu_backward(Tensor grad, Tensor self, Scalar alpha, Scalar scale, Scalar input_scale) -> "
    "Tensor"
)
def _elu_backward(grad, self, alpha, scale, input_scale):
    """The derivative of elu."""
    return where(
        self > 0, grad * scale, grad * (self * input_scale).exp() * (alpha * scale * input_scale)
    )


elu = pointwise(
    "nn::elu(Tensor self, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1) -> Tensor",
    """``x`` for positive x, ``alpha * (exp(x) - 1)`` otherwise.""",
    scalar=_elu,
    promotes=("self",),
    grad=dict(
        self=lambda grad, self, alpha, scale, input_scale: _elu_backward(
            grad, self, alpha, scale, input_scale
        )
    ),
)


@composite("aten::selu(Tensor self) -> Tensor", method=False)
def selu(self):
    """The self-normalising elu (Klambauer et al., 2017)."""
    return elu(self, SELU_ALPHA, SELU_SCALE, 1)


@composite("aten::celu(Tensor self, Scalar alpha=1.0) -> Tensor", method=False)
def celu(self, alpha):
    """elu with a continuous derivative for every alpha (Barron, 2017)."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return elu(self, alpha, 1.0, 1.0 / alpha)


selu.inplace_form = celu.inplace_form = True


def _gelu(self, approximate):
    if approximate == "tanh":
        inner = (self + self * self * self * 0.044715) * ROOT_TWO_OVER_PI
        return self * 0.5 * (math.tanh(inner) + 1)
    return self * 0.5 * (math.erf(self * ROOT_HALF) + 1)


def _gelu_slope(slope, self):
    inner = self * ROOT_HALF
    density = math.exp(-(inner * inner)) * ROOT_TWO_PI_INVERSE
    return slope * ((math.erf(inner) + 1) * 0.5 + self * density)


@private("_normal_density(Tensor self) -> Tensor")
def _normal_density(self):
    """The density of the standard normal distribution."""
    return (self * self * -0.5).exp() * ROOT_TWO_PI_INVERSE


_gelu_erf_backward = pointwise(
    "nn::_gelu_erf_backward(Tensor slope, Tensor self) -> Tensor",
    """The derivative of gelu: its two functions share an exponential.""",
    scalar=_gelu_slope,
    grad=dict(
        slope=lambda grad, self: _gelu_erf_backward(grad, self),
        self=lambda grad, slope, self: grad * slope * _normal_density(self) * (2 - self * self),
    ),
    method=False,
    function=False,
)


@private("_gelu_tanh_backward(Tensor grad, Tensor self) -> Tensor")
def _gelu_tanh_backward(grad, self):
    """The derivative of the tanh form of gelu."""
    square = self * self
    t = ((self + self * square * 0.044715) * ROOT_TWO_OVER_PI).tanh()
    slope = (1 - t * t) * (square * (3 * 0.044715) + 1) * ROOT_TWO_OVER_PI
    return grad * (((t + 1) + self * slope) * 0.5)


def _check_gelu(common, self, approximate):
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    if common.kind != "f":
        raise NotImplementedError(f"\"GeluKernelImpl\" not implemented for '{type_name(common)}'")


gelu = pointwise(
    "nn::gelu(Tensor self, *, str approximate='none') -> Tensor",
    """``x * Phi(x)`` with the normal distribution function Phi, or its tanh approximation
    (Hendrycks & Gimpel, 2016).
    """,
    scalar=_gelu,
    check=_check_gelu,
    grad=dict(
        self=lambda grad, self, approximate: (
            _gelu_tanh_backward(grad, self)
            if approximate == "tanh"
            else _gelu_erf_backward(grad, self)
        )
    ),
)


@private("_silu_backward(Tensor grad, Tensor self) -> Tensor")
def _silu_backward(grad, self):
    """The derivative of silu."""
    s = self.sigmoid()
    return grad * s * (1 + self * (1 - s))


silu = pointwise(
    "nn::silu(Tensor self) -> Tensor",
    """``x * sigmoid(x)``.""",
    scalar=lambda self: self * math.sigmoid(self),
    grad=dict(self=lambda grad, self: _silu_backward(grad, self)),
)


def _softplus(self, beta, threshold):
    z = self * beta
    return ir.select(z > threshold, self, math.log1p(math.exp(ir.minimum(z, threshold))) / beta)


@private("_softplus_backward(Tensor grad, Tensor self, Scalar beta, Scalar threshold) -> Tensor")
def _softplus_backward(grad, self, beta, threshold):
    """The derivative of softplus."""
    z = self * beta
    return where(z > threshold, grad, grad * z.sigmoid())


softplus = pointwise(
    "nn::softplus(Tensor self, Scalar beta=1, Scalar threshold=20) -> Tensor",
    """Smooth relu, ``log(1 + exp(beta * x)) / beta``; the identity where beta * x > threshold.""",
    scalar=_softplus,
    promotes=("self",),
    grad=dict(
        self=lambda grad, self, beta, threshold: _softplus_backward(grad, self, beta, threshold)
    ),
)


@private("_mish_backward(Tensor grad, Tensor self) -> Tensor")
def _mish_backward(grad, self):
    """The derivative of mish."""
    s = self.sigmoid()
    t = _log1p_exp(self).tanh()
    return grad * (t + self * s * (1 - t * t))


@private("_log1p_exp(Tensor self) -> Tensor")
def _log1p_exp(self):
    """log(1 + exp(x)) without overflow."""
    return self.clamp(min=0) + (-self.abs()).exp().log1p()


def _stable_softplus(x):
    return ir.maximum(x, ir.const(0, x.dtype)) + math.log1p(math.exp(-abs(x)))


mish = pointwise(
    "nn::mish(Tensor self) -> Tensor",
    """``x * tanh(softplus(x))`` (Misra, 2019).""",
    scalar=lambda self: self * math.tanh(_stable_softplus(self)),
    grad=dict(self=lambda grad, self: _mish_backward(grad, self)),
)
log_sigmoid = pointwise(
    "nn::log_sigmoid(Tensor self) -> Tensor",
    """``log(sigmoid(x))`` without overflow.""",
    scalar=lambda self: (
        ir.minimum(self, ir.const(0, self.dtype)) - math.log1p(math.exp(-abs(self)))
    ),
    grad=dict(self=lambda grad, self: grad * (-self).sigmoid()),
)
also(log_sigmoid, "nn.logsigmoid")

hardsigmoid = pointwise(
    "nn::hardsigmoid(Tensor self) -> Tensor",
    """``min(max(x + 3, 0), 6) / 6``.""",
    scalar=lambda self: (
        ir.minimum(ir.maximum(self + 3, ir.const(0, self.dtype)), ir.const(6, self.dtype)) / 6
    ),
    grad=dict(self=lambda grad, self: masked(grad / 6, (self > -3) & (self < 3))),
)


@private("_hardswish_backward(Tensor grad, Tensor self) -> Tensor")
def _hardswish_backward(grad, self):
    """The derivative of hardswish."""
    return where(self < -3, grad * 0, where(self <= 3, grad * (self / 3 + 0.5), grad))


hardswish = pointwise(
    "nn::hardswish(Tensor self) -> Tensor",
    """``x * hardsigmoid(x)``.""",
    scalar=lambda self: (
        self
        * ir.minimum(ir.maximum(self + 3, ir.const(0, self.dtype)), ir.const(6, self.dtype))
        / 6
    ),
    grad=dict(self=lambda grad, self: _hardswish_backward(grad, self)),
)
hardshrink = pointwise(
    "aten::hardshrink(Tensor self, Scalar lambd=0.5) -> Tensor",
    """0 where |x| <= lambd, else x.""",
    scalar=lambda self, lambd: ir.select(
        (self >= -lambd) & (self <= lambd), ir.const(0, self.dtype), self
    ),
    promotes=("self",),
    grad=dict(self=lambda grad, self, lambd: masked(grad, ~((self >= -lambd) & (self <= lambd)))),
)
softshrink = pointwise(
    "nn::softshrink(Tensor self, Scalar lambd=0.5) -> Tensor",
    """x drawn towards 0 by lambd.""",
    scalar=lambda self, lambd: ir.select(
        self > lambd,
        self - lambd,
        ir.select(self < -lambd, self + lambd, self * ir.const(0, self.dtype)),
    ),
    promotes=("self",),
    check=lambda common, self, lambd: _check_softshrink(common, lambd),
    grad=dict(self=lambda grad, self, lambd: masked(grad, (self > lambd) | (self < -lambd))),
)


_LARGEST = {"float64": 1.79769e308, "float16": 65504.0, "bfloat16": 3.38953e38}


def _check_softshrink(common, lambd):
    largest = _LARGEST.get(common.name, 3.40282e38)
    if not 0 <= lambd <= largest:
        raise RuntimeError(
            f"lambda must be in range [0, {largest:g}] for input dtype {type_name(common)}, but "
            f"found {lambd:g}"
        )


threshold = pointwise(
    "aten::threshold(Tensor self, Scalar threshold, Scalar value) -> Tensor",
    """x where it is above `threshold`, else `value`.""",
    scalar=lambda self, threshold, value: ir.select(self <= threshold, value, self),
    promotes=("self",),
    method=False,
    grad=dict(self=lambda grad, self, threshold: masked(grad, ~(self <= threshold))),
)
prelu_kernel = pointwise(
    "aten::_prelu(Tensor self, Tensor weight) -> Tensor",
    """x where positive, weight * x elsewhere.""",
    scalar=lambda self, weight: ir.select(self > 0, self, self * weight),
    method=False,
    function=False,
    grad=dict(
        self=lambda grad, self, weight: where(self > 0, grad, grad * weight),
        weight=lambda grad, self: masked(grad * self, self <= 0),
    ),
)


@fixed("aten::prelu(Tensor self, Tensor weight) -> Tensor")
def prelu(self, weight):
    """leaky_relu with a learned slope, for all elements or for each channel (dimension 1)."""
    if self.layout.dtype is not weight.layout.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {type_name(self.layout.dtype)} and "
            f"{type_name(weight.layout.dtype)}"
        )
    if weight.layout.ndim > 1:
        raise RuntimeError(
            "prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = "
            f"{weight.layout.ndim}"
        )
    if weight.layout.numel != 1:
        if not self.layout.ndim:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = self.layout.shape[1] if self.layout.ndim > 1 else 1
        if weight.layout.numel != channels:
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{weight.layout.numel} and channel size = {channels}."
            )
        weight = weight.reshape((1, -1) + (1,) * (self.layout.ndim - 2))
    else:
        weight = weight.reshape((1,) * self.layout.ndim)
    return prelu_kernel(self, weight)


@fixed("nn::glu(Tensor self, int dim=-1) -> Tensor")
def glu(self, dim):
    """The first half along `dim` times the logistic function of the second."""
    if self.layout.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    n = self.layout.shape[wrap_dim(dim, self.layout.ndim)]
    if n % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {n}")
    first, second = self.narrow(dim, 0, n // 2), self.narrow(dim, n // 2, n // 2)
    return first * second.sigmoid()


@composite("nn::softsign(Tensor self) -> Tensor")
def softsign(self):
    """``x / (1 + |x|)``."""
    return self / (self.abs() + 1)


@composite("nn::tanhshrink(Tensor self) -> Tensor")
def tanhshrink(self):
    """``x - tanh(x)``."""
    return self - self.tanh()


@composite(
    "aten::rrelu(Tensor self, Scalar lower=0.125, Scalar upper=0.3333333333333333, "
    "bool training=False, "
           "Generator? generator=None) -> Tensor", method=False)  # fmt: skip
def rrelu(self, lower, upper, training, generator):
    """leaky_relu whose slope is drawn from [lower, upper] for each negative element, or their mean
    outside training.
    """
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return leaky_relu(self, (lower + upper) / 2)
    return self * find("_leaks").door(self.detach(), lower, upper, generator)


rrelu.inplace_form = True

# Dropout: the mask is drawn as PyTorch does, one bernoulli number for each element.


def _keep_mask(self, shape, p):
    return _drawn(self, shape, 1 - p).div_(1 - p) if p < 1 else self.new_zeros(shape)


def _drawn(self, shape, p):
    """Bernoulli numbers; a number for each element of `self` lies as that does."""
    self = self.detach()
    empty = empty_like(self) if shape == self.layout.shape else self.new_empty(shape)
    return empty.bernoulli_(p)


def _check_p(p):
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


@composite("aten::dropout(Tensor input, float p, bool train) -> Tensor", method=False)
def dropout(input, p, train):
    """Zeroes each element with probability `p` in training, and scales the others by ``1 / (1 -
    p)``.
    """
    _check_p(p)
    if not train or p == 0 or input.layout.numel == 0:
        return input
    return input * _keep_mask(input, input.layout.shape, p)


@composite("aten::feature_dropout(Tensor input, float p, bool train) -> Tensor", method=False)
def feature_dropout(input, p, train):
    """As `dropout`, for whole channels: [N, C, …] or more dimensions."""
    _check_p(p)
    if not train or p == 0 or input.layout.numel == 0:
        return input
    if input.layout.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return input * _keep_mask(input, _channels(input), p)


def _channels(input):
    return (*input.layout.shape[:2], *(1,) * (input.layout.ndim - 2))


def _alpha(input, shape, p):
    """Keeps mean and variance of selu's output: dropped elements become -selu's limit, then an
    affine correction.
    """
    limit = SELU_ALPHA * SELU_SCALE
    if p == 1:
        return input * 0
    keep = _drawn(input, shape, 1 - p)
    a = 1 / _math.sqrt((limit * limit * p + 1) * (1 - p))
    return input * (keep * a) + ((keep - 1) * (limit * a) + limit * a * p)


@composite("aten::alpha_dropout(Tensor input, float p, bool train) -> Tensor", method=False)
def alpha_dropout(input, p, train):
    """Dropout that keeps the mean and variance of self-normalising networks."""
    _check_p(p)
    return (
        input
        if not train or p == 0 or input.layout.numel == 0
        else _alpha(input, input.layout.shape, p)
    )


@composite("aten::feature_alpha_dropout(Tensor input, float p, bool train) -> Tensor", method=False)
def feature_alpha_dropout(input, p, train):
    """As `alpha_dropout`, for whole channels."""
    _check_p(p)
    return (
        input
        if not train or p == 0 or input.layout.numel == 0
        else _alpha(input, _channels(input), p)
    )


for _op in (dropout, feature_dropout, alpha_dropout, feature_alpha_dropout):
    _op.inplace_form = True
