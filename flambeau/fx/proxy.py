"""`Proxy`: stands for a value while a program is traced, and records what is done to it."""

from __future__ import annotations

import dataclasses
import enum
import opcode
import operator
import os
import sys
import traceback
import types
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from flambeau._base import user_line
from flambeau.tensor import Tensor

from . import faces
from . import traceback as fx_traceback
from .aliasing import Updates
from .codegen import inplace_methods, magic_methods
from .graph import Graph
from .known import ASSERT, OWN_FOLDER, guard
from .names import public_name
from .node import ATOMS, Node, base_types, map_aggregate
from .operator_schemas import check_for_mutable_operation

__all__ = [
    "Attribute",
    "GraphAppendingTracer",
    "ParameterProxy",
    "Proxy",
    "Scope",
    "ScopeContextManager",
    "TraceError",
    "TracerBase",
]

CONTROL_FLOW = "symbolically traced variables cannot be used as inputs to control flow"
WAYS_OUT = (
    "  three ways out: fix the value with symbolic_trace(..., concrete_args={...}), hide the "
    "function from the tracer (torch.fx.wrap, or a leaf module),\n"
    "  or record both branches with torch.where or torch.cond; conditions on shapes are decided "
    "by symbolic_trace(..., example_inputs=(...))"
)


class TraceError(ValueError):
    """Raised where a traced program needs a value that is not there."""


def trace_error(message: str, ways_out: str = WAYS_OUT) -> TraceError:
    """The error with the user's line and what to do."""
    line = user_line()
    return TraceError("\n".join([message, *([f"  at {line}"] if line else []), ways_out]))


class Scope:
    """Which module is being traced: its path and type."""

    def __init__(self, module_path: str, module_type: Any):
        self.module_path, self.module_type = module_path, module_type


class ScopeContextManager:
    """Makes `scope` equal to `current_scope` inside a with block."""

    def __init__(self, scope: Scope, current_scope: Scope):
        self._scope, self._before = scope, (scope.module_path, scope.module_type)
        scope.module_path, scope.module_type = current_scope.module_path, current_scope.module_type

    def __enter__(self) -> Scope:
        return self._scope

    def __exit__(self, *exception: Any) -> None:
        self._scope.module_path, self._scope.module_type = self._before


