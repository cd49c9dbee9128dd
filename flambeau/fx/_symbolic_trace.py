"""Tracing: running a program on proxies, so that it records itself."""

from __future__ import annotations

import builtins
import functools
import inspect
import math
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flambeau import nn
from flambeau.tensor import Tensor
from flambeau.types import pytree

from . import faces, known
from .aliasing import Updates
from .graph import Graph, _PyTreeCodeGen, _PyTreeInfo
from .graph_module import GraphModule
from .known import ASSERT
from .names import qualified_name
from .node import ATOMS, Node, base_types
from .proxy import ParameterProxy, Proxy, Scope, ScopeContextManager, TracerBase

__all__ = ["PH", "PHBase", "PHWithMeta", "ProxyableClassMeta", "Tracer", "symbolic_trace", "wrap"]

_tracing = threading.local()


def is_fx_tracing() -> bool:
    """Whether this thread is tracing a program right now."""
    return getattr(_tracing, "depth", 0) > 0


is_fx_symbolic_tracing = is_fx_tracing


class PHBase:
    """Stands for an input in `concrete_args`: here the program gets a proxy."""

    def __repr__(self) -> str:
        return "PH"


PH = PHBase()


class PHWithMeta(PHBase):
    """A placeholder with a key of its own."""

    def __init__(self, ph_key: str | None = None):
        super().__init__()
        self.ph_key = ph_key


_proxyable_classes: dict[type, None] = {}


class ProxyableClassMeta(type):
    """Classes whose instances, made from proxies while a program is traced, are recorded.

    Making one becomes a ``call_function`` node with the class as its target.
    """

    def __init__(cls, name: str, bases: tuple, attrs: dict):
        _proxyable_classes.setdefault(cls)
        super().__init__(name, bases, attrs)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if is_fx_tracing():
            found = faces.find_proxy((*args, *kwargs.values()))
            if found is not None:
                return found.tracer.create_proxy("call_function", cls, args, kwargs)
        return super().__call__(*args, **kwargs)


# Functions that `wrap` named: (id of the module's globals, name) -> globals.
_wrapped_fns_to_patch: dict[tuple[int, str], dict[str, Any]] = {}
_wrapped_methods_to_patch: list[tuple[type, str]] = []


def wrap(fn_or_name: Any) -> Any:
    """Says that calls of a function are recorded as they are, not traced into.

    Called at the top level of a module, with a function of that module or the name of one that it
    uses (``wrap("len")``). Also a decorator.
    """
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError(
            "Unsupported type for global function! Must be either a callable or string name"
        )
    name = fn_or_name if isinstance(fn_or_name, str) else fn_or_name.__name__
    frame = inspect.currentframe()
    frame = frame.f_back if frame is not None else None
    if frame is None or frame.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    _wrapped_fns_to_patch[(id(frame.f_globals), name)] = frame.f_globals
    return fn_or_name


def _recorder(function: Callable) -> Callable:
    """A function that records its calls where a proxy is among the arguments."""

    def recorded(*args: Any, **kwargs: Any) -> Any:
        proxy = faces.find_proxy((*args, *kwargs.values()))
        if proxy is None:
            return function(*args, **kwargs)
        made = proxy.tracer.create_proxy("call_function", function, args, kwargs)
        made.node.meta["is_wrapped"] = True
        return made

    recorded.__wrapped__ = function  # type: ignore[attr-defined]
    return recorded


class _Patches:
    """Values exchanged for the time of a trace."""

    def __init__(self) -> None:
        self.undone: list[Callable[[], None]] = []
        self.seen: set[int] = set()

    def item(self, space: dict[str, Any], name: str, value: Any) -> None:
        before, had = space.get(name), name in space

        def undo() -> None:
            if had:
                space[name] = before
            else:
                space.pop(name, None)

        self.undone.append(undo)
        space[name] = value

    def attribute(self, holder: type, name: str, value: Any) -> None:
        if name in vars(holder):
            self.undone.append(functools.partial(setattr, holder, name, vars(holder)[name]))
        else:
            self.undone.append(functools.partial(delattr, holder, name))
        setattr(holder, name, value)

    def undo(self) -> None:
        for each in reversed(self.undone):
            each()


