"""Compiled functions as files, which other processes load without the source of the function.

A file holds the ops that the function performed, on numbered memory; the memory that it found
there, such as weights; and the machine code of its kernels. Tensors that have a history are
numbered as well, so that results have theirs, which leads to parameters of the file. Loading one
runs nothing: names of ops, layouts and numbers are data, and every op checks its arguments when the
function is called, as it does everywhere. Machine code is taken from files of this user only, or
where the caller trusts it: see `artifacts`. The rest is compiled again.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

from flambeau import runtime
from flambeau._base import user_line
from flambeau.nn import Module
from flambeau.ops import INPLACE, AccumulateGrad, modes, perform_plainly, registry
from flambeau.runtime import default_generator, jit
from flambeau.tensor import Tensor, engine
from flambeau.types import Layout

from . import artifacts
from .capture import unseen
from .encoding import Layouts, Refused, decoded, encoded, matched
from .state import Watch

MAGIC = b"flambeau program 2\n"
_compiler: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = []


def bind(compiler: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Says what makes native programs of functions."""
    _compiler.append(compiler)


class Tracer:
    """Notes the ops that its thread performs inside a with block, on memory by its number."""

    def __init__(self, layouts: Layouts):
        self.ops: list[list[Any]] = []
        self.given: dict[int, tuple[Any, bytes]] = {}  # memory that was found, and what was in it
        self.broken: str | None = None
        self._layouts = layouts
        self._numbers: dict[int, tuple[int, int]] = {}  # by the storage's serial: number, start
        self._count = 0
        self.leaves: list[list[int]] = []  # what was found and wants a gradient
        self.found: list[Any] = []  # their tensors
        self._values: dict[int, tuple[int, Any]] = {}  # tensors with a history, by their id

    def __enter__(self) -> Tracer:
        self._start = runtime.empty(0).serial
        # Below an autocast that is on: its casts are ops of the program.
        self._outer = modes.state.stack
        modes.state.stack = (self, *self._outer)
        modes.interpreters.append(self)
        return self

    def __exit__(self, *exception: Any) -> None:
        modes.state.stack = self._outer
        modes.interpreters.remove(self)

    def end(self, reason: str) -> None:
        """The function cannot be saved."""
        if self.broken is None:
            line = user_line()
            self.broken = f"{reason}\n  at {line}" if line else reason

    def process(self, op: Any, args: tuple, target: Any) -> Any:
        """Performs an op, and notes it."""
        if self.broken is not None:
            return perform_plainly(op, args, target)
        try:
            name = name_of(op)
            given = [encoded(a, self.place) for a in args]
            into = encoded(None if target is INPLACE else target, self.place)
        except Refused as reason:
            self.end(f"{op.name}: {reason}")
            return perform_plainly(op, args, target)
        with unseen():
            result = perform_plainly(op, args, target)
        made = result if isinstance(result, tuple | list) else (result,)
        places = [self._made(t) for t in made if isinstance(t, Tensor)]
        self.ops.append([name, given, [target is INPLACE, into, modes.grad_enabled()], places])
        return result

    def reads(self, tensor: Any) -> None:
        """Somebody wants the elements."""
        self.end("a tensor's elements were read")

    # Memory.

    def place(self, tensor: Any) -> list[int]:
        """Where a tensor lies: the memory's number, bytes from its start, the layout's number; and
        the tensor's own number, -1 where it has no history.
        """
        number, start = self._number(tensor)
        start = tensor._offset * tensor.itemsize - start
        place = [number, start, self._layouts.number(tensor.layout), -1]
        if tensor._node is not None and modes.grad_enabled():
            if id(tensor) not in self._values:
                if number not in self.given or not isinstance(tensor._node, AccumulateGrad):
                    raise Refused(
                        "a tensor's history was made by no op; a function can be saved without "
                        "gradients, under torch.no_grad()"
                    )
                self.leaves.append([*place[:3], self._note(tensor)])
                self.found.append(tensor)
            place[3] = self._values[id(tensor)][0]
        return place

    def _note(self, tensor: Any) -> int:
        return self._values.setdefault(id(tensor), (len(self._values), tensor))[0]

    def argument(self, tensor: Any) -> list[int]:
        """As `place`, for an argument: other calls have it elsewhere in memory."""
        if tensor._storage.serial in self._numbers:
            raise Refused("two arguments are the same memory")
        self._add(tensor, tensor._offset * tensor.itemsize)
        if tensor._node is not None:
            self._note(tensor)
        return self.place(tensor)

    def constant(self, tensor: Any) -> None:
        """A tensor that was made from Python's values."""
        if isinstance(tensor, Tensor) and tensor._storage.serial not in self._numbers:
            self._give(tensor)

    def _made(self, tensor: Any) -> list[int]:
        if tensor._storage.serial not in self._numbers:
            self._add(tensor, 0)
        if tensor._node is not None:
            self._note(tensor)
        return self.place(tensor)

    def _number(self, tensor: Any) -> tuple[int, int]:
        serial = tensor._storage.serial
        if serial not in self._numbers:
            if serial >= self._start:
                raise Refused("its memory was made in a way that cannot be followed")
            self._give(tensor)
        return self._numbers[serial]

    def _add(self, tensor: Any, start: int) -> int:
        self._numbers[tensor._storage.serial] = self._count, start
        self._count += 1
        return self._count - 1

    def _give(self, tensor: Any) -> None:
        storage = tensor._storage
        self.given[self._add(tensor, 0)] = storage, bytes(memoryview(storage).cast("B"))


