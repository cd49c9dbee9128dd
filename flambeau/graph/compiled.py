"""`compile`: a function, a module or a whole training step as native programs.

The first call with arguments of new layouts runs as it is, so that optimizers make their state; the
second is captured while it runs; from the third on, the program runs in its place, as long as
everything that Python read is as it was.
"""

from __future__ import annotations

import collections
import functools
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau._base import annotations as marks
from flambeau._base import knobs
from flambeau.nn import Module, modules
from flambeau.ops import AccumulateGrad, modes, overrides
from flambeau.tensor import Tensor
from flambeau.tensor import autocast as casting

from .background import Job, worker
from .capture import Broken, Capture
from .dynamic import Sizes
from .execute import Executable, KernelFailed
from .joint import Consumed, Pair, bounded
from .library import SavedFunction, aot_compile, bind
from .pace import Paces
from .passes import optimize
from .program import Program
from .report import shown
from .split import Source, blamed, reading, source_of, split
from .state import (
    GRAD,
    PLAIN,
    Guard,
    Read,
    SlotOf,
    Watch,
    exactly,
    identity,
    is_foreign,
    nodes_behind,
)

VARIANTS = 16  # programs of one key; more means that something changes with every call
KEYS = 1024  # so many kinds of arguments are remembered
UNITS = 256  # callables that a function in parts compiles by themselves
BACKENDS = ("flambeau", "inductor", "eager", "aot_eager", "cudagraphs")
COUNT = 4  # keys after which numbers that were never the same are taken to count
ANYWAY = (5, 50, 500)  # keys that are captured when first met: arguments may never come again
TRIES = 3  # captures of a function that raises, or that does not do twice the same
capturing = threading.RLock()  # what watches launches sees those of all threads


class Entry:
    """What is known for one key: how often it was called, and its programs."""

    __slots__ = ("calls", "job", "objects", "reason", "tries", "variants")

    def __init__(self, objects: list[Any]) -> None:
        self.calls, self.tries, self.variants = 0, 0, list[Variant]()
        self.objects = objects  # whose identity is in the key: nothing else may get it
        self.reason: str | None = None
        self.job: Job | None = None  # the latest in the background


class Options(NamedTuple):
    """How a function is compiled: see `compile`."""

    fullgraph: bool = False
    dynamic: bool | None = None
    background: bool = False