class Tracer(TracerBase):
    """Records what a module's forward function, or any function, does with proxies.

    Subclasses override what is recorded: `is_leaf_module`, `call_module`, `create_arg`,
    `create_proxy`, `proxy`, `to_bool`, `iter`, `keys`, `getattr`, `path_of_module`.
    """

    def __init__(
        self,
        autowrap_modules: tuple[types.ModuleType, ...] = (math,),
        autowrap_functions: tuple[Callable, ...] = (),
        param_shapes_constant: bool = False,
    ) -> None:
        super().__init__()
        self._autowrap_function_ids = {
            id(value)
            for module in autowrap_modules
            for name, value in vars(module).items()
            if not name.startswith("_") and callable(value)
        }
        self._autowrap_function_ids.update(map(id, autowrap_functions))
        self._autowrap_search = list(autowrap_modules)
        self.param_shapes_constant = param_shapes_constant
        self.submodule_paths: dict[Any, str] | None = None
        self.root_module_name = ""
        self.scope = Scope("", None)
        self.module_stack: dict[str, tuple[str, Any]] = {}
        self.example_inputs: Any = None
        self.evaluating = False  # an example of a new node's value
        # names of what the root module has, by identity
        self._parameter_names: dict[int, str] = {}
        self._buffer_names: dict[int, str] = {}
        self._constants: dict[int, str] = {}
        self.tensor_attrs: dict[int, str] = {}

    # --- what is recorded -----------------------------------------------------------------------

    def create_arg(self, a: Any) -> Any:
        """Parameters, modules' tensors and other tensors become ``get_attr`` nodes."""
        if type(a) in ATOMS:
            return a
        if type(a) is Proxy:
            return a.node
        if isinstance(type(a), type) and issubclass(type(a), Tensor):
            return self._tensor(a)
        if issubclass(type(a), nn.Module):
            path = next((name for name, module in self.root.named_modules() if module is a), None)
            return (
                super().create_arg(a)
                if path is None
                else self.create_node("get_attr", path, (), {})
            )
        if issubclass(type(a), tuple) and hasattr(a, "_fields"):
            return self.create_node("call_function", type(a), tuple(map(self.create_arg, a)), {})
        if type(a) in _proxyable_classes:
            return self._constant("_" + type(a).__name__ + "_constant", a)
        return super().create_arg(a)

    def _tensor(self, tensor: Any) -> Node:
        if issubclass(type(tensor), nn.Parameter):
            name = self._parameter_names.get(id(tensor))
            if name is None:
                raise NameError("parameter is not a member of this module")
            return self.create_node("get_attr", name, (), {})
        path = self.tensor_attrs.get(id(tensor))
        if path is not None:
            return self.create_node("get_attr", path, (), {})
        return self._constant("_tensor_constant", tensor)

    def get_fresh_qualname(self, prefix: str) -> str:
        """`prefix` with the first number that makes it a name which the root has not."""
        number = 0
        while hasattr(self.root, f"{prefix}{number}"):
            number += 1
        return f"{prefix}{number}"

    def _constant(self, start: str, value: Any) -> Node:
        """A value that the program made itself: kept by the root module."""
        name = self._constants.get(id(value))
        if name is None:
            name = self._constants[id(value)] = self.get_fresh_qualname(start)
            setattr(self.root, name, value)
        return self.create_node("get_attr", name, (), {})

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is called as a whole: flambeau's own, but containers. Overridable."""
        home = type(m).__module__
        ours = home.startswith(("flambeau.nn", "torch.nn"))
        return ours and not isinstance(m, nn.Sequential)

    def path_of_module(self, mod: nn.Module) -> str:
        """The dotted path of a module below the root. NameError where it is not there."""
        if self.submodule_paths is not None:
            path = self.submodule_paths.get(mod)
        else:
            path = next((name for name, each in self.root.named_modules() if each is mod), None)
        if path is None:
            raise NameError("module is not installed as a submodule")
        return path

    def call_module(
        self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict[str, Any]
    ) -> Any:
        """What a call of a module becomes: a node for leaves, its own body for others."""
        path = self.path_of_module(m)
        with ScopeContextManager(self.scope, Scope(path, type(m))):
            key, count = path, 0
            while key in self.module_stack:
                count += 1
                key = f"{path}@{count}"
            self.module_stack[key] = (path, type(m))
            try:
                if self.is_leaf_module(m, path):
                    return self.create_proxy("call_module", path, args, kwargs)
                return forward(*args, **kwargs)
            finally:
                del self.module_stack[key]

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """What reading a module's attribute gives: proxies of parameters. Overridable."""
        if issubclass(type(attr_val), nn.Parameter):
            return self._read(self._parameter_names, attr_val, parameter_proxy_cache)
        if self.proxy_buffer_attributes and issubclass(type(attr_val), Tensor):
            return self._read(self._buffer_names, attr_val, parameter_proxy_cache)
        return attr_val

    def _read(self, names: dict[int, str], value: Any, cache: dict[str, Any]) -> Any:
        name = names.get(id(value))
        if name is None:
            return value
        if name not in cache:
            factory = None
            if self.param_shapes_constant:

                def factory(node: Node) -> Any:
                    return ParameterProxy(self, node, name, value)

            cache[name] = self.create_proxy("get_attr", name, (), {}, proxy_factory_fn=factory)
        return cache[name]

    def create_node(self, kind: str, target: Any, args: tuple, kwargs: dict, name: Any = None,
                    type_expr: Any = None) -> Node:  # fmt: skip
        node = super().create_node(kind, target, args, kwargs, name, type_expr)
        if self.known is not None and not self.evaluating:
            self.evaluating = True
            known.follow(self, node)
            self.evaluating = False
        return node

    # --- inputs ---------------------------------------------------------------------------------

    def create_args_for_root(
        self, root_fn: Callable, is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable, list[Any]]:
        """Proxies for the parameters of `root_fn`, and the function to call with them."""
        analysed = inspect.unwrap(root_fn)
        code = analysed.__code__
        total = code.co_argcount + code.co_kwonlyargcount
        if is_module and total == 0:
            raise RuntimeError("``self`` argument cannot be part of *args expansion!")
        skipped = 1 if is_module else 0
        args: list[Any] = [self.root] if is_module else []
        names = list(code.co_varnames[skipped:total])
        if isinstance(concrete_args, tuple):
            if len(names) != len(concrete_args):
                raise RuntimeError(
                    f"Tracing expected {len(names)} arguments but got {len(concrete_args)} "
                    "concrete arguments"
                )
            concrete_args = dict(zip(names, concrete_args, strict=True))
        inputs = _Inputs(self, analysed, concrete_args or {})
        args += [inputs.parameter(name) for name in names]
        starred = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
        if code.co_kwonlyargcount or starred:
            rest = iter(code.co_varnames[total:])
            if code.co_flags & inspect.CO_VARARGS:
                args.append(inputs.parameter("*" + next(rest)))
            if code.co_flags & inspect.CO_VARKEYWORDS:
                args.append(inputs.parameter("**" + next(rest)))
            root_fn = _all_positional(root_fn, len(args))
        leaves, spec = pytree.tree_flatten(tuple(args))
        if all(child.is_leaf() for child in spec.children_specs):
            return root_fn, args
        return self._from_leaves(root_fn, list(code.co_varnames[:total]), spec, skipped), leaves

    def _from_leaves(
        self, root_fn: Callable, names: list[str], spec: pytree.TreeSpec, skipped: int
    ) -> Callable:
        """`root_fn` as a function of the leaves of its arguments, which gives leaves."""
        inputs = pytree.TreeSpec(spec.type, spec.context, spec.children_specs[skipped:])
        codegen = _PyTreeCodeGen(_PyTreeInfo(names, inputs, None))
        self.graph.set_codegen(codegen)

        def flat(*leaves: Any) -> list[Any]:
            result = root_fn(*pytree.tree_unflatten(leaves, spec))
            made, out_spec = pytree.tree_flatten(result)
            codegen.pytree_info = codegen.pytree_info._replace(out_spec=out_spec)
            return made

        return flat

    # --- the trace ------------------------------------------------------------------------------

    def trace(
        self, root: Any, concrete_args: Any = None, example_inputs: tuple | None = None
    ) -> Graph:
        """The graph of a module's forward, or of a function.

        `concrete_args` fixes parameters, by name or as a tuple: to values, or to trees of values
        and `PH`. With `example_inputs`, one for each input, conditions that depend on nothing but
        shapes are decided as for these, and the program asserts them when it runs; so it does for
        plain attributes of modules (numbers, flags, names) that the program has read.
        """
        is_module = isinstance(root, nn.Module)
        self.root = root if is_module else nn.Module()
        if is_module:
            if not hasattr(type(root), self.traced_func_name):
                raise AssertionError(
                    f"traced_func_name={self.traced_func_name} doesn't exist in "
                    f"{type(root).__name__}"
                )
            function = getattr(type(root), self.traced_func_name)
            self.root_module_name = root._get_name()
        else:
            function = root
        self._look_at_root()
        self.graph = Graph(
            owning_module=self.root, tracer_cls=type(self), tracer_extras=_extras(self)
        )
        self.updates = Updates()
        self.known = None if example_inputs is None else {}
        self.example_inputs = iter(example_inputs or ())
        analysed = inspect.unwrap(function)
        if not isinstance(analysed, types.FunctionType):
            raise TypeError(
                f"symbolic tracing needs a module or a Python function, not {type(root).__name__}"
            )
        if function.__module__ == "torch":
            raise TypeError(
                f"symbolic tracing needs a function that calls {qualified_name(root)}: it is "
                "recorded as a whole"
            )
        with self._recording(analysed):
            function, args = self.create_args_for_root(function, is_module, concrete_args)
            result = self.create_arg(function(*args))
            kind = _annotations(function).get("return")
            self.create_node("output", "output", (result,), {}, type_expr=kind)
        self.submodule_paths = self.updates = self.known = None
        self.graph.owning_module = None
        return self.graph

    def _look_at_root(self) -> None:
        """Where modules, parameters, buffers and plain tensors are."""
        self.submodule_paths = {}
        self._parameter_names, self._buffer_names = {}, {}
        self._constants = {}
        self.tensor_attrs = {}
        for path, module in self.root.named_modules():
            self.submodule_paths[module] = path
            start = path + "." if path else ""
            for name, value in module._parameters.items():
                self._parameter_names.setdefault(id(value), start + name)
            for name, value in module._buffers.items():
                self._buffer_names.setdefault(id(value), start + name)
            for name, value in module.__dict__.items():
                if issubclass(type(value), Tensor) and name not in module._parameters:
                    self.tensor_attrs.setdefault(id(value), start + name)
        self.tensor_attrs |= self._buffer_names

    @contextmanager
    def _recording(self, function: types.FunctionType) -> Iterator[None]:
        """While it lasts, modules, attributes and functions tell this tracer what happens."""
        patches = _Patches()
        # a trace within a trace goes by what is below both
        before = getattr(nn.Module.__call__, "plain", nn.Module.__call__)
        owner = threading.get_ident()
        cache: dict[str, Any] = {}
        plain_getattr = getattr(nn.Module.__getattr__, "plain", nn.Module.__getattr__)

        def call(module: Any, *args: Any, **kwargs: Any) -> Any:
            def forward(*args: Any, **kwargs: Any) -> Any:
                return before(module, *args, **kwargs)

            if threading.get_ident() != owner or self.evaluating:
                return forward(*args, **kwargs)
            self._autowrap(patches, getattr(type(module).forward, "__globals__", {}))
            return self.call_module(module, forward, args, kwargs)

        def getattribute(module: Any, name: str) -> Any:
            value = plain_getattr(module, name)
            if threading.get_ident() != owner or self.evaluating:
                return value
            return self.getattr(name, value, cache)

        call.plain, getattribute.plain = before, plain_getattr  # type: ignore[attr-defined]
        faces.faces.show()
        _tracing.depth = getattr(_tracing, "depth", 0) + 1
        try:
            self._unmirror(patches)
            patches.attribute(nn.Module, "__call__", call)
            patches.attribute(nn.Module, "__getattr__", getattribute)
            if self.known is not None:
                patches.attribute(nn.Module, "__getattribute__", known.watching(self))
            for (_, name), space in _wrapped_fns_to_patch.items():
                found = space[name] if name in space else getattr(builtins, name)
                patches.item(space, name, _recorder(found))
            self._autowrap(patches, function.__globals__)
            for module in self._autowrap_search:
                self._autowrap(patches, vars(module))
            yield
        finally:
            _tracing.depth -= 1
            patches.undo()
            faces.faces.hide()

    def _unmirror(self, patches: _Patches) -> None:
        """Parameters are instance attributes as well: hidden, they are asked of __getattr__."""
        for module in self.root.modules():
            attributes = module.__dict__
            hidden = list(module._parameters.items())
            if self.proxy_buffer_attributes:
                hidden += module._buffers.items()
            for name, value in hidden:
                if value is not None and attributes.get(name) is value:
                    del attributes[name]
                    patches.undone.append(functools.partial(attributes.__setitem__, name, value))

    def _autowrap(self, patches: _Patches, space: dict[str, Any]) -> None:
        """Records calls of the functions that were given, in a module that holds them."""
        if id(space) in patches.seen:
            return
        patches.seen.add(id(space))
        ids = self._autowrap_function_ids
        for name, value in list(space.items()):
            if id(value) in ids and not name.startswith("_") and callable(value):
                patches.item(space, name, _recorder(value))


