"""`Node`: one operation of a graph, and its place among the others."""

from __future__ import annotations

import math
import operator
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flambeau.tensor import PUBLIC, Tensor
from flambeau.types import Device, DType

from .immutable_collections import immutable_dict, immutable_list
from .names import qualified_name, shown_target, type_text
from .operator_schemas import normalize_function, normalize_module

if TYPE_CHECKING:
    from .graph import Graph

__all__ = ["Argument", "Node", "Target", "has_side_effect", "map_aggregate", "map_arg"]

Target = Callable[..., Any] | str
Argument = Any
BaseArgumentTypes = str | int | float | bool | complex | DType | Tensor | Device
base_types = (str, int, float, bool, complex, DType, Tensor, Device)
OPCODES = ("placeholder", "call_method", "call_module", "call_function", "get_attr", "output")
_legal_ops = dict.fromkeys((*OPCODES, "root"))

# Values that hold no nodes: by far the most frequent arguments.
ATOMS = frozenset((int, float, bool, str, complex, types.NoneType, DType, Device, type(...)))

# Functions whose calls are kept even where nobody uses their results.
_side_effectful_functions: set[Any] = {
    operator.setitem,
    PUBLIC["_assert"],
    *(
        getattr(operator, name)
        for name in (
            "iadd iand ifloordiv ilshift imod imul imatmul ior ipow irshift isub itruediv ixor"
        ).split()
    ),
}


def has_side_effect(fn: Callable) -> Callable:
    """Says that calls of `fn` do something besides returning a value: they are never removed as
    dead code. Also a decorator.
    """
    _side_effectful_functions.add(fn)
    return fn


def map_aggregate(a: Any, fn: Callable[[Any], Any]) -> Any:
    """What `fn` makes of every value inside `a`, in the same (immutable) containers."""
    kind = type(a)
    if kind in ATOMS or kind is Node:
        return fn(a)
    if issubclass(kind, tuple):
        mapped = [map_aggregate(each, fn) for each in a]
        return kind(*mapped) if hasattr(kind, "_fields") else tuple(mapped)
    if issubclass(kind, list):
        return immutable_list([map_aggregate(each, fn) for each in a])
    if issubclass(kind, dict):
        return immutable_dict([(k, map_aggregate(v, fn)) for k, v in a.items()])
    if kind is slice:
        return slice(
            map_aggregate(a.start, fn), map_aggregate(a.stop, fn), map_aggregate(a.step, fn)
        )
    return fn(a)


def map_arg(a: Any, fn: Callable[[Node], Any]) -> Any:
    """What `fn` makes of every node inside `a`; other values stay."""
    return map_aggregate(a, lambda value: fn(value) if type(value) is Node else value)


def freeze(a: Any, found: dict) -> Any:
    """`a` in immutable containers; the nodes in it become keys of `found`, in their order."""
    kind = type(a)
    if kind is Node:
        found[a] = None
        return a
    if kind in ATOMS:
        return a
    if kind is tuple:
        return tuple([freeze(each, found) for each in a])
    if kind is list or issubclass(kind, list):
        return immutable_list([freeze(each, found) for each in a])
    if issubclass(kind, dict):
        return immutable_dict([(k, freeze(v, found)) for k, v in a.items()])
    if issubclass(kind, tuple):
        mapped = [freeze(each, found) for each in a]
        return kind(*mapped) if hasattr(kind, "_fields") else tuple(mapped)
    if kind is slice:
        return slice(freeze(a.start, found), freeze(a.stop, found), freeze(a.step, found))
    return a


