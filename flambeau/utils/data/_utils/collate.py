"""PyTorch's path to what joins samples."""

from flambeau.data import (
    collate,
    default_collate,
    default_collate_fn_map,
    default_convert,
)

__all__ = [
    "collate",
    "default_collate",
    "default_collate_fn_map",
    "default_convert",
]
