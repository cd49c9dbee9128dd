"""The native core: storages, tensors made natively, launchers. Started by its first use."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau._base import knobs

from . import jit
from . import native as words
from .native import HEAD, KINDS

_EXPORTS = [
    "find_repeats", "initialize", "parallel_for", "pool_threads", "run_batch", "run_if", "run_rows",
    "run_sequence", "run_tasks",
]  # fmt: skip
_WORD = 8


class Stage(NamedTuple):
    """One call of a kernel `i64 kernel(ptr data, ptr dims, ptr scalars, i64 lo, i64 hi)`.

    The kernel returns 0, or a code above 0 that says what failed. It is called on ranges that
    partition [0, total), of at least `grain` iterations each; ranges run in parallel. `data` says
    where each data pointer comes from: k >= 0 is positional argument k, -1 - k is output k;
    `starts` are bytes added to them, where there are any. `dims` are int64s handed to the kernel as
    they are.
    """

    kernel: int
    data: tuple[int, ...]
    dims: bytes
    total: int
    grain: int
    starts: tuple[int, ...] = ()


class Saved(NamedTuple):
    """A value that a node saves.

    `way` is one of `WAYS`: the argument as it is ("plain"); the argument or the result without
    history, where one of the edges in the bits `needed` is not None, else None ("tensor",
    "result"); the argument's "layout" or "offset". `versioned` values have their storage's version
    in `saved`, too.
    """

    way: str
    position: int
    needed: int = 0
    versioned: bool = False


WAYS = ("plain", "tensor", "result", "layout", "offset")


class Recording(NamedTuple):
    """The node that a record function makes, so that native code can make it as well.

    `kind` is its class, `shapes` goes to the slot of that name. `edges` are the positions of the
    arguments whose nodes are its edges, -1 for an edge that is None. `saved` become its saved
    values, followed by the versions of those that have one.
    """

    kind: type
    shapes: Any
    arguments: int
    edges: tuple[int, ...]
    saved: tuple[Saved, ...]


class Launch(NamedTuple):
    """What a launcher does.

    `arguments` has a letter for each positional argument: t a tensor that is read, m one that is
    written, o a tensor or None, d a number passed as double, i as int64, c as two doubles, -
    ignored. Numbers lie at `scalars` in argument order, 8 bytes each (c: 16). `itemsizes` are bytes
    per element of each argument, 0 where it is no tensor.

    `outputs` are (layout, bytes) of what is allocated; with layout None it is scratch memory, freed
    after the call. A launcher returns its tensor, or a tuple of several, or its first written
    argument where there is none.

    `release`: run without the interpreter's lock. `record(result, *args)` is called after success
    when grad mode is on and a tensor argument has a node; if it has an attribute `recording`,
    native code does what that says instead, unless somebody watches. `fail(code, *args)` is called
    on a kernel's nonzero code and should raise. `work` is what the stages were made from, for those
    who make others from it: see `ops.family.Work`.
    """

    arguments: str
    itemsizes: tuple[int, ...]
    outputs: tuple[tuple[Any, int], ...]
    stages: tuple[Stage, ...]
    release: bool = False
    record: Callable[..., Any] | None = None
    fail: Callable[..., Any] | None = None
    work: tuple = ()


class Memory(NamedTuple):
    """Bytes in use now and at most, taken from the system, waiting for use; and counts."""

    allocated: int
    peak: int
    reserved: int
    cached: int
    allocations: int
    frees: int


_native: Any = None
_addresses: dict[str, int] = {}
_bound: tuple[type, Callable[[], bool], Callable[[], bool]] | None = None


def native() -> Any:
    """The module object of built-ins, started at the first call."""
    if _native is None:
        with jit.lock:
            if _native is None:
                _start()
    return _native


def _start() -> None:
    global _native
    found = jit.compile(
        words.CORE, _EXPORTS, translate=lambda text: words.translate(text, _EXPORTS), optimize=True
    )
    _addresses.update(zip(_EXPORTS, found, strict=True))
    module = ctypes.PYFUNCTYPE(ctypes.py_object)(_addresses["initialize"])()
    module.set_num_threads(_default_threads())
    module.set_main_thread(threading.main_thread().ident)
    module.set_cache_limit(_default_cache_limit())
    os.register_at_fork(after_in_child=module.forget_workers)
    if _bound is not None:
        _configure(module, *_bound)
    _native = module


def pool_addresses() -> tuple[int, int]:
    """Addresses of `i64 parallel_for(kernel, data, dims, scalars, total, grain)` and of the number
    of threads.
    """
    native()
    return _addresses["parallel_for"], _addresses["pool_threads"]


def rows_kernel() -> int:
    """Address of the stage kernel that runs stages over blocks of rows (see `rows`)."""
    native()
    return _addresses["run_rows"]


def batch_kernel() -> int:
    """Address of the stage kernel that multiplies batches of matrices (see `batch`)."""
    native()
    return _addresses["run_batch"]


def sequence_kernel() -> int:
    """Address of the stage kernel that runs stages step after step (see `sequence`)."""
    native()
    return _addresses["run_sequence"]


def tasks_kernel() -> int:
    """Address of the stage kernel that shares out whole stages (see `tasks`)."""
    native()
    return _addresses["run_tasks"]


def repeats_kernel() -> int:
    """Address of the stage kernel that finds rows that repeat (see `repeats`)."""
    native()
    return _addresses["find_repeats"]


def run_if_kernel() -> int:
    """Address of the stage kernel that runs a stage under a condition (see `repeats`)."""
    native()
    return _addresses["run_if"]


def _default_threads() -> int:
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wish.isdigit() and int(wish) > 0:
        return int(wish)
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _core_quota(cores)))


def _read_words(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().split()
    except OSError:
        return []


def _core_quota(cores: int) -> int:
    """The cores that a container's quota allows, rounded up."""
    quota = _read_words("/sys/fs/cgroup/cpu.max")
    if len(quota) != 2 or not quota[0].isdigit():
        return cores
    return -(-int(quota[0]) // int(quota[1]))


def _default_cache_limit() -> int:
    """Free blocks are kept up to half of the memory that the process may use."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        memory = 4 << 30
    limit = _read_words("/sys/fs/cgroup/memory.max")
    if limit and limit[0].isdigit():
        memory = min(memory, int(limit[0]))
    return memory // 2


def bind(
    tensor_type: type,
    grad_enabled: Callable[[], bool],
    inference_enabled: Callable[[], bool] = lambda: False,
) -> None:
    """Say which class tensors are of and who knows the modes of a thread. Does not start the core.

    The class has __slots__ with at least storage, layout, offset, _node and _base; a new tensor's
    other slots are None.
    """
    global _bound
    with jit.lock:
        _bound = (tensor_type, grad_enabled, inference_enabled)
        if _native is not None:
            _configure(_native, *_bound)


def _configure(module: Any, tensor_type: type, *modes: Callable[[], bool]) -> None:
    member = type(_Slotted.slot)  # type: ignore[attr-defined]
    wanted = _slot_names(tensor_type)
    slots = {
        name: value
        for owner in reversed(tensor_type.__mro__)
        for name, value in vars(owner).items()
        if name in wanted and isinstance(value, member) and value.__objclass__ is owner
    }
    missing = [name for name in _REQUIRED if name not in slots]
    if missing:
        raise TypeError(f"{tensor_type.__name__} lacks the slots {', '.join(missing)}")
    required = [slots.pop(name) for name in _REQUIRED]
    module.configure(tensor_type, *modes, *required, *slots.values())


class _Slotted:
    __slots__ = ("slot",)


_REQUIRED = ("_storage", "layout", "_offset", "_node", "_base")


def _slot_names(tensor_type: type) -> set[str]:
    names: set[str] = set()
    for owner in tensor_type.__mro__:
        declared = vars(owner).get("__slots__", ())
        names.update((declared,) if isinstance(declared, str) else declared)
    return names


def memory() -> Memory:
    """The allocator's figures."""
    return Memory(*native().memory())


def take_events() -> list[tuple[int, int]]:
    """Allocations (bytes, address) and frees (-bytes, address) since the last call.

    They are noted from `log_events(True)` on.
    """
    numbers = memoryview(native().take_events()).cast("q").tolist()
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def launcher(launch: Launch) -> Callable[..., Any]:
    """A built-in function that does what `launch` says.

    Raises ValueError for a description that contradicts itself, RuntimeError before `bind`.
    """
    module = native()
    if _bound is None:
        raise RuntimeError("a launcher needs the tensor class: call bind first")
    _check(launch)
    # It keeps alive what the descriptor points to.
    return module.make_launcher((_descriptor(launch), launch))


def _check(launch: Launch) -> None:
    count, made = len(launch.arguments), len(launch.outputs)
    if len(launch.itemsizes) != count:
        raise ValueError("itemsizes must say one number for each argument")
    unknown = set(launch.arguments) - set(KINDS)
    if unknown:
        raise ValueError(f"unknown argument letters: {', '.join(sorted(unknown))}")
    for stage in launch.stages:
        for k in stage.data:
            if k >= count or -1 - k >= made or (k >= 0 and launch.arguments[k] not in "tmo"):
                raise ValueError(f"data pointer {k} is neither a tensor argument nor an output")
        if stage.total > 0 and stage.kernel == 0:
            raise ValueError("a stage without a kernel")
    if any(nbytes < 0 for _, nbytes in launch.outputs):
        raise ValueError("an output cannot have a negative size")


def _descriptor(launch: Launch) -> bytes:
    """The words that `native/launch.py` describes."""
    count = len(launch.arguments)
    tables: list[bytes] = []
    position = len(HEAD) * _WORD

    def place(content: bytes) -> int:
        nonlocal position
        start = position
        padded = content + bytes(-len(content) % _WORD)
        tables.append(padded)
        position += len(padded)
        return start

    def pack(*values: int) -> bytes:
        return struct.pack(f"{len(values)}q", *values)

    kinds = [KINDS.index(letter) for letter in launch.arguments]
    arguments = b"".join(map(pack, kinds, launch.itemsizes))
    outputs = [(0 if layout is None else id(layout), nbytes) for layout, nbytes in launch.outputs]
    stages = b""
    for stage in launch.stages:
        starts = stage.starts or (0,) * len(stage.data)
        places = [
            pack(k if k >= 0 else count - 1 - k, start)
            for k, start in zip(stage.data, starts, strict=True)
        ]
        row = (stage.kernel, place(stage.dims), stage.total, max(stage.grain, 1), len(stage.data))
        stages += pack(*row, place(b"".join(places)))
    written = launch.arguments.find("m")
    recording = _recording(launch)
    values = {
        "ARGUMENTS": count,
        "OUTPUTS": len(outputs),
        "RESULTS": sum(layout is not None for layout, _ in launch.outputs),
        "STAGES": len(launch.stages),
        # Kernels in Python take the interpreter's lock themselves.
        "RELEASE": 2 if knobs.backend == "interpret" else int(launch.release),
        "RECORD": 0 if launch.record is None else id(launch.record),
        "RECORDING": 0 if recording is None else place(pack(*recording)),
        "FAIL": 0 if launch.fail is None else id(launch.fail),
        "WRITTEN": written,
        "SCALARS": sum({"d": 1, "i": 1, "c": 2}.get(letter, 0) for letter in launch.arguments),
        "DATA": max((len(stage.data) for stage in launch.stages), default=0),
        "ARGUMENT_TABLE": place(arguments),
        "OUTPUT_TABLE": place(b"".join(pack(*output) for output in outputs)),
        "STAGE_TABLE": place(stages),
    }
    return pack(*(values[name] for name in HEAD)) + b"".join(tables)


def _recording(launch: Launch) -> list[int] | None:
    """The words that `native/record.py` describes; None where a node is not made natively."""
    made: Recording | None = getattr(launch.record, "recording", None)
    results = sum(layout is not None for layout, _ in launch.outputs)
    if made is None or results != 1 or made.arguments != len(launch.arguments):
        return None
    read = [p for p in made.edges if p >= 0]
    read += [s.position for s in made.saved if s.way in ("tensor", "layout", "offset")]
    if any(launch.arguments[p] not in "tm" for p in read):
        return None
    versions = sum(s.versioned for s in made.saved)
    words = [len(made.edges), len(made.saved), versions, id(made.kind), id(made.shapes)]
    words += made.edges
    for s in made.saved:
        words += (WAYS.index(s.way), s.position, s.needed, int(s.versioned))
    return words
