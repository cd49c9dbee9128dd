"""`compile`: a function, a module or a whole training step as native programs.

The first call with arguments of new layouts runs as it is, so that optimizers make their state; the
second is captured while it runs; from the third on, the program runs in its place, as long as
everything that Python read is as it was.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from flambeau._base import knobs
from flambeau.nn import Module
from flambeau.ops import modes
from flambeau.tensor import Tensor

from .capture import Broken, Capture
from .execute import Executable, KernelFailed
from .joint import Pair
from .pace import Paces
from .passes import optimize
from .program import Program
from .state import GRAD, PLAIN, Guard, Read, SlotOf, Watch, exactly

VARIANTS = 16  # programs of one key; more means that something changes with every call
KEYS = 1024  # so many kinds of arguments are remembered


class Entry:
    """What is known for one key: how often it was called, and its programs."""

    __slots__ = ("calls", "objects", "reason", "variants")

    def __init__(self, objects: list[Any]) -> None:
        self.calls, self.variants = 0, list[Variant]()
        self.objects = objects  # whose identity is in the key: nothing else may get it
        self.reason: str | None = None


class Compiled:
    """A callable in place of `function`. See `compile`."""

    def __init__(self, function: Callable[..., Any], *, fullgraph: bool = False):
        functools.update_wrapper(self, function, updated=())
        self._function, self._fullgraph = function, fullgraph
        self._entries: dict[Any, Entry] = {}

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if modes.state.stack:  # somebody else looks at ops: a capture around this one, say
            return self._function(*args, **kwargs)
        tensors: list[Any] = []
        objects: list[Any] = []
        try:
            named = _key(kwargs, tensors, objects) if kwargs else None
            key = modes.state.grad, modes.defaults.dtype, _key(args, tensors, objects), named
            entry = self._entries.get(key)
        except TypeError:  # an argument that has no key
            return self._function(*args, **kwargs)
        if entry is None:
            if len(self._entries) >= KEYS:
                self._entries.clear()
            entry = self._entries[key] = Entry(objects)
        for variant in entry.variants:
            if variant.guard():
                try:
                    return variant.run(tensors)
                except KernelFailed:  # the user's own error comes from the user's own line
                    break
        return self._slowly(entry, tensors, args, kwargs)

    def _slowly(self, entry: Entry, tensors, args, kwargs):
        entry.calls += 1
        if entry.calls == 1 or entry.reason is not None or len(entry.variants) >= VARIANTS:
            return self._function(*args, **kwargs)
        recorder = Recorder(self._function, tensors)
        result = recorder.run(args, kwargs)
        try:
            entry.variants.insert(0, recorder.variant(result))
        except Broken as reason:
            entry.reason = str(reason)
            if self._fullgraph:
                raise RuntimeError(f"compile(fullgraph=True): {reason}") from None
            if "breaks" in knobs.show:
                print(f"{self._function.__qualname__} is not compiled: {reason}", file=sys.stderr)
        return result

    def show(self) -> str:
        """The programs that were made, as text; and why there are none."""
        texts = []
        for entry in self._entries.values():
            texts += [str(v.executable.program) for v in entry.variants]
            texts += [f"not compiled: {entry.reason}"] if entry.reason else []
        return "\n".join(texts)


def _key(value, tensors, objects):
    """What a program depends on in its arguments; tensors, and objects known by their identity, are
    collected.
    """
    kind = value.__class__
    if kind is Tensor:
        tensors.append(value)
        return value.layout, value._node is not None, _first(tensors, value)
    if kind is tuple or kind is list:
        return kind, tuple([_key(v, tensors, objects) for v in value])
    if kind is dict:
        return kind, tuple(value), tuple([_key(v, tensors, objects) for v in value.values()])
    if isinstance(value, PLAIN):
        return kind, exactly(value)
    if isinstance(value, Tensor):
        raise TypeError("tensors of subclasses are not followed")
    objects.append(value)
    return kind, id(value)


def _first(tensors, tensor) -> int:
    """The number of the first argument on the same memory."""
    return next(k for k, t in enumerate(tensors) if t.storage is tensor.storage)


class Recorder:
    """One captured run of a function."""

    def __init__(self, function, tensors):
        self._function, self._tensors = function, tensors
        self._paces = Paces()
        self._capture = Capture(self._paces.numbers_of)
        self._watch = Watch(self._capture.end, self._capture.constant)
        self._paces.start(self._capture, self._watch)
        self._grads: dict[int, tuple[Any, Any]] = {}

    def run(self, args, kwargs):
        """The function's result; everything that it does is noted."""
        capture, watch = self._capture, self._watch
        target = self._function
        for t in self._tensors:
            capture.give(t)
        watch.function(target)
        watch.walk(target)
        self._note_grads()
        with capture, watch:
            return target(*args, **kwargs)

    def _note_grads(self) -> None:
        for t in self._watch.tensors.values():
            self._grads[id(t)] = t, t._grad

    # What comes of it.

    def variant(self, result) -> Variant:
        """The program of this run, and what must hold for it. Raises Broken where there is none."""
        capture, watch = self._capture, self._watch
        watch.settle()
        for optimizer in watch.optimizers:
            self._read_optimizer(optimizer)
        if capture.broken is not None:
            raise Broken(capture.broken)
        leaving: list[Any] = []
        rebuild = _shape_of(result, leaving)
        grads = self._new_grads()
        self._name_arguments()
        pair = None
        if modes.state.grad and not watch.went_back and any(t._node is not None for t in leaving):
            pair = Pair(capture, leaving, self._tensors)
        program = pair.first if pair else capture.program([*leaving, *(g for _, g in grads)])
        written = {t for t, g in grads}
        kept = [Read(SlotOf(t, GRAD), "grad", g) for t, g in self._steady_grads(written)]
        guard = Guard(list(watch.reads.values()) + kept, self._given(program))
        return Variant(
            Executable(optimize(program)), pair, guard, rebuild, len(leaving),
            [t for t, _ in grads], self._paces,
        )  # fmt: skip

    def _read_optimizer(self, optimizer) -> None:
        """Options and state tensors are what they were; the numbers are computed anew."""
        watch = self._watch
        watch._read(optimizer.__dict__, "state", optimizer.state)
        watch._read(optimizer.__dict__, "param_groups", optimizer.param_groups)
        for hooks in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
            watch.walk(optimizer.__dict__.get(hooks))
        for group in optimizer.param_groups:
            for name, value in group.items():
                if name == "params":
                    watch.walk(value)
                elif name != "lr" and name != "initial_lr":
                    watch._read(group, name, value)
            for parameter in group["params"]:
                state = optimizer.state.get(parameter)
                for name, value in (state or {}).items():
                    if isinstance(value, Tensor):
                        watch._read(state, name, value)

    def _new_grads(self) -> list[tuple[Any, Any]]:
        """(tensor, gradient) for gradients that the program makes."""
        self._note_new()
        found = []
        for tensor, before in self._grads.values():
            now = tensor._grad
            if now is not None and now is not before:
                buffer = self._capture.buffer_of(now)
                if buffer is None or buffer.holder is not None:
                    raise Broken("a gradient is no tensor of the function's own")
                if any(tensor is t for t in self._tensors):
                    raise Broken("backward() ran to an argument")
                found.append((tensor, now))
        return found

    def _note_new(self) -> None:
        """Tensors that were met after the start: what their `grad` was is not known, but they were
        not reachable, or reached only later.
        """
        for t in self._watch.tensors.values():
            self._grads.setdefault(id(t), (t, None))

    def _steady_grads(self, written):
        """What `grad` must be before a run: what was added to, or None where one was made."""
        for tensor, before in self._grads.values():
            if before is None and any(tensor is t for t in written):
                yield tensor, None
            elif before is not None and tensor._grad is before:
                if self._capture.buffer_of(before) is not None:
                    yield tensor, before

    def _name_arguments(self) -> None:
        held = {id(t.storage) for t in self._watch.held.values()}
        for k, tensor in enumerate(self._tensors):
            buffer = self._capture.buffer_of(tensor)
            if id(tensor.storage) in held:
                raise Broken("an argument is memory that the function also reaches otherwise")
            if buffer is not None and buffer.holder is tensor:
                buffer.argument = k

    def _given(self, program: Program) -> list[Any]:
        """The tensors whose layout, and whether they want gradients, must be as they were."""
        given = {id(b.holder): b.holder for b in program.buffers() if b.argument is None}
        given |= {k: t for k, t in self._watch.held.items() if self._capture.buffer_of(t)}
        return [t for t in given.values() if t is not None]