class Compiled:
    """A callable in place of `function`. See `compile`. `source` are the function's statements,
    where they do not stand in a file as one function.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        options: Options = Options(),  # noqa: B008 - it never changes
        source: Source | None = None,
    ):
        functools.update_wrapper(self, function, updated=())
        self._function, self._options, self._source = function, options, source
        self._instead: Callable[..., Any] | None = None  # runs where the whole cannot
        self._units: dict[Any, Any] = {}
        self._parts: list[Compiled] = []
        self._said: set[str] = set()
        self._name = name_of(function)
        self.reset()

    def reset(self) -> None:
        """Forgets all programs."""
        self._entries: dict[Any, Entry] = {}
        dynamic = self._options.dynamic
        self._read = set[str]()  # names of attributes
        self._sizes = None if dynamic is False else Sizes(always=dynamic is True)
        self._news: list[tuple] = []  # the arguments of the first keys, where they are plain
        self._counts = False  # whether some are different at each call
        self._instead = None
        self._units.clear()
        self._parts.clear()
        everything.add(self)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._counts:
            assert self._instead is not None
            return self._instead(*args, **kwargs)
        casts = None
        if modes.state.stack or stance != "default":
            if stance == "force_eager" or any(
                i is not casting.interpreter for i in modes.state.stack
            ):
                return self._function(*args, **kwargs)  # a capture around this one, say
            casts = casting.get_autocast_dtype("cpu"), casting.is_autocast_cache_enabled()
        tensors: list[Any] = []
        objects: list[Any] = []
        try:
            named = _key(kwargs, tensors, objects) if kwargs else None
            given = _key(args, tensors, objects)
            key = modes.state.grad, modes.defaults.dtype, given, named, casts
            entry = self._entries.get(key)
        except TypeError as reason:  # an argument that has no key
            self._say(str(reason))
            return self._function(*args, **kwargs)
        if entry is None:
            entry = self._remember(key, objects)
        for variant in entry.variants:
            if variant.guard():
                try:
                    return variant.run(tensors)
                except Unfit:
                    continue
                except KernelFailed:  # the user's own error comes from the user's own line
                    return self._function(*args, **kwargs)
        return self._slowly(entry, tensors, args, kwargs)

    def _remember(self, key, objects) -> Entry:
        if len(self._entries) >= KEYS:
            self._entries.clear()
        entry = self._entries[key] = Entry([_held(o, self._entries, key) for o in objects])
        return entry

    def _slowly(self, entry: Entry, tensors, args, kwargs):
        if entry.reason is not None or (entry.job is not None and not entry.job.over):
            return (self._instead or self._function)(*args, **kwargs)
        entry.calls += 1
        if entry.calls == 1 and not self._is_worth_a_try(args):
            return (self._instead or self._function)(*args, **kwargs)
        if len(entry.variants) >= VARIANTS:
            return self._function(*args, **kwargs)
        if not capturing.acquire(blocking=False):  # another thread captures
            return self._function(*args, **kwargs)
        try:
            with bounded(tensors):
                return self._capture(entry, tensors, args, kwargs)
        finally:
            capturing.release()

    def _capture(self, entry: Entry, tensors, args, kwargs):
        recorder = Recorder(self._function, tensors, self._sizes, self._read)
        casting.clear_autocast_cache()  # casts made outside are not those of the next run
        try:
            return self._captured(entry, recorder, args, kwargs)
        finally:
            recorder.release()

    def _captured(self, entry: Entry, recorder: Recorder, args, kwargs):
        try:
            result = recorder.run(args, kwargs)
        except Exception:
            entry.tries += 1
            if entry.tries >= TRIES:
                entry.reason = "the function raises"
            raise
        try:
            self._adopt(entry, recorder.variant(result))
        except Broken as reason:
            entry.tries += 1
            if isinstance(reason, NotYet) and entry.tries < TRIES:
                return result
            entry.reason = str(reason)
            if self._options.fullgraph:
                raise RuntimeError(f"compile(fullgraph=True): {reason}") from None
            if self._instead is None:
                self._instead = self._in_parts(recorder, result)
            self._say(entry.reason)
        return result

    def _adopt(self, entry: Entry, variant: Variant) -> None:
        """Uses a program from when it is ready; that is now, but for the background mode."""

        def work() -> None:
            try:
                variant.build()
            except Exception:
                entry.reason = "it could not be made ready"
                raise
            entry.variants.insert(0, variant)

        if self._options.background:
            entry.job = worker.start(work, self._name)
        else:
            work()

    def _say(self, reason: str) -> None:
        """Says once why there is no program of the whole."""
        if "breaks" in knobs.show and reason not in self._said:
            self._said.add(reason)
            done = "is not compiled" if self._instead in (None, self._function) else "is split"
            print(f"{self._name} {done}: {reason}", file=sys.stderr)

    def _is_worth_a_try(self, args: tuple) -> bool:
        """Whether arguments of a kind that was not seen before are captured at once. Most are not:
        the first call makes what later ones find. But some may never be seen again.
        """
        news = self._news
        news.append(tuple([a if isinstance(a, PLAIN) else None for a in args]))
        if len(news) == COUNT and self._source is not None and self._instead is None:
            changing = [k for k, values in enumerate(zip(*news, strict=False))
                        if len({exactly(v) for v in values}) == COUNT]  # fmt: skip
            place = reading(self._source, changing)
            if place is not None:
                self._counts, self._instead = True, self._cut(place)
        return len(news) in ANYWAY and not self._counts

    # Functions in parts.

    def _in_parts(self, recorder: Recorder, result: Any) -> Callable[..., Any]:
        """The function cut where its capture broke; the function itself where that cannot be."""
        place = recorder.place
        source = self._statements()
        if place is None and source is not None:
            place = blamed(source, recorder.changed, _unmade(result))
        return self._cut(place)

    def _statements(self) -> Source | None:
        plain, _ = body_of(self._function)
        return self._source or (plain and source_of(plain))

    def _cut(self, place: tuple[int, int] | None) -> Callable[..., Any]:
        plain, given = body_of(self._function)
        source = self._statements()
        made = source and split(source, place, self._part, self._unit)
        if not made:
            return self._function
        if not isinstance(self._function, Module):
            return functools.partial(made, *given) if given else made

        def call(*args: Any, **kwargs: Any) -> Any:
            module: Any = self._function
            if is_hooked(module) or body_of(module)[0] is not plain:
                return module(*args, **kwargs)
            return made(module, *args, **kwargs)

        return call

    def _part(self, function: Any, source: Source) -> Compiled:
        self._parts.append(Compiled(function, self._options._replace(fullgraph=False), source))
        return self._parts[-1]

    def _unit(self, called: Any) -> Any:
        """What is called in place of `called` outside of all parts."""
        plain, given = body_of(called)
        if plain is None or not (isinstance(called, Module) or _is_unit(plain, given)):
            return called
        key = (plain, *map(id, given))
        unit = self._units.get(key)
        if unit is None:
            if len(self._units) >= UNITS:
                return called
            options = self._options._replace(fullgraph=False)
            unit = self._units[key] = Compiled(called, options)
        return unit

    def aot_compile(self, example_inputs: tuple[tuple, dict[str, Any]]) -> SavedFunction:
        """The function for arguments like these, which can be saved: see `library`."""
        return aot_compile(self._function, example_inputs)

    def show(self, what: str = "programs") -> str:
        """The programs that were made, as text; their "loops" or their "memory"; or "breaks", what
        is not compiled, and why.
        """
        entries = self._entries.values()
        executables = [e for entry in entries for v in entry.variants for e in v.executables]
        texts = [shown(executables, [entry.reason for entry in entries if entry.reason], what)]
        for part in (*self._parts, *self._units.values()):
            inner = part.show(what)
            texts += [f"{part._name}:\n{inner}"] if inner else []
        return "\n".join(filter(None, texts))


bind(Compiled)
everything: weakref.WeakSet[Compiled] = weakref.WeakSet()


def reset() -> None:
    """Forgets all programs of all compiled functions."""
    for compiled in list(everything):
        compiled.reset()


stance = "default"


class set_stance:
    """What compiled functions do from now on, or inside a with block: "default", or "force_eager"
    to run as they are.
    """

    def __init__(self, stance: str = "default", **options: Any):
        self._before = globals()["stance"]
        if stance not in ("default", "force_eager"):
            raise RuntimeError(f"unknown stance {stance!r}: it is 'default' or 'force_eager'")
        globals()["stance"] = stance

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        globals()["stance"] = self._before


def list_backends(exclude_tags: Any = ()) -> list[str]:
    """The compilers that there are."""
    return ["flambeau"]


def cudagraph_mark_step_begin() -> None:
    """Nothing: results of programs are memory of their own."""


def _held(value: Any, entries: dict, key: Any) -> Any:
    """A reference to an object whose identity is in a key: when it dies, what was known goes."""
    try:
        return weakref.ref(value, lambda _: entries.pop(key, None))
    except TypeError:
        return value


def body_of(called: Any) -> tuple[Any, tuple]:
    """The Python function that runs when something is called, and the arguments before the given
    ones; (None, ()) where that is not known.
    """
    if isinstance(called, Module):
        if type(called).__call__ is not Module.__call__:
            return None, ()
        called = called.forward
    if isinstance(called, types.MethodType):
        inner, given = called.__func__, (called.__self__,)
        return (inner, given) if isinstance(inner, types.FunctionType) else (None, ())
    return (called, ()) if isinstance(called, types.FunctionType) else (None, ())


def is_hooked(module: Module) -> bool:
    """Whether calling a module does more than its `forward`."""
    inside = module.__dict__
    own = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return bool(modules.module_hooks.call_hooks) or any(inside[name] for name in own)


def _is_unit(function: types.FunctionType, given: tuple) -> bool:
    """Whether a function that is called is compiled by itself: an optimizer's step, and what the
    user wrote, but for what is made anew with each run.
    """
    if function.__code__ in marks.disabled or function.__code__.co_flags & 0x2A0:
        return False
    if given and hasattr(given[0], "param_groups"):
        return function.__name__ == "step"
    return function.__closure__ is None and not is_foreign(function.__globals__)


def _key(value, tensors, objects):
    """What a program depends on in its arguments; tensors, and objects known by their identity, are
    collected.
    """
    kind = value.__class__
    if kind is Tensor or kind in overrides.plain:
        tensors.append(value)
        wanted, has = value._node is not None, value._grad is not None
        return kind, value.layout, wanted, has, _first(tensors, value)
    if kind is tuple or kind is list:
        return kind, tuple([_key(v, tensors, objects) for v in value])
    if kind is dict:
        return kind, tuple(value), tuple([_key(v, tensors, objects) for v in value.values()])
    if isinstance(value, PLAIN):
        return kind, exactly(value)
    if isinstance(value, Tensor):
        raise TypeError(f"an argument is a {kind.__name__}, a class that takes over ops")
    objects.append(value)
    return kind, id(value)


def _first(tensors, tensor) -> int:
    """The number of the first argument on the same memory."""
    return next(k for k, t in enumerate(tensors) if t._storage is tensor._storage)


def name_of(function: Any) -> str:
    """What a function, or a module, is called."""
    return getattr(function, "__qualname__", type(function).__name__)


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

    def variant(self, result) -> Variant:
        """The program of this run, and what must hold for it. Raises Broken where there is none."""
        capture, watch = self._capture, self._watch
        watch.settle()
        for optimizer in watch.optimizers:
            self._read_optimizer(optimizer)
        if capture.broken is not None:
            raise Broken(capture.broken)
        if self._paces.made_state():
            raise NotYet("an optimizer made its state")
        for tensor, *before in (*self._before, *watch.met.values()):
            if any(a is not b for a, b in zip(before, identity(tensor), strict=True)):
                raise Broken("a tensor that was there got a history, a shape or memory")
        leaving: list[Any] = []
        rebuild = _shape_of(result, leaving, self._tensors, watch.was_there)
        grads = Grads(capture, watch, self._tensors)
        tensors = [*self._tensors, *(t._grad if g is None else g for t, g in grads.given)]
        self._name_arguments(tensors)
        for node in nodes_behind([t._node for t in leaving] if watch.went_back else ()):
            if node not in watch.consumed and not isinstance(node, AccumulateGrad):
                capture.place = self._back
                raise Broken("after backward(), something is computed that can be differentiated")
        pair = None
        if modes.state.grad and not watch.went_back and any(t._node is not None for t in leaving):
            pair = Pair(capture, leaving, tensors, watch)
        if watch.went_back:
            rebuild = _consumed([k for k, t in enumerate(leaving) if t._node is not None], rebuild)
        program = pair.first if pair else capture.program([*leaving, *(g for _, g in grads.made)])
        reads = [*watch.reads.values(), *grads.reads, *(watch.hooks() if watch.went_back else ())]
        guard = Guard(reads, self._given(program))
        program.title = name_of(self._function)
        variant = Variant(
            program, capture.fixed, pair, guard, rebuild, len(leaving), grads, self._paces
        )
        capture.release()
        grads.release()
        return variant

    def release(self) -> None:
        """Lets go of the run's memory: it would stay until somebody finds the circle."""
        self._capture.release()
        self._watch.going_back = nothing

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