class TracerBase:
    """What every tracer can: make nodes in `graph`, and proxies for them."""

    graph: Graph
    record_stack_traces: bool = False
    check_mutable_operations: bool = False
    trace_asserts: bool = False
    proxy_buffer_attributes: bool = False
    param_shapes_constant: bool = False
    traced_func_name: str = "forward"
    scope: Scope
    module_stack: dict[str, tuple[str, Any]]
    known: dict[Node, Any] | None = None  # values that follow from shapes alone
    updates: Updates | None = None

    def create_node(
        self,
        kind: str,
        target: Any,
        args: tuple,
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Adds a node to the graph. Overridable."""
        if self.check_mutable_operations and kind == "call_function":
            check_for_mutable_operation(target, args, kwargs)
        node = self.graph.create_node(kind, target, args, kwargs, name, type_expr)
        inherited = fx_traceback.inherited()
        if inherited:
            node.meta.update(inherited)
        stack = getattr(self, "module_stack", None)
        if stack:
            node.meta["nn_module_stack"] = dict(stack)
        if self.record_stack_traces:
            node.stack_trace = user_stack()
        if self.updates is not None and self.updates.watched:
            for read in node._input_nodes:
                if read in self.updates.watched:
                    self.updates.read(read)
        return node

    def proxy(self, node: Node) -> Proxy:
        """The proxy of a node. Overridable."""
        return Proxy(node, self)

    def create_proxy(
        self,
        kind: str,
        target: Any,
        args: tuple,
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
        proxy_factory_fn: Any = None,
    ) -> Any:
        """Adds a node whose arguments may hold proxies, and gives its proxy. Overridable."""
        create_arg = self.create_arg
        made = tuple([create_arg(each) for each in args])
        named = {key: create_arg(each) for key, each in kwargs.items()} if kwargs else {}
        node = self.create_node(kind, target, made, named, name, type_expr)
        return self.proxy(node) if proxy_factory_fn is None else proxy_factory_fn(node)

    def create_arg(self, a: Any) -> Any:
        """What stands for a value in a node's arguments. Overridable.

        Raises NotImplementedError for values that no graph can hold.
        """
        kind = type(a)
        if kind in ATOMS:
            return a
        if issubclass(kind, Proxy):
            return a.node
        if issubclass(kind, tuple):
            parts = [self.create_arg(each) for each in a]
            return kind(*parts) if hasattr(kind, "_fields") else tuple(parts)
        if issubclass(kind, list):
            return [self.create_arg(each) for each in a]
        if issubclass(kind, dict):
            return {self._key(key): self.create_arg(each) for key, each in a.items()}
        if kind is slice:
            return slice(*map(self.create_arg, (a.start, a.stop, a.step)))
        if kind is range:
            return range(*map(self.create_arg, (a.start, a.stop, a.step)))
        if dataclasses.is_dataclass(kind):
            fields = {f.name: self.create_arg(getattr(a, f.name)) for f in dataclasses.fields(a)}
            return self.create_node("call_function", kind, (), fields)
        if issubclass(kind, (*base_types, enum.Enum, Node)) or _is_function(a):
            return a
        if _is_setting(a):
            return a
        raise NotImplementedError(f"argument of type: {kind}")

    def _key(self, key: Any) -> Any:
        found: list[Any] = []
        made = self.create_arg(key)
        map_aggregate(made, lambda v: found.append(v) if type(v) is Node else None)
        if found:
            raise RuntimeError(
                f"Keys for dictionaries used as an argument cannot contain a Node. Got key: {made}"
            )
        return key

    def to_bool(self, obj: Proxy) -> bool:
        """What `if obj` decides: an error, where no example says. Overridable."""
        return bool(self.decided(obj, CONTROL_FLOW))

    def decided(self, obj: Proxy, otherwise: str) -> Any:
        """A value that shapes alone decide, guarded by an assertion; TraceError for others."""
        node = obj.node
        if self.known is None or node not in self.known:
            raise trace_error(otherwise)
        guard(self, node, self.known[node], node.name)
        return self.known[node]

    def iter(self, obj: Proxy) -> Iterator:
        """What ``for y in obj`` iterates over: an error. Overridable."""
        if self.known is not None and obj.node in self.known:
            return iter([obj[i] for i in range(len(self.known[obj.node]))])
        raise trace_error(
            "Proxy object cannot be iterated. This can be attempted when the Proxy is used in a "
            "loop or as a *args or **kwargs function argument. See the torch.fx docs on "
            "pytorch.org for a more detailed explanation of what types of control flow can be "
            "traced, and check out the Proxy docstring for help troubleshooting Proxy iteration "
            "errors"
        )

    def keys(self, obj: Proxy) -> Any:
        """What ``**obj`` asks for. Overridable."""
        return Attribute(obj, "keys")()


_NO_ATOMS = (types.FunctionType, types.BuiltinFunctionType, type)


def _is_function(value: Any) -> bool:
    """Functions and classes may be arguments: they print by their names."""
    return isinstance(value, _NO_ATOMS)


def _is_setting(value: Any) -> bool:
    """Memory formats, generators and the like: constants of flambeau."""
    return type(value).__module__.startswith("flambeau.") and not callable(value)


def user_stack() -> str:
    """The user's lines that led here, as a traceback prints them."""
    frames = [
        summary
        for summary in traceback.extract_stack(sys._getframe(1))
        if not summary.filename.startswith((OWN_FOLDER, "<flambeau", "<frozen"))
    ]
    return "".join(traceback.format_list(frames)).rstrip().removeprefix("  ")


class GraphAppendingTracer(TracerBase):
    """Adds what is done to its proxies to a graph. Functions record as long as it lives."""

    def __init__(self, graph: Graph):
        super().__init__()
        self.graph = graph
        self.scope = Scope("", None)
        self.module_stack = {}
        faces.faces.show()
        weakref.finalize(self, faces.faces.hide)


_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep


class Proxy:
    """Stands for the value of `node`. Operators, methods and functions of flambeau on it become
    nodes of the tracer's graph.
    """

    if TYPE_CHECKING:  # operators are hung on the class by `_install_operators`

        def __getitem__(self, index: Any) -> Proxy: ...

    def __init__(self, node: Node, tracer: TracerBase | None = None):
        self.tracer = GraphAppendingTracer(node.graph) if tracer is None else tracer
        self.node = node

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        """What `isinstance` sees: the annotated type; where there is none, an error for users."""
        caller = sys._getframe(1)
        name = caller.f_globals.get("__name__", "")
        file = caller.f_code.co_filename
        library = file.startswith(_STANDARD_LIBRARY) and "site-packages" not in file
        if name.startswith("flambeau") or library or file.startswith("<"):
            return type(self)
        annotated = None if issubclass(type(self), Attribute) else self.node.type
        if isinstance(annotated, type):
            return annotated
        raise trace_error(
            "isinstance() and __class__ of a traced variable would be decided once and for all",
            "  three ways out: annotate the parameter with its type, fix the value with "
            "concrete_args, or hide the function from the tracer (torch.fx.wrap)",
        )

    def __getattr__(self, k: str) -> Attribute:
        # not a node yet: most attributes are methods, and called
        return Attribute(self, k)

    def __getstate__(self) -> dict:
        return self.__dict__

    def __setstate__(self, state: dict) -> None:
        self.__dict__ = state

    def __deepcopy__(self, memo: dict) -> Proxy:
        made = Proxy.__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator:
        frame = sys._getframe(1)
        place, code = frame.f_lasti, frame.f_code.co_code
        if code[place] == opcode.opmap["UNPACK_SEQUENCE"]:  # a, b = x
            return (self[i] for i in range(code[place + 1]))
        return self.tracer.iter(self)

    def __bool__(self) -> bool:
        frame = sys._getframe(1)
        if self.tracer.trace_asserts and _asserts(frame):
            message = f"assertion of {user_line()}"
            self.tracer.create_proxy("call_function", ASSERT, (self, message), {})
            return True
        return self.tracer.to_bool(self)

    def keys(self) -> Any:
        return self.tracer.keys(self)

    def __len__(self) -> int:
        if self.tracer.known is not None and self.node in self.tracer.known:
            return len(self.tracer.known[self.node])
        raise RuntimeError(
            "'len' is not supported in symbolic tracing by default. If you want this call to be "
            "recorded, please call torch.fx.wrap('len') at module scope"
        )

    def _number(self, message: str) -> Any:
        try:
            return self.tracer.decided(self, message)
        except TraceError as error:
            raise TypeError(str(error)) from None

    def __index__(self) -> int:
        return operator.index(
            self._number(f"'{type(self).__name__}' object cannot be interpreted as an integer")
        )

    def __int__(self) -> int:
        return int(
            self._number(
                "int() argument must be a string, a bytes-like object or a real number, not "
                f"'{type(self).__name__}'"
            )
        )

    def __float__(self) -> float:
        return float(
            self._number(
                f"float() argument must be a string or a real number, not '{type(self).__name__}'"
            )
        )

    def __complex__(self) -> complex:
        return complex(
            self._number(
                "complex() first argument must be a string or a number, not "
                f"'{type(self).__name__}'"
            )
        )

    def __format__(self, form: str) -> NoReturn:
        raise trace_error(
            "the text of a traced variable would be baked into the program",
            "  print(x) shows a proxy; to format values, hide the function from the tracer "
            "(torch.fx.wrap)",
        )

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, key, value), {})

    @classmethod
    def __torch_function__(
        cls, orig_method: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tracers: dict[Any, None] = {}

        def note(value: Any) -> None:
            if isinstance(value, Proxy):
                tracers[value.tracer] = None

        map_aggregate(args, note)
        map_aggregate(kwargs, note)
        if len(tracers) > 1:
            raise RuntimeError(
                f"Found multiple different tracers {list(tracers)} while trying to trace "
                f"operations {orig_method}"
            )
        tracer = next(iter(tracers))
        name = tracer.graph._target_to_str(_own_name(orig_method))
        return tracer.create_proxy("call_function", orig_method, args, kwargs, name)


def _own_name(function: Any) -> str:
    """What a node is called after: PyTorch's own name for the function."""
    return (public_name(function) or function.__name__).rpartition(".")[2]


def _asserts(frame: types.FrameType) -> bool:
    """Whether the instruction that runs in a frame belongs to an assert statement."""
    code, place = frame.f_code.co_code, frame.f_lasti + 2
    wanted = opcode.opmap.get("LOAD_ASSERTION_ERROR")
    caches = opcode.opmap["CACHE"]
    while place < len(code) and code[place] == caches:
        place += 2
    if code[place] == wanted:
        return True
    if opcode.opname[frame.f_code.co_code[frame.f_lasti]] == "TO_BOOL":  # from Python 3.13 on
        place += 2
        while place < len(code) and (
            code[place] == caches or opcode.opname[code[place]] == "NOT_TAKEN"
        ):
            place += 2
        return code[place] == wanted
    return False


class Attribute(Proxy):
    """An attribute of a traced value: a node where it is used, a method where it is called."""

    def __init__(self, root: Proxy, attr: str):
        self.root, self.attr, self.tracer = root, attr, root.tracer
        self._node: Node | None = None

    @property
    def node(self) -> Node:  # type: ignore[override]
        if self._node is None:
            made = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {})
            self._node = made.node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


