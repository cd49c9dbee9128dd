"""Pooling: the `return_indices` switch, unpooling, adaptive and fractional pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.tensor import Tensor

from .. import operations as ops


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """Maxima of windows over (N, C, L), and their places."""
    stride = kernel_size if stride is None else stride
    return ops.max_pool1d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """Maxima of windows over (N, C, H, W), and their flat places in the plane."""
    stride = kernel_size if stride is None else stride
    return ops.max_pool2d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """Maxima of windows over (N, C, D, H, W), and their flat places in the volume."""
    stride = kernel_size if stride is None else stride
    return ops.max_pool3d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maxima of windows over (N, C, L); with `return_indices` their places too."""
    stride = kernel_size if stride is None else stride
    function = ops.max_pool1d_with_indices if return_indices else ops.max_pool1d
    return function(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maxima of windows over (N, C, H, W); with `return_indices` their places too."""
    stride = kernel_size if stride is None else stride
    function = ops.max_pool2d_with_indices if return_indices else ops.max_pool2d
    return function(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maxima of windows over (N, C, D, H, W); with `return_indices` their places too."""
    stride = kernel_size if stride is None else stride
    function = ops.max_pool3d_with_indices if return_indices else ops.max_pool3d
    return function(input, kernel_size, stride, padding, dilation, ceil_mode)


def _adaptive_size(output_size: Any, input: Tensor, rank: int) -> list[int]:
    """Fill None entries of an adaptive pooling's output size from the input."""
    if isinstance(output_size, int):
        return [output_size] * rank
    if output_size is None:
        output_size = (None,) * rank
    if len(input.size()) <= len(output_size):
        raise ValueError(
            f"Input dimension should be at least {len(output_size) + 1}, "
            f"but got input with spatial dimensions of {tuple(input.size())}."
        )
    spatial = input.size()[input.dim() - len(output_size) :]
    return [
        given if wanted is None else wanted
        for wanted, given in zip(output_size, spatial, strict=True)
    ]


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means over windows chosen so that the result has the given height and width."""
    return ops.adaptive_avg_pool2d(input, _adaptive_size(output_size, input, 2))


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means over windows chosen so that the result has the given size."""
    return ops.adaptive_avg_pool3d(input, _adaptive_size(output_size, input, 3))


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima over windows chosen so that the result has the given length."""
    result = adaptive_max_pool1d_with_indices(input, output_size)
    return result if return_indices else result[0]


def adaptive_max_pool1d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> Any:
    """`adaptive_max_pool1d`, and the places of the maxima."""
    return ops.adaptive_max_pool1d(input, output_size)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima over windows chosen so that the result has the given height and width."""
    result = adaptive_max_pool2d_with_indices(input, output_size)
    return result if return_indices else result[0]


def adaptive_max_pool2d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> Any:
    """`adaptive_max_pool2d`, and the places of the maxima."""
    return ops.adaptive_max_pool2d(input, _adaptive_size(output_size, input, 2))


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima over windows chosen so that the result has the given size."""
    result = adaptive_max_pool3d_with_indices(input, output_size)
    return result if return_indices else result[0]


def adaptive_max_pool3d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> Any:
    """`adaptive_max_pool3d`, and the places of the maxima."""
    return ops.adaptive_max_pool3d(input, _adaptive_size(output_size, input, 3))


def _spread(value: Any, rank: int) -> list[int]:
    return [value] * rank if isinstance(value, int) else list(value)


def _unpool_size(
    input: Tensor,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    output_size: Sequence[int] | None,
) -> list[int]:
    """The size that max unpooling restores; a given one must lie within one stride of it."""
    rank = len(kernel_size)
    spatial = input.size()[-rank:]
    default = [
        (length - 1) * stride[axis] + kernel_size[axis] - 2 * padding[axis]
        for axis, length in enumerate(spatial)
    ]
    if output_size is None:
        return default
    if len(output_size) == rank + 2:
        output_size = output_size[2:]
    if len(output_size) != rank:
        raise ValueError(
            f"output_size should be a sequence containing {rank} or {rank + 2} elements, but it "
            f"has a length of '{len(output_size)}'"
        )
    for axis in range(rank):
        low, high = default[axis] - stride[axis], default[axis] + stride[axis]
        if not low < output_size[axis] < high:
            raise ValueError(
                f'invalid output_size "{output_size}" (dim {axis} must be between {low} and {high})'
            )
    return list(output_size)


def _unpool_arguments(
    rank: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> tuple[list[int], list[int], list[int]]:
    kernel = _spread(kernel_size, rank)
    step = kernel if stride is None else _spread(stride, rank)
    border = _spread(padding, rank)
    return _unpool_size(input, kernel, step, border, output_size), step, border


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put maxima back to where `max_pool1d` found them, zeros elsewhere."""
    size, _, _ = _unpool_arguments(1, input, kernel_size, stride, padding, output_size)
    plane = ops.max_unpool2d(input.unsqueeze(-1), indices.unsqueeze(-1), [*size, 1])
    return plane.squeeze(-1)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put maxima back to where `max_pool2d` found them, zeros elsewhere."""
    size, _, _ = _unpool_arguments(2, input, kernel_size, stride, padding, output_size)
    return ops.max_unpool2d(input, indices, size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put maxima back to where `max_pool3d` found them, zeros elsewhere."""
    arguments = _unpool_arguments(3, input, kernel_size, stride, padding, output_size)
    return ops.max_unpool3d(input, indices, *arguments)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of windows over (N, C, L)."""
    return _lp_pool(ops.avg_pool1d, 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of windows over (N, C, H, W)."""
    return _lp_pool(ops.avg_pool2d, 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of windows over (N, C, D, H, W)."""
    return _lp_pool(ops.avg_pool3d, 3, input, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(
    average: Any,
    rank: int,
    input: Tensor,
    norm_type: float,
    kernel_size: Any,
    stride: Any,
    ceil_mode: bool,
) -> Tensor:
    kernel = _spread(kernel_size, rank)
    step = kernel if stride is None else _spread(stride, rank)
    mean = average(input.pow(norm_type), kernel, step, [0] * rank, ceil_mode)
    count = 1
    for length in kernel:
        count *= length
    # relu of the magnitude keeps a negative mean of odd powers from giving nan, as sign restores it
    return (ops.sign(mean) * ops.relu(mean.abs())).mul(count).pow(1.0 / norm_type)


def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Maxima over windows of random size (Graham 2014), and their places."""
    return _fractional(
        ops.fractional_max_pool2d, 2, input, kernel_size, output_size, output_ratio, _random_samples
    )


def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Maxima over windows of random size (Graham 2014), and their places."""
    return _fractional(
        ops.fractional_max_pool3d, 3, input, kernel_size, output_size, output_ratio, _random_samples
    )


def fractional_max_pool2d(*args: Any, return_indices: bool = False, **kwargs: Any) -> Any:
    """Maxima over windows of random size; with `return_indices` their places too."""
    result = fractional_max_pool2d_with_indices(*args, **kwargs)
    return result if return_indices else result[0]


def fractional_max_pool3d(*args: Any, return_indices: bool = False, **kwargs: Any) -> Any:
    """Maxima over windows of random size; with `return_indices` their places too."""
    result = fractional_max_pool3d_with_indices(*args, **kwargs)
    return result if return_indices else result[0]


def _fractional(
    pool: Any,
    rank: int,
    input: Tensor,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    samples: Tensor | None,
) -> tuple[Tensor, Tensor]:
    if output_size is None and output_ratio is None:
        raise ValueError(
            f"fractional_max_pool{rank}d requires specifying either an output_size or an "
            "output_ratio"
        )
    if output_size is None:
        ratios = [output_ratio] * rank if isinstance(output_ratio, float) else list(output_ratio)
        spatial = input.size()[-rank:]
        output_size = [int(n * ratio) for n, ratio in zip(spatial, ratios, strict=True)]
    if samples is None:
        batch = 1 if input.dim() == rank + 1 else input.size(0)
        samples = ops.rand([batch, input.size(-rank - 1), rank], dtype=input.dtype)
    return pool(input, _spread(kernel_size, rank), _spread(output_size, rank), samples)
