"""Names of reductions as the numbers that loss ops take: PyTorch's `torch.nn._reduction`."""

from __future__ import annotations

from .functions.loss import reduction_code, reduction_name


def get_enum(reduction: str) -> int:
    """0 for none, 1 for mean, 2 for sum."""
    return reduction_code(reduction)


def legacy_get_string(
    size_average: bool | None, reduce: bool | None, emit_warning: bool = True
) -> str:
    """The reduction that two older switches mean."""
    return reduction_name(size_average, reduce, emit_warning)


def legacy_get_enum(
    size_average: bool | None, reduce: bool | None, emit_warning: bool = True
) -> int:
    """Its number."""
    return get_enum(legacy_get_string(size_average, reduce, emit_warning))
