"""Inputs that are trees, taken apart by the shape that was traced: PyTorch's `torch.fx._pytree`."""

from __future__ import annotations

from typing import Any

from flambeau.types import pytree

__all__ = ["tree_flatten_spec"]


def tree_flatten_spec(tree: Any, spec: pytree.TreeSpec) -> list[Any]:
    """The leaves of `tree` along `spec`: what lies below a leaf of `spec` stays together.

    Dicts are read by the keys of `spec`: their order does not matter. KeyError and ValueError
    where something is missing.
    """
    leaves: list[Any] = []
    _flatten(tree, spec, leaves)
    return leaves


def _flatten(tree: Any, spec: pytree.TreeSpec, leaves: list[Any]) -> None:
    if spec.type is None:
        leaves.append(tree)
        return
    if issubclass(spec.type, dict) and isinstance(tree, dict):
        keys = spec.context[1] if spec.context and isinstance(spec.context, tuple) else spec.context
        children = [tree[key] for key in keys]
    else:
        definition = pytree.node_def(type(tree))
        if definition is None:
            raise ValueError(
                f"the program was traced with a {spec.type.__name__} where a "
                f"{type(tree).__name__} was given"
            )
        children = definition.flatten(tree)[0]
    if len(children) != len(spec.children_specs):
        raise ValueError(
            f"the program was traced with {len(spec.children_specs)} values in a "
            f"{spec.type.__name__} where {len(children)} were given"
        )
    for child, child_spec in zip(children, spec.children_specs, strict=True):
        _flatten(child, child_spec, leaves)
