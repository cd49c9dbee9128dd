"""Convolutions and transposed convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau.tensor import Tensor, no_grad

from .. import init
from .. import operations as ops
from ..parameter import Parameter, UninitializedParameter
from .lazy import LazyModuleMixin
from .module import Module
from .tuples import _pair, _reverse_repeat_tuple, _single, _triple

_PADDING_WORDS = {"same", "valid"}
_PADDING_MODES = {"zeros", "reflect", "replicate", "circular"}


def _check(
    in_channels: int, out_channels: int, stride: tuple, padding: Any, groups: int, mode: str
) -> None:
    if groups <= 0:
        raise ValueError("groups must be a positive integer")
    if in_channels % groups != 0:
        raise ValueError("in_channels must be divisible by groups")
    if out_channels % groups != 0:
        raise ValueError("out_channels must be divisible by groups")
    if isinstance(padding, str):
        if padding not in _PADDING_WORDS:
            raise ValueError(
                f"Invalid padding string {padding!r}, should be one of {_PADDING_WORDS}"
            )
        if padding == "same" and any(step != 1 for step in stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
    if mode not in _PADDING_MODES:
        raise ValueError(
            f"padding_mode must be one of {_PADDING_MODES}, but got padding_mode='{mode}'"
        )


def _both_sides(padding: Any, kernel_size: tuple, dilation: tuple) -> Any:
    """The padding before and after each axis, last axis first, as `pad` wants it."""
    if not isinstance(padding, str):
        return _reverse_repeat_tuple(padding, 2)
    sides: list[int] = []
    for length, spread in zip(reversed(kernel_size), reversed(dilation), strict=True):
        total = spread * (length - 1) if padding == "same" else 0
        sides += [total // 2, total - total // 2]
    return sides


class _ConvNd(Module):
    """What all convolutions share."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple,
        stride: tuple,
        padding: Any,
        dilation: tuple,
        transposed: bool,
        output_padding: tuple,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check(in_channels, out_channels, stride, padding, groups, padding_mode)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.transposed = transposed
        self.output_padding = output_padding
        self.groups = groups
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = _both_sides(padding, kernel_size, dilation)
        self.weight = Parameter(ops.empty(self._weight_shape(), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(ops.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _weight_shape(self) -> tuple:
        outer, inner = self.out_channels, self.in_channels
        if self.transposed:
            outer, inner = inner, outer
        return (outer, inner // self.groups, *self.kernel_size)

    def reset_parameters(self) -> None:
        """Uniform in ±1/sqrt(fan-in)."""
        if self.weight.is_contiguous():
            init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        else:
            # Drawing in logical order keeps the values independent of the memory format.
            with no_grad():
                drawn = ops.empty_like(self.weight).contiguous()
                self.weight.copy_(init.kaiming_uniform_(drawn, a=math.sqrt(5)))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        zeros = (0,) * len(self.kernel_size)
        ones = (1,) * len(self.kernel_size)
        if self.padding != zeros:
            text += f", padding={self.padding}"
        if self.dilation != ones:
            text += f", dilation={self.dilation}"
        if self.output_padding != zeros:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("padding_mode", "zeros")

    def _convolve(self, convolution: Callable, input: Tensor, weight: Tensor, bias: Any) -> Tensor:
        if self.padding_mode == "zeros":
            return convolution(
                input, weight, bias, self.stride, self.padding, self.dilation, self.groups
            )
        padded = ops.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)
        none = (0,) * len(self.kernel_size)
        return convolution(padded, weight, bias, self.stride, none, self.dilation, self.groups)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


def _convolution_init(spread: Callable) -> Callable:
    """The constructor of a convolution."""

    def __init__(
        self: Any,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _ConvNd.__init__(
            self,
            in_channels,
            out_channels,
            spread(kernel_size),
            spread(stride),
            padding if isinstance(padding, str) else spread(padding),
            spread(dilation),
            False,
            spread(0),
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    return __init__


class Conv1d(_ConvNd):
    """Convolution over (N, C, L); weight is (out, in / groups, length)."""

    __init__ = _convolution_init(_single)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._convolve(ops.conv1d, input, weight, bias)


class Conv2d(_ConvNd):
    """Convolution over (N, C, H, W); weight is (out, in / groups, height, width)."""

    __init__ = _convolution_init(_pair)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._convolve(ops.conv2d, input, weight, bias)


class Conv3d(_ConvNd):
    """Convolution over (N, C, D, H, W)."""

    __init__ = _convolution_init(_triple)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._convolve(ops.conv3d, input, weight, bias)


class _ConvTransposeNd(_ConvNd):
    """What transposed convolutions share: the gradients of convolutions with respect to input."""

    _operation: str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple,
        stride: tuple,
        padding: Any,
        dilation: tuple,
        transposed: bool,
        output_padding: tuple,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            transposed,
            output_padding,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _output_padding(
        self,
        input: Tensor,
        output_size: Any,
        stride: tuple,
        padding: tuple,
        kernel_size: tuple,
        num_spatial_dims: int,
        dilation: tuple | None = None,
    ) -> Any:
        """What to add at the end of each axis to reach the wanted output size."""
        if output_size is None:
            return _single(self.output_padding)
        unspatial = input.dim() - num_spatial_dims
        if len(output_size) == unspatial + num_spatial_dims:
            output_size = output_size[unspatial:]
        if len(output_size) != num_spatial_dims:
            raise ValueError(
                f"ConvTranspose{num_spatial_dims}D: for {input.dim()}D input, output_size must "
                f"have {num_spatial_dims} or {unspatial + num_spatial_dims} elements "
                f"(got {len(output_size)})"
            )
        least, most = [], []
        for axis in range(num_spatial_dims):
            spread = 1 if dilation is None else dilation[axis]
            length = (input.size(axis + unspatial) - 1) * stride[axis] - 2 * padding[axis]
            least.append(length + spread * (kernel_size[axis] - 1) + 1)
            most.append(least[axis] + stride[axis] - 1)
        for axis in range(num_spatial_dims):
            if not least[axis] <= output_size[axis] <= most[axis]:
                raise ValueError(
                    f"requested an output size of {output_size}, but valid sizes range "
                    f"from {least} to {most} (for an input of {input.size()[2:]})"
                )
        return [output_size[axis] - least[axis] for axis in range(num_spatial_dims)]

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        output_padding = self._output_padding(
            input,
            output_size,
            self.stride,
            self.padding,
            self.kernel_size,
            len(self.kernel_size),
            self.dilation,
        )
        return getattr(ops, self._operation)(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            output_padding,
            self.groups,
            self.dilation,
        )


def _transposed_init(spread: Callable) -> Callable:
    """The constructor of a transposed convolution."""

    def __init__(
        self: Any,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _ConvTransposeNd.__init__(
            self,
            in_channels,
            out_channels,
            spread(kernel_size),
            spread(stride),
            spread(padding),
            spread(dilation),
            True,
            spread(output_padding),
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    return __init__


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed convolution over (N, C, L); weight is (in, out / groups, length)."""

    _operation = "conv_transpose1d"
    __init__ = _transposed_init(_single)


class ConvTranspose2d(_ConvTransposeNd):
    """Transposed convolution over (N, C, H, W); weight is (in, out / groups, height, width)."""

    _operation = "conv_transpose2d"
    __init__ = _transposed_init(_pair)


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed convolution over (N, C, D, H, W)."""

    _operation = "conv_transpose3d"
    __init__ = _transposed_init(_triple)


class _LazyConvXdMixin(LazyModuleMixin, _ConvNd):
    """A convolution that takes its number of input channels from the first input."""

    def reset_parameters(self) -> None:
        """As the class's it becomes, as soon as there is something to reset."""
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()

    def _await_channels(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        self.out_channels = out_channels
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Take the number of channels from the input, which may be without a batch."""
        axes = len(self.kernel_size)
        if input.dim() not in (axes + 1, axes + 2):
            raise RuntimeError(
                f"Expected {axes + 1}D (unbatched) or {axes + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {input.shape}"
            )
        self.in_channels = input.shape[-axes - 1]
        if self.in_channels % self.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if not self.has_uninitialized_params():
            return
        self.weight.materialize(self._weight_shape())
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()


def _lazy_init(eager: type) -> Callable:
    """The constructor of a lazy convolution: that of `eager`, without the input channels."""

    def __init__(
        self: Any,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        eager.__init__(  # type: ignore[misc]
            self, 0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode
        )
        self._await_channels(out_channels, bias, device, dtype)

    return __init__


def _lazy_transposed_init(eager: type) -> Callable:
    """The constructor of a lazy transposed convolution."""

    def __init__(
        self: Any,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        sizes = (kernel_size, stride, padding, output_padding)
        eager.__init__(self, 0, 0, *sizes, groups, False, dilation, padding_mode)  # type: ignore[misc]
        self._await_channels(out_channels, bias, device, dtype)

    return __init__


class LazyConv1d(_LazyConvXdMixin, Conv1d):
    """A Conv1d that takes `in_channels` from the first input."""

    cls_to_become = Conv1d
    __init__ = _lazy_init(Conv1d)


class LazyConv2d(_LazyConvXdMixin, Conv2d):
    """A Conv2d that takes `in_channels` from the first input."""

    cls_to_become = Conv2d
    __init__ = _lazy_init(Conv2d)


class LazyConv3d(_LazyConvXdMixin, Conv3d):
    """A Conv3d that takes `in_channels` from the first input."""

    cls_to_become = Conv3d
    __init__ = _lazy_init(Conv3d)


class LazyConvTranspose1d(_LazyConvXdMixin, ConvTranspose1d):
    """A ConvTranspose1d that takes `in_channels` from the first input."""

    cls_to_become = ConvTranspose1d
    __init__ = _lazy_transposed_init(ConvTranspose1d)


class LazyConvTranspose2d(_LazyConvXdMixin, ConvTranspose2d):
    """A ConvTranspose2d that takes `in_channels` from the first input."""

    cls_to_become = ConvTranspose2d
    __init__ = _lazy_transposed_init(ConvTranspose2d)


class LazyConvTranspose3d(_LazyConvXdMixin, ConvTranspose3d):
    """A ConvTranspose3d that takes `in_channels` from the first input."""

    cls_to_become = ConvTranspose3d
    __init__ = _lazy_transposed_init(ConvTranspose3d)
