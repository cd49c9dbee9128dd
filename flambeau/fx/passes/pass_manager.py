"""Passes as plain functions in a row: PyTorch's older manager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .infra.pass_base import PassResult
from .infra.pass_manager import PassManager as _Base
from .infra.pass_manager import this_before_that_pass_constraint

__all__ = ["PassManager", "inplace_wrapper", "this_before_that_pass_constraint"]


def inplace_wrapper(fn: Callable) -> Callable:
    """A pass that gives its argument, of a function that changes it."""

    def wrapped(gm: Any) -> Any:
        fn(gm)
        return gm

    wrapped.__name__ = getattr(fn, "__name__", type(fn).__name__)
    return wrapped


class PassManager(_Base):
    """Runs functions from modules to modules one after the other."""

    @classmethod
    def build_from_passlist(cls, passes: list[Callable]) -> PassManager:
        """A manager of these passes, without constraints."""
        return cls(passes)

    def validate(self) -> None:
        """Raises RuntimeError where the order breaks a constraint."""
        self.validate_constraints()

    def remove_pass(self, _passes: list[str]) -> None:
        """Removes passes by their names."""
        self.passes = [each for each in self.passes if each.__name__ not in _passes]

    def _run(self, each: Callable, module: Any) -> PassResult:
        return PassResult(each(module), False)

    def __call__(self, module: Any) -> Any:
        return super().__call__(module).graph_module
