"""Programs made faster for inference."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from flambeau import nn
from flambeau.nn import utils as nn_utils

from .._symbolic_trace import Tracer, symbolic_trace
from ..graph import Graph
from ..graph_module import GraphModule
from ..interpreter import Transformer
from ..node import Node

__all__ = [
    "extract_subgraph",
    "fuse",
    "matches_module_pattern",
    "optimize_for_inference",
    "remove_dropout",
    "replace_node_module",
]

_PATTERNS = (
    (nn.Conv1d, nn.BatchNorm1d),
    (nn.Conv2d, nn.BatchNorm2d),
    (nn.Conv3d, nn.BatchNorm3d),
)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def _parent_name(target: str) -> tuple[str, str]:
    """The path of what holds a path, and the last name."""
    parent, _, name = target.rpartition(".")
    return parent, name


def matches_module_pattern(pattern: Iterable[type], node: Node, modules: dict[str, Any]) -> bool:
    """Whether `node` calls a module of the second type on a call of one of the first."""
    if not node.args or type(node.args[0]) is not Node:
        return False
    for kind, current in zip(pattern, (node.args[0], node), strict=True):
        if current.op != "call_module" or type(modules.get(current.target)) is not kind:
            return False
    return True


def replace_node_module(node: Node, modules: dict[str, Any], new_module: nn.Module) -> None:
    """Puts a module in the place of the one that `node` calls."""
    parent, name = _parent_name(node.target)
    modules[node.target] = new_module
    setattr(modules[parent], name, new_module)


def fuse(model: nn.Module, inplace: bool = False, no_trace: bool = False) -> GraphModule:
    """Folds batch norms into the convolutions before them; the model must be in eval mode.

    A convolution that somebody else reads, or that is called twice, stays. `inplace` changes the
    model's own modules; `no_trace` takes a `GraphModule` as it is.
    """
    model = model if inplace else copy.deepcopy(model)
    traced = model if no_trace or isinstance(model, GraphModule) else symbolic_trace(model)
    assert isinstance(traced, GraphModule)
    modules: dict[str, Any] = dict(traced.named_modules())
    calls: dict[str, int] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module":
            calls[node.target] = calls.get(node.target, 0) + 1
    for node in list(traced.graph.nodes):
        if not any(matches_module_pattern(pair, node, modules) for pair in _PATTERNS):
            continue
        first = node.args[0]
        conv, norm = modules[first.target], modules[node.target]
        shared = len(first.users) > 1 or calls[first.target] > 1 or calls[node.target] > 1
        if shared or not norm.track_running_stats or norm.training:
            continue
        replace_node_module(first, modules, nn_utils.fuse_conv_bn_eval(conv, norm))
        node.replace_all_uses_with(first)
        traced.graph.erase_node(node)
        traced.delete_submodule(node.target)
    traced.graph.lint()
    traced.recompile()
    return traced


def remove_dropout(model: nn.Module) -> GraphModule:
    """The model without its dropout modules."""
    traced = model if isinstance(model, GraphModule) else symbolic_trace(model)

    class Without(Transformer):
        def call_module(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
            if isinstance(self.submodules[target], _DROPOUTS):
                return args[0]
            return super().call_module(target, args, kwargs)

    return Without(traced).transform()


def optimize_for_inference(
    model: nn.Module,
    pass_config: dict[str, Any] | None = None,
    tracer: type[Tracer] = Tracer,
) -> GraphModule:
    """The model with batch norms folded (``conv_bn_fuse``) and without dropout
    (``remove_dropout``), unless `pass_config` says False to these. It must be in eval mode; it is
    not changed.

    RuntimeError for other passes: memory orders are the kernels' own business here, so that
    ``mkldnn_layout_optimize`` can only be False.
    """
    config: dict[str, Any] = {"conv_bn_fuse": True, "remove_dropout": True}
    config |= {k: v for k, v in (pass_config or {}).items() if (k, v) != (_LAYOUTS, False)}
    unknown = config.keys() - {"conv_bn_fuse", "remove_dropout"}
    if unknown:
        raise RuntimeError(f"there are no such passes: {', '.join(sorted(unknown))}")
    traced = tracer()
    graph = traced.trace(copy.deepcopy(model))
    made = GraphModule(traced.root, graph)
    if config["conv_bn_fuse"]:
        made = fuse(made, inplace=True, no_trace=True)
    return remove_dropout(made) if config["remove_dropout"] else made


_LAYOUTS = "mkldnn_layout_optimize"


def extract_subgraph(
    orig_module: nn.Module, nodes: list[Node], inputs: list[Node], outputs: list[Node]
) -> GraphModule:
    """A module of some nodes of a program, which takes `inputs` and gives `outputs`."""
    graph = Graph()
    values: dict[Node, Node] = {node: graph.placeholder(node.name) for node in inputs}
    for node in nodes:
        values[node] = graph.node_copy(node, values.__getitem__)
    graph.output([values[node] for node in outputs])
    graph.lint()
    return GraphModule(orig_module, graph)
