"""Flattening and its inverse."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from .module import Module


class Flatten(Module):
    """Merges the dimensions from `start_dim` to `end_dim`."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits the dimension `dim` into several."""

    def __init__(self, dim: int | str, unflattened_size: Any) -> None:
        super().__init__()
        if isinstance(dim, int):
            _check_sizes(unflattened_size)
        elif isinstance(dim, str):
            _check_named_sizes(unflattened_size)
        else:
            raise TypeError("invalid argument type for dim parameter")
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


def _check_sizes(sizes: Any) -> None:
    if not isinstance(sizes, tuple | list):
        raise TypeError(
            f"unflattened_size must be a tuple of ints, but found type {type(sizes).__name__}"
        )
    for place, each in enumerate(sizes):
        if not isinstance(each, int):
            raise TypeError(
                "unflattened_size must be tuple of ints, but found element of type "
                f"{type(each).__name__} at pos {place}"
            )


def _check_named_sizes(sizes: Any) -> None:
    if not isinstance(sizes, tuple):
        raise TypeError(
            f"unflattened_size must be a tuple of tuples, but found type {type(sizes).__name__}"
        )
    for place, each in enumerate(sizes):
        if not isinstance(each, tuple):
            raise TypeError(
                "unflattened_size must be tuple of tuples, but found element of type "
                f"{type(each).__name__} at pos {place}"
            )
