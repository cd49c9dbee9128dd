"""What users call: `compile`, and what `torch.compiler` has besides."""

from __future__ import annotations

import functools
from typing import Any

from flambeau._base import annotations as marks
from flambeau.nn import Module

from .called import body_of
from .compiled import Compiled, Options
from .library import SavedFunction

BACKENDS = ("flambeau", "inductor", "eager", "aot_eager", "cudagraphs")
MODES = (
    None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs", "background",
)  # fmt: skip


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str = "flambeau",
    mode: str | None = None,
    options: dict | None = None,
    disable: bool = False,
) -> Any:
    """A function, or a module, that runs as a native program from its third call on.

    `model` is a module, or a function such as a whole training step: forward, backward and the
    optimizer's update become one program. Without `model` the result is a decorator. A statement
    that cannot be captured runs as it is, and those before and after it become programs of their
    own, unless `fullgraph` is true: then it raises RuntimeError. `FLAMBEAU_SHOW=breaks` says where
    a function was split, and why.

    Every kind of arguments gets a program of its own. Their kernels are shared: once two programs
    were found to differ in numbers (lengths, and what is computed from them), these become
    parameters of the kernels. With `dynamic` true all numbers do from the start, with false none
    ever does. `mode` is "default", or "background": calls run as they are while a program is made
    ready in another thread. PyTorch's other modes are the default. `options` are not looked at.

    Raises RuntimeError for an unknown mode, or a backend that is none of PyTorch's names or
    "flambeau": they all mean this compiler.
    """
    if backend not in BACKENDS:
        raise RuntimeError(f"Invalid backend: {backend!r}. There is one compiler: 'flambeau'.")
    if mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES[1:])}")
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
            options=options, disable=disable,
        )  # fmt: skip
    if disable:
        return model
    if not callable(model):
        raise TypeError(f"compile expects a callable, but got {type(model).__name__}")
    if getattr(body_of(model)[0], "__code__", None) in marks.disabled:
        return model
    made = Compiled(model, Options(fullgraph, dynamic, mode == "background"))
    return OptimizedModule(model, made) if isinstance(model, Module) else made


class OptimizedModule(Module):
    """A module whose calls are compiled. It has the attributes of the module that it stands for,
    and `_orig_mod` in front of the names in its state.
    """

    def __init__(self, module: Module, compiled: Compiled):
        super().__init__()
        del self.__dict__["training"]  # is the module's
        super().__setattr__("_orig_mod", module)
        self.__dict__["_compiled"] = compiled

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's result."""
        return self._compiled(*args, **kwargs)

    def aot_compile(self, example_inputs: tuple[tuple, dict[str, Any]]) -> SavedFunction:
        """The module for arguments like these, which can be saved: see `library`."""
        return self._compiled.aot_compile(example_inputs)

    def show(self, what: str = "programs") -> str:
        """What was compiled, as text: "programs", their "loops" or their "memory", or "breaks"."""
        return self._compiled.show(what)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_orig_mod"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)

    def __len__(self) -> int:
        if not hasattr(type(self._orig_mod), "__len__"):
            raise TypeError("object of type 'OptimizedModule' has no len()")
        return len(self._orig_mod)  # type: ignore[arg-type]


def list_backends(exclude_tags: Any = ()) -> list[str]:
    """The compilers that there are."""
    return ["flambeau"]


def is_compile_supported(device_type: str) -> bool:
    """Whether programs are compiled for a type of device."""
    return device_type == "cpu"


def cudagraph_mark_step_begin() -> None:
    """Nothing: results of programs are memory of their own."""


__all__ = [
    "OptimizedModule",
    "compile",
    "cudagraph_mark_step_begin",
    "is_compile_supported",
    "list_backends",
]
