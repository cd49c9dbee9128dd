"""The gradients of convolutions, as functions: PyTorch's `torch.nn.grad`."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from . import operations as ops
from .modules.tuples import _pair, _single, _triple

_SPREAD = {1: _single, 2: _pair, 3: _triple}


def _of_input(
    rank: int,
    input_size: Any,
    weight: Tensor,
    grad_output: Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    stride, padding, dilation = map(_SPREAD[rank], (stride, padding, dilation))
    # Where strides leave a rest, several inputs have the same output: this adds what is missing.
    more = [
        wanted - ((length - 1) * step - 2 * pad + spread * (width - 1) + 1)
        for wanted, length, width, step, pad, spread in zip(
            input_size[-rank:], grad_output.shape[-rank:], weight.shape[-rank:], stride, padding,
            dilation, strict=True,
        )
    ]  # fmt: skip
    transposed = getattr(ops, f"conv_transpose{rank}d")
    return transposed(grad_output, weight, None, stride, padding, more, groups, dilation)


def _of_weight(
    rank: int,
    input: Tensor,
    weight_size: Any,
    grad_output: Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    numbers = map(_SPREAD[rank], (stride, padding, dilation))
    return ops._convolution_weight(input, grad_output, tuple(weight_size), *numbers, groups)


def conv1d_input(
    input_size: Any,
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of `conv1d` for its input, of the shape `input_size`."""
    return _of_input(1, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv1d_weight(
    input: Tensor,
    weight_size: Any,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of `conv1d` for its weight, of the shape `weight_size`."""
    return _of_weight(1, input, weight_size, grad_output, stride, padding, dilation, groups)


def conv2d_input(
    input_size: Any,
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of `conv2d` for its input, of the shape `input_size`."""
    return _of_input(2, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv2d_weight(
    input: Tensor,
    weight_size: Any,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of `conv2d` for its weight, of the shape `weight_size`."""
    return _of_weight(2, input, weight_size, grad_output, stride, padding, dilation, groups)


def conv3d_input(
    input_size: Any,
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of `conv3d` for its input, of the shape `input_size`."""
    return _of_input(3, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv3d_weight(
    input: Tensor,
    weight_size: Any,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of `conv3d` for its weight, of the shape `weight_size`."""
    return _of_weight(3, input, weight_size, grad_output, stride, padding, dilation, groups)
