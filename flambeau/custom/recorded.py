"""How custom ops are recorded: as a `Function`, whose backward is the user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.tensor import function
from flambeau.types import pytree


def recorder(op: Any) -> Callable[[Sequence[Any]], Any]:
    """The function that performs a custom op on its arguments, and records it."""

    class Recorded(function.Function):
        """Takes the arguments and their lists' elements one by one, behind the tree of them; gives
        the results in the same way, and keeps their tree."""

        @staticmethod
        def forward(ctx: Any, spec: Any, trees: list, *leaves: Any) -> Any:
            args = pytree.tree_unflatten(leaves, spec)
            ctx.spec = spec
            result = op.run(args)
            found, ctx.results_spec = pytree.tree_flatten(result)
            trees.append(ctx.results_spec)
            if op._setup is not None:
                names = {"keyword_only_inputs": op.keywords(args)}
                inputs = tuple(args[: op.positional])
                more = names if len(args) > op.positional else {}
                op._setup(ctx=ctx, inputs=inputs, output=result, **more)
            return tuple(found)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            if op._backward is None:
                raise RuntimeError(
                    f"Trying to backward through {op.namespace}.{op.name}.default but no autograd "
                    "formula was registered. Please use register_autograd to add one."
                )
            tree = pytree.tree_unflatten(grads, ctx.results_spec)
            found = op._backward(ctx, *(tree if isinstance(tree, tuple) else (tree,)))
            found = found if isinstance(found, tuple) else (found,)
            return None, None, *_leaves(op, ctx.spec, found)

    node: Any = vars(Recorded)["_backward_cls"]
    node.needs_input_grad, node.positional = property(_needs), op.positional
    overload = op.overload or "default"
    node.__name__ = f"GeneratedBackwardFor_{op.namespace}_{op.name}_{overload}Backward"

    def perform(args: Sequence[Any]) -> Any:
        leaves, spec = pytree.tree_flatten([list(v) if type(v) is tuple else v for v in args])
        trees: list[pytree.TreeSpec] = []
        results = Recorded.apply(spec, trees, *leaves)
        return pytree.tree_unflatten(results, trees[0])

    return perform


def _needs(ctx: Any) -> tuple[Any, ...]:
    """For each positional argument whether its gradient is wanted: a list of that for a list."""
    return tuple(pytree.tree_unflatten(ctx._needs[2:], ctx.spec)[: ctx.positional])


def _leaves(op: Any, spec: Any, grads: tuple[Any, ...]) -> list[Any]:
    """The gradients that the user gave for positional arguments, one for each leaf."""
    if len(grads) != op.positional:
        raise RuntimeError(
            f"the backward of {op._qualname} returned an incorrect number of gradients (expected "
            f"{op.positional}, got {len(grads)})"
        )
    found: list[Any] = []
    for child, grad in zip(spec.children_specs, (*grads, *[None] * len(op.schema.arguments))):
        if child.is_leaf():
            found.append(grad)
            continue
        many = [None] * child.num_leaves if grad is None else list(grad)
        if len(many) != child.num_leaves:
            raise RuntimeError(
                f"the backward of {op._qualname} returned {len(many)} gradients for a list of "
                f"{child.num_leaves} tensors"
            )
        found += many
    return found


__all__ = ["recorder"]
