"""Ops of the user's own: PyTorch's `torch.library.custom_op`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flambeau import ops
from flambeau.ops import Op, make_plain, modes, registry
from flambeau.tensor import Tensor, autocast
from flambeau.types import DType, pytree

from .recorded import recorder
from .schema import infer_schema

ALIASES = (
    "The output of this custom operator (1) must not also be an input to this custom operator and "
    "(2) may not alias any inputs to this custom operator or other returns. The most common way to "
    "trigger this error is if we have y = custom_op(x) and y and x are the same Tensor. Please "
    "instead return a clone of the offending output tensor(s) (e.g. return x.clone()) or refactor "
    "the custom operator to not return y."
)
# The built-in ops' namespaces, in which users declare nothing.
OURS = frozenset(("", "aten", "fft", "linalg", "nn", "prim", "special"))


# What was registered for ops, by name, before they were declared.
waiting: dict[str, list[Callable[[Any], Any]]] = {}


class CustomOp(Op):
    """An op whose kernels are the user's functions, which nobody looks into.

    `name` is "namespace::name" of the schema. Called as the functions are, and by the name
    ``torch.ops.NAMESPACE.NAME``.
    """

    family = "custom"

    def __init__(self, schema: str) -> None:
        namespace, _, rest = schema.partition("(")[0].rpartition("::")
        if not namespace or namespace in OURS:
            raise ValueError(
                f"{rest}: a custom op needs a namespace of its own: its name is 'namespace::name'"
            )
        if not isinstance(getattr(ops, namespace, None), ops.Namespace | None):
            raise ValueError(f"the namespace {namespace!r} has another meaning under torch.ops")
        known = registry.get(f"{namespace}.{rest.partition('.')[0]}", [])
        known[:] = [op for op in known if op.overload != rest.partition(".")[2]]  # declared again
        super().__init__(schema, None)
        self._qualname = f"{namespace}::{rest}"
        self._kernels: dict[str | None, Callable] = {}  # by type of device; None: of all others
        self._disabled: set[str | None] = set()
        self._fake: Callable | None = None
        self._by_parts = False  # whether the kernel's own ops are recorded
        self._backward: Callable | None = None
        self._setup: Callable | None = None
        self._cast: DType | None = None
        for register in waiting.pop(self._qualname, ()):
            register(self)

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    def __reduce__(self) -> tuple:
        return declared, (self._qualname,)

    @functools.cached_property
    def changed(self) -> list[int]:
        """The places of the arguments that the op writes to."""
        return [a.position for a in self.schema.arguments if a.written]

    # What users register.

    def register_kernel(
        self, device_types: str | Sequence[str] | None, fn: Callable | None = None, /
    ) -> Callable:
        """Makes a function the op's kernel for tensors on such devices ("cpu"); None: on all for
        which there is no other. Also a decorator.
        """
        if fn is None:
            return functools.partial(self.register_kernel, device_types)
        kinds = (device_types,) if isinstance(device_types, str | None) else tuple(device_types)
        self._kernels |= dict.fromkeys(kinds, fn)
        return fn

    def register_fake(self, fn: Callable, /) -> Callable:
        """Makes a function the op's results on the meta device, which have shapes and no values."""
        self._fake = fn
        return fn

    def register_autograd(
        self, backward: Callable, /, *, setup_context: Callable | None = None
    ) -> None:
        """The op's gradients: ``backward(ctx, *grads)`` gives one for each argument that may be
        positional, None for what is no tensor.

        ``setup_context(ctx, inputs, output)``, with ``keyword_only_inputs`` where the op has such,
        keeps what backward reads. RuntimeError for ops that write to their arguments.
        """
        if self.changed:
            raise RuntimeError(
                f"Cannot register autograd formula for non-functional operator {self} with schema "
                f"{self.schema}. Please create a functional operator and register an autograd "
                "formula for that."
            )
        self._backward, self._setup = backward, setup_context

    def register_autocast(self, device_type: str, cast_inputs: DType) -> None:
        """Under autocast, floating-point inputs are cast to a dtype, and autocast is off inside."""
        if device_type == "cpu":
            self._cast = cast_inputs

    @contextmanager
    def set_kernel_enabled(self, device_type: str, enabled: bool = True) -> Iterator[None]:
        """A with block in which the kernel for a type of device is used, or that for all others."""
        before = set(self._disabled)
        (self._disabled.discard if enabled else self._disabled.add)(device_type)
        try:
            yield
        finally:
            self._disabled = before

    # What happens when it is called.

    def make_door(self, slow: Any = None) -> Callable:
        return make_plain(self)

    def _planned(self, raw: Sequence[Any]) -> Any:
        args = self.schema.normalise(raw)
        on_meta = any(t.layout.device.type == "meta" for t in tensors_in(args))
        return self._pretend(args) if on_meta else self._perform(args)

    def _pretend(self, args: Sequence[Any]) -> Any:
        if self._fake is None:
            raise RuntimeError(
                f"There was no fake impl registered for {self}. This is necessary for tensors on "
                f"the meta device. Please use `{self.name}.register_fake` to add a fake impl."
            )
        return self._called(self._fake, args)

    def _perform(self, args: Sequence[Any]) -> Any:
        if self._cast is not None and autocast.is_autocast_enabled("cpu"):
            args = pytree.tree_map(self._lowered, args)
            with autocast.autocast("cpu", enabled=False):
                return self._perform(args)
        wanted = modes.state.grad and any(t._node is not None for t in tensors_in(args))
        if not wanted or self._by_parts:
            return self.run(args)
        for place in self.changed:
            if any(t._node is not None for t in tensors_in(args[place : place + 1])):
                raise RuntimeError(
                    f"{self._qualname} writes to an argument that requires grad, for which custom "
                    "ops have no gradient: call it under torch.no_grad()"
                )
        return self._recorded(args)

    @functools.cached_property
    def _recorded(self) -> Callable:
        return recorder(self)

    def _lowered(self, value: Any) -> Any:
        floating = isinstance(value, Tensor) and value.layout.dtype.kind == "f"
        return value.to(self._cast) if floating else value

    def run(self, args: Sequence[Any]) -> Any:
        """What the kernel gives for arguments in the schema's order, nothing recorded of the op."""
        kernels = {k: f for k, f in self._kernels.items() if k not in self._disabled}
        kernel = kernels.get("cpu") or kernels.get(None)
        if kernel is None:
            raise NotImplementedError(
                f"Could not run '{self._qualname}' with arguments from the 'CPU' backend: "
                "no kernel was registered for it"
            )
        result = self._called(kernel, args)
        for t in tensors_in([args[place] for place in self.changed]):
            if not modes.is_inference(t._storage):
                t._storage.version += 1  # a kernel may write in a way that nobody saw
        if not self._by_parts:
            self._check_memory(args, result)
        return result

    def _called(self, function: Callable, args: Sequence[Any]) -> Any:
        given = [list(v) if v.__class__ is tuple else v for v in args]
        return function(*given[: self.positional], **self.keywords(given))

    @functools.cached_property
    def positional(self) -> int:
        """How many arguments may be given by position: the first ones."""
        return sum(not a.keyword for a in self.schema.arguments)

    def keywords(self, args: Sequence[Any]) -> dict[str, Any]:
        """The arguments that are given by name."""
        rest = self.schema.arguments[self.positional :]
        return {a.name: v for a, v in zip(rest, args[self.positional :], strict=True)}

    def _check_memory(self, args: Sequence[Any], result: Any) -> None:
        taken = {id(t._storage) for t in tensors_in(args)}
        for t in tensors_in([result]):
            if id(t._storage) in taken:
                raise RuntimeError(f"{self.name}: {ALIASES}")
            taken.add(id(t._storage))


