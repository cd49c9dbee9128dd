"""How calls of public functions reach a proxy.

While somebody traces, the code of every public function of flambeau is exchanged for code that
looks for a proxy among the arguments, and hands the call to it as the user wrote it. So functions
pay nothing for this at any other time, and it does not matter under which name, or since when, a
program holds them. A call without proxies runs the function as it is, also in other threads.
"""

from __future__ import annotations

import inspect
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flambeau import nn, ops
from flambeau.tensor import Tensor

from .names import FUNCTIONAL, PYTHON_FUNCTIONS, public_name, python_functions


def _template(*args: Any, **kwargs: Any) -> Any:
    face = "the face"
    return face(args, kwargs)  # type: ignore[operator]


# Functions that ask whether something is a tensor, or change settings: never recorded.
# Deprecated names record what they call.
_PLAIN = frozenset(
    (
        *("is_storage", "is_tensor", "set_default_dtype", "set_default_device"),
        *("upsample", "upsample_bilinear", "upsample_nearest"),
    )
)


class Face:
    """What a public function does while somebody traces."""

    __slots__ = ("code", "function", "method", "own_code", "plain", "rule")

    def __init__(self, function: types.FunctionType, method: str = ""):
        self.method = method
        self.function, self.own_code = function, function.__code__
        self.plain = types.FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        self.plain.__kwdefaults__ = function.__kwdefaults__
        function.__wrapped__ = self.plain  # type: ignore[attr-defined]  # for inspect.signature
        self.rule: Callable | None = None
        consts = tuple(self if c == "the face" else c for c in _template.__code__.co_consts)
        self.code = _template.__code__.replace(
            co_consts=consts,  # type: ignore[arg-type]
            co_freevars=function.__code__.co_freevars,
            co_filename=f"<flambeau {function.__name__}>",
        )

    def __call__(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        proxy = find_proxy(args)
        if proxy is None and kwargs:
            proxy = find_proxy(tuple(kwargs.values()))
        if proxy is None:
            return self.plain(*args, **kwargs)
        if self.method:
            return proxy.tracer.create_proxy("call_method", self.method, args, kwargs)
        if self.rule is None:
            self.rule = _rule_of(self)
        target, args, kwargs = self.rule(args, kwargs)
        return type(proxy).__torch_function__(target, (type(proxy),), args, kwargs)


_proxy_type: Any = type("NoProxyYet", (), {})


def bind(proxy_type: type) -> None:
    """Told once what a proxy is."""
    global _proxy_type
    _proxy_type = proxy_type


_SEARCHED = (list, tuple, dict, slice)


def find_proxy(values: tuple | list) -> Any:
    """The first proxy in `values` or in containers among them; None where there is none."""
    for value in values:
        kind = type(value)
        if issubclass(kind, _proxy_type):
            return value
        if issubclass(kind, _SEARCHED):
            if issubclass(kind, dict):
                inner: tuple | list = tuple(value.values())
            elif kind is slice:
                inner = (value.start, value.stop, value.step)
            else:
                inner = value
            found = find_proxy(inner)
            if found is not None:
                return found
    return None


def _rule_of(face: Face) -> Callable:
    """How a call is recorded: (args, kwargs) -> (target, args, kwargs), as PyTorch does."""
    function = face.function
    name = public_name(function)
    if name is None:  # the same function under another roof: a method that has overloads
        raise TypeError(f"{function.__name__}() takes no proxy here")
    own = name.rpartition(".")[2]
    in_python = (FUNCTIONAL, "torch._lobpcg.", "torch._lowrank.")
    if name.startswith(in_python) and not face.own_code.co_flags & inspect.CO_VARARGS:
        return _by_signature(function, _named_parameters(face))
    if name.startswith("torch.functional.") and PYTHON_FUNCTIONS[own] is not None:
        return _by_signature(function, PYTHON_FUNCTIONS[own])
    return lambda args, kwargs: (function, args, kwargs)


def _named_parameters(face: Face) -> tuple[int, dict[str, Any]]:
    code, defaults = face.own_code, face.function.__defaults__ or ()
    required = code.co_argcount - len(defaults)
    names = code.co_varnames[required : code.co_argcount]
    named = dict(zip(names, defaults, strict=True))
    return required, named | (face.function.__kwdefaults__ or {})


def _by_signature(function: Callable, signature: Any) -> Callable:
    """Required parameters by position, the others by name with their defaults filled in."""
    required, defaults = signature
    names, own = list(defaults), function.__name__
    with_indices = getattr(nn.functional, f"{own}_with_indices", None)

    def rule(args: tuple, kwargs: dict[str, Any]) -> tuple:
        given = dict(zip(names, args[required:], strict=False))
        named = {name: given.get(name, kwargs.get(name, defaults[name])) for name in names}
        if own == "l1_loss" and named["weight"] is None:  # PyTorch does not pass it on
            del named["weight"]
        target = with_indices if with_indices and named["return_indices"] else function
        return target, args[:required], named

    return rule


class Faces:
    """All faces, and how many tracers want them to show."""

    def __init__(self) -> None:
        self.known: dict[types.FunctionType, Face] = {}
        self.users = 0
        self.lock = threading.RLock()
        self.begun = False

    def _begin(self) -> None:
        """Finds the functions that exist already, and hears of every one that is made later."""
        self.begun = True
        for function in (nn.functional.sigmoid, nn.functional.tanh):  # which call the method
            self._add(function, function.__name__)
        for function in (*ops.generated, *python_functions()):
            self._add(function)
        for name, method in vars(Tensor).items():
            own = isinstance(method, types.FunctionType) and method.__module__ != "torch"
            if own and (not name.startswith("_") or name in ("__getitem__", "__setitem__")):
                self._add(method, name)
        ops.listeners.append(self._add)

    def _add(self, function: Any, method: str = "") -> None:
        if function.__name__ in _PLAIN or function in self.known:
            return
        with self.lock:
            face = self.known[function] = Face(function, method)
            if self.users:
                function.__code__ = face.code

    def show(self) -> None:
        """From now on calls with proxies are recorded."""
        with self.lock:
            if not self.begun:
                self._begin()
            self.users += 1
            if self.users == 1:
                for function, face in self.known.items():
                    function.__code__ = face.code

    def hide(self) -> None:
        """Undoes one `show`."""
        with self.lock:
            self.users -= 1
            if not self.users:
                for function, face in self.known.items():
                    function.__code__ = face.own_code


faces = Faces()


@contextmanager
def showing() -> Iterator[None]:
    """Calls with proxies are recorded inside a with block."""
    faces.show()
    try:
        yield
    finally:
        faces.hide()