class _Inputs:
    """Makes the placeholders of a function's parameters."""

    def __init__(self, tracer: Tracer, function: Any, concrete: dict[str, Any]):
        self.tracer, self.concrete = tracer, concrete
        self.signature, self.annotations = inspect.signature(function), _annotations(function)

    def parameter(self, name: str) -> Any:
        """The value to call the function with: a proxy, or a tree of fixed values and proxies."""
        if name in self.concrete:
            self.count = 0
            return pytree.tree_map(lambda value: self._fixed(name, value), self.concrete[name])
        kind = self.annotations.get(name)
        return self._placeholder(name, () if name[0] == "*" else self._default(name), kind)

    def _default(self, name: str) -> tuple:
        default = self.signature.parameters[name].default
        return () if default is inspect.Parameter.empty else (default,)

    def _placeholder(self, name: str, default: tuple, kind: Any = None) -> Any:
        tracer = self.tracer
        made = tracer.create_proxy("placeholder", name, default, {}, type_expr=kind)
        if tracer.known is not None:
            known.give(tracer, made.node, next(tracer.example_inputs, known.NOTHING))
        return made

    def _fixed(self, name: str, value: Any) -> Any:
        self.count += 1
        made = self._placeholder(f"{name}_{self.count}", self._default(name))
        if isinstance(value, PHBase):
            for key, each in vars(value).items():
                setattr(made, key, each)
            return made
        text = f"{name} has been specialized to have value {value} but got another value"
        record = self.tracer.create_proxy
        if value is None:
            record("call_function", _assert_is_none, (made, text), {})
        elif type(value) is bool or (
            isinstance(value, base_types) and not isinstance(value, Tensor)
        ):
            record("call_function", ASSERT, (made == value, text), {})
        else:
            warnings.warn(
                f"Was not able to add assertion to guarantee correct input {name} to specialized "
                "function. It is up to the user to make sure that your inputs match the inputs "
                "you specialized the function with.",
                stacklevel=2,
            )
        return value


