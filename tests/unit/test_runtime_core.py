"""Storages, the caching allocator, tensors made natively."""

import gc
import subprocess
import sys
import weakref

import numpy
import pytest

from flambeau import runtime
from flambeau.runtime import core


class Bare:
    """A tensor class for these tests."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_base",
        "_node",
        "_offset",
        "_storage",
        "extra",
        "layout",
    )


class Derived(Bare):
    __slots__ = ()


@pytest.fixture(autouse=True)
def bound():
    before = core._bound
    runtime.bind(Bare, lambda: True)
    yield
    if before is not None:
        runtime.bind(*before)


def view(storage, dtype="u1"):
    return numpy.frombuffer(storage, dtype)


# Storage


@pytest.mark.parametrize(
    "nbytes", [1, 63, 64, 65, 512, 513, 640, 641, 1023, 1 << 20, (1 << 22) + 1]
)
def test_a_storage_is_writable_aligned_memory(nbytes):
    storage = runtime.empty(nbytes)
    assert storage.nbytes == nbytes and storage.ptr % 64 == 0
    assert storage.version == 0 and storage.owner is None
    memory = view(storage)
    assert memory.ctypes.data == storage.ptr and len(memory) == nbytes
    memory[:] = 7
    assert memory.sum() == 7 * nbytes


def test_blocks_of_all_sizes_are_apart():
    held = []
    for nbytes in [
        *range(1, 700, 13),
        *(1 << k for k in range(6, 20)),
        *((1 << k) + 1 for k in range(6, 20)),
    ]:
        storage = runtime.empty(nbytes)
        view(storage)[:] = len(held) % 251
        held.append(storage)
    assert all((view(s) == i % 251).all() for i, s in enumerate(held))


def test_an_empty_storage():
    storage = runtime.empty(0)
    assert storage.nbytes == 0 and len(view(storage)) == 0


def test_attributes():
    storage = runtime.empty(8)
    storage.version = 5
    assert storage.version == 5
    for name in ("ptr", "nbytes", "owner"):
        with pytest.raises(AttributeError):
            setattr(storage, name, 1)
    assert "8 bytes" in repr(storage)
    with pytest.raises(TypeError):
        runtime.Storage()


def test_the_buffer_keeps_the_storage_alive():
    memory = view(runtime.empty(4096))
    memory[:] = 3
    for _ in range(10):
        view(runtime.empty(4096))[:] = 9
    assert (memory == 3).all()


def test_weak_references():
    storage = runtime.empty(8)
    seen = []
    reference = weakref.ref(storage, seen.append)
    assert reference() is storage
    del storage
    assert reference() is None and seen == [reference]


def test_foreign_memory_keeps_its_owner():
    class Owner:
        pass

    owner = Owner()
    array = numpy.arange(4.0)
    references = sys.getrefcount(owner)
    storage = runtime.foreign(array.ctypes.data, array.nbytes, owner)
    assert sys.getrefcount(owner) == references + 1
    assert storage.owner is owner
    assert (view(storage, "f8") == array).all()
    reference = weakref.ref(owner)
    del owner
    assert reference() is not None
    frees = runtime.memory().frees
    del storage
    assert reference() is None and runtime.memory().frees == frees


@pytest.mark.parametrize("size", [-1, -(1 << 40)])
def test_negative_sizes(size):
    with pytest.raises(RuntimeError, match="negative"):
        runtime.empty(size)


def test_no_memory():
    for nbytes in (1 << 46, 1 << 62):
        message = (
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate "
            f"{nbytes} bytes. Error code 12 (Cannot allocate memory)"
        )
        with pytest.raises(RuntimeError) as caught:
            runtime.empty(nbytes)
        assert str(caught.value) == message
    for wrong in ("8", 8.0, None):
        with pytest.raises(TypeError):
            runtime.empty(wrong)
    with pytest.raises(OverflowError):
        runtime.empty(1 << 70)


# Allocator


def test_blocks_are_reused():
    storage = runtime.empty(100_000)
    address = storage.ptr
    del storage
    assert runtime.empty(99_000).ptr == address


def test_statistics():
    runtime.empty_cache()
    start = runtime.memory()
    held = [runtime.empty(1000) for _ in range(10)]
    during = runtime.memory()
    assert during.allocated - start.allocated == 10_000
    assert during.allocations - start.allocations == 10
    assert during.reserved - start.reserved >= 10_000
    held.clear()
    after = runtime.memory()
    assert after.allocated == start.allocated and after.frees - start.frees == 10
    assert after.cached - start.cached >= 10_000 and after.peak >= during.allocated
    runtime.reset_peak()
    assert runtime.memory().peak == after.allocated
    runtime.empty_cache()
    assert runtime.memory().cached == 0
    assert runtime.memory().reserved == start.reserved


def test_the_cache_has_a_limit():
    runtime.empty_cache()
    try:
        runtime.set_cache_limit(100_000)
        held = [runtime.empty(30_000) for _ in range(10)]
        held.clear()
        assert 0 < runtime.memory().cached <= 100_000
    finally:
        runtime.set_cache_limit(core._default_cache_limit())


def test_events():
    runtime.take_events()
    runtime.log_events(True)
    storage = runtime.empty(300)
    address = storage.ptr
    del storage
    runtime.log_events(False)
    runtime.empty(300)
    assert runtime.take_events() == [(300, address), (-300, address)]
    assert runtime.take_events() == []


def test_many_events():
    runtime.take_events()
    runtime.log_events(True)
    for _ in range(5000):
        runtime.empty(64)
    runtime.log_events(False)
    events = runtime.take_events()
    assert len(events) == 10_000 and sum(size for size, _ in events) == 0


# Tensors


def test_wrap_fills_every_slot():
    storage, layout = runtime.empty(64), object()
    tensor = runtime.wrap(storage, layout, 3)
    assert type(tensor) is Bare
    assert tensor._storage is storage and tensor.layout is layout and tensor._offset == 3
    assert tensor._node is None and tensor._base is None and tensor.extra is None


def test_alias_names_the_first_base():
    base = runtime.wrap(runtime.empty(64), "whole", 0)
    part = runtime.alias(base, "part", 1 << 40)
    again = runtime.alias(part, "again", -2)
    assert part._storage is again._storage is base._storage
    assert part._base is base and again._base is base
    assert part._offset == 1 << 40 and again._offset == -2 and part.layout == "part"


def test_native_instances_are_whole_python_objects():
    tensor = runtime.wrap(runtime.empty(8), None, 0)
    tensor.note = ["anything"]
    assert tensor.__dict__ == {"note": ["anything"]}
    tensor.extra = 4
    assert tensor.extra == 4
    reference = weakref.ref(tensor)
    assert reference() is tensor and gc.is_tracked(tensor)
    del tensor
    assert reference() is None


def test_cycles_are_collected():
    gc.collect()
    storage = runtime.empty(8)
    tensor = runtime.wrap(storage, None, 0)
    tensor._node = [tensor]
    tensor.self = tensor
    reference, memory = weakref.ref(tensor), weakref.ref(storage)
    del tensor, storage
    assert reference() is not None
    gc.collect()
    assert reference() is None and memory() is None


def test_reference_counts():
    storage, layout, offset = runtime.empty(8), object(), 123_456_789
    base = runtime.wrap(storage, layout, 0)
    for make in (
        lambda: runtime.wrap(storage, layout, offset),
        lambda: runtime.alias(base, layout, offset),
        lambda: runtime.alias(runtime.alias(base, layout, 0), layout, offset),
    ):
        objects = (storage, layout, offset, base, Bare, runtime.Storage, None, 0)
        before = [sys.getrefcount(o) for o in objects]
        held = [make() for _ in range(1000)]
        held.clear()
        after = [sys.getrefcount(o) for o in objects]
        assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True)), (before, after)


def test_derived_classes_are_tensors():
    whole = Derived()
    whole._storage, whole.layout, whole._offset = runtime.empty(8), None, 0
    whole._base = whole._node = None
    part = runtime.alias(whole, "part", 0)
    assert type(part) is Bare and part._base is whole


def test_wrong_arguments_raise():
    storage = runtime.empty(8)
    tensor = runtime.wrap(storage, None, 0)
    hollow = Bare()
    for call in (
        lambda: runtime.wrap(storage, None),
        lambda: runtime.wrap(tensor, None, 0),
        lambda: runtime.wrap(storage, None, "0"),
        lambda: runtime.wrap(storage, None, None),
        lambda: runtime.alias(storage, None, 0),
        lambda: runtime.alias(tensor, None, 0.0),
        lambda: runtime.alias(hollow, None, 0),
        lambda: runtime.alias(tensor),
        lambda: runtime.foreign(0, 0),
    ):
        with pytest.raises(TypeError):
            call()


def test_needs_grad():
    answers = [True]
    runtime.bind(Bare, lambda: answers[0])
    plain, tracked = (runtime.wrap(runtime.empty(8), None, 0) for _ in range(2))
    tracked._node = "node"
    try:
        assert not runtime.needs_grad() and not runtime.needs_grad(plain, 3, None)
        assert runtime.needs_grad(plain, tracked)
        answers[0] = False
        assert runtime.needs_grad(tracked)
        runtime.shift_grad(1)
        assert not runtime.needs_grad(tracked)
    finally:
        runtime.shift_grad(-1)


def test_bind_wants_the_slots():
    class Poor:
        __slots__ = ("_storage", "layout")

    with pytest.raises(TypeError, match="lacks the slots _offset, _node, _base"):
        runtime.bind(Poor, lambda: True)
    runtime.bind(Bare, lambda: True)


def test_the_interpreter_ends_cleanly_with_storages_alive():
    script = (
        "import sys\n"
        "from flambeau import runtime\n"
        "class T:\n"
        "    __slots__ = ('_base', '_node', 'layout', '_offset', '_storage')\n"
        "runtime.bind(T, lambda: True)\n"
        "sys.kept = [runtime.wrap(runtime.empty(100), None, 0) for _ in range(1000)]\n"
        "class Late:\n"
        "    def __init__(self): self.tensor = runtime.wrap(runtime.empty(1 << 20), None, 0)\n"
        "sys.late = Late(); sys.late.me = sys.late\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