def declared(name: str) -> CustomOp | None:
    """The custom op "namespace::name"; None where there is none."""
    namespace, _, rest = name.rpartition("::")
    base, _, overload = rest.partition(".")
    known = registry.get(f"{namespace}.{base}", ())
    return next((x for x in known if isinstance(x, CustomOp) and x.overload == overload), None)


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among values, those in lists too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


def custom_op(
    name: str,
    fn: Callable | None = None,
    /,
    *,
    mutates_args: str | Iterable[str],
    device_types: str | Sequence[str] | None = None,
    schema: str | None = None,
    tags: Any = None,
) -> Any:
    """Makes a function an op: it is called by that name in printed programs, and stays whole in
    compiled ones. Also a decorator. Returns the op, which is called as the function is.

    `name` is "namespace::name"; `mutates_args` names the tensors that the function writes to
    ("unknown": all); `device_types` are those that it is a kernel for (None: all). The schema
    follows from the annotations (see `infer_schema`) where none is given. The function must not
    return its arguments, or views of them.
    """
    if fn is None:
        return functools.partial(
            custom_op, name, mutates_args=mutates_args, device_types=device_types, schema=schema
        )
    text = infer_schema(fn, mutates_args=mutates_args) if schema is None else schema
    op = CustomOp(name + text)
    op.register_kernel(device_types, fn)
    functools.update_wrapper(op, fn, assigned=("__module__", "__doc__"), updated=())
    return op


__all__ = ["CustomOp", "custom_op", "declared", "tensors_in", "waiting"]
