"""What modules hold, by the kind of module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau import nn

from ..graph_module import GraphModule

__all__ = ["default_matching", "extract_attrs_for_lowering", "lift_lowering_attrs_to_nodes"]


def default_matching(name: str, target_version: int) -> str:
    """The name of an attribute in an older version of a module: the same."""
    return name


# Attributes of layers: the version of their layout, their names, and how to find older names.
module_fetch_book: dict[type, tuple[int, list[str], Callable[[str, int], str]]] = {
    nn.Linear: (1, ["weight", "bias"], default_matching),
    nn.Conv2d: (
        1,
        [
            "weight",
            "bias",
            "kernel_size",
            "stride",
            "padding",
            "dilation",
            "groups",
            "padding_mode",
        ],
        default_matching,
    ),
    nn.BatchNorm2d: (
        2,
        ["weight", "bias", "running_mean", "running_var", "eps"],
        default_matching,
    ),
    nn.AdaptiveAvgPool2d: (1, [], default_matching),
    nn.MaxPool2d: (
        1,
        ["kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"],
        default_matching,
    ),
    nn.ReLU: (1, ["inplace"], default_matching),
}


def extract_attrs_for_lowering(mod: nn.Module) -> dict[str, Any]:
    """A layer's parameters and settings, and its type's name. RuntimeError for older ones."""
    attributes: dict[str, Any] = {"name": f"{type(mod).__module__}.{type(mod).__qualname__}"}
    if type(mod) not in module_fetch_book:
        return attributes
    version, names, matching = module_fetch_book[type(mod)]
    if mod._version < version:
        raise RuntimeError(
            f"{type(mod).__name__} is of version {mod._version}; version {version} is known here"
        )
    for name in names:
        attributes[name] = getattr(mod, matching(name, mod._version))
    return attributes


def lift_lowering_attrs_to_nodes(fx_module: GraphModule) -> None:
    """Puts layers' attributes into ``node.attrs_for_lowering`` of the nodes that call them."""
    modules = dict(fx_module.named_modules())
    for node in fx_module.graph.nodes:
        if node.op != "call_module":
            continue
        module = modules[node.target]
        if isinstance(module, GraphModule):
            lift_lowering_attrs_to_nodes(module)
        else:
            node.attrs_for_lowering = extract_attrs_for_lowering(module)