class Grads:
    """What a run does to the `grad` of tensors that the function reaches.

    `made` are those that it makes, `gone` the tensors whose gradient it drops. Gradients that were
    there before and are read are arguments like others: `given`.
    """

    def __init__(self, capture: Capture, watch: Watch, arguments: list[Any]):
        self.made: list[tuple[Any, Any]] = []
        self.gone: list[Any] = []
        self.given: list[tuple[Any, Any]] = []
        self.reads: list[Read] = []
        for tensor, before in watch.grads.values():
            if before is not None and capture.is_new(before):
                before = None  # it was met later than its gradient was made
            now = tensor._grad
            if any(tensor is a for a in arguments):
                if now is not before or (before is not None and self._is_read(capture, before)):
                    raise Broken("the gradient of an argument is used")
                continue
            if before is None and capture.is_new(tensor):
                pass  # the next run has another in its place
            elif before is None:
                self.reads.append(Read(SlotOf(tensor, GRAD), "grad", None))
            elif self._is_read(capture, before):
                self.given.append((tensor, before))
            if now is before:
                continue
            if now is None:
                self.gone.append(tensor)
                continue
            buffer = capture.buffer_of(now)
            if buffer is None or buffer.holder is not None:
                raise Broken("a gradient is no tensor of the function's own")
            self.made.append((tensor, now))
        self.layouts = [(t, g.layout, g._node is not None) for t, g in self.given]

    def release(self) -> None:
        """Lets go of the run's gradients."""
        self.made, self.given = [], []

    def _is_read(self, capture: Capture, before: Any) -> bool:
        buffer = capture.buffer_of(before)
        if buffer is None:
            return False
        if buffer.holder is not before:
            raise Broken("a gradient is part of other memory")
        return True

    def present(self, tensors: list[Any]) -> list[Any]:
        """The arguments, and the gradients that are given. Raises Unfit where they are others."""
        if not self.layouts:
            return tensors
        all_of = list(tensors)
        for tensor, layout, wanted in self.layouts:
            now = tensor._grad
            if now is None or now.layout is not layout or (now._node is not None) is not wanted:
                raise Unfit
            all_of.append(now)
        if len({id(t._storage) for t in all_of}) < len({id(t._storage) for t in tensors}) + len(
            self.layouts
        ):
            raise Unfit  # some of them are the same memory
        return all_of


