"""Kernels to machine code: schedules, LLVM text, cached functions. And what programs ask of
PyTorch's `torch.compiler`.
"""

from flambeau._base import annotations

from . import convolution, products
from .build import Built, Plan, Stage, build, link, plan

disable, is_compiling = annotations.disable, annotations.is_compiling
is_dynamo_compiling, is_exporting = annotations.is_dynamo_compiling, annotations.is_exporting
__all__ = ["Built", "Plan", "Stage", "build", "convolution", "link", "plan", "products"]
