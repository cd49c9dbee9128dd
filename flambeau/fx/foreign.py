"""GraphModules in pickles that PyTorch wrote: these hold the program as text, which is traced."""

from __future__ import annotations

import ast
from typing import Any

from flambeau import nn

from ._symbolic_trace import Tracer
from .graph_module import GraphModule
from .names import PACKAGE, torch

__all__ = ["reduce_graph_module"]


class _ModulesAsTheyAre(Tracer):
    """Takes every module for a leaf."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _as_ours(imports: str) -> str:
    """Import lines of a program that PyTorch printed, with flambeau for torch."""
    tree = ast.parse(imports)
    for line in tree.body:
        if isinstance(line, ast.ImportFrom) and line.module is not None:
            line.module = _our_name(line.module)
        elif isinstance(line, ast.Import):
            for each in line.names:
                each.asname = each.asname or (each.name if each.name == "torch" else None)
                each.name = _our_name(each.name)
    return ast.unparse(tree) + "\n"


def _our_name(module: str) -> str:
    first, dot, rest = module.partition(".")
    return f"{PACKAGE}{dot}{rest}" if first == "torch" else module


# What PyTorch keeps in a GraphModule beside what modules have.
_PRIVATE = (
    "_tracer_cls _lineno_map _prologue_start _replace_hooks _create_node_hooks _erase_node_hooks "
    "_deepcopy_hooks shape_env"
).split()


def reduce_graph_module(body: dict[str, Any], import_block: str) -> GraphModule:
    """The module of a pickle of PyTorch's, which holds the program as text: it is traced again."""
    state = dict(body)
    code = state.pop("_code", None) or state.pop("code")
    name = state.pop("_graphmodule_cls_name", "GraphModule")
    extras = state.pop("_tracer_extras", None) or {}
    for key in _PRIVATE:
        state.pop(key, None)
    space: dict[str, Any] = {"torch": torch()}
    exec(compile(_as_ours(import_block) + code, "<a pickled program>", "exec"), space)
    holder = type(name, (nn.Module,), {"forward": space["forward"]})()
    holder.__setstate__(state)
    graph = _ModulesAsTheyAre().trace(holder, **extras)
    made = GraphModule(holder, graph, name)
    made.__dict__.update({k: v for k, v in state.items() if k not in made.__dict__})
    return made