# Ops without a public name that flambeau's own functions call. All others are parts of ops, and
# take their arguments on trust.
CALLED = frozenset(
    {
        "_digamma_rest", "_gru_layer", "_linear_cross_entropy", "_log_poisson", "_lstm_layer",
        "_normal", "_randperm", "_recurrent_layer", "_rnn_layer", "_to_copy", "_view_dtype",
    }
)  # fmt: skip


def _is_part(op: Any) -> bool:
    return op.name[0] == "_" and not (op.function or op.method or op.name in CALLED)


def name_of(op: Any) -> str:
    """The name under which `find_op` finds it."""
    key = f"{op.namespace}::{op.name}.{op.overload}"
    if _is_part(op) or not any(op is other for other in registry.get(_registered(op), ())):
        raise Refused("it is not an op of flambeau's own")
    return key


def _registered(op: Any) -> str:
    return op.name if op.namespace in ("", "aten") else f"{op.namespace}.{op.name}"


def find_op(key: Any) -> Any:
    """The op of that name. Raises Refused where there is none."""
    if isinstance(key, str):
        namespace, _, name = key.rpartition("::")
        plain, _, overload = name.rpartition(".")
        listed = plain if namespace in ("", "aten") else f"{namespace}.{plain}"
        for op in registry.get(listed, ()):
            if op.overload == overload and op.namespace == namespace and not _is_part(op):
                return op
    raise Refused(f"there is no op {key!r}")


