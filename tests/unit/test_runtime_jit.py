"""The JIT engine and its cache on disk."""

import ctypes
import os
import pathlib
import subprocess
import sys

import pytest

from flambeau._base import knobs
from flambeau.runtime import jit

CALL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


def adder(number: int, name: str = "f") -> str:
    return f"define i64 @{name}(i64 %x) {{\n  %y = add i64 %x, {number}\n  ret i64 %y\n}}\n"


@pytest.fixture
def folder(tmp_path):
    with knobs.override(cache=str(tmp_path)):
        yield tmp_path


def objects(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def run(source: str, x: int) -> int:
    (address,) = jit.compile(source, ["f"])
    return CALL(address)(x)


def test_second_compile_loads_from_disk(folder):
    before = jit.statistics()
    assert run(adder(5), 1) == 6
    assert run(adder(5), 2) == 7
    after = jit.statistics()
    assert (after.compiled - before.compiled, after.loaded - before.loaded) == (1, 1)
    assert len(objects(folder)) == 1


def test_equal_names_in_different_sources_do_not_meet(folder):
    addresses = [jit.compile(adder(n), ["f"])[0] for n in range(4)]
    assert [CALL(a)(10) for a in addresses] == [10, 11, 12, 13]


def test_names_come_in_the_order_asked_for(folder):
    source = adder(1, "a") + adder(2, "b") + adder(3, "c")
    assert [CALL(a)(0) for a in jit.compile(source, ["c", "a", "b"])] == [3, 1, 2]


def functions(*numbers: int) -> dict[str, str]:
    return {f"f{n}": adder(n, f"f{n}") for n in numbers}


def test_functions_are_compiled_as_one_module_and_found_one_by_one(folder):
    before = jit.statistics()
    addresses = jit.compile_functions(functions(1, 2, 3), "\n".join)
    assert [CALL(addresses[name])(10) for name in ("f1", "f2", "f3")] == [11, 12, 13]
    assert jit.statistics().compiled == before.compiled + 1
    assert len(objects(folder)) == 3
    addresses = jit.compile_functions(functions(2, 4), "\n".join)
    assert [CALL(addresses[name])(10) for name in ("f2", "f4")] == [12, 14]
    after = jit.statistics()
    assert (after.compiled - before.compiled, after.loaded - before.loaded) == (2, 1)


def test_functions_where_files_have_one_name_only(folder, monkeypatch):
    def refuse(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    jit.compile_functions(functions(5, 6), "\n".join)
    first, second = objects(folder)
    assert first.read_bytes() == second.read_bytes()
    assert not os.path.samefile(first, second)


DAMAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "only the head": lambda data: data[:20],
    "one flipped bit": lambda data: data[:-9] + bytes([data[-9] ^ 4]) + data[-8:],
    "flipped digest": lambda data: data[:25] + bytes([data[25] ^ 1]) + data[26:],
    "foreign": lambda data: b"\x7fELF" + data[4:],
    "longer": lambda data: data + b"x",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entries_are_rebuilt(folder, damage):
    number = 100 + list(DAMAGES).index(damage)
    assert run(adder(number), 1) == number + 1
    (path,) = objects(folder)
    good = path.read_bytes()
    path.write_bytes(DAMAGES[damage](good))
    before = jit.statistics().compiled
    assert run(adder(number), 2) == number + 2
    assert jit.statistics().compiled == before + 1
    assert path.read_bytes() == good


def test_an_entry_that_cannot_be_linked_is_rebuilt(folder):
    assert run(adder(300), 1) == 301
    (path,) = objects(folder)
    jit.write_object([str(path)], b"this is no object file")
    assert run(adder(300), 1) == 301


def test_writing_what_is_there_leaves_nothing_beside_it(tmp_path):
    paths = [str(tmp_path / name) for name in ("a", "b")]
    for _ in range(2):
        assert jit.write_object(paths, b"code")
    assert sorted(map(str, tmp_path.iterdir())) == paths
    assert all(jit.read_object(path) == b"code" for path in paths)


def test_a_directory_in_place_of_an_entry_is_no_obstacle(folder):
    assert run(adder(301), 1) == 302
    (path,) = objects(folder)
    path.unlink()
    path.mkdir()
    assert run(adder(301), 1) == 302


def test_a_folder_that_cannot_be_made_is_no_obstacle(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with knobs.override(cache=str(tmp_path / "file" / "cache")):
        assert run(adder(302), 1) == 303


def test_a_full_disk_is_no_obstacle(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert run(adder(303), 1) == 304
    assert objects(folder) == []


def test_no_cache_at_all():
    with knobs.override(cache=None):
        before = jit.statistics().loaded
        assert run(adder(304), 1) == run(adder(304), 1) == 305
        assert jit.statistics().loaded == before


def test_processes_at_once_share_one_folder(tmp_path):
    script = (
        "import ctypes\n"
        "from flambeau.runtime import jit\n"
        "for n in range(12):\n"
        "    text = 'define i64 @f(i64 %x) {\\n  %y = add i64 %x, NUMBER\\n  ret i64 %y\\n}\\n'\n"
        "    source = text.replace('NUMBER', str(n))\n"
        "    address, = jit.compile(source, ['f'])\n"
        "    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(1) == n + 1\n"
    )
    environment = {**os.environ, "FLAMBEAU_CACHE": str(tmp_path)}
    several = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(3)]
    assert [process.wait() for process in several] == [0, 0, 0]
    assert len(objects(tmp_path)) == 12
    for path in objects(tmp_path):
        assert jit.read_object(str(path)) is not None


def test_threads_at_once(folder):
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: run(adder(400 + n % 5), n), range(40)))
    assert results == [400 + n % 5 + n for n in range(40)]


@pytest.mark.parametrize(
    "source",
    [
        "define i64 @f(i64 %x) { ret i32 0 }",
        "this is no LLVM text",
        "define i64 @f(i64 %x) {\n  %y = add i64 %z, 1\n  ret i64 %y\n}",
    ],
)
def test_wrong_text_raises(folder, source):
    with pytest.raises(RuntimeError):
        jit.compile(source, ["f"])
    assert objects(folder) == []


def test_a_missing_symbol_raises(folder, capfd):
    source = (
        "declare i64 @no_such_function_anywhere(i64)\n"
        "define i64 @f(i64 %x) {\n"
        "  %y = call i64 @no_such_function_anywhere(i64 %x)\n"
        "  ret i64 %y\n}\n"
    )
    with pytest.raises(RuntimeError):
        jit.compile(source, ["f"])


def test_translation_happens_only_on_a_miss(folder):
    calls = []

    def translate(text):
        calls.append(text)
        return adder(int(text))

    for _ in range(3):
        (address,) = jit.compile("77", ["f"], translate=translate)
        assert CALL(address)(1) == 78
    assert calls == ["77"]


def test_whole_vectors_are_used(folder):
    host = jit.host()
    assert host.vector_bytes in (16, 32, 64) and host.cpu
    width = host.vector_bytes // 4
    text = jit.assembly(
        f"define void @f(ptr %p) {{\n  %x = load <{width} x float>, ptr %p\n"
        f"  %y = fmul <{width} x float> %x, %x\n"
        f"  store <{width} x float> %y, ptr %p\n  ret void\n}}\n"
    )
    register = {64: "zmm", 32: "ymm", 16: ""}[host.vector_bytes]
    assert register in text


def test_importing_starts_nothing():
    script = (
        "import sys, flambeau.runtime\n"
        "from flambeau.runtime import core, blas\n"
        "assert 'llvmlite' not in sys.modules\n"
        "assert core._native is None and blas._library is None\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
