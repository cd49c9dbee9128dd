"""`compile`: a function, a module or a whole training step as native programs.

The first call with arguments of new layouts runs as it is, so that optimizers make their state; the
second is captured while it runs; from the third on, the program runs in its place, as long as
everything that Python read is as it was. Where there are many kinds of arguments, one is captured
when calls with it have taken twice as long as a capture takes, which a program that saves half of
a call would have made up for by then: so lengths that hardly come again cost no more than without
`compile`.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flambeau._base import knobs
from flambeau.nn import Module
from flambeau.ops import modes
from flambeau.tensor import autocast as casting

from .background import Job, worker
from .called import body_of, is_hooked, is_unit, key_of, name_of
from .capture import Broken
from .dynamic import Sizes
from .execute import KernelFailed
from .guard import PLAIN, exactly
from .joint import bounded
from .library import SavedFunction, aot_compile, bind
from .limits import config
from .recorder import NotYet, Recorder
from .report import shown
from .split import Source, blamed, reading, source_of, split
from .variant import Unfit, Variant, unmade

UNITS = 256  # callables that a function in parts compiles by themselves
COUNT = 4  # keys after which numbers that were never the same are taken to count
ANYWAY = (5, 50, 500)  # keys that are captured when first met: arguments may never come again
MISSES = 100  # calls in a row that no program fits, after which nobody looks any more
MANY = 8  # keys from which on only those are captured that come often
TRIES = 3  # captures of a function that raises, or that does not do twice the same
capturing = threading.RLock()  # what watches launches sees those of all threads


class Entry:
    """What is known for one key: how often it was called, and its programs."""

    __slots__ = (
        "calls", "job", "misses", "objects", "reason", "refused", "spent", "tries", "used",
        "variants",
    )  # fmt: skip

    def __init__(self, objects: list[Any]) -> None:
        self.calls, self.tries, self.variants = 0, 0, list[Variant]()
        self.refused = False  # it was to be captured whole
        self.misses = 0  # calls in a row that none of the programs fitted
        self.spent = 0.0  # seconds of calls that ran as they are
        self.used = False  # since somebody looked for what can go
        self.objects = objects  # whose identity is in the key: nothing else may get it
        self.reason: str | None = None
        self.job: Job | None = None  # the latest in the background

    def alive(self) -> list[Any]:
        """The objects that the entry does not keep alive."""
        return [o() for o in self.objects if isinstance(o, weakref.ReferenceType)]


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
        self._cost = 0.0  # seconds of the quickest capture
        self._instead = None
        self._units.clear()
        self._parts.clear()
        everything.add(self)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __reduce__(self) -> Any:
        """Copies, and what is loaded, compile anew; what stands in a module is found there."""
        module = sys.modules.get(getattr(self._function, "__module__", ""))
        if getattr(module, self._name, None) is self:
            return self._name
        return Compiled, (self._function, self._options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._counts:
            assert self._instead is not None
            return self._instead(*args, **kwargs)
        casts = None
        mode = modes.state
        if mode.stack or stance != "default":
            if stance == "force_eager" or any(i is not casting.interpreter for i in mode.stack):
                return self._function(*args, **kwargs)  # a capture around this one, say
            casts = casting.get_autocast_dtype("cpu"), casting.is_autocast_cache_enabled()
        tensors: list[Any] = []
        objects: list[Any] = []
        defaults = modes.defaults
        try:
            places: dict[int, int] = {}
            named = key_of(kwargs, tensors, objects, places) if kwargs else None
            given = key_of(args, tensors, objects, places) if args else None
            key = mode.grad, defaults.dtype, defaults.device, given, named, casts
            entry = self._entries.get(key)
        except (TypeError, RecursionError) as reason:  # an argument that has no key
            self._say(str(reason))
            return self._function(*args, **kwargs)
        if entry is None:
            entry = self._remember(key, objects)
        for variant in entry.variants:
            if variant.guard():
                entry.used, entry.misses = True, 0
                try:
                    return variant.run(tensors, (args, kwargs))
                except Unfit:
                    continue
                except KernelFailed:  # the user's own error comes from the user's own line
                    return self._function(*args, **kwargs)
        return self._slowly(entry, tensors, args, kwargs)

    def _remember(self, key, objects) -> Entry:
        while len(self._entries) >= max(config.accumulated_recompile_limit, 1):
            self._forget_one()
        entry = self._entries[key] = Entry([_held(o, self._entries, key) for o in objects])
        return entry

    def _forget_one(self) -> None:
        """Forgets the oldest key that was not used since it was last looked at."""
        while self._entries:  # an entry that was used comes to the end, once
            key = next(iter(self._entries))
            entry = self._entries.pop(key)
            if not entry.used:
                break
            entry.used, self._entries[key] = False, entry
        limit = config.accumulated_recompile_limit
        self._note(f"has programs for {limit} kinds of arguments: the oldest make room")

    def _slowly(self, entry: Entry, tensors, args, kwargs):
        if entry.refused:
            raise RuntimeError(f"compile(fullgraph=True): {entry.reason}")
        if entry.reason is not None or (entry.job is not None and not entry.job.over):
            return (self._instead or self._function)(*args, **kwargs)
        entry.calls += 1
        if not self._is_worth_a_try(entry, args):
            started = time.perf_counter()
            result = (self._instead or self._function)(*args, **kwargs)
            entry.spent += time.perf_counter() - started
            return result
        if len(entry.variants) >= config.recompile_limit:
            self._note_limit(entry)
            return self._function(*args, **kwargs)
        if not capturing.acquire(blocking=False):  # another thread captures
            return self._function(*args, **kwargs)
        started = time.perf_counter()
        try:
            with bounded(tensors):
                return self._capture(entry, tensors, args, kwargs)
        finally:
            capturing.release()
            spent = time.perf_counter() - started
            self._cost = min(spent, self._cost or spent)

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
            self._adopt(entry, recorder.variant(result, entry.alive()))
        except Broken as reason:
            entry.tries += 1
            if isinstance(reason, NotYet) and entry.tries < TRIES:
                return result
            entry.reason = str(reason)
            entry.refused = self._options.fullgraph
            if entry.refused:
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
            variant.tell(lambda: self._give_up(entry, "its gradients are differentiated again"))

        if self._options.background:
            entry.job = worker.start(work, self._name)
        else:
            with _uncollected():
                work()

    def _say(self, reason: str) -> None:
        """Says once why there is no program of the whole."""
        done = "is not compiled" if self._instead in (None, self._function) else "is split"
        self._note(f"{done}: {reason}")

    def _note(self, text: str) -> None:
        """Says something about the function once."""
        if "breaks" in knobs.show and text not in self._said:
            self._said.add(text)
            print(f"{self._name} {text}", file=sys.stderr)

    def _note_limit(self, entry: Entry) -> None:
        """Says that no program fits; where none does for long, nobody looks any more."""
        if "breaks" in knobs.show:
            why = entry.variants[0].guard.changed() if entry.variants else "the limit"
            self._note(
                f"has {len(entry.variants)} programs for such arguments, and runs as it is where "
                f"none fits: {why} is not what it was"
            )
        entry.misses += 1
        if entry.misses > MISSES:
            self._give_up(entry, "no program fits any more")

    def _give_up(self, entry: Entry, reason: str) -> None:
        """Such arguments run as they are from now on."""
        entry.reason = reason
        entry.variants.clear()
        self._say(reason)

    def _is_worth_a_try(self, entry: Entry, args: tuple) -> bool:
        """Whether a call is captured. Of the first kinds of arguments, it is the second, which
        finds what the first has made. But some may never be seen again.
        """
        news = self._news
        if entry.calls > 1:
            return self._options.fullgraph or len(news) <= MANY or entry.spent >= 2 * self._cost
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
            place = blamed(source, recorder.changed, unmade(result))
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
        if plain is None or not (isinstance(called, Module) or is_unit(plain, given)):
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


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """A with block without garbage collection: what is made in it stays, and looking for what can
    go is a quarter of the time that it takes.
    """
    outer = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if outer:
            gc.enable()


def _held(value: Any, entries: dict, key: Any) -> Any:
    """A reference to an object whose identity is in a key: when it dies, what was known goes."""
    try:
        return weakref.ref(value, lambda _: entries.pop(key, None))
    except TypeError:
        return value