class Variant:
    """A program, when it holds, and how what it gives reaches the user."""

    def __init__(self, executable, pair, guard, rebuild, count, parameters, paces):
        self.executable, self.guard = executable, guard
        self._run = executable.run
        if pair is not None:
            pair.start(executable)
            self._run = pair.run
        self._rebuild, self._count, self._parameters, self._paces = (
            rebuild,
            count,
            parameters,
            paces,
        )

    def run(self, tensors):
        """Runs the program on arguments that are these tensors."""
        numbers = self._paces.numbers()
        for tensor in self._parameters:  # their memory is free for the new ones
            tensor._grad = None
        made = self._run(tensors, numbers)
        count = self._count
        for tensor, grad in zip(self._parameters, made[count:], strict=True):
            tensor._grad = grad
        return self._rebuild(made)


def _shape_of(value, leaving: list[Any]) -> Callable[[Any], Any]:
    """A function that gives the result again, with other tensors. Raises Broken for results that
    hold what cannot be made again.
    """
    if isinstance(value, Tensor):
        k = len(leaving)
        leaving.append(value)
        return lambda made: made[k]
    if isinstance(value, tuple | list):
        parts = [_shape_of(v, leaving) for v in value]
        kind: Any = type(value)
        if hasattr(kind, "_fields"):
            return lambda made: kind(*[part(made) for part in parts])
        return lambda made: kind([part(made) for part in parts])
    if isinstance(value, dict):
        named = {k: _shape_of(v, leaving) for k, v in value.items()}
        return lambda made: {k: part(made) for k, part in named.items()}
    if isinstance(value, PLAIN):
        return lambda made: value
    raise Broken(f"the function returns a {type(value).__name__}")


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
    optimizer's update become one program. Without `model` the result is a decorator. What cannot be
    captured runs as it is, unless `fullgraph` is true: then it raises RuntimeError.
    `FLAMBEAU_SHOW=breaks` says what was not captured, and why.
    """
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
            options=options, disable=disable,
        )  # fmt: skip
    if disable:
        return model
    if not callable(model):
        raise TypeError(f"compile expects a callable, but got {type(model).__name__}")
    made = Compiled(model, fullgraph=fullgraph)
    return OptimizedModule(model, made) if isinstance(model, Module) else made


class OptimizedModule(Module):
    """A module whose calls are compiled. It has the attributes of the module that it stands for,
    and `_orig_mod` in front of the names in its state.
    """

    def __init__(self, module: Module, compiled: Compiled):
        super().__init__()
        self._orig_mod = module
        self.training = module.training
        object.__setattr__(self, "_compiled", compiled)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's result."""
        return self._compiled(*args, **kwargs)

    def show(self) -> str:
        """The programs that were made, as text; and why there are none."""
        return self._compiled.show()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_orig_mod"), name)
