"""Nodes annotated with the types that signatures promise."""

from __future__ import annotations

import inspect
from typing import Any

from flambeau import nn
from flambeau.tensor import Tensor

from ..interpreter import Transformer
from ..names import FUNCTIONAL, public_name
from ..operator_schemas import returned_type

__all__ = ["AnnotateTypesWithSchema"]


class AnnotateTypesWithSchema(Transformer):
    """Gives nodes without a type the one that what they call returns, or that they read.

    `annotate_functionals`: functions of nn.functional too; `annotate_modules`: calls of modules;
    `annotate_get_attrs`: reads of attributes.
    """

    def __init__(
        self,
        module: nn.Module,
        annotate_functionals: bool = True,
        annotate_modules: bool = True,
        annotate_get_attrs: bool = True,
    ) -> None:
        super().__init__(module)  # type: ignore[arg-type]
        self.annotate_functionals = annotate_functionals
        self.annotate_modules = annotate_modules
        self.annotate_get_attrs = annotate_get_attrs

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        made = super().call_function(target, args, kwargs)
        functional = (public_name(target) or "").startswith(FUNCTIONAL)
        if self.annotate_functionals or not functional:
            made.node.type = made.node.type or returned_type(target)
        return made

    def call_module(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        made = super().call_module(target, args, kwargs)
        if self.annotate_modules:
            forward = inspect.unwrap(type(self.fetch_attr(target)).forward)
            made.node.type = made.node.type or returned_type(forward)
        return made

    def get_attr(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        made = super().get_attr(target, args, kwargs)
        if self.annotate_get_attrs:
            value = self.fetch_attr(target)
            kind = Tensor if isinstance(value, Tensor) else type(value)
            made.node.type = made.node.type or kind
        return made
