"""Marks of PyTorch's for its own releases: accepted, and without effect."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["compatibility"]


def compatibility(is_backward_compatible: bool) -> Callable:
    """A decorator that changes nothing."""
    return lambda marked: marked