class Replay:
    """A function that performs the ops of a file: ``replay(*tensors)`` gives the results' tensors.

    `memory` has the bytes of the memory that it finds, by number.
    """

    __name__ = __qualname__ = "replay"

    def __init__(self, data: dict[str, Any], memory: dict[int, bytes]):
        self._layouts = Layouts.of(data["layouts"])
        self._steps = [self._step(*op) for op in data["ops"]]
        self._results = [self._place(p) for p in data["results"]]
        self.arguments = [self._place(p) for p in data["tensors"]]
        self._initial = memory
        self._given = {number: runtime.empty(len(content)) for number, content in memory.items()}
        self.renew()
        found = Found({n: (s, 0) for n, s in self._given.items()})
        places = [self._place(place) for place in data["leaves"]]
        self.leaves = {place.value: place.tensor(found) for place in places}
        for leaf in self.leaves.values():
            leaf.requires_grad_()

    def renew(self) -> None:
        """Puts memory in the state of the file."""
        for number, content in self._initial.items():
            memoryview(self._given[number]).cast("B")[:] = content

    def _step(self, name: Any, args: Any, target: Any, places: Any) -> tuple:
        in_place, into, grad = target
        made = tuple(self._place(p) for p in places)
        args = tuple(decoded(a, self._place) for a in args)
        target = INPLACE if in_place is True else decoded(into, self._place)
        return find_op(name), args, target, grad is True, made

    def _place(self, place: Any) -> Place:
        number, start, layout, value = place
        if not all(type(n) is int and n >= 0 for n in (number, start, layout, value + 1)):
            raise Refused("a place in memory is no number")
        return Place(number, start, self._layouts[layout], value)

    def __call__(self, *tensors: Any) -> list[Any]:
        found = Found({n: (s, 0) for n, s in self._given.items()}, dict(self.leaves))
        for place, tensor in zip(self.arguments, tensors, strict=True):
            found.memory[place.number] = tensor._storage, tensor._offset * tensor.itemsize
            found.values[place.value] = tensor
        outer = modes.grad_enabled()
        try:
            for op, args, target, grad, places in self._steps:
                modes.set_grad(outer and grad)
                given = tuple([_filled(a, found) for a in args])
                result = perform_plainly(op, given, _filled(target, found))
                made = result if isinstance(result, tuple | list) else (result,)
                for place, tensor in zip(
                    places, [t for t in made if isinstance(t, Tensor)], strict=True
                ):
                    place.note(op, tensor, found)
        finally:
            modes.set_grad(outer)
        return [place.tensor(found) for place in self._results]


class Found:
    """What a call has: memory by its number, with the byte at which it starts, and tensors that
    have a history.
    """

    __slots__ = ("memory", "values")

    def __init__(self, memory: dict[int, tuple[Any, int]], values: dict[int, Any] | None = None):
        self.memory, self.values = memory, values or {}


