"""Hostile and damaged files: no code runs, nothing of theirs grows beyond the file, and what is
wrong is said by RuntimeError or UnpicklingError.
"""

import collections
import io
import pickle
import random
import struct
import zipfile

import pytest

import flambeau as torch

CLEAR = (RuntimeError, pickle.UnpicklingError)


def zipped(data: bytes, **members: bytes) -> io.BytesIO:
    """A file of the zip format around a pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        for name, content in members.items():
            archive.writestr(f"archive/data/{name.strip('_')}", content)
    file.seek(0)
    return file


def legacy(data: bytes) -> io.BytesIO:
    """A file of the format before it."""
    heads = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    parts = [pickle.dumps(head, 2) for head in heads] + [data, pickle.dumps([], 2)]
    return io.BytesIO(b"".join(parts))


ran: list = []


def run(*arguments):
    ran.append(arguments)


class Target:
    def __setstate__(self, state):
        ran.append(state)

    def __setitem__(self, key, value):
        ran.append(key)

    append = extend = add = run


def of(name):
    module, _, name = name.rpartition(".")
    return f"c{module}\n{name}\n".encode()


HERE = __name__
STORAGE = (
    b"(X\x07\0\0\0storage" + of("torch.FloatStorage") + b"X\x01\0\0\0" + b"0X\x03\0\0\0cpuK\x01tQ"
)
TENSOR = of("torch._utils._rebuild_tensor_v2") + b"(" + STORAGE + b"K\0)(t\x89}tR"
HOSTILE = {
    "a call": of(f"{HERE}.run") + b")R.",
    "a call by STACK_GLOBAL": b"\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
    "a call by INST": f"(K\x01i{HERE}\nrun\n.".encode(),
    "a call by OBJ": b"(" + of(f"{HERE}.run") + b"K\x01o.",
    "the registry of extensions": b"\x82\x01.",
    "a new object": of(f"{HERE}.Target") + b")\x81.",
    "a type that is only a value": of("builtins.list") + b")R.",
    "a call of what a call made": of("torch.Size") + b")R)R.",
    "bytes by number": of("builtins.bytearray") + b"J\xff\xff\xff\x7f\x85R.",
    "a class gets a state": of("torch.Size") + b"N}X\x05\0\0\0numelK\x01s\x86b.",
    "a function gets a state": of("torch._utils._rebuild_tensor_v2") + b"}K\x01K\x02sb.",
    "a dtype gets a state": of("torch.float32") + b"N}X\x04\0\0\0nameK\x01s\x86b.",
    "a tensor gets a slot": TENSOR + b"N}X\x06\0\0\0offsetJ\xff\xff\xff\x7fs\x86b.",
    "a tensor gets a storage": TENSOR + b"N}X\x07\0\0\0storageK\x05s\x86b.",
    "a tensor is written": TENSOR + b"K\0K\x01s.",
    "a tensor is appended to": TENSOR + b"K\x01a.",
    "a text reference": b"Pname\n.",
    "a text encoding": of("_codecs.encode") + b"X\x01\0\0\0aX\x03\0\0\0bz2\x86R.",
    "no end": b"}",
    "nothing": b"",
    "a stack that is empty": b".",
    "an unknown instruction": b"\xff.",
    "text that is none": b"X\x02\0\0\0\xff\xff.",
    "more bytes than there are": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x0f",
}  # fmt: skip


@pytest.mark.parametrize("wrap", [zipped, legacy])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_run_nothing(name, wrap):
    file = zipped(HOSTILE[name], _0=bytes(4)) if wrap is zipped else legacy(HOSTILE[name])
    with pytest.raises(CLEAR):
        torch.load(file)
    assert not ran
    assert torch.Size([2]).numel() == 2 and torch.float32.name == "float32"


def test_the_same_pickles_run_where_the_user_trusts_them():
    file = zipped(HOSTILE["a call"])
    torch.load(file, weights_only=False)
    assert ran == [()]
    ran.clear()


def test_what_the_user_allows_is_called_and_nothing_else():
    with torch.serialization.safe_globals([run]):
        torch.load(zipped(HOSTILE["a call"]))
        with pytest.raises(CLEAR, match=r"Target"):
            torch.load(zipped(HOSTILE["a new object"]))
    assert ran.pop() == ()
    with torch.serialization.safe_globals([(Target, "some.where.Else")]):
        assert isinstance(torch.load(zipped(of("some.where.Else") + b")\x81.")), Target)


def test_the_list_of_what_a_file_wants():
    data = pickle.dumps([collections.deque([1]), {2: complex(1)}], 2)
    found = torch.serialization.get_unsafe_globals_in_checkpoint(zipped(data))
    assert found == ["collections.deque"]
    with pytest.raises(ValueError, match="Expected input to be a checkpoint"):
        torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data))


def tensor_with(size, stride, offset):
    def numbers(values):
        return b"(" + b"".join(b"\x8a\x09" + struct.pack("<q", v) + b"\0" for v in values) + b"t"

    where = b"J" + struct.pack("<i", offset) + numbers(size) + numbers(stride)
    head = of("torch._utils._rebuild_tensor_v2") + b"(" + STORAGE
    return zipped(head + where + b"\x89}tR.", _0=bytes(4))


@pytest.mark.parametrize(
    "size, stride, offset",
    [
        ([2], [1], 0),
        ([1], [1], 1),
        ([1], [1], -1),
        ([2**40], [1], 0),
        ([2, 2], [2**62, 2**62], 0),
        ([2**62, 2**62], [0, 0], 0),
        ([1], [1, 1], 0),
    ],
)
def test_no_tensor_reaches_outside_its_storage(size, stride, offset):
    with pytest.raises(CLEAR):
        torch.load(tensor_with(size, stride, offset))


def test_a_small_file_cannot_make_a_huge_storage():
    huge = STORAGE.replace(b"K\x01tQ", b"\x8a\x06\0\0\0\0\0\x01tQ")
    data = of("torch._utils._rebuild_tensor_v2") + b"(" + huge + b"K\0)(t\x89}tR."
    for file in (zipped(data, _0=bytes(4)), legacy(data)):
        with pytest.raises(CLEAR, match=r"should hold"):
            torch.load(file)


def test_zip_bombs_are_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 22))
    file.seek(0)
    with pytest.raises(RuntimeError, match="unpack to more than its size"):
        torch.load(file)
    small = zipped(pickle.dumps([1] * 100, 2))
    with zipfile.ZipFile(small) as archive:
        data = archive.read("archive/data.pkl")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/rest", random.Random(0).randbytes(1000))
    file.seek(0)
    with pytest.raises(RuntimeError, match="is compressed"):
        torch.load(file)


VALUE = {"weight": torch.arange(3.0), "list": [1, (2, "text")]}


def content_of(new_format):
    file = io.BytesIO()
    torch.save(VALUE, file, _use_new_zipfile_serialization=new_format)
    return file.getvalue()


def outcome(content, **options):
    """What loading gives: the value as text, or None for an error, which must be a clear one."""
    try:
        return repr(torch.load(io.BytesIO(content), **options))
    except CLEAR:
        return None


def test_a_zip_file_cut_anywhere_is_refused():
    content = content_of(True)
    assert not any(outcome(content[:length]) for length in range(0, len(content), 7))


def test_a_legacy_file_cut_anywhere_is_refused():
    content = content_of(False)
    assert not any(outcome(content[:length]) for length in range(len(content)))


@pytest.mark.parametrize("new_format", [True, False])
def test_a_flipped_bit_gives_the_value_or_a_clear_error(new_format):
    content, right = content_of(new_format), repr(VALUE)
    chance = random.Random(0)
    for place in range(0, len(content), 3 if new_format else 1):
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        found = outcome(bytes(damaged))  # an error of another kind would end the test
        assert found in (None, right) or not new_format


def test_a_mapped_file_that_is_damaged(tmp_path):
    content, path = content_of(True), tmp_path / "x.pt"
    for place in range(0, len(content), 11):
        path.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
        try:
            torch.load(path, mmap=True)
        except CLEAR:
            pass