class Node:
    """One operation of a `Graph`.

    `op` is one of six: ``placeholder`` (an input, `target` is the parameter's name, `args` its
    default), ``get_attr`` (a value of the module, by the dotted path `target`), ``call_function``
    (`target` is the function), ``call_module`` and ``call_method`` (`target` is the path or the
    name, ``args[0]`` of a method is its self), ``output`` (``args[0]`` is the result).
    `args` and `kwargs` hold nodes and plain values in lists, tuples, dicts and slices, and are
    replaced as a whole. `users` are the nodes that read this one; `meta` is for passes.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_args",
        "_erased",
        "_input_nodes",
        "_kwargs",
        "_next",
        "_prev",
        "_repr_fn",
        "graph",
        "meta",
        "name",
        "op",
        "target",
        "type",
        "users",
    )
    target: Any  # a function, or a text for all ops but call_function
    meta: dict[str, Any]
    users: dict[Node, None]
    _repr_fn: Callable[[Node], str] | None
    if TYPE_CHECKING:  # passes hang attributes of their own on nodes

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def __init__(
        self,
        graph: Graph,
        name: str,
        op: str,
        target: Target,
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
        return_type: Any = None,
    ) -> None:
        if op not in _legal_ops:
            raise AssertionError(f"op '{op}' is not in _legal_ops")
        if op == "call_function":
            if not callable(target):
                raise ValueError(
                    f"Node [graph = {graph}, name = '{name}'] target {target} has type "
                    f"{type(target).__name__} but a Callable is expected"
                )
        elif not isinstance(target, str):
            raise ValueError(
                f"Node [graph = {graph}, name = '{name}'] target {target} has type "
                f"{type(target).__name__} but a str is expected"
            )
        self.graph, self.name, self.op, self.target = graph, name, op, target
        self.type, self.users, self.meta = return_type, {}, {}
        self._erased, self._repr_fn = False, None
        self._prev = self._next = self
        self._input_nodes: dict[Node, None] = {}
        self._set(args, {} if kwargs is None else kwargs)

    # --- arguments ------------------------------------------------------------------------------

    def _set(self, args: Any, kwargs: Any) -> None:
        """Takes new arguments, and tells the nodes that are and those that were read."""
        found: dict[Node, None] = {}
        self._args, self._kwargs = freeze(args, found), freeze(kwargs, found)
        for old in self._input_nodes:
            if old not in found:
                old.users.pop(self, None)
        self._input_nodes = found
        for node in found:
            node.users[self] = None

    @property
    def args(self) -> tuple:
        """Positional arguments. Assign a new tuple to change them."""
        return self._args

    @args.setter
    def args(self, args: tuple) -> None:
        self._set(args, self._kwargs)

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments. Assign a new dict to change them."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Any]) -> None:
        self._set(self._args, kwargs)

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes in `args` and `kwargs`, each once, in the order in which they come."""
        return list(self._input_nodes)

    def update_arg(self, idx: int, arg: Any) -> None:
        """Replaces positional argument `idx`."""
        args = list(self._args)
        args[idx] = arg
        self.args = tuple(args)

    def insert_arg(self, idx: int, arg: Any) -> None:
        """Puts an argument before positional argument `idx`."""
        if not 0 <= idx <= len(self._args):
            raise AssertionError(
                f"insert_args index must be between 0 and len(self.args), got {idx}"
            )
        self.args = (*self._args[:idx], arg, *self._args[idx:])

    def update_kwarg(self, key: str, arg: Any) -> None:
        """Sets keyword argument `key`."""
        self.kwargs = {**self._kwargs, key: arg}

    def replace_input_with(self, old_input: Node, new_input: Any) -> None:
        """Reads `new_input` wherever `old_input` was read."""

        def swap(node: Node) -> Any:
            return new_input if node is old_input else node

        self._set(map_arg(self._args, swap), map_arg(self._kwargs, swap))

    def replace_all_uses_with(
        self,
        replace_with: Node,
        delete_user_cb: Callable[[Node], bool] = lambda user: True,
        *,
        propagate_meta: bool = False,
    ) -> list[Node]:
        """Makes all users (for which `delete_user_cb` holds) read `replace_with`; gives them.

        With `propagate_meta`, `replace_with`, which must have no `meta` yet, gets this node's.
        """
        if propagate_meta:
            if replace_with.meta:
                raise AssertionError(
                    "Called node.replace_all_uses_with(replace_with, propagate_meta=True), but "
                    "replace_with already has .meta keys"
                )
            replace_with.meta.update(self.meta)
        changed = [user for user in list(self.users) if delete_user_cb(user)]
        for user in changed:
            user.replace_input_with(self, replace_with)
        return changed

    # --- place ----------------------------------------------------------------------------------

    @property
    def next(self) -> Node:
        """The node after this one; the graph's root after the last."""
        return self._next

    @property
    def prev(self) -> Node:
        """The node before this one; the graph's root before the first."""
        return self._prev

    def prepend(self, x: Node) -> None:
        """Moves `x`, a node of the same graph, to the place before this one."""
        if self.graph is not x.graph:
            raise AssertionError("Attempting to move a Node into a different Graph")
        if x is self:
            return
        x._unlink()
        before = self._prev
        before._next, x._prev = x, before
        x._next, self._prev = self, x
        self.graph._order = None

    def append(self, x: Node) -> None:
        """Moves `x`, a node of the same graph, to the place after this one."""
        if x is not self:
            self._next.prepend(x)

    def _unlink(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev

    def __lt__(self, other: Node) -> bool:
        order = self.graph._places()
        return order[self] < order[other]

    def __gt__(self, other: Node) -> bool:
        return other < self

    def __le__(self, other: Node) -> bool:
        return self is other or self < other

    def __ge__(self, other: Node) -> bool:
        return self is other or other < self

    # --- facts ----------------------------------------------------------------------------------

    @property
    def stack_trace(self) -> str | None:
        """Which lines of the user recorded this node; None where that was not asked for."""
        return self.meta.get("stack_trace")

    @stack_trace.setter
    def stack_trace(self, trace: str | None) -> None:
        self.meta["stack_trace"] = trace

    def is_impure(self, impure_random: bool = True) -> bool:
        """Whether the node must be kept even where nobody reads it.

        Such are inputs and the output, functions with side effects, in-place functions and
        methods, random draws (with `impure_random`), and modules that say so (``_is_impure``).
        """
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            if self.target in _side_effectful_functions or "out" in self._kwargs:
                return True
            name = getattr(self.target, "__name__", "")
            return _in_place(name) or self._writes() or (impure_random and name in _RANDOM)
        if self.op == "call_method":
            return _in_place(self.target) or self.target == "__setitem__"
        if self.op == "call_module":
            owner = self.graph.owning_module
            if owner is None:
                raise AssertionError("self.graph.owning_module not set for purity check")
            return getattr(owner.get_submodule(self.target), "_is_impure", False)
        return False

    def _writes(self) -> bool:
        """Whether an argument says that the call is in place, or moves running statistics."""
        kwargs, name = self._kwargs, getattr(self.target, "__name__", "")
        if kwargs.get("inplace") is True:
            return True
        return name == "batch_norm" and kwargs.get("training") is not False

    def normalized_arguments(
        self,
        root: Any,
        arg_types: tuple | None = None,
        kwarg_types: dict[str, Any] | None = None,
        normalize_to_only_use_kwargs: bool = False,
    ) -> Any:
        """The arguments as the callee's signature names them: an `ArgsKwargsPair`, or None."""
        if self.op == "call_function":
            return normalize_function(
                self.target,
                self._args,
                self._kwargs,
                arg_types,
                kwarg_types,
                normalize_to_only_use_kwargs,
            )
        if self.op == "call_module":
            return normalize_module(
                root, self.target, self._args, self._kwargs, normalize_to_only_use_kwargs
            )
        return None

    # --- text -----------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return self._repr_fn(self) if self._repr_fn is not None else self.name

    def format_node(
        self,
        placeholder_names: list[str] | None = None,
        maybe_return_typename: list[str] | None = None,
        *,
        include_tensor_metadata: bool = False,
    ) -> str | None:
        """The node as a line of `print(graph)`.

        A placeholder is added to `placeholder_names` instead, where that is given; the output's
        type is put into ``maybe_return_typename[0]``.
        """
        if self.op == "placeholder" and placeholder_names:
            kind = f": {type_text(self.type)}" if self.type else ""
            placeholder_names.append(f"{self.target}{kind}")
            return None
        if self.op == "output":
            if self.type and maybe_return_typename:
                maybe_return_typename[0] = f" -> {type_text(self.type)}"
            return f"return {self._args[0]}"
        kind = f"{type_text(self.type)} " if self.type else ""
        head = f"%{self.name} : {kind}[num_users={len(self.users)}] = {self.op}"
        if self.op == "placeholder":
            default = f"(default={self._args[0]})" if self._args else ""
            return f"{head}[target={self.target}]{default}"
        head += f"[target={shown_target(self.target)}]"
        if self.op == "get_attr":
            return head
        text = f"{head}(args = {_format_arg(self._args)}, kwargs = {_format_arg(self._kwargs)})"
        meta = self.meta.get("tensor_meta") if include_tensor_metadata else None
        return text if meta is None else f"{text}  # {meta.dtype}{list(meta.shape)}"

    # --- copies ---------------------------------------------------------------------------------

    def __getstate__(self) -> Any:
        raise TypeError(
            f"node {self.name} cannot be pickled by itself: pickle its graph or GraphModule"
        )


def _in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__") and name not in _NOT_IN_PLACE


_NOT_IN_PLACE = frozenset(("and_", "or_", "not_", "is_"))
_RANDOM = frozenset(
    "bernoulli multinomial normal poisson rand rand_like randint randint_like randn "
    "randn_like randperm".split()
)


def _format_arg(arg: Any, max_list_len: float = math.inf) -> str:
    """A value as `print(graph)` shows it: nodes begin with a percent sign."""
    if hasattr(arg, "_custom_fx_repr_fn"):
        return arg._custom_fx_repr_fn()
    kind = type(arg)
    if kind is Node:
        return "%" + arg.name
    if issubclass(kind, list | tuple):
        shown = [_format_arg(each, max_list_len) for i, each in enumerate(arg) if i < max_list_len]
        if len(arg) > len(shown):
            shown.append(f"...[total_len={len(arg)}]")
        inside = ", ".join(shown)
        if issubclass(kind, list):
            return f"[{inside}]"
        return f"({inside},)" if len(arg) == 1 else f"({inside})"
    if issubclass(kind, dict):
        return "{" + ", ".join(f"{k}: {_format_arg(v, max_list_len)}" for k, v in arg.items()) + "}"
    return str(arg)


def _get_qualified_name(func: Callable) -> str:
    """PyTorch's private name of `qualified_name`."""
    return qualified_name(func)


_type_repr = type_text
