"""`Graph`: a program as a list of nodes."""

from __future__ import annotations

import builtins
import copy
import functools
import keyword
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import drawing, pickled
from .codegen import (
    CodeGen,
    PythonCode,
    _custom_builtins,
    _PyTreeCodeGen,
    _PyTreeInfo,
    inplace_methods,
    magic_methods,
)
from .diff import diff
from .lint import lint
from .names import shown_target
from .node import Node, Target, map_arg

__all__ = [
    "CodeGen",
    "Graph",
    "PythonCode",
    "_PyTreeCodeGen",
    "_PyTreeInfo",
    "inplace_methods",
    "magic_methods",
]

_TAKEN = {**dict.fromkeys(keyword.kwlist), **vars(builtins)} | {
    name: each.obj for name, each in _custom_builtins.items()
}
_SUFFIX = re.compile(r"(.*)_(\d+)$")
_ILLEGAL = re.compile(r"[^0-9a-zA-Z_]+")
_CAMEL = re.compile(r"(?<=[a-z])([A-Z])")


@functools.lru_cache(10_000)
def _parts(candidate: str) -> tuple[str, str, int]:
    """A wish for a name, made an identifier: the whole, without its number, and the number."""
    candidate = _ILLEGAL.sub("_", candidate) or "_unnamed"
    if candidate[0].isdigit():
        candidate = f"_{candidate}"
    match = _SUFFIX.match(candidate)
    if match is None:
        return candidate, candidate, 0
    base, number = match.groups()
    return f"{base}_{int(number)}", base, int(number)


@functools.lru_cache(10_000)
def _name_of_target(name: str) -> str:
    if len(name) > 4 and name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
    return _CAMEL.sub(r"_\1", name).lower()


class Namespace:
    """The names that are taken: every new one differs from them, Python's and `torch`."""

    def __init__(self) -> None:
        self._obj_to_name: dict[Any, str] = {}
        self._used_names: set[str] = set()
        self._base_count: dict[str, int] = {}

    def create_name(self, candidate: str, obj: Any = None) -> str:
        """A name like `candidate` that is not taken; for the same `obj` the same name again."""
        if obj is not None and self._known(obj) is not None:
            return self._obj_to_name[obj]
        name, base, number = _parts(candidate)
        number = number or self._base_count.get(base, 0)
        used = self._used_names
        while name in used or self._is_illegal_name(name, obj):
            number += 1
            name = f"{base}_{number}"
        used.add(name)
        self._base_count[base] = number
        if obj is not None:
            try:
                self._obj_to_name[obj] = name
            except TypeError:  # not hashable: the name is not remembered
                pass
        return name

    def _known(self, obj: Any) -> str | None:
        try:
            return self._obj_to_name.get(obj)
        except TypeError:
            return None

    def associate_name_with_obj(self, name: str, obj: Any) -> None:
        """Says that `name` is taken, by `obj`."""
        self._obj_to_name[obj] = name
        self._used_names.add(name)

    def _is_illegal_name(self, name: str, obj: Any) -> bool:
        return name in _TAKEN and (obj is None or _TAKEN[name] is not obj)


_Namespace = Namespace


class _node_list:
    """The nodes of a graph in order, a view: nodes may be added and erased on the way."""

    def __init__(self, graph: Graph, direction: str = "_next"):
        self.graph, self.direction = graph, direction

    def __len__(self) -> int:
        return self.graph._len

    def __iter__(self) -> Iterator[Node]:
        root, forward = self.graph._root, self.direction == "_next"
        node = root._next if forward else root._prev
        while node is not root:
            if not node._erased:
                yield node
            node = node._next if forward else node._prev

    def __reversed__(self) -> _node_list:
        return _node_list(self.graph, "_prev" if self.direction == "_next" else "_next")


class _InsertPoint:
    """New nodes go to another place, until the with block ends."""

    def __init__(self, graph: Graph, insert: Callable[[Node], None]):
        self.graph, self.before = graph, graph._insert
        graph._insert = insert

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: Any) -> None:
        self.graph._insert = self.before