def _annotations(function: Any) -> dict[str, Any]:
    """A function's annotations as types. Those of flambeau's own modules say nothing new."""
    if (function.__module__ or "").startswith("flambeau."):
        return {}
    try:
        return inspect.get_annotations(function, eval_str=True)
    except Exception:  # names that exist for type checkers only
        return {}


def _assert_is_none(value: Any, msg: str) -> None:
    if value is not None:
        raise AssertionError(msg)


def _all_positional(function: Any, count: int) -> Any:
    """The function with all its parameters, starred ones too, in one row."""
    code = function.__code__
    flags = code.co_flags & ~(inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    code = code.replace(
        co_argcount=count, co_posonlyargcount=0, co_kwonlyargcount=0, co_flags=flags
    )
    return types.FunctionType(
        code, function.__globals__, function.__name__, None, function.__closure__
    )


def _extras(tracer: Tracer) -> dict[str, Any] | None:
    return getattr(tracer, "_tracer_extras", None)


def symbolic_trace(
    root: Any, concrete_args: Any = None, example_inputs: tuple | None = None
) -> GraphModule:
    """A `GraphModule` that does what a module, or a function, does: its program was recorded by
    running it on proxies.

    See `Tracer.trace` for `concrete_args` and `example_inputs`.
    """
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args, example_inputs)
    name = type(root).__name__ if isinstance(root, nn.Module) else root.__name__
    return GraphModule(tracer.root, graph, name)
