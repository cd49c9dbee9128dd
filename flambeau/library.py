"""Ops of the user's own: PyTorch's `torch.library`."""

from flambeau._base import missing
from flambeau.custom import (
    CustomOp,
    Library,
    custom_op,
    define,
    impl,
    infer_schema,
    register_autocast,
    register_autograd,
    register_fake,
    register_kernel,
)

CustomOpDef, impl_abstract = CustomOp, register_fake
__getattr__ = missing(globals())
__all__ = [
    "CustomOpDef",
    "Library",
    "custom_op",
    "define",
    "impl",
    "impl_abstract",
    "infer_schema",
    "register_autocast",
    "register_autograd",
    "register_fake",
    "register_kernel",
]
