"""Passes in a row."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from flambeau import nn

from .pass_base import PassResult

__all__ = ["PassManager", "pass_result_wrapper", "this_before_that_pass_constraint"]


def pass_result_wrapper(fn: Callable) -> Callable:
    """A pass that gives a `PassResult`, of a function that changes its argument or gives a new
    module.
    """
    if fn is None:
        raise AssertionError("there is no pass")

    def wrapped(gm: Any) -> PassResult:
        result = fn(gm)
        if isinstance(result, PassResult):
            return result
        return PassResult(result if isinstance(result, nn.Module) else gm, True)

    wrapped.__name__ = getattr(fn, "__name__", type(fn).__name__)
    return wrapped


def this_before_that_pass_constraint(this: Callable, that: Callable) -> Callable:
    """A constraint: `this` comes before `that`."""

    def holds(a: Callable, b: Callable) -> bool:
        return not (a is that and b is this)

    return holds


class PassManager:
    """Runs passes one after the other, `steps` times or until nothing changes.

    Constraints are functions of two passes that say whether the first may come before the second.
    """

    def __init__(
        self,
        passes: list[Callable] | None = None,
        constraints: list[Callable[[Callable, Callable], bool]] | None = None,
        steps: int | None = None,
        run_checks_after_each_pass: bool = False,
        suppress_check_failures: bool = False,
    ) -> None:
        self.passes = list(passes or [])
        self.constraints = list(constraints or [])
        self.steps = 1 if steps is None else steps
        self.run_checks_after_each_pass = run_checks_after_each_pass
        self.suppress_check_failures = suppress_check_failures

    def add_pass(self, _pass: Callable) -> None:
        """Adds a pass at the end."""
        self.passes.append(_pass)

    def add_constraint(self, constraint: Callable) -> None:
        """Adds a constraint. RuntimeError where the order breaks it."""
        self.constraints.append(constraint)
        self.validate_constraints()

    def validate_constraints(self) -> None:
        """Raises RuntimeError where the order of the passes breaks a constraint."""
        for constraint in self.constraints:
            for place, first in enumerate(self.passes):
                for second in self.passes[place + 1 :]:
                    if not constraint(first, second):
                        raise RuntimeError(
                            f"pass schedule constraint violated. Expected {_name(second)} before "
                            f"{_name(first)}"
                        )

    def solve_constraints(self) -> None:
        """Puts the passes in an order that keeps the constraints; RuntimeError where none does."""
        waiting, ordered = list(self.passes), []
        while waiting:
            free = next(
                (
                    each
                    for each in waiting
                    if all(c(each, other) for c in self.constraints for other in waiting)
                ),
                None,
            )
            if free is None:
                raise RuntimeError(f"Circular dependency detected among {[*map(_name, waiting)]}")
            waiting.remove(free)
            ordered.append(free)
        self.passes = ordered

    def add_checks(self, check: Callable[[nn.Module], Any]) -> None:
        """Makes a function of a module the check that passes are followed by.

        ValueError where it does not take exactly one argument.
        """
        if len(inspect.signature(check).parameters) != 1:
            raise ValueError("check function should only have 1 argument: a GraphModule")
        self.check = check  # type: ignore

    def check(self, module: nn.Module) -> None:
        """Called before the passes, and after each where that is asked for. Overridable."""

    def __call__(self, module: nn.Module) -> PassResult:
        self.validate_constraints()
        self.check(module)
        modified = False
        for _ in range(self.steps):
            changed = False
            for each in self.passes:
                result = self._run(each, module)
                module, changed = result.graph_module, changed or result.modified
                if self.run_checks_after_each_pass:
                    self.check(module)
            modified = modified or changed
            if not changed:
                break
        return PassResult(module, modified)  # type: ignore[arg-type]

    def _run(self, each: Callable, module: nn.Module) -> PassResult:
        try:
            result = each(module)
        except Exception as error:
            raise RuntimeError(
                f"An error occurred when running the {_name(each)!r} pass"
            ) from error
        if not isinstance(result, PassResult):
            raise TypeError(
                f"The result of the pass {_name(each)} should be type PassResult. Please wrap it "
                "with pass_result_wrapper()"
            )
        return result


def _name(each: Callable) -> str:
    return getattr(each, "__name__", type(each).__name__)
