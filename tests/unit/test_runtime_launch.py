"""Launchers: arguments, results, references, failures, autograd's hook, the thread pool
underneath."""

import ctypes
import gc
import os
import struct
import subprocess
import sys
import threading
import time
import weakref

import numpy
import pytest

from flambeau import runtime
from flambeau.runtime import Launch, Stage, core, jit

# add: float64 sums of data[1] and data[2] into data[0]. store: the words of scalars into data[0].
# code: returns scalars[0]. isnull: whether the pointer data[1] is null. dims: the second word of
# dims. ranges: one more in each element of the range; 1 if the range is shorter than dims[0] and
# not the last of dims[1]. meet: counts itself in at address dims[0] and waits until dims[1] are
# there; 1 if they never come.
KERNELS = """
define i64 @add(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi) {
entry:
  %c = load ptr, ptr %data
  %pa = getelementptr ptr, ptr %data, i64 1
  %a = load ptr, ptr %pa
  %pb = getelementptr ptr, ptr %data, i64 2
  %b = load ptr, ptr %pb
  br label %loop
loop:
  %i = phi i64 [%lo, %entry], [%next, %loop]
  %ai = getelementptr double, ptr %a, i64 %i
  %bi = getelementptr double, ptr %b, i64 %i
  %ci = getelementptr double, ptr %c, i64 %i
  %x = load double, ptr %ai
  %y = load double, ptr %bi
  %z = fadd double %x, %y
  store double %z, ptr %ci
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %hi
  br i1 %more, label %loop, label %end
end:
  ret i64 0
}
define i64 @store(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi) {
entry:
  %c = load ptr, ptr %data
  br label %loop
loop:
  %i = phi i64 [%lo, %entry], [%next, %loop]
  %si = getelementptr i64, ptr %scalars, i64 %i
  %x = load i64, ptr %si
  %ci = getelementptr i64, ptr %c, i64 %i
  store i64 %x, ptr %ci
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %hi
  br i1 %more, label %loop, label %end
end:
  ret i64 0
}
define i64 @code(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi) {
  %code = load i64, ptr %scalars
  ret i64 %code
}
define i64 @isnull(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi) {
  %c = load ptr, ptr %data
  %pa = getelementptr ptr, ptr %data, i64 1
  %a = load i64, ptr %pa
  %null = icmp eq i64 %a, 0
  %word = zext i1 %null to i64
  store i64 %word, ptr %c
  ret i64 0
}
define i64 @dims(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi) {
  %c = load ptr, ptr %data
  %p = getelementptr i64, ptr %dims, i64 1
  %x = load i64, ptr %p
  store i64 %x, ptr %c
  ret i64 0
}
define i64 @ranges(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi) {
entry:
  %c = load ptr, ptr %data
  br label %loop
loop:
  %i = phi i64 [%lo, %entry], [%next, %loop]
  %ci = getelementptr i64, ptr %c, i64 %i
  %old = atomicrmw add ptr %ci, i64 1 seq_cst
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %hi
  br i1 %more, label %loop, label %end
end:
  %length = sub i64 %hi, %lo
  %least = load i64, ptr %dims
  %short = icmp slt i64 %length, %least
  %total = getelementptr i64, ptr %dims, i64 1
  %last = load i64, ptr %total
  %inner = icmp slt i64 %hi, %last
  %wrong = and i1 %short, %inner
  %code = zext i1 %wrong to i64
  ret i64 %code
}
declare i32 @usleep(i32)
define i64 @meet(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi) {
entry:
  %address = load i64, ptr %dims
  %arrived = inttoptr i64 %address to ptr
  %wp = getelementptr i64, ptr %dims, i64 1
  %wanted = load i64, ptr %wp
  %before = atomicrmw add ptr %arrived, i64 1 seq_cst
  br label %wait
wait:
  %tries = phi i64 [0, %entry], [%next, %again]
  %now = load atomic i64, ptr %arrived seq_cst, align 8
  %all = icmp sge i64 %now, %wanted
  br i1 %all, label %met, label %again
again:
  %ignored = call i32 @usleep(i32 1000)
  %next = add i64 %tries, 1
  %late = icmp sgt i64 %next, 20000
  br i1 %late, label %alone, label %wait
met:
  ret i64 0
alone:
  ret i64 1
}
"""
NAMES = ["add", "store", "code", "isnull", "dims", "ranges", "meet"]


