"""Passes as plain functions in a row: PyTorch's older manager."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from .infra.pass_base import PassResult
from .infra.pass_manager import PassManager as _Base
from .infra.pass_manager import this_before_that_pass_constraint

__all__ = [
    "PassManager",
    "inplace_wrapper",
    "log_hook",
    "loop_pass",
    "these_before_those_pass_constraint",
    "this_before_that_pass_constraint",
]

_log = logging.getLogger(__name__)


def inplace_wrapper(fn: Callable) -> Callable:
    """A pass that gives its argument, of a function that changes it."""

    def wrapped(gm: Any) -> Any:
        fn(gm)
        return gm

    wrapped.__name__ = getattr(fn, "__name__", type(fn).__name__)
    return wrapped


def log_hook(fn: Callable, level: int = logging.INFO) -> Callable:
    """A pass that logs its name when it has run."""

    @functools.wraps(fn)
    def wrapped(source: Any) -> Any:
        result = fn(source)
        _log.log(level, "ran the pass %s", getattr(fn, "__name__", type(fn).__name__))
        return result

    return wrapped


def loop_pass(
    base_pass: Callable, n_iter: int | None = None, predicate: Callable | None = None
) -> Callable:
    """A pass that repeats another, `n_iter` times or as long as `predicate` of its result holds."""
    if (n_iter is None) == (predicate is None):
        raise AssertionError("Exactly one of `n_iter`or `predicate` must be specified.")

    def looped(source: Any) -> Any:
        if predicate is None:
            for _ in range(n_iter or 0):
                source = base_pass(source)
            return source
        while predicate(source):
            source = base_pass(source)
        return source

    return looped


def these_before_those_pass_constraint(these: Callable, those: Callable) -> Callable:
    """A constraint: passes for which `these` holds come before those for which `those` does."""
    return lambda a, b: not (those(a) and these(b))


class PassManager(_Base):
    """Runs functions from modules to modules one after the other."""

    def __init__(
        self, passes: list[Callable] | None = None, constraints: list[Callable] | None = None
    ) -> None:
        super().__init__(passes, constraints)

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

    def replace_pass(self, _target: Callable, _replacement: Callable) -> None:
        """Puts a pass in the place of all those with the name of another."""
        self.passes = [
            _replacement if each.__name__ == _target.__name__ else each for each in self.passes
        ]

    def _run(self, each: Callable, module: Any) -> PassResult:
        return PassResult(each(module), False)

    def __call__(self, module: Any) -> Any:
        return super().__call__(module).graph_module