class Unfit(Exception):
    """A program cannot be used for gradients that are there now."""


class Variant:
    """A program, when it holds, and how what it gives reaches the user."""

    def __init__(self, program, fixed, pair, guard, rebuild, count, grads, paces):
        self._program, self._fixed, self._pair, self.guard = program, fixed, pair, guard
        self.executables: list[Executable] = []
        self._rebuild, self._count, self._grads, self._paces = rebuild, count, grads, paces
        self._parameters = [t for t, _ in grads.made]
        self._dropped = [*self._parameters, *grads.gone]

    def build(self) -> None:
        """Makes the program ready to run: this is what takes time."""
        self.executable = Executable(optimize(self._program), self._fixed)
        self.executables, self._run = [self.executable], self.executable.run
        if self._pair is not None:
            self._pair.start(self.executable)
            self.executables.append(self._pair.second)
            self._run = self._pair.run

    def run(self, tensors):
        """Runs the program on arguments that are these tensors."""
        tensors = self._grads.present(tensors)
        numbers = self._paces.numbers()
        for tensor in self._dropped:  # their memory is free for the new ones
            tensor._grad = None
        try:
            made = self._run(tensors, numbers)
        except KernelFailed:
            self._paces.take_back()
            raise
        count = self._count
        for tensor, grad in zip(self._parameters, made[count:], strict=True):
            tensor._grad = grad
        return self._rebuild(made, tensors)


