"""Inputs that are trees, taken apart by the shape that was traced: PyTorch's `torch.fx._pytree`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.types import pytree

from .faces import find_proxy

__all__ = ["register_pytree_flatten_spec", "tree_flatten_spec"]

# For classes with a rule of their own: what takes a value apart along a spec.
_rules: dict[type, Callable[[Any, pytree.TreeSpec], list[Any]]] = {}


def register_pytree_flatten_spec(
    cls: type,
    flatten_fn_spec: Callable[[Any, pytree.TreeSpec], list[Any]],
    flatten_fn_exact_match_spec: Callable[[Any, pytree.TreeSpec], bool] | None = None,
) -> None:
    """Says how values of a class are taken apart along a spec; the last function may refuse them,
    by False.
    """

    def rule(value: Any, spec: pytree.TreeSpec) -> list[Any]:
        if flatten_fn_exact_match_spec and not flatten_fn_exact_match_spec(value, spec):
            raise ValueError(f"the program was traced with another {cls.__name__}")
        return flatten_fn_spec(value, spec)

    _rules[cls] = rule


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
    is_traced = find_proxy((tree,)) is tree
    if spec.type in _rules:
        children = _rules[spec.type](tree, spec)
    elif issubclass(spec.type, dict) and (is_traced or isinstance(tree, dict)):
        keys = spec.context[1] if spec.context and isinstance(spec.context, tuple) else spec.context
        children = [tree[key] for key in keys]
    elif is_traced:
        children = [tree[place] for place in range(len(spec.children_specs))]
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