class Bare:
    """A tensor class for these tests."""

    __slots__ = ("__weakref__", "_base", "_node", "_offset", "_storage", "layout")


class Derived(Bare):
    pass


@pytest.fixture(autouse=True)
def bound():
    before, threads = core._bound, runtime.get_num_threads()
    runtime.bind(Bare, lambda: True)
    yield
    runtime.set_num_threads(threads)
    if before is not None:
        runtime.bind(*before)


@pytest.fixture(scope="module")
def kernels():
    return dict(zip(NAMES, jit.compile(KERNELS, NAMES), strict=True))


def tensor(values, dtype="f8"):
    array = numpy.asarray(values, dtype)
    storage = runtime.empty(array.nbytes)
    numpy.frombuffer(storage, dtype)[:] = array
    return runtime.wrap(storage, None, 0)


def values(tensor, dtype="f8"):
    return numpy.frombuffer(tensor._storage, dtype).tolist()


def adder(kernels, count=4, layout="layout", **rest):
    stage = Stage(kernels["add"], (-1, 0, 1), b"", count, 1 << 20)
    return runtime.launcher(Launch("tt", (8, 8), ((layout, 8 * count),), (stage,), **rest))


@pytest.mark.parametrize("release", [False, True])
def test_a_result(kernels, release):
    layout = object()
    add = adder(kernels, layout=layout, release=release)
    out = add(tensor([1, 2, 3, 4]), tensor([10, 20, 30, 40]))
    assert values(out) == [11, 22, 33, 44]
    assert type(out) is Bare and out.layout is layout and out._offset == 0
    assert out._node is None and out._base is None and out._storage.version == 0


def test_offsets_count_in_elements(kernels):
    whole = tensor(range(10))
    part = runtime.alias(whole, None, 5)
    assert values(adder(kernels)(whole, part)) == [5, 7, 9, 11]
    assert values(adder(kernels)(part, part)) == [10, 12, 14, 16]


def test_subclasses_are_tensors(kernels):
    derived = Derived()
    derived._storage, derived.layout, derived._offset = tensor([1, 1, 1, 1])._storage, None, 0
    derived._base = derived._node = None
    assert values(adder(kernels)(derived, derived)) == [2, 2, 2, 2]


def test_in_place(kernels):
    stage = Stage(kernels["add"], (0, 0, 1), b"", 3, 1)
    add = runtime.launcher(Launch("mt", (8, 8), (), (stage,)))
    a, b = tensor([1, 2, 3]), tensor([1, 1, 1])
    assert add(a, b) is a and values(a) == [2, 3, 4]
    assert add(a, a) is a and values(a) == [4, 6, 8]
    assert (a._storage.version, b._storage.version) == (2, 0)


def test_several_results_and_scratch(kernels):
    first = Stage(kernels["add"], (-2, 0, 1), b"", 3, 1)
    second = Stage(kernels["add"], (-1, -2, 1), b"", 3, 1)
    third = Stage(kernels["add"], (-3, -1, -2), b"", 3, 1)
    plan = Launch("tt", (8, 8), (("x", 24), (None, 24), ("y", 24)), (first, second, third))
    launch = runtime.launcher(plan)
    allocated = runtime.memory().allocated
    a, b = tensor([1, 2, 3]), tensor([10, 10, 10])
    result = launch(a, b)
    assert type(result) is tuple and [t.layout for t in result] == ["x", "y"]
    assert [values(t) for t in result] == [[21, 22, 23], [32, 34, 36]]
    assert runtime.memory().allocated == allocated + 4 * 24
    only = runtime.launcher(plan._replace(outputs=((None, 24), (None, 24), ("y", 24))))(a, b)
    assert only.layout == "y" and values(only) == [32, 34, 36]


