"""LLVM text to machine code in this process, and a cache of object code on disk.

Nothing here runs before the first `compile` or `host`: importing this module does not import
llvmlite.

Each source becomes a library of its own inside one ORC engine, so that equal names in different
sources do not meet. JITLink places all sections of an object in one stretch of memory, which is
what lets the code use the small code model (constants addressed relative to the program counter).
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from flambeau._base import knobs

_MAGIC = b"flambeau object 1\n"
_DIGEST_BYTES = 32
_files = itertools.count()


class Host(NamedTuple):
    """The processor: LLVM's name of it, its features, bytes in its widest vector."""

    cpu: str
    features: str
    vector_bytes: int


class Statistics(NamedTuple):
    """Modules compiled, objects loaded from the cache on disk, seconds spent on both."""

    compiled: int
    loaded: int
    seconds: float


def read_object(path: str) -> bytes | None:
    """The object code stored at `path`; None if the file is absent, foreign or damaged."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return None
    start = len(_MAGIC) + _DIGEST_BYTES
    payload = content[start:]
    if not payload or content[: len(_MAGIC)] != _MAGIC:
        return None
    if hashlib.sha256(payload).digest() != content[len(_MAGIC) : start]:
        return None
    return payload


def write_object(paths: Sequence[str], payload: bytes) -> bool:
    """Store `payload` at `paths` (one file of several names); False if that is not possible.

    Other processes see the whole file or none of it, whoever of several writers comes last.
    """
    content = _MAGIC + hashlib.sha256(payload).digest() + payload
    temporary = ""
    try:
        for path in paths:
            folder = os.path.dirname(path)
            temporary = os.path.join(folder, f".new-{os.getpid()}-{next(_files)}")
            os.makedirs(folder, exist_ok=True)
            if path is paths[0] or not _linked(paths[0], temporary):
                with open(temporary, "wb") as file:
                    file.write(content)
            os.replace(temporary, path)
            _remove(temporary)  # it stays where both are names of one file already
    except OSError:
        _remove(temporary)
        return False
    return True


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _linked(path: str, other: str) -> bool:
    """Whether `other` is now another name of the file at `path`."""
    try:
        os.link(path, other)
    except OSError:  # not every file system can
        return False
    return True


def _vector_bytes(features: str) -> int:
    present = set(features.split(","))
    if "+avx512f" in present and "+avx512vl" in present:
        return 64
    if "+avx2" in present:
        return 32
    return 16


def _immortal(thing: Any) -> Any:
    """Keeps code loaded to the end: objects that outlive this module at shutdown run it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    return thing


class _Engine:
    """One ORC engine and what it needs; made at first use."""

    def __init__(self) -> None:
        import llvmlite
        from llvmlite import binding

        self.binding: Any = binding
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        cpu = binding.get_host_cpu_name()
        features = binding.get_host_cpu_features().flatten()
        self.host = Host(cpu, features, _vector_bytes(features))
        self.identity = "\0".join(
            (llvmlite.__version__, str(binding.llvm_version_info), sys.platform, cpu, features)
        )
        # The engine takes possession of the target machine that it is given, so each has its own.
        self.jit = _immortal(binding.create_lljit_compiler(self._machine(), use_jit_link=True))
        self.machine: Any = None
        self.numbers = itertools.count()

    def _machine(self) -> Any:
        target = self.binding.Target.from_default_triple()
        return target.create_target_machine(
            self.host.cpu, self.host.features, opt=2, reloc="pic", codemodel="small", jit=True
        )

    def key(self, source: str, optimize: bool = False) -> str:
        """What the object code of `source` depends on, as a digest."""
        return hashlib.sha256(f"{self.identity}\0{optimize}\0{source}".encode()).hexdigest()

    def emit(self, text: str, optimize: bool) -> bytes:
        """Object code of LLVM text."""
        if self.machine is None:
            self.machine = self._machine()
        module = self.binding.parse_assembly(text)
        try:
            module.verify()
            if optimize:
                self._optimize(module)
            return bytes(self.machine.emit_object(module))
        finally:
            module.close()

    def _optimize(self, module: Any) -> None:
        options = self.binding.create_pipeline_tuning_options(speed_level=2)
        builder = self.binding.create_pass_builder(self.machine, options)
        builder.getModulePassManager().run(module, builder)

    def link(self, payload: bytes, names: Sequence[str]) -> list[int]:
        """Load object code and return the addresses of `names`."""
        builder = self.binding.JITLibraryBuilder().add_object_img(payload).add_current_process()
        for name in names:
            builder.export_symbol(name)
        library = _immortal(builder.link(self.jit, f"flambeau{next(self.numbers)}"))
        return [library[name] for name in names]


# Starting any part of the runtime, and LLVM itself, happen under this one.
lock = threading.RLock()
_engine: _Engine | None = None
_compiled = 0
_loaded = 0
_seconds = 0.0
_used: dict[str, bytes | None] = {}  # keys of what was loaded; the code where it is on no disk
_offered: dict[str, bytes] = {}

