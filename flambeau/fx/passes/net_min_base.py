"""Finds the smallest part of a program on which two ways to run it disagree."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable
from typing import Any

from ..graph_module import GraphModule
from ..interpreter import Interpreter
from ..node import Node
from .tools_common import CALLABLE_NODE_OPS
from .utils.fuser_utils import fuse_as_graphmodule

__all__ = [
    "FxNetMinimizerBadModuleError",
    "FxNetMinimizerResultMismatchError",
    "FxNetMinimizerRunFuncError",
    "_MinimizerBase",
    "_MinimizerSettingBase",
]


class FxNetMinimizerBadModuleError(Exception):
    """A part of the program could not be made a module."""


class FxNetMinimizerRunFuncError(Exception):
    """One of the two ways failed."""


class FxNetMinimizerResultMismatchError(Exception):
    """The results differ."""


@dataclasses.dataclass
class _MinimizerSettingBase:
    """`traverse_method` is how parts are tried: see `_MinimizerBase.minimize`."""

    accumulate_error: bool = False
    traverse_method: str = "sequential"
    find_all: bool = False
    return_intermediate: bool = False
    all_outputs: bool = False


class _MinimizerBase:
    """Runs parts of a program in two ways, `run_a` and `run_b`, which subclasses define.

    `compare_fn(a, b, names)` gives a number and whether the results agree. A part gets the
    values that the program has there, those of `run_a` where `accumulate_error` is set.
    """

    def __init__(
        self,
        module: GraphModule,
        sample_input: Any,
        compare_fn: Callable[[Any, Any, list[str]], tuple[float, bool]],
        settings: _MinimizerSettingBase,
        module_exporter: Callable | None = None,
        exclusion_fn: Callable | None = None,
    ) -> None:
        self.module, self.sample_input = module, tuple(sample_input)
        self.compare_fn, self.settings = compare_fn, settings
        self.module_exporter, self.exclusion_fn = module_exporter, exclusion_fn
        self.results: dict[str, float] = {}
        self.reports: list[list[str]] = []
        self.values = self._values()

    def _values(self) -> dict[Node, Any]:
        keeping = Interpreter(self.module, garbage_collect_values=False)
        keeping.run(*self.sample_input)
        return keeping.env

    def run_a(self, mod: GraphModule, inputs: Any, report_idx: int = -1) -> Any:
        """The reference. To be overridden."""
        raise RuntimeError("run_a() is not implemented.")

    def run_b(self, mod: GraphModule, inputs: Any, report_idx: int = -1) -> Any:
        """What is examined. To be overridden."""
        raise RuntimeError("run_b() is not implemented.")

    def _disagree(self, nodes: list[Node]) -> bool:
        """Whether the results differ on these nodes alone."""
        try:
            part, inputs, outputs = fuse_as_graphmodule(self.module, nodes, "minimized")
        except AssertionError as error:
            raise FxNetMinimizerBadModuleError(str(error)) from error
        if not outputs:
            return False
        values = tuple(self.values[node] for node in inputs)
        names = [node.name for node in outputs]
        try:
            results = self.run_a(part, values), self.run_b(part, values)
        except Exception as error:
            raise FxNetMinimizerRunFuncError(f"while running {names}: {error}") from error
        number, same = self.compare_fn(*results, names)
        self.results[", ".join(names)] = number
        self.reports.append([f"{names}: {'same' if same else 'different'} ({number})"])
        if self.settings.accumulate_error:
            made = results[0] if len(outputs) > 1 else (results[0],)
            self.values.update(zip(outputs, made, strict=True))
        return not same

    def minimize(
        self,
        start: str | None = None,
        end: str | None = None,
        skip_nodes: list | None = None,
        find_last_node: bool | None = None,
    ) -> set[Node]:
        """The nodes between `start` and `end` (by name, both included) that make the difference.

        ``sequential`` tries each node, ``accumulate`` the first ones, one more each time,
        ``binary`` halves, ``skip`` tries the stretches between the nodes named `skip_nodes`, which
        the others leave out. ``block`` searches for the shortest stretch that differs: its end,
        its beginning (`find_last_node` says which), or both.
        """
        nodes = self._collect_nodes(start, end)
        method = self.settings.traverse_method
        if method == "skip":
            return self._between(nodes, set(skip_nodes or ()))
        nodes = [node for node in nodes if node.name not in (skip_nodes or ())]
        if method == "block":
            return self._block(nodes, find_last_node)
        if method == "sequential":
            return self._sequential(nodes)
        if method == "accumulate":
            return self._accumulated(nodes)
        if method == "binary":
            return self._halved(nodes) if nodes and self._disagree(nodes) else set()
        raise RuntimeError(f"Unknown traverse method {method}!")

    def _sequential(self, nodes: list[Node]) -> set[Node]:
        found: set[Node] = set()
        for node in nodes:
            if self._disagree([node]):
                found.add(node)
                if not self.settings.find_all:
                    break
        return found

    def _accumulated(self, nodes: list[Node]) -> set[Node]:
        for count in range(1, len(nodes) + 1):
            if self._disagree(nodes[:count]):
                return {nodes[count - 1]}
        return set()

    def _halved(self, nodes: list[Node]) -> set[Node]:
        if len(nodes) == 1:
            return set(nodes)
        middle = len(nodes) // 2
        found: set[Node] = set()
        for half in (nodes[:middle], nodes[middle:]):
            if self._disagree(half):
                found |= self._halved(half)
                if not self.settings.find_all:
                    return found
        return found or set(nodes)  # only together they differ

    def _between(self, nodes: list[Node], skipped: set[str]) -> set[Node]:
        stretches: list[list[Node]] = [[]]
        for node in nodes:
            if node.name in skipped:
                stretches.append([])
            else:
                stretches[-1].append(node)
        found: set[Node] = set()
        for stretch in stretches:
            if stretch and self._disagree(stretch):
                found.update(stretch)
                if not self.settings.find_all:
                    break
        return found

    def _block(self, nodes: list[Node], find_last_node: bool | None) -> set[Node]:
        if not nodes or not self._disagree(nodes):
            return set()
        first, last = 0, len(nodes)
        if find_last_node is not False:  # the shortest beginning that differs
            last = 1 + bisect.bisect_left(
                range(1, len(nodes)), True, key=lambda end: self._disagree(nodes[:end])
            )
        if find_last_node is not True:  # the shortest end of that
            first = (
                last
                - 1
                - bisect.bisect_left(
                    range(1, last), True, key=lambda size: self._disagree(nodes[last - size : last])
                )
            )
        return set(nodes[first:last])

    def _collect_nodes(self, start: str | None, end: str | None) -> list[Node]:
        nodes = [node for node in self.module.graph.nodes if node.op in CALLABLE_NODE_OPS]
        names = [node.name for node in nodes]
        for name in (start, end):
            if name is not None and name not in names:
                raise RuntimeError(f"no node is called {name}")
        first = names.index(start) if start else 0
        last = names.index(end) if end else len(nodes) - 1
        return nodes[first : last + 1]

    def run_nodes(self, start: str | None = None, end: str | None = None) -> None:
        """Raises FxNetMinimizerResultMismatchError where the nodes differ, as one part."""
        nodes = self._collect_nodes(start, end)
        if self._disagree(nodes):
            raise FxNetMinimizerResultMismatchError(self.reports[-1][0])
