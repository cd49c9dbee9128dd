"""Kernels to machine code: schedules, LLVM text, cached functions."""

from . import convolution, products
from .build import Built, Plan, Stage, build, link, plan

__all__ = ["Built", "Plan", "Stage", "build", "convolution", "link", "plan", "products"]
