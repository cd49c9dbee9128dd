"""Ops of the user's own: PyTorch's `torch.library`."""

from .keys import DispatchKey, DispatchKeySet
from .library import (
    Library,
    define,
    impl,
    register_autocast,
    register_autograd,
    register_fake,
    register_kernel,
)
from .op import CustomOp, custom_op
from .schema import infer_schema

__all__ = [
    "CustomOp",
    "DispatchKey",
    "DispatchKeySet",
    "Library",
    "custom_op",
    "define",
    "impl",
    "infer_schema",
    "register_autocast",
    "register_autograd",
    "register_fake",
    "register_kernel",
]
