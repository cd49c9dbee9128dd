"""Splits a program between an accelerator and the rest."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from flambeau import nn

from ..aliasing import Memory
from ..graph_module import GraphModule
from ..node import Node
from .operator_support import OperatorSupportBase
from .split_utils import split_by_tags
from .tools_common import CALLABLE_NODE_OPS, get_node_target, is_node_output_tensor

__all__ = [
    "FxNetAccNodesFinder",
    "FxNetSplitterInternalError",
    "SplitResult",
    "Subgraph",
    "_SplitterBase",
    "_SplitterSettingBase",
    "generate_inputs_for_submodules",
]


class FxNetSplitterInternalError(Exception):
    """Raised where a program cannot be split."""


@dataclasses.dataclass
class _SplitterSettingBase:
    """`min_acc_module_size`: the fewest nodes that are worth a part on the accelerator."""

    min_acc_module_size: int = 1
    skip_fusion: bool = False
    allow_non_tensor: bool = False


@dataclasses.dataclass
class Subgraph:
    """Nodes that run in one place."""

    is_acc: bool
    nodes: list[Node]
    device_ordinal: int | None = None


class SplitResult(NamedTuple):
    """A split program, inputs of its parts, and what the parts on the accelerator begin with."""

    split_module: GraphModule
    submodule_inputs: dict[str, Any]
    non_acc_submodule_prefix: str


class FxNetAccNodesFinder:
    """Calling it gives the nodes that an accelerator runs: those that are supported, and, unless
    `allow_non_tensor`, exchange nothing but tensors (`ShapeProp`) with nodes that are not.
    """

    def __init__(
        self,
        module: GraphModule,
        operator_support: OperatorSupportBase,
        allow_non_tensor: bool,
    ) -> None:
        self.module, self.operator_support = module, operator_support
        self.allow_non_tensor = allow_non_tensor

    def __call__(self) -> set[Node]:
        modules = dict(self.module.named_modules())
        self.acc_nodes = {
            node
            for node in self.module.graph.nodes
            if node.op in CALLABLE_NODE_OPS
            and self.operator_support.is_node_supported(modules, node)
        }
        if not self.allow_non_tensor:
            self._keep_tensors_at_borders()
        return self.acc_nodes

    def _keep_tensors_at_borders(self) -> None:
        """Takes out nodes at the border that give or get other values, and then their like."""
        others = [n for n in self.module.graph.nodes if _crosses(n) and n not in self.acc_nodes]
        while others:
            node = others.pop()
            near = [user for user in node.users if user in self.acc_nodes]
            near = [] if is_node_output_tensor(node) else near
            for read in node._input_nodes:
                if read in self.acc_nodes and not is_node_output_tensor(read):
                    near.append(read)
            self.acc_nodes.difference_update(near)
            others += near


def _crosses(node: Node) -> bool:
    return node.op not in ("get_attr", "output")


class _SplitterBase:
    """Splits a program into parts ``_run_on_acc_0``, ``_run_on_cpu_1``, … in the order in which
    they run. What the accelerator takes is what `operator_support` says.
    """

    def __init__(
        self,
        module: GraphModule,
        sample_input: Iterable[Any],
        operator_support: OperatorSupportBase,
        settings: _SplitterSettingBase | None = None,
        non_acc_submodule_name: str = "_run_on_cpu_",
        return_tuple: bool = False,
        nodes_finder: FxNetAccNodesFinder | None = None,
    ) -> None:
        self.module, self.sample_input = module, list(sample_input)
        self.operator_support = operator_support
        self.settings = settings or _SplitterSettingBase()
        self.non_acc_submodule_name = non_acc_submodule_name
        self.return_tuple = return_tuple
        if nodes_finder is None:
            allow = self.settings.allow_non_tensor or not _has_types(module)
            nodes_finder = FxNetAccNodesFinder(module, operator_support, allow)
        self.acc_nodes: set[Node] = nodes_finder()

    def node_support_preview(self, dump_graph: bool = False) -> str:
        """What is supported, by what the nodes call: a text."""
        modules = dict(self.module.named_modules())
        kinds: dict[bool, dict[str, None]] = {True: {}, False: {}}
        for node in self.module.graph.nodes:
            if node.op in CALLABLE_NODE_OPS:
                kinds[node in self.acc_nodes][get_node_target(modules, node)] = None
        lines = ["Supported node types in the model:", *(f"  {name}" for name in kinds[True])]
        lines += ["Unsupported node types in the model:", *(f"  {name}" for name in kinds[False])]
        return "\n".join(lines)

    def split_preview(self, dump_graph: bool = False) -> str:
        """The parts that a split makes: a text."""
        parts = self.put_nodes_into_subgraphs()
        count = sum(part.is_acc for part in parts)
        lines = [
            f"Splits {len(parts)} submodules: {count} on the accelerator, {len(parts) - count} not"
        ]
        for part, name in zip(parts, self._names(parts), strict=True):
            lines.append(f"  {name}: {len(part.nodes)} node(s)")
        return "\n".join(lines)

    def put_nodes_into_subgraphs(self) -> list[Subgraph]:
        """Nodes in groups that alternate between both places, each as early as it can be."""
        level: dict[Node, int] = {}
        groups: dict[int, list[Node]] = {}
        before = Memory(self.module.graph).order()
        for node in self.module.graph.nodes:
            needed = (*node._input_nodes, *before.get(node, ()))
            above = max((level[each] for each in needed), default=0)
            if node.op not in CALLABLE_NODE_OPS:
                level[node] = above
                continue
            # even levels are the accelerator's
            level[node] = above + (above % 2 if node in self.acc_nodes else 1 - above % 2)
            groups.setdefault(level[node], []).append(node)
        return [Subgraph(place % 2 == 0, groups[place]) for place in sorted(groups)]

    def remove_small_acc_subgraphs(self, subgraphs: list[Subgraph]) -> list[Subgraph]:
        """Parts on the accelerator with too few nodes join the part before them."""
        kept: list[Subgraph] = []
        for part in subgraphs:
            small = part.is_acc and len(part.nodes) < self.settings.min_acc_module_size
            is_acc = part.is_acc and not small
            if kept and kept[-1].is_acc == is_acc:
                kept[-1].nodes += part.nodes
            else:
                kept.append(Subgraph(is_acc, list(part.nodes)))
        return kept

    def _names(self, subgraphs: list[Subgraph]) -> list[str]:
        start = {True: "_run_on_acc_", False: self.non_acc_submodule_name}
        return [f"{start[part.is_acc]}{number}" for number, part in enumerate(subgraphs)]

    def tag(self, subgraphs: list[Subgraph]) -> list[str]:
        """Writes the names of the parts into the nodes' ``tag``; gives the names."""
        names = self._names(subgraphs)
        for part, name in zip(subgraphs, names, strict=True):
            for node in part.nodes:
                node.tag = name
        return names

    def __call__(self) -> GraphModule:
        """The program as calls of its parts."""
        parts = self.remove_small_acc_subgraphs(self.put_nodes_into_subgraphs())
        return split_by_tags(self.module, self.tag(parts), return_tuple=self.return_tuple)

    def generate_split_results(self) -> SplitResult:
        """The split program, and what its parts get for the sample input."""
        split = self()
        names = [name for name, _ in split.named_children()]
        return SplitResult(
            split,
            generate_inputs_for_submodules(split, self.sample_input, names),
            self.non_acc_submodule_name,
        )


def _has_types(module: GraphModule) -> bool:
    """Whether a pass has noted the types of values."""
    return any("type" in node.meta for node in module.graph.nodes)


def generate_inputs_for_submodules(
    model: nn.Module,
    inputs: Sequence[Any],
    target_submodules: Iterable[str],
    deepcopy: bool = False,
) -> dict[str, Any]:
    """What submodules get when the model runs on `inputs`, by their paths; with `deepcopy`, as it
    was before they ran.
    """
    found: dict[str, Any] = {}
    hooks = []
    for name in target_submodules:

        def note(_: Any, args: Any, name: str = name) -> None:
            found[name] = copy.deepcopy(args) if deepcopy else args

        hooks.append(model.get_submodule(name).register_forward_pre_hook(note))
    try:
        model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found