def test_scalars_lie_in_argument_order(kernels):
    stage = Stage(kernels["store"], (-1,), b"", 6, 100)
    launch = runtime.launcher(Launch("d-ict" + "i", (0,) * 4 + (8, 0), (("x", 48),), (stage,)))
    out = launch(2.5, object(), -7, 1 - 2j, tensor([0]), True)
    assert bytes(out._storage) == struct.pack("dqddqq", 2.5, -7, 1.0, -2.0, 1, 0)[:40] + bytes(
        memoryview(out._storage)[40:]
    )


@pytest.mark.parametrize(
    ("letter", "number", "packed"),
    [
        ("d", 3, struct.pack("d", 3)),
        ("d", True, struct.pack("d", 1)),
        ("d", -1.0, struct.pack("d", -1)),
        ("d", numpy.float32(0.5), struct.pack("d", 0.5)),
        ("i", -1, struct.pack("q", -1)),
        ("i", (1 << 63) - 1, struct.pack("q", (1 << 63) - 1)),
        ("i", numpy.int64(9), struct.pack("q", 9)),
        ("c", 2, struct.pack("2d", 2, 0)),
        ("c", -1.0, struct.pack("2d", -1, 0)),
        ("c", -1 - 1j, struct.pack("2d", -1, -1)),
    ],
)
def test_numbers(kernels, letter, number, packed):
    stage = Stage(kernels["store"], (-1,), b"", len(packed) // 8, 100)
    launch = runtime.launcher(Launch(letter, (0,), (("x", len(packed)),), (stage,)))
    assert bytes(launch(number)._storage) == packed


@pytest.mark.parametrize(
    ("letter", "number", "kind", "message"),
    [
        ("i", 1 << 63, RuntimeError, "value cannot be converted to type int64_t without overflow"),
        (
            "i",
            -(1 << 63) - 1,
            RuntimeError,
            "value cannot be converted to type int64_t without overflow",
        ),
        ("i", 1.5, TypeError, None),
        ("i", "1", TypeError, None),
        ("d", "1", TypeError, None),
        ("d", 1j, TypeError, None),
        pytest.param("d", 10**400, OverflowError, None, id="huge"),
        ("c", None, TypeError, None),
        ("t", None, TypeError, "argument 0 must be a Tensor, not NoneType"),
        ("m", 1.0, TypeError, "argument 0 must be a Tensor, not float"),
        ("o", [], TypeError, "argument 0 must be a Tensor, not list"),
        ("t", Bare(), TypeError, "without memory"),
    ],
)
def test_wrong_arguments(kernels, letter, number, kind, message):
    stage = Stage(kernels["store"], (-1,), b"", 1, 100)
    itemsize = 8 if letter in "tmo" else 0
    launch = runtime.launcher(Launch(letter, (itemsize,), (("x", 8),), (stage,)))
    allocated = runtime.memory().allocated
    with pytest.raises(kind, match=message):
        launch(number)
    assert runtime.memory().allocated == allocated


def test_wrong_slots(kernels):
    add = adder(kernels)
    good, bad = tensor([1, 2, 3, 4]), tensor([1, 2, 3, 4])
    for name, value in (("_storage", "text"), ("_offset", "text"), ("_offset", None)):
        setattr(bad, name, value)
        with pytest.raises(TypeError):
            add(good, bad)
        bad = tensor([1, 2, 3, 4])
    for name in ("_storage", "_offset"):
        delattr(bad, name)
        with pytest.raises(TypeError):
            add(good, bad)
        bad = tensor([1, 2, 3, 4])


def test_wrong_counts(kernels):
    add, a = adder(kernels), tensor([1, 2, 3, 4])
    for arguments in ((), (a,), (a, a, a)):
        with pytest.raises(TypeError, match=f"expected 2 arguments, got {len(arguments)}"):
            add(*arguments)
    with pytest.raises(TypeError):
        add(a, b=a)


def test_optional_tensors(kernels):
    stage = Stage(kernels["isnull"], (-1, 0), b"", 1, 1)
    for release in (False, True):
        launch = runtime.launcher(Launch("o", (8,), (("x", 8),), (stage,), release))
        assert values(launch(None), "i8") == [1]
        assert values(launch(tensor([1])), "i8") == [0]


def test_dims_arrive(kernels):
    stage = Stage(kernels["dims"], (-1,), struct.pack("3q", 5, 77, 6), 1, 1)
    assert values(runtime.launcher(Launch("", (), (("x", 8),), (stage,)))(), "i8") == [77]


def test_nothing_to_do_calls_no_kernel():
    stage = Stage(8, (-1, 0), b"", 0, 1)
    out = runtime.launcher(Launch("t", (8,), (("x", 0),), (stage,)))(tensor([]))
    assert out._storage.nbytes == 0 and out.layout == "x"


@pytest.mark.parametrize("release", [False, True])
def test_failure(kernels, release):
    seen = []

    def fail(code, *arguments):
        seen.append((code, arguments))
        raise IndexError("told you")

    stage = Stage(kernels["code"], (0,), b"", 1, 1)
    plan = Launch("mi", (8, 0), (("x", 800), (None, 800)), (stage,), release)
    a = tensor([1])
    allocated = runtime.memory().allocated
    with pytest.raises(RuntimeError, match="code 7"):
        runtime.launcher(plan)(a, 7)
    with pytest.raises(IndexError, match="told you"):
        runtime.launcher(plan._replace(fail=fail))(a, 9)
    assert seen == [(9, (a, 9))]
    with pytest.raises(RuntimeError, match="code 5"):
        runtime.launcher(plan._replace(fail=lambda *rest: None))(a, 5)
    assert runtime.memory().allocated == allocated
    assert runtime.launcher(plan)(a, 0).layout == "x"


def test_no_memory_for_outputs(kernels):
    stage = Stage(kernels["code"], (0,), b"", 1, 1)
    plan = Launch("ti", (8, 0), (("x", 800), (None, 800), ("y", 1 << 60)), (stage,))
    allocated = runtime.memory().allocated
    a = tensor([1])
    with pytest.raises(RuntimeError, match="you tried to allocate 1152921504606846976 bytes"):
        runtime.launcher(plan)(a, 0)
    del a
    assert runtime.memory().allocated == allocated


def test_record(kernels):
    records = []
    add = adder(kernels, record=lambda *all: records.append(all))
    a, b = tensor([1, 2, 3, 4]), tensor([1, 2, 3, 4])
    add(a, b)
    assert records == []
    b._node = "node"
    out = add(a, b)
    assert records == [(out, a, b)]


def test_record_asks_for_the_grad_mode_only_when_told(kernels):
    asked = []
    runtime.bind(Bare, lambda: asked.append(1) or mode)
    records = []
    add = adder(kernels, record=lambda *all: records.append(all))
    a = tensor([1, 2, 3, 4])
    try:
        runtime.shift_grad(2)  # two threads deviate: which ones, native code does not know
        mode = False
        add(a, a)
        assert not asked
        a._node = "node"
        add(a, a)
        assert asked == [1] and not records
        mode = True
        add(a, a)
        assert len(records) == 1
    finally:
        runtime.shift_grad(-2)


def test_the_one_thread_without_grad_mode_is_known(kernels):
    runtime.bind(Bare, lambda: pytest.fail("asked"))
    records = []
    add = adder(kernels, record=lambda *all: records.append(all))
    a = tensor([1, 2, 3, 4])
    a._node = "node"
    try:
        runtime.shift_grad(1)
        add(a, a)
        assert not records
        other = threading.Thread(target=add, args=(a, a))
        other.start()
        other.join()
        assert len(records) == 1
    finally:
        runtime.shift_grad(-1)


def test_record_may_raise(kernels):
    def record(*all):
        raise ValueError("no")

    add = adder(kernels, record=record)
    a = tensor([1, 2, 3, 4])
    a._node = "node"
    allocated = runtime.memory().allocated
    with pytest.raises(ValueError, match="no"):
        add(a, a)
    assert runtime.memory().allocated == allocated


@pytest.mark.parametrize("release", [False, True])
def test_references_and_memory_stay_exact(kernels, release):
    layout, a = object(), tensor([1, 2, 3, 4])
    kept = []
    add = adder(kernels, layout=layout, release=release, record=lambda *all: kept.append(len(all)))
    fails = runtime.launcher(
        Launch(
            "ti",
            (8, 0),
            ((layout, 8), (layout, 8)),
            (Stage(kernels["code"], (0,), b"", 1, 1),),
            release,
        )
    )
    objects = (layout, a, a._storage, Bare, runtime.Storage, None, 0)
    a._node = "node"
    gc.collect()
    allocated = runtime.memory().allocated
    before = [sys.getrefcount(o) for o in objects]
    for _ in range(2000):
        add(a, a)
        fails(a, 0)
        for call in (lambda: fails(a, 3), lambda: add(a, 3), lambda: fails(a, 1 << 70)):
            try:
                call()
            except (RuntimeError, TypeError):
                pass
    after = [sys.getrefcount(o) for o in objects]
    assert all(abs(x - y) < 100 for x, y in zip(after, before, strict=True)), (before, after)
    assert runtime.memory().allocated == allocated and len(kept) == 2000


def test_a_launcher_dies_with_what_it_holds(kernels):
    class Thing:
        pass

    layout, record = Thing(), Thing()
    held = [weakref.ref(layout), weakref.ref(record)]
    add = adder(kernels, layout=layout, record=record)
    record.me = add
    del layout, record
    gc.collect()
    assert all(reference() is not None for reference in held)
    del add
    gc.collect()
    assert all(reference() is None for reference in held)


def test_contradictions():
    good = Launch("t", (8,), (("x", 8),), (Stage(8, (-1, 0), b"", 1, 1),))
    for wrong in (
        {"arguments": "q"},
        {"itemsizes": ()},
        {"outputs": (("x", -1),)},
        {"stages": (Stage(8, (1,), b"", 1, 1),)},
        {"stages": (Stage(8, (-2,), b"", 1, 1),)},
        {"stages": (Stage(0, (), b"", 1, 1),)},
        {"arguments": "i", "itemsizes": (0,)},
    ):
        with pytest.raises(ValueError):
            runtime.launcher(good._replace(**wrong))


def test_many_arguments_and_results(kernels):
    count = 300
    stages = tuple(Stage(kernels["add"], (-1 - k, k, k), b"", 1, 1) for k in range(count))
    plan = Launch("t" * count, (8,) * count, tuple((k, 8) for k in range(count)), stages)
    out = runtime.launcher(plan)(*(tensor([k]) for k in range(count)))
    assert [values(t)[0] for t in out] == [2.0 * k for k in range(count)]


# Threads


def ranges(kernels, total, grain, release=True):
    dims = struct.pack("2q", grain, total)
    stage = Stage(kernels["ranges"], (0,), dims, total, grain)
    return runtime.launcher(Launch("m", (8,), (), (stage,), release))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_ranges_partition_the_whole(kernels, threads):
    runtime.set_num_threads(threads)
    assert runtime.get_num_threads() == threads
    for total in (1, 2, 3, 10, 97, 1000, 4099):
        for grain in (1, 3, 64, 5000):
            counts = tensor([0] * total, "i8")
            launch = ranges(kernels, total, grain)
            for _ in range(5):
                launch(counts)
            assert values(counts, "i8") == [5] * total


def meeting(guests):
    """A counter, and the dims with which `meet` waits until it is `guests`."""
    counter = ctypes.c_int64(0)
    return counter, struct.pack("2q", ctypes.addressof(counter), guests)


def test_a_worker_really_works(kernels):
    runtime.set_num_threads(2)
    counter, dims = meeting(2)
    stage = Stage(kernels["meet"], (), dims, 2, 1)
    runtime.launcher(Launch("", (), (), (stage,), True))()  # one thread alone would wait in vain
    assert counter.value == 2


def test_the_code_of_a_worker_arrives(kernels):
    runtime.set_num_threads(3)
    stage = Stage(kernels["code"], (), b"", 100, 1)
    launch = runtime.launcher(Launch("i", (0,), (), (stage,)))
    for _ in range(100):
        with pytest.raises(RuntimeError, match="code 42"):
            launch(42)


def test_several_python_threads_at_once(kernels):
    runtime.set_num_threads(3)
    total = 2000
    launch = ranges(kernels, total, 10)
    tensors = [tensor([0] * total, "i8") for _ in range(6)]

    def work(counts):
        for _ in range(300):
            launch(counts)

    threads = [threading.Thread(target=work, args=(t,)) for t in tensors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert all(values(t, "i8") == [300] * total for t in tensors)


def test_changing_the_number_of_threads_while_running(kernels):
    launch = ranges(kernels, 1000, 5)
    counts = tensor([0] * 1000, "i8")
    for k in range(300):
        runtime.set_num_threads(1 + k % 6)
        launch(counts)
    assert values(counts, "i8") == [300] * 1000


def test_without_the_lock_a_replaced_storage_lives_on(kernels):
    runtime.set_num_threads(1)
    counter, dims = meeting(2)
    stage = Stage(kernels["meet"], (0,), dims, 1, 1)
    wait = runtime.launcher(Launch("t", (8,), (), (stage,), True))
    a = tensor([1, 2, 3])
    reference = weakref.ref(a._storage)
    alive = []

    def replace():
        while counter.value == 0:  # until the kernel runs
            time.sleep(0.001)
        a._storage = runtime.empty(8)
        alive.append(reference() is not None)
        counter.value = 2  # lets it end

    other = threading.Thread(target=replace)
    other.start()
    wait(a)
    other.join()
    assert alive == [True] and reference() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_fork():
    script = (
        "import os, sys, ctypes, numpy\n"
        "from flambeau import runtime\n"
        "from flambeau.runtime import blas, Launch, Stage\n"
        "import struct\n"
        "class T:\n"
        "    __slots__ = ('_base', '_node', 'layout', '_offset', '_storage')\n"
        "runtime.bind(T, lambda: True)\n"
        "runtime.set_num_threads(3)\n"
        "n = 256\n"
        "dims = struct.pack('16q', 111, 111, n, n, n, n, n, n, 0, 0, 0, 0, 1, 0, 0, 0)\n"
        "stage = Stage(runtime.gemm_kernel('float32'), (-1, 0, 1), dims, 1, 1)\n"
        "plan = Launch('tt', (4, 4), ((0, 4 * n * n),), (stage,), True)\n"
        "product = runtime.launcher(plan)\n"
        "a = runtime.wrap(runtime.empty(4 * n * n), None, 0)\n"
        "numpy.frombuffer(a._storage, 'f4')[:] = 1\n"
        "def check():\n"
        "    for _ in range(20):\n"
        "        assert (numpy.frombuffer(product(a, a)._storage, 'f4') == n).all()\n"
        "check()\n"
        "for _ in range(5):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        try:\n"
        "            check()\n"
        "            grandchild = os.fork()\n"
        "            check()\n"
        "            if grandchild:\n"
        "                assert os.waitpid(grandchild, 0)[1] == 0\n"
        "        except BaseException:\n"
        "            os._exit(1)\n"
        "        os._exit(0)\n"
        "    check()\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=120)


def test_the_number_of_threads_is_checked():
    for wrong in (0, -1):
        with pytest.raises(RuntimeError, match="positive"):
            runtime.set_num_threads(wrong)
    with pytest.raises(TypeError):
        runtime.set_num_threads("2")


@pytest.mark.parametrize(("variable", "expected"), [("3", 3), ("5,2", 5), ("0", None), ("x", None)])
def test_the_default_number_of_threads(monkeypatch, variable, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert core._default_threads() == expected or (
        expected is None and 1 <= core._default_threads() <= (os.cpu_count() or 1)
    )
