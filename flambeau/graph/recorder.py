"""One captured run of a function, and the program and the guard that come of it."""

from __future__ import annotations

import threading
from typing import Any

from flambeau._base import annotations as marks
from flambeau.ops import AccumulateGrad, modes
from flambeau.tensor import Tensor

from .called import body_of, name_of
from .capture import Broken, Capture
from .dynamic import Sizes
from .guard import ABSENT, ITEMS, Guard
from .joint import Pair
from .pace import Paces
from .program import Program
from .state import Watch, identity, nodes_behind
from .variant import Grads, Variant, consumed, rebuilding, versioned


class Recorder:
    """One captured run of a function."""

    def __init__(self, function, tensors, sizes: Sizes | None, names: set[str]):
        self._function, self._tensors = function, tensors
        if sizes is not None:
            sizes.start()
        self._paces = Paces()
        plain, _ = body_of(function)
        self._before = [(t, *identity(t)) for t in tensors]
        self._capture = Capture(self._paces.numbers_of, getattr(plain, "__code__", None), sizes)
        self._watch = Watch(self._capture.end, self._capture.constant, tensors, names)
        self._watch.steps = self._paces.begin
        self._watch.going_back = self._note_place
        self._paces.start(self._capture)

    def _note_place(self) -> None:
        self._back = self._capture.where()

    @property
    def place(self) -> tuple[int, int] | None:
        """The line and column of the function at which the capture ended."""
        return self._capture.place

    @property
    def changed(self) -> Any:
        """The name of a value that the function changed, though it reads it."""
        return self._watch.changed

    def run(self, args, kwargs):
        """The function's result; everything that it does is noted."""
        capture, watch = self._capture, self._watch
        target = self._function
        for t in self._tensors:
            capture.give(t)
        watch.function(target)
        watch.walk(target)
        thread = threading.get_ident()
        marks.compiling.add(thread)
        modes_before = _modes()
        try:
            with capture, watch:
                result = target(*args, **kwargs)
        finally:
            marks.compiling.discard(thread)
        if _modes() != modes_before:
            capture.end("a mode was left on or off")
        return result

    # What comes of it.

    def variant(self, result, objects) -> Variant:
        """The program of this run, and what must hold for it; it does not keep these `objects`
        alive. Raises Broken where there is none.
        """
        capture, watch = self._capture, self._watch
        watch.settle()
        for optimizer in watch.optimizers:
            self._read_optimizer(optimizer)
        if capture.broken is not None:
            raise Broken(capture.broken)
        if self._paces.made_state():
            raise NotYet("an optimizer made its state")
        met = [one for one in watch.met.values() if not capture.made(one[-1])]
        for tensor, *before in (*self._before, *met):
            if any(a is not b for a, b in zip(before, identity(tensor), strict=True)):
                raise Broken("a tensor that was there got a history, a shape or memory")
        leaving: list[Any] = []
        rebuild = rebuilding(result, leaving, self._tensors, self._was_there)
        grads = Grads(capture, watch, self._tensors)
        if len({id(g) for _, g in grads.given}) < len(grads.given):
            raise NotYet("two tensors have one gradient")
        tensors = [*self._tensors, *(t._grad if g is None else g for t, g in grads.given)]
        self._name_arguments(tensors)
        for node in nodes_behind([t._node for t in leaving] if watch.went_back else ()):
            if node not in watch.consumed and not isinstance(node, AccumulateGrad):
                capture.place = self._back
                raise Broken("after backward(), something is computed that can be differentiated")
        pair = None
        if modes.state.grad and not watch.went_back and any(t._node is not None for t in leaving):
            pair = Pair(self._function, capture, leaving, tensors, watch)
        if watch.went_back:
            rebuild = consumed([k for k, t in enumerate(leaving) if t._node is not None], rebuild)
        rebuild = versioned(
            {k: t._storage.version for k, t in enumerate(leaving) if capture.made(t._storage)
             and modes.is_inference(t._storage) != modes.state.inference}, rebuild,
        )  # fmt: skip
        program = pair.first if pair else capture.program([*leaving, *(g for _, g in grads.made)])
        reads = [*watch.guarded(), *grads.reads, *(watch.hooks() if watch.went_back else ())]
        guard = Guard(reads, self._given(program))
        program.title = name_of(self._function)
        watch.loosen(objects)
        variant = Variant(
            program, capture.fixed, pair, guard, rebuild, len(leaving), grads, self._paces,
            frozenset(id(t._storage) for t in watch.held.values()),
        )  # fmt: skip
        capture.release()
        grads.release()
        return variant

    def _was_there(self, value: Any) -> bool:
        if self._watch.is_given(value):  # another run is given another
            raise Broken("the function returns a container that is its argument")
        return self._watch.was_there(value)

    def release(self) -> None:
        """Lets go of the run's memory: it would stay until somebody finds the circle."""
        self._capture.release()
        self._watch.going_back = nothing

    def _read_optimizer(self, optimizer) -> None:
        """Options and state tensors are what they were; the numbers are computed anew."""
        watch = self._watch
        watch._read(optimizer.__dict__, "state", optimizer.state)
        watch._read(optimizer.__dict__, "param_groups", optimizer.param_groups)
        watch._read(optimizer.__dict__, "step", optimizer.__dict__.get("step", ABSENT))
        watch._read(optimizer.state, ITEMS, (*optimizer.state, *optimizer.state.values()))
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

    def _name_arguments(self, tensors) -> None:
        held = {id(t._storage) for t in self._watch.held.values()}
        for k, tensor in enumerate(tensors):
            buffer = self._capture.buffer_of(tensor)
            if id(tensor._storage) in held:
                raise Broken("an argument is memory that the function also reaches otherwise")
            if buffer is not None and buffer.holder is tensor:
                buffer.argument = k

    def _given(self, program: Program) -> list[Any]:
        """The tensors whose layout, and whether they want gradients, must be as they were."""
        given = {id(b.holder): b.holder for b in program.buffers() if b.argument is None}
        given |= {k: t for k, t in self._watch.held.items() if self._capture.buffer_of(t)}
        return [t for t in given.values() if t is not None]


class NotYet(Broken):
    """The next run may do what can be captured."""


def nothing() -> None:
    """Nobody is told."""


def _modes() -> tuple:
    """What a call may leave changed for whoever comes behind it."""
    state = modes.state
    return state.grad, state.inference, state.stack, modes.defaults.dtype, modes.defaults.device


__all__ = ["NotYet", "Recorder"]