# A child must not inherit a lock that a thread of the parent held (llvmlite's own lock is only
# taken under ours).
os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def _started() -> _Engine:
    global _engine
    if _engine is None:
        _engine = _Engine()
    return _engine


def host() -> Host:
    """The processor that code is made for."""
    with lock:
        return _started().host


def described() -> str:
    """The compiler and the processor, as a text of several lines."""
    version = ".".join(map(str, _started().binding.llvm_version_info))
    lines = (f"kernels: LLVM {version}", "matrix products: OpenBLAS", f"processor: {host().cpu}")
    return "\n".join(("flambeau", *(f"  - {line}" for line in lines), ""))


def statistics() -> Statistics:
    """Modules compiled and objects loaded so far, and the seconds that this took."""
    return Statistics(_compiled, _loaded, _seconds)


@contextlib.contextmanager
def _at_work() -> Iterator[_Engine]:
    """The engine, for one caller at a time, whose time counts."""
    global _seconds
    with lock:
        started = time.perf_counter()
        yield _started()
        _seconds += time.perf_counter() - started


def _load(engine: _Engine, keys: dict[str, list[str]]) -> dict[str, int]:
    """Addresses of the symbols that `keys` lists under keys which the cache on disk has."""
    global _loaded
    payloads: dict[bytes, list[str]] = {}
    for key, names in keys.items():
        payload = _offered.get(key) or (read_object(_path(key)) if knobs.cache else None)
        if payload is not None:
            payloads.setdefault(payload, []).extend(names)
            _used[key] = _offered.get(key)
    found: dict[str, int] = {}
    for payload, names in payloads.items():
        try:
            found.update(zip(names, engine.link(payload, names), strict=True))
        except RuntimeError:
            continue  # it is built anew
        _loaded += 1
    return found


def _build(
    engine: _Engine, keys: dict[str, list[str]], text: str, optimize: bool
) -> dict[str, int]:
    """Addresses of all symbols in `keys`, which `text` defines; its object goes to the cache."""
    global _compiled
    names = [name for symbols in keys.values() for name in symbols]
    payload = engine.emit(text, optimize)
    found = dict(zip(names, engine.link(payload, names), strict=True))
    _compiled += 1
    stored = bool(knobs.cache) and write_object([_path(key) for key in keys], payload)
    _used.update((key, None if stored else payload) for key in keys)
    return found


def identity() -> str:
    """What object code depends on besides its source: LLVM's version and the processor."""
    with lock:
        return _started().identity


def objects() -> dict[str, bytes]:
    """The object code that this process uses, by its keys."""
    with lock:
        found = {key: kept or read_object(_path(key)) for key, kept in _used.items()}
    return {key: payload for key, payload in found.items() if payload is not None}


def offer(objects: dict[str, bytes]) -> None:
    """Object code that is taken instead of compiling. It must be trusted: it will run."""
    with lock:
        _offered.update(objects)


def _path(key: str) -> str:
    return os.path.join(knobs.cache or "", "objects", key[:2], key)


def compile(
    source: str,
    names: Sequence[str],
    *,
    translate: Callable[[str], str] | None = None,
    optimize: bool = False,
) -> list[int]:
    """Compile LLVM text; the addresses of the functions (or globals) `names`, in that order.

    No middle-end pass runs unless `optimize` is true. Object code is cached on disk under a key of
    the source, LLVM's version, and the processor. With `translate`, `source` is in another language
    and `translate(source)` gives the LLVM text; it is called only when the object is not in the
    cache, so `source` must determine its result.

    Raises RuntimeError when LLVM rejects the text or a symbol is missing.
    """
    with _at_work() as engine:
        if translate is None:
            _show(source, optimize)
        keys = {engine.key(source, optimize): list(names)}
        found = _load(engine, keys)
        if not found:
            text = source if translate is None else translate(source)
            found = _build(engine, keys, text, optimize)
        return [found[name] for name in names]


def compile_functions(
    functions: dict[str, str], module: Callable[[Iterable[str]], str]
) -> dict[str, int]:
    """The addresses of `functions` (LLVM texts by name), which do not refer to each other.

    Each has a key of its own in the cache on disk. Those that are not there are compiled together,
    which takes less time than one by one: `module` makes one text of theirs.
    """
    with _at_work() as engine:
        keys = {engine.key(text): [name] for name, text in functions.items()}
        found = _load(engine, keys)
        missing = {key: names for key, names in keys.items() if names[0] not in found}
        if missing:
            text = module(functions[name] for (name,) in missing.values())
            _show(text)
            found |= _build(engine, missing, text, False)
        return found


def _show(text: str, optimize: bool = False) -> None:
    if "llvm" in knobs.show:
        print(text, file=sys.stderr)
    if "asm" in knobs.show:
        print(assembly(text, optimize=optimize), file=sys.stderr)


def assembly(source: str, *, optimize: bool = False) -> str:
    """The assembler text that `compile` would run for LLVM text `source`."""
    with lock:
        engine = _started()
        if engine.machine is None:
            engine.machine = engine._machine()
        module = engine.binding.parse_assembly(source)
        if optimize:
            engine._optimize(module)
        return str(engine.machine.emit_assembly(module))
