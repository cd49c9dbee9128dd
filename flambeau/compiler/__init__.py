"""Kernels to machine code: schedules, LLVM text, cached functions. And what programs ask of
PyTorch's `torch.compiler`.
"""

from flambeau._base import annotations, missing

from . import convolution, plain, products
from .build import PIECE, Built, Plan, Stage, build, link, plan

disable, is_compiling = annotations.disable, annotations.is_compiling
is_dynamo_compiling, is_exporting = annotations.is_dynamo_compiling, annotations.is_exporting
allow_in_graph = assume_constant_result = annotations.unchanged
__getattr__ = missing(
    globals(),
    later=dict.fromkeys(
        (
            "compile",
            "cudagraph_mark_step_begin",
            "list_backends",
            "load_cache_artifacts",
            "load_compiled_function",
            "reset",
            "save_cache_artifacts",
            "set_stance",
        ),
        "flambeau.graph",
    ),
)
__all__ = [
    "PIECE", "Built", "Plan", "Stage", "build", "convolution", "link", "plain", "plan", "products",
]  # fmt: skip
