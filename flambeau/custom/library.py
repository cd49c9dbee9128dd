"""Ops that are declared by schemas, and registrations by name: the rest of `torch.library`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from flambeau.types import DType

from .op import CustomOp, declared, waiting

# PyTorch's dispatch keys, as far as they are about what is here.
_KEYS = {"": None, "default": None, "CompositeExplicitAutograd": None, "CPU": "cpu", "CUDA": "cuda"}
# Those whose kernels compute shapes, too.
_FORMS = ("CompositeImplicitAutograd", "Meta")


def found(op: Any) -> CustomOp:
    """The custom op of that name, or that is meant. RuntimeError where there is none."""
    if isinstance(op, CustomOp):
        return op
    op = declared(_qualname(op))
    if op is None:
        raise RuntimeError("there is no such custom op: declare it by custom_op or Library.define")
    return op


def _qualname(op: Any) -> str:
    """ "namespace::name" of a name, or of an op under ``torch.ops``."""
    return op if isinstance(op, str) else str(op).removesuffix(".default").replace(".", "::", 1)


def _when_declared(op: Any, register: Callable[[CustomOp], Any]) -> None:
    """Registers something for an op; for the op of a name, perhaps later, when it is declared."""
    if not isinstance(op, CustomOp):
        name = _qualname(op)
        op = declared(name)
        if op is None:
            waiting.setdefault(name, []).append(register)
            return
    register(op)


def register_kernel(
    op: Any,
    device_types: str | Sequence[str] | None,
    func: Callable | None = None,
    /,
    *,
    lib: Any = None,
) -> Callable:
    """`CustomOp.register_kernel` of an op, or the op of a name, which may be declared later. Also a
    decorator.
    """
    if func is None:
        return functools.partial(register_kernel, op, device_types)
    _when_declared(op, lambda found: found.register_kernel(device_types, func))
    return func


def register_fake(
    op: Any,
    func: Callable | None = None,
    /,
    *,
    lib: Any = None,
    allow_override: bool = True,
    _stacklevel: int = 1,
) -> Callable:
    """`CustomOp.register_fake` of an op, or the op of a name, which may be declared later. Also a
    decorator. A second function takes the place of the first one, as `allow_override` says.
    """
    if func is None:
        return functools.partial(register_fake, op)
    _when_declared(op, lambda found: found.register_fake(func))
    return func


def register_autograd(
    op: Any, backward: Callable, /, *, setup_context: Callable | None = None, lib: Any = None
) -> None:
    """`CustomOp.register_autograd` of an op, or the op of a name, which may be declared later."""
    _when_declared(op, lambda x: x.register_autograd(backward, setup_context=setup_context))


def register_autocast(op: Any, device_type: str, cast_inputs: DType, /, *, lib: Any = None) -> None:
    """`CustomOp.register_autocast` of an op, or the op of a name, which may be declared later."""
    _when_declared(op, lambda found: found.register_autocast(device_type, cast_inputs))


def define(qualname: str, schema: str, *, lib: Any = None, tags: Any = ()) -> None:
    """Declares the op "namespace::name" with a schema such as ``(Tensor x) -> Tensor``."""
    CustomOp(qualname + schema)


def impl(
    qualname: str,
    types: str | Sequence[str],
    func: Callable | None = None,
    *,
    lib: Any = None,
) -> Any:
    """Makes a function the kernel of a declared op for types of devices ("cpu", "default": all).
    Also a decorator.
    """
    if func is None:
        return functools.partial(impl, qualname, types, lib=lib)
    for name in [types] if isinstance(types, str) else types:
        register_kernel(qualname, None if name == "default" else name, func)
    return func


class Library:
    """A namespace in which ops are declared ("DEF", "FRAGMENT") and get kernels ("IMPL").

    `dispatch_key` is for what kernels are unless `impl` says otherwise.
    """

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        if kind not in ("IMPL", "DEF", "FRAGMENT"):
            raise ValueError(f"Unsupported library kind: {kind}")
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Declares the op of a schema, ``name(Tensor x) -> Tensor``; returns its name."""
        return CustomOp(f"{self.ns}::{schema}").name

    def impl(
        self,
        op_name: Any,
        fn: Callable,
        dispatch_key: str = "",
        *,
        with_keyset: bool = False,
        allow_override: bool = True,
    ) -> None:
        """Makes a function the kernel of an op of this namespace for a dispatch key: "CPU", "CUDA",
        "Meta", "CompositeExplicitAutograd" (all devices), "CompositeImplicitAutograd" (all, and the
        gradients are its ops'). The op may be declared later. NotImplementedError for other keys.
        """
        key = dispatch_key or self.dispatch_key
        if with_keyset or key not in (*_KEYS, *_FORMS):
            known = ", ".join(sorted(filter(None, (*_KEYS, *_FORMS))))
            raise NotImplementedError(f"there are no kernels for {key}: the keys are {known}")
        name = (op_name if isinstance(op_name, str) else _qualname(op_name)).rpartition("::")[2]

        def register(op: CustomOp) -> None:
            if key in _FORMS:
                op.register_fake(fn)
            if key != "Meta":
                op.register_kernel(_KEYS.get(key), fn)
            if key == "CompositeImplicitAutograd":
                op._by_parts = True

        _when_declared(f"{self.ns}::{name}", register)

    def __repr__(self) -> str:
        return f"Library(kind={self.kind}, ns={self.ns}, dispatch_key={self.dispatch_key})"


__all__ = [
    "Library",
    "define",
    "impl",
    "register_autocast",
    "register_autograd",
    "register_fake",
    "register_kernel",
]