class Graph:
    """A program: nodes in the order in which they run, from placeholders to the output."""

    def __init__(
        self,
        owning_module: Any = None,
        tracer_cls: type | None = None,
        tracer_extras: dict[str, Any] | None = None,
    ) -> None:
        self._root = Node(self, "", "root", "")
        self._insert: Callable[[Node], None] = self._root.prepend
        self._len = 0
        self._graph_namespace = Namespace()
        self._owning_module = owning_module
        self._tracer_cls, self._tracer_extras = tracer_cls, tracer_extras
        self._codegen = CodeGen()
        self._order: dict[Node, int] | None = None

    @property
    def owning_module(self) -> Any:
        """The GraphModule that runs this graph, if one does."""
        return self._owning_module

    @owning_module.setter
    def owning_module(self, module: Any) -> None:
        self._owning_module = module

    @property
    def nodes(self) -> _node_list:
        """All nodes in order; ``reversed(graph.nodes)`` from the end."""
        return _node_list(self)

    def _places(self) -> dict[Node, int]:
        if self._order is None:
            self._order = {node: place for place, node in enumerate(self.nodes)}
        return self._order

    def find_nodes(self, *, op: str, target: Any = None, sort: bool = True) -> list[Node]:
        """All nodes with this op, and this target where one is given, in order."""
        return [
            node
            for node in self.nodes
            if node.op == op and (target is None or node.target == target)
        ]

    def output_node(self) -> Node:
        """The node that ends the program."""
        last = self._root._prev
        if last.op != "output":
            raise AssertionError("the graph has no output node")
        return last

    # --- new nodes ------------------------------------------------------------------------------

    def create_node(
        self,
        op: str,
        target: Target,
        args: tuple | None = None,
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Adds a node at the insertion point; `name` is a wish."""
        if args is not None and not isinstance(args, tuple):
            raise AssertionError(f"args must be a tuple, got {type(args)}")
        if kwargs is not None and not isinstance(kwargs, dict):
            raise AssertionError(f"kwargs must be a dict, got {type(kwargs)}")
        wish = name if name is not None else self._target_to_str(target)
        unique = self._graph_namespace.create_name(wish)
        node = Node(self, unique, op, target, args or (), kwargs or {}, type_expr)
        self._insert(node)
        self._len += 1
        return node

    def _target_to_str(self, target: Target) -> str:
        if not isinstance(target, str):
            target = getattr(target, "__name__", None) or type(target).__name__
        return _name_of_target(target)

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = ...) -> Node:
        """Adds an input. `default_value` is the parameter's default, none where it is ``...``."""
        if not isinstance(name, str):
            raise AssertionError(f"Expected target to be str, got {type(name)}")
        args = () if default_value is ... else (default_value,)
        return self.create_node("placeholder", name, args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """Adds a read of a parameter, buffer or other attribute, by its dotted path."""
        if self.owning_module is not None and not _exists(self.owning_module, qualified_name):
            warnings.warn(
                "Attempted to insert a get_attr Node with no underlying reference in the owning "
                "GraphModule! Call GraphModule.add_submodule to add the necessary submodule, "
                "GraphModule.add_parameter to add the necessary Parameter, or "
                "nn.Module.register_buffer to add the necessary buffer",
                stacklevel=2,
            )
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(
        self,
        module_name: str,
        args: tuple | None = None,
        kwargs: dict[str, Any] | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Adds a call of the submodule at a dotted path."""
        if self.owning_module is not None and not _exists(self.owning_module, module_name):
            warnings.warn(
                "Attempted to insert a call_module Node with no underlying reference in the "
                "owning GraphModule! Call GraphModule.add_submodule to add the necessary "
                "submodule",
                stacklevel=2,
            )
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(
        self,
        method_name: str,
        args: tuple | None = None,
        kwargs: dict[str, Any] | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Adds a call of a method of ``args[0]``."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(
        self,
        the_function: Callable,
        args: tuple | None = None,
        kwargs: dict[str, Any] | None = None,
        type_expr: Any = None,
        name: str | None = None,
    ) -> Node:
        """Adds a call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, name, type_expr)

    def create_size_node(self, tensor_node: Node, dim: int) -> Node:
        """Adds a read of a tensor's size in one dimension."""
        return self.call_method("size", (tensor_node, dim))

    def create_stride_node(self, tensor_node: Node, dim: int) -> Node:
        """Adds a read of a tensor's stride in one dimension."""
        return self.call_method("stride", (tensor_node, dim))

    def create_storage_offset_node(self, tensor_node: Node) -> Node:
        """Adds a read of where a tensor begins in its storage."""
        return self.call_method("storage_offset", (tensor_node,))

    def output(self, result: Any, type_expr: Any = None) -> Node:
        """Adds the end of the program: what it returns."""
        return self.create_node("output", "output", (result,), type_expr=type_expr)

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Any] = lambda x: x) -> Node:
        """Adds a copy of a node of another graph; `arg_transform` maps the nodes that it reads."""
        args, kwargs = map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform)
        made = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        made.meta = copy.copy(node.meta)
        return made

    def graph_copy(self, g: Graph, val_map: dict, return_output_node: bool = False) -> Any:
        """Adds copies of all nodes of `g` but the output; gives what `g` returns, as new nodes.

        `val_map` maps nodes of `g` to those that stand for them here; copies are added to it.
        """
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                result = map_arg(node.args[0], val_map.__getitem__)
                return (result, node) if return_output_node else result
            val_map[node] = self.node_copy(node, val_map.__getitem__)
        return None

    # --- changes --------------------------------------------------------------------------------

    def inserting_before(self, n: Node | None = None) -> _InsertPoint:
        """New nodes come before `n` (None: at the beginning); undone by the end of a with block."""
        if n is None:
            return self.inserting_after(self._root)
        self._check_own(n)
        return _InsertPoint(self, n.prepend)

    def inserting_after(self, n: Node | None = None) -> _InsertPoint:
        """New nodes come after `n` (None: at the end); undone by the end of a with block."""
        if n is None:
            return self.inserting_before(self._root)
        self._check_own(n)
        return _InsertPoint(self, n.append)

    def _check_own(self, n: Node) -> None:
        if n.graph is not self:
            raise AssertionError("Node to insert before is not in graph.")

    def erase_node(self, to_erase: Node) -> None:
        """Removes a node that nobody reads. RuntimeError where somebody does."""
        if to_erase.users:
            raise RuntimeError(
                f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in "
                f"the graph: {to_erase.users}!"
            )
        if to_erase.graph is not self:
            raise RuntimeError(f"Attempting to remove {to_erase} from wrong graph!")
        if to_erase._erased:
            warnings.warn(f"erase_node({to_erase}) on an already erased node", stacklevel=2)
            return
        to_erase._unlink()
        to_erase._erased = True
        self._len -= 1
        self._order = None
        to_erase._set((), {})

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Removes nodes whose results nobody reads and that do nothing else; whether there were.

        `is_impure_node` decides what does something else, instead of `Node.is_impure`.
        """
        self.lint()
        impure = is_impure_node or Node.is_impure
        changed = False
        for node in reversed(self.nodes):
            if not node.users and not impure(node):
                self.erase_node(node)
                changed = True
        return changed

    # --- text -----------------------------------------------------------------------------------

    def python_code(
        self,
        root_module: str,
        *,
        verbose: bool = False,
        include_stride: bool = False,
        include_device: bool = False,
        colored: bool = False,
        expanded_def: bool = False,
        record_func: bool = False,
        additional_meta: list[str] | None = None,
    ) -> PythonCode:
        """The program as a Python function that calls its module `root_module`.

        With `verbose`, comments say which lines of the user recorded what, with `additional_meta`
        also these entries of ``node.meta``, and values have types such as ``"f32[2, 3]"`` where a
        pass has noted them, with strides and devices where they are wanted. `expanded_def` puts
        each parameter on a line of its own, `colored` adds a terminal's colours.
        NotImplementedError for `record_func`: there is no profiler that would hear of it.
        """
        if record_func:
            raise NotImplementedError("python_code(record_func=True): there is no such profiler")
        style = {
            "verbose": verbose,
            "include_stride": include_stride,
            "include_device": include_device,
            "colored": colored,
            "expanded_def": expanded_def,
            "additional_meta": additional_meta or (),
        }
        namespace = Namespace()
        used = [node.name for node in self.nodes]
        namespace._used_names.update(used)

        def represent(node: Node) -> str:
            return names[node]

        # A node may have been given a name by hand that is taken: the text then uses another.
        names: dict[Node, str] = {}
        clashes = len(set(used)) != len(used) or not _TAKEN.keys().isdisjoint(used)
        if not clashes:
            return self._codegen._gen_python_code(self.nodes, root_module, namespace, **style)
        namespace = Namespace()
        for node in self.nodes:
            names[node] = namespace.create_name(node.name, node)
            node._repr_fn = represent
        try:
            return self._codegen._gen_python_code(self.nodes, root_module, namespace, **style)
        finally:
            for node in self.nodes:
                node._repr_fn = None

    def __str__(self) -> str:
        return "\n    ".join(["graph():", *(str(node.format_node()) for node in self.nodes)])

    __repr__ = object.__repr__

    def print_tabular(self) -> None:
        """Prints one line for each node: opcode, name, target, args, kwargs."""
        print(self.tabular())

    def tabular(self) -> str:
        """What `print_tabular` prints."""
        rows = [("opcode", "name", "target", "args", "kwargs")]
        rows += [
            (n.op, n.name, shown_target(n.target), str(n.args), str(n.kwargs)) for n in self.nodes
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
        padded = ("  ".join(map(str.ljust, row, widths)) for row in rows)
        return "\n".join(line.rstrip() for line in padded)

    def diff(self, other: Graph) -> str:
        """What is different in `other`, as lines that begin with -, + or a space; empty where
        nothing is.
        """
        return diff(self, other)

    def to_svg(self, title: str = "", parameters: bool = False) -> str:
        """The graph as a drawing: see `flambeau.fx.drawing.draw`."""
        return drawing.draw(self, title, parameters)

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def lint(self) -> None:
        """Checks that the graph is well formed. RuntimeError or ValueError names the node."""
        lint(self)

    # --- code generation ------------------------------------------------------------------------

    def set_codegen(self, codegen: CodeGen) -> None:
        """Sets what turns the graph into text."""
        self._codegen = codegen

    def process_inputs(self, *args: Any) -> Any:
        """The placeholders' values, for arguments of the program."""
        return self._codegen.process_inputs(*args)

    def process_outputs(self, out: Any) -> Any:
        """The program's result, for the value of the output node."""
        return self._codegen.process_outputs(out)

    @contextmanager
    def _restoring(self, before: Any) -> Iterator[None]:
        try:
            yield
        finally:
            self._codegen._body_transformer = before

    def on_generate_code(self, make_transformer: Callable) -> Any:
        """Registers a function on the lines of the generated code.

        `make_transformer` gets the function registered before (or None) and gives the new one,
        which gets a list of lines and gives another. The result is a context manager that undoes
        the registration.
        """
        before = self._codegen._body_transformer
        self._codegen._body_transformer = make_transformer(before)
        return self._restoring(before)

    # --- copies ---------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict | None = None) -> Graph:
        made = Graph(tracer_cls=self._tracer_cls, tracer_extras=self._tracer_extras)
        mapped: dict[Node, Node] = {}
        found = made.graph_copy(self, mapped, return_output_node=True)
        made._codegen = copy.copy(self._codegen)
        if found is not None:
            result, old = found
            output = made.output(result, type_expr=old.type)
            output.meta = copy.copy(old.meta)
        for node in mapped.values():
            node.meta = dict(node.meta)
        if memo is not None:
            memo[id(self)] = made
        return made

    def __getstate__(self) -> dict[str, Any]:
        return pickled.state_of(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(tracer_cls=state["tracer"])  # type: ignore[misc]
        pickled.fill(self, state)


def _exists(module: Any, path: str) -> bool:
    for part in path.split("."):
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True
