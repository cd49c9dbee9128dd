"""Batch normalisation in evaluation is a scale and a shift: it can be put into the weights of the
layer before.
"""

from __future__ import annotations

import copy
from typing import Any

from flambeau.tensor import Tensor

from .. import operations as ops
from ..modules import Module
from ..parameter import Parameter

__all__ = [
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
]


def _fused(
    weight: Tensor, bias: Any, mean: Tensor, variance: Tensor, eps: float, scale: Any, shift: Any,
    channels: int,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """(weight, bias) with the normalisation in them; `channels` is the weight's dimension of
    outputs.
    """
    factor = ops.rsqrt(variance + eps)
    if scale is not None:
        factor = factor * scale
    shape = [1] * weight.dim()
    shape[channels] = -1
    bias = ops.zeros_like(mean) if bias is None else bias
    shift = ops.zeros_like(mean) if shift is None else shift
    new_weight = (weight * factor.reshape(shape)).to(weight.dtype)
    new_bias = ((bias - mean) * factor + shift).to(bias.dtype)
    return Parameter(new_weight.detach(), weight.requires_grad), Parameter(
        new_bias.detach(), bias.requires_grad
    )


def _copy_with(layer: Any, normalisation: Any, fuse: Any, *options: Any) -> Module:
    if layer.training or normalisation.training:
        raise AssertionError("Fusion only for eval!")
    if normalisation.running_mean is None or normalisation.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")
    fused = copy.deepcopy(layer)
    fused.weight, fused.bias = fuse(
        fused.weight,
        fused.bias,
        normalisation.running_mean,
        normalisation.running_var,
        normalisation.eps,
        normalisation.weight,
        normalisation.bias,
        *options,
    )
    return fused


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Module:
    """A copy of a convolution that does what it and a batch normalisation do. Both must be in
    evaluation mode. `transpose`: it is a transposed convolution.
    """
    return _copy_with(conv, bn, fuse_conv_bn_weights, transpose)


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """The weight and bias of `fuse_conv_bn_eval`."""
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Module:
    """A copy of a Linear that does what it and a batch normalisation do, as `fuse_conv_bn_eval`."""
    if bn.num_features not in (linear.out_features, 1):
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, "
            f"got linear.out_features={linear.out_features} and bn.num_features={bn.num_features}"
        )
    return _copy_with(linear, bn, fuse_linear_bn_weights)


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor,
    bn_b: Tensor,
) -> tuple[Parameter, Parameter]:
    """The weight and bias of `fuse_linear_bn_eval`."""
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)