class Place:
    """Where a tensor lies: in which memory, bytes from where it starts, and how. `value` is its own
    number, where it may have a history.
    """

    __slots__ = ("layout", "number", "start", "value")

    def __init__(self, number: int, start: int, layout: Layout, value: int = -1):
        self.number, self.start, self.layout, self.value = number, start, layout, value

    def tensor(self, found: Found) -> Any:
        """The tensor. Raises RuntimeError where the memory is not as large."""
        known = found.values.get(self.value) if self.value >= 0 else None
        if known is not None and known.layout is self.layout:
            return known
        storage, base = found.memory.get(self.number, (None, 0))
        start = base + self.start
        size = self.layout.itemsize
        if storage is None or start + self.layout.nbytes > storage.nbytes or start % size:
            raise RuntimeError("the program's file is damaged: a tensor lies outside of its memory")
        return runtime.wrap(storage, self.layout, start // size)

    def note(self, op: Any, tensor: Any, found: Found) -> None:
        """A tensor was made, and lies here. Raises RuntimeError where it lies otherwise."""
        if self.value >= 0:
            found.values[self.value] = tensor
        storage, base = found.memory.setdefault(self.number, (tensor._storage, 0))
        start = tensor._offset * tensor.itemsize - base
        if (
            storage is not tensor._storage
            or tensor.layout is not self.layout
            or start != self.start
        ):
            raise RuntimeError(
                f"{op.name} gives {tensor.layout!r} here, and gave {self.layout!r} when the "
                "program was saved: it was saved by another version of flambeau"
            )


def _filled(value: Any, found: Found) -> Any:
    """An argument, with tensors in place of their places."""
    if isinstance(value, Place):
        return value.tensor(found)
    if isinstance(value, tuple | list):
        return type(value)([_filled(v, found) for v in value])
    return value


class SavedFunction:
    """A function that is independent of its source: what `aot_compile` and
    `load_compiled_function` give. It takes what the example inputs were: tensors of their layouts,
    and the same other values. Its results can be differentiated where the function was compiled
    with grad mode on, and reads what wants a gradient: arguments, or parameters of its own.
    """

    def __init__(self, data: dict[str, Any], memory: dict[int, bytes]):
        self._data, self._memory = data, memory
        self._replay = Replay(data, memory)
        self._arguments, self._returns = data["arguments"], data["returns"]
        self._check()
        self._compiled = _compiler[0](self._replay)
        self._differentiable = data["differentiable"] is True

    def parameters(self) -> list[Any]:
        """The parameters, in the order of `named_parameters`: an optimizer may change them."""
        return list(self._replay.leaves.values())

    def named_parameters(self) -> dict[str, Any]:
        """The tensors of the function's own that want gradients. Those of a module have its names
        for them.
        """
        return dict(zip(self._data["names"], self._replay.leaves.values(), strict=True))

    def _check(self) -> None:
        """Raises Refused where tensors of arguments and results are not numbered as they must."""
        met: list[Any] = []
        decoded(self._arguments, met.append)
        if met != list(range(len(self._replay.arguments))):
            raise Refused("the arguments have no numbers")
        met.clear()
        decoded(self._returns, met.append)
        if met != list(range(len(self._data["results"]))):
            raise Refused("the results have no numbers")
        names = self._data["names"]
        if len({*names}) != len(self._replay.leaves) or not all(type(n) is str for n in names):
            raise Refused("the parameters have no names")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result."""
        found: list[Any] = []
        matched(self._arguments, [list(args), kwargs], found)
        for k, (tensor, place) in enumerate(zip(found, self._replay.arguments, strict=True)):
            if tensor.layout is not place.layout:
                raise TypeError(
                    f"tensor {k} of the arguments is {tensor.layout!r}, but the program was made "
                    f"for {place.layout!r}"
                )
        before = modes.grad_enabled()
        modes.set_grad(before and self._differentiable)
        try:
            made = self._compiled(*found)
        finally:
            modes.set_grad(before)
        return decoded(self._returns, lambda k: made[k])

    def save_compiled_function(
        self, path: str | os.PathLike, external_data: dict[str, Any] | None = None
    ) -> None:
        """Writes the function to a file, for `load_compiled_function`: the whole file, or none.
        There is no `external_data`: memory that the function uses is in the file.
        """
        if external_data:
            raise NotImplementedError("the file holds all data of the function: no external_data")
        code = artifacts.save_cache_artifacts()
        pack = code[0] if code else b""
        numbers = list(self._memory)
        blocks = [*(self._memory[n] for n in numbers), pack]
        index = dict(self._data, memory=numbers, sizes=[len(b) for b in blocks])
        index["seal"], index["identity"] = artifacts.seal(pack) if pack else "", jit.identity()
        content = artifacts.sealed(MAGIC, index, blocks)
        temporary = f"{os.fspath(path)}.new-{os.getpid()}-{threading.get_ident()}"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)


def aot_compile(
    function: Callable[..., Any], example_inputs: tuple[tuple, dict[str, Any]]
) -> SavedFunction:
    """`function`, run once on copies of the example inputs, as a `SavedFunction` that has copies of
    all memory which the function uses. It can be differentiated, unless grad mode is off. Raises
    RuntimeError where what it does depends on elements, or has other effects than on tensors.
    """
    try:
        return _traced(function, *example_inputs)
    except RuntimeError:  # perhaps of what flambeau generates when it is used first
        return _traced(function, *example_inputs)


def _traced(function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> SavedFunction:
    layouts, tensors = Layouts(), list[Any]()
    state = default_generator.get_state()

    def copied(value: Any) -> Any:
        tensors.append(_copy(value).requires_grad_(value.requires_grad))
        return len(tensors) - 1

    tracer = Tracer(layouts)
    try:
        spec = encoded([list(args), dict(kwargs)], copied)
        places = [tracer.argument(t) for t in tensors]
        given = decoded(spec, lambda k: tensors[k])
        watch = Watch(tracer.end, tracer.constant, tensors)
        watch.function(function)
        watch.walk(function)
        with tracer, watch:
            result = function(*given[0], **given[1])
        watch.settle()
        leaving: list[list[int]] = []

        def noted(tensor: Any) -> int:
            leaving.append(tracer.place(tensor))
            return len(leaving) - 1

        if watch.optimizers:
            tracer.end("an optimizer's step is Python's arithmetic as well")
        if watch.went_back:
            tracer.end("backward() ran: save the function that gives what is differentiated")
        if tracer.broken is not None:
            raise Refused(tracer.broken)
        returns = encoded(result, noted)
    except Refused as reason:
        raise RuntimeError(f"aot_compile: {reason}") from None
    finally:
        _restore(tracer)
        default_generator.set_state(state)
    data = {
        "layouts": layouts.data, "ops": tracer.ops, "tensors": places, "arguments": spec,
        "results": leaving, "returns": returns, "leaves": tracer.leaves,
        "names": _names(function, tracer.found),
        "differentiable": any(place[3] >= 0 for place in leaving),
    }  # fmt: skip
    saved = SavedFunction(data, {n: content for n, (_, content) in tracer.given.items()})
    _prepare(saved, given, tensors, state)
    return saved


def _names(function: Any, leaves: list[Any]) -> list[str]:
    """The names of parameters: those that a module has for them."""
    known = {}
    if isinstance(function, Module):
        known = {id(p): name for name, p in function.named_parameters()}
    return [known.get(id(leaf), f"parameter {k}") for k, leaf in enumerate(leaves)]


def _prepare(saved: SavedFunction, given: Any, tensors: list[Any], state: Any) -> None:
    """Has the kernels of the program made: the first call runs op by op, the second is captured."""
    try:
        for _ in range(2):
            made: list[Any] = []
            encoded(saved(*given[0], **given[1]), made.append)
            roots = [t for t in made if t._node is not None]
            ends = [*saved.parameters(), *(t for t in tensors if t._node is not None)]
            if roots and ends:
                engine.grad(roots, ends, [t.detach() for t in roots], allow_unused=True)
    finally:
        saved._replay.renew()
        default_generator.set_state(state)


def _restore(tracer: Tracer) -> None:
    """What the run has written to the user's memory is taken back."""
    for storage, content in tracer.given.values():
        view = memoryview(storage).cast("B")
        if view != content:
            view[:] = content


def _copy(tensor: Any) -> Any:
    """A tensor that lies as this one does, in memory of its own."""
    size = tensor.layout.nbytes
    storage = runtime.empty(size)
    start = tensor._offset * tensor.itemsize
    memoryview(storage).cast("B")[:] = memoryview(tensor._storage).cast("B")[start : start + size]
    return runtime.wrap(storage, tensor.layout, 0)


def load_compiled_function(
    file: Any,
    *,
    f_globals: dict[str, object] | None = None,
    external_data: dict[str, Any] | None = None,
    trusted: bool | None = None,
) -> SavedFunction:
    """The function in a file of `save_compiled_function`; `file` is open for reading bytes, or a
    path. Its machine code is used if a process of this user with the same cache folder made the
    file, or if `trusted` is true, never if it is false; otherwise a RuntimeWarning says that it is
    compiled again. `f_globals` and `external_data` are not needed.

    Raises RuntimeError for what is no such file, damaged, or of another version.
    """
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:
            content = opened.read()
    else:
        content = file.read()
    try:
        data, blocks = artifacts.opened(MAGIC, content)
        *memory, pack = blocks
        numbers = data["memory"]
        if len(numbers) != len(memory) or not all(type(n) is int for n in numbers):
            raise Refused("its memory has no numbers")
        _take_code(pack, data, trusted)
        return SavedFunction(data, dict(zip(numbers, memory, strict=True)))
    except (artifacts.Damaged, Refused) as reason:
        raise RuntimeError(f"this is no compiled function of this version: {reason}") from None
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        message = f"this is no compiled function of this version: {type(error).__name__}: {error}"
        raise RuntimeError(message) from None


def _take_code(pack: bytes, data: dict[str, Any], trusted: bool | None) -> None:
    reason = ""
    if not pack:
        reason = "there is none"
    elif data.get("identity") != jit.identity():
        reason = "it was made for another processor, or by another LLVM"
    elif trusted is False or (trusted is None and not artifacts.is_ours(pack, data.get("seal"))):
        reason = "nobody vouches for it (see `trusted`)"
    elif artifacts.load_cache_artifacts(pack) is None:
        reason = "it is damaged"
    if reason and trusted is not False:
        message = f"the file's machine code is not used, but compiled again: {reason}"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