class ParameterProxy(Proxy):
    """A parameter whose shape is read at once: for `Tracer.param_shapes_constant`."""

    def __init__(self, tracer: TracerBase, node: Node, name: str, param: Any):
        super().__init__(node, tracer)
        self.param, self.name = param, name

    def __repr__(self) -> str:
        return f"ParameterProxy({self.name})"

    @property
    def shape(self) -> Any:
        return self.param.shape

    @property
    def ndim(self) -> int:
        return self.param.ndim

    def size(self, *dim: Any) -> Any:
        return self.param.size(*dim)

    def dim(self) -> int:
        return self.param.dim()

    def nelement(self) -> int:
        return self.param.nelement()

    def numel(self) -> int:
        return self.param.numel()


# Operators whose left operand is a tensor of the program: PyTorch records the tensor's method.
_METHODS = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "truediv": "div",
    "mod": "remainder",
    "pow": "pow",
    "matmul": "matmul",
}
_REFLECTED = (
    "add sub mul floordiv truediv mod lshift rshift and_ or_ xor matmul pow".split()
)  # fmt: skip
_UNREFLECTED = (*magic_methods, "abs")


def _dunder(name: str, prefix: str = "") -> str:
    return f"__{prefix}{name.strip('_')}__"


def _install_operators() -> None:
    """Gives `Proxy` Python's operators."""

    def plain(target: Any) -> Any:
        def method(self: Proxy, *args: Any) -> Any:
            return self.tracer.create_proxy("call_function", target, (self, *args), {})

        return method

    def reflected(name: str, target: Any) -> Any:
        def method(self: Proxy, other: Any) -> Any:
            if isinstance(other, Tensor):
                own = _METHODS.get(name, _dunder(name))
                return self.tracer.create_proxy("call_method", own, (other, self), {})
            return self.tracer.create_proxy("call_function", target, (other, self), {})

        return method

    def updating(target: Any, in_place: Any) -> Any:
        def method(self: Proxy, other: Any) -> Any:
            updates, node = self.tracer.updates, self.node
            if updates is None or updates.is_observed(node):
                return self.tracer.create_proxy("call_function", in_place, (self, other), {})
            made = self.tracer.create_proxy("call_function", target, (self, other), {})
            updates.watch(node, made.node, in_place)
            return made

        return method

    for name in _UNREFLECTED:
        if name == "div":  # Python 2's
            continue
        setattr(Proxy, _dunder(name), plain(getattr(operator, name)))
    for name in _REFLECTED:
        setattr(Proxy, _dunder(name, "r"), reflected(name, getattr(operator, name)))
    for name in inplace_methods:
        out_of_place = next(
            (each for each in magic_methods if each.strip("_") == name[1:] and each != "div"), None
        )
        if out_of_place is not None:
            target, in_place = getattr(operator, out_of_place), getattr(operator, name)
            setattr(Proxy, _dunder(name), updating(target, in_place))
    Proxy.__hash__ = object.__hash__  # type: ignore[method-assign]


_install_operators()
faces.bind(Proxy)