def _shape_of(value, leaving: list[Any], arguments, was_there) -> Callable[[Any, Any], Any]:
    """A function that gives the result again, from other tensors and arguments. Raises Broken for
    results that hold what cannot be made again.
    """
    if isinstance(value, Tensor):
        return _tensor_again(value, leaving, arguments, was_there)
    if isinstance(value, PLAIN) or (type(value) is not tuple and was_there(value)):
        return lambda made, tensors: value
    kind: Any = type(value)
    if isinstance(value, tuple | list) and kind.__new__ in (tuple.__new__, list.__new__):
        parts = [_shape_of(v, leaving, arguments, was_there) for v in value]
        return lambda made, tensors: kind([part(made, tensors) for part in parts])
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = [_shape_of(v, leaving, arguments, was_there) for v in value]
        return lambda made, tensors: kind(*[part(made, tensors) for part in parts])
    if kind in (dict, collections.OrderedDict):
        items = {k: _shape_of(v, leaving, arguments, was_there) for k, v in value.items()}
        return lambda made, tensors: kind((k, part(made, tensors)) for k, part in items.items())
    raise Broken(f"the function returns a {kind.__name__}")


def _consumed(places: list[int], rebuild) -> Callable[[Any, Any], Any]:
    """The same, where the results at these places have a history that was used up."""

    def again(made, tensors):
        for k in places:
            made[k]._node = Consumed()
        return rebuild(made, tensors)

    return again if places else rebuild


def _tensor_again(value, leaving: list[Any], arguments, was_there) -> Callable[[Any, Any], Any]:
    for number, tensor in enumerate(arguments):
        if tensor is value:
            return lambda made, tensors: tensors[number]
    if was_there(value):
        return lambda made, tensors: value
    if type(value) not in overrides.plain:
        raise Broken(f"the function returns a {type(value).__name__}")
    k = len(leaving)
    leaving.append(value)
    return lambda made, tensors: made[k]


def nothing() -> None:
    """Nobody is told."""


def _modes() -> tuple:
    """What a call may leave changed for whoever comes behind it."""
    state = modes.state
    return state.grad, state.inference, state.stack, modes.defaults.dtype, modes.defaults.device


def _unmade(result: Any) -> int | None:
    """Which item of a tuple that was returned cannot be made again."""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], tuple):
        result = result[1]  # with the mark of a part
    for k, value in enumerate(result if isinstance(result, tuple) else ()):
        try:
            _shape_of(value, [], (), lambda _: False)
        except Broken:
            return k
    return None


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
        self._orig_mod = module
        self.training = module.training
        object.__setattr__(self, "_compiled", compiled)

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
