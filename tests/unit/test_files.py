"""Files: what is saved comes back, PyTorch reads it, and no file runs code or leaves a half-written
one.
"""

import collections
import io
import os
import pickle
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import types
import zipfile

import numpy
import pytest

import flambeau as torch


def saved(value) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def loaded(content, **options):
    return torch.load(io.BytesIO(content), **options)


def test_values_of_all_kinds_come_back():
    value = {
        "list": [1, 2.5, "text", None, True, (3, 4)],
        "dtype": torch.bfloat16,
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        3: {"nested": torch.arange(6).view(2, 3)},
    }
    back = loaded(saved(value))
    assert back["list"] == value["list"] and back["dtype"] is torch.bfloat16
    assert (
        back["size"] == (2, 3)
        and isinstance(back["size"], torch.Size)
        and back["device"] is value["device"]
    )
    assert back[3]["nested"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "dtype",
    "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 "
    "complex128".split(),
)
def test_every_dtype(dtype):
    kind = getattr(torch, dtype)
    tensor = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(kind)
    back = loaded(saved(tensor))
    assert back.dtype is kind and back.tolist() == tensor.tolist()


def test_views_share_memory_after_loading():
    base = torch.arange(6.0)
    back = loaded(saved([base, base[2:], base.view(2, 3).t()]))
    back[0][2] = 100
    assert back[1][0].item() == 100 and back[2][2, 0].item() == 100
    assert back[2].stride() == (1, 3)


def test_storages_are_aligned():
    content = saved([torch.arange(3), torch.arange(5.0)])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            if "/data/" in info.filename:
                name, extra = content[info.header_offset + 26 : info.header_offset + 30][::2]
                extra = int.from_bytes(
                    content[info.header_offset + 28 : info.header_offset + 30], "little"
                )
                assert (info.header_offset + 30 + name + extra) % 64 == 0


def test_a_tensor_cannot_reach_outside_its_storage():
    content = saved(torch.arange(4))
    small = saved(torch.arange(2))
    with zipfile.ZipFile(io.BytesIO(content)) as big, zipfile.ZipFile(io.BytesIO(small)) as other:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as mixed:
            for info in big.infolist():
                source = other if "/data/" in info.filename else big
                mixed.writestr(info.filename, source.read(info.filename))
    with pytest.raises(RuntimeError, match="should hold 32 bytes"):
        loaded(file.getvalue())


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.pt"
    torch.save([1], path)
    with pytest.raises(Exception, match=r"pickle|lambda"):
        torch.save([lambda: 0], path)
    assert torch.load(path) == [1] and os.listdir(tmp_path) == ["model.pt"]


SAVERS = {
    "zip": "torch.save(value, path)",
    "legacy": "torch.save(value, path, _use_new_zipfile_serialization=False)",
    "safetensors": "torch.serialization.save_safetensors({'a': value}, path)",
}


def run_save(path, how, before, size):
    """Saves `size` bytes in a process of its own, after the lines `before`; the process."""
    code = f"""
import os, resource, signal, sys
import flambeau as torch
path = sys.argv[1]
value = torch.ones({size}, dtype=torch.uint8)
{before}
try:
    {SAVERS[how]}
except Exception as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
"""
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


@pytest.mark.skipif(os.name != "posix", reason="limits and signals are POSIX's")
@pytest.mark.parametrize("how", SAVERS)
def test_a_full_disk_leaves_the_old_file(tmp_path, how):
    path = tmp_path / "model.pt"
    torch.save([1], path)
    limit = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    )
    done = run_save(path, how, limit, 1_000_000)
    assert done.returncode == 1 and "File too large" in done.stderr
    assert torch.load(path) == [1] and os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.skipif(os.name != "posix", reason="limits and signals are POSIX's")
@pytest.mark.parametrize("how", SAVERS)
def test_a_save_that_is_killed_leaves_the_old_file(tmp_path, how):
    path = tmp_path / "model.pt"
    torch.save([1], path)
    # The kernel kills a process that writes beyond its limit, unless it ignores the signal.
    limit = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    )
    done = run_save(path, how, limit, 1_000_000)
    assert done.returncode == -signal.SIGXFSZ
    assert torch.load(path) == [1]


def test_links_and_permissions_stay(tmp_path):
    real, link = tmp_path / "real.pt", tmp_path / "link.pt"
    torch.save([1], real)
    assert real.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    real.chmod(0o640)
    link.symlink_to(real)
    torch.save([2], link)
    assert link.is_symlink() and torch.load(real) == [2]
    assert real.stat().st_mode & 0o777 == 0o640


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_pipe_is_written_as_it_is(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: torch.save([3], path))
    writer.start()
    content = path.read_bytes()
    writer.join()
    assert loaded(content) == [3] and stat.S_ISFIFO(path.stat().st_mode)


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"Parent directory .*nowhere does not exist"):
        torch.save([1], tmp_path / "nowhere" / "x.pt")


def test_mapped_file(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"w": torch.arange(5.0)}, path)
    mapped = torch.load(path, mmap=True)["w"]
    mapped += 1
    assert mapped.tolist() == [1, 2, 3, 4, 5] and torch.load(path)["w"].tolist() == [0, 1, 2, 3, 4]


def test_modules_whole_and_parameters():
    module = torch.nn.Linear(3, 2)
    content = saved(module)
    with pytest.raises(pickle.UnpicklingError):
        loaded(content)
    back = loaded(content, weights_only=False)
    assert isinstance(back.weight, torch.nn.Parameter) and back.weight.requires_grad
    assert back.weight.tolist() == module.weight.tolist()


def test_containers_and_bytes_come_back():
    value = [
        collections.OrderedDict(a=1),
        collections.Counter("aab"),
        collections.defaultdict(list, {1: [2]}),
        {1, 2},
        frozenset((3,)),
        b"bytes",
        bytearray(b"more"),
        1 + 2j,
        2**100,
        -1.5e300,
        torch.strided,
        torch.channels_last,
    ]
    back = loaded(saved(value))
    assert back == value and [type(v) for v in back] == [type(v) for v in value]
    recursive: list = []
    recursive.append(recursive)
    back = loaded(saved(recursive))
    assert back[0] is back


def test_the_same_object_is_written_once():
    shared, tensor = [1], torch.ones(2)
    back = loaded(saved([shared, shared, tensor, tensor, torch.nn.functional.relu]), **TRUSTED)
    assert back[0] is back[1] and back[2] is back[3] and back[4] is torch.nn.functional.relu


TRUSTED = {"weights_only": False}


class Marked(torch.Tensor):
    pass


def test_attributes_and_classes_of_tensors_come_back():
    tensor = torch.arange(3).as_subclass(Marked)
    tensor.note = "kept"
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.group = 3
    with pytest.raises(pickle.UnpicklingError, match="Marked"):
        loaded(saved(tensor))
    with torch.serialization.safe_globals([Marked]):
        back, other = loaded(saved([tensor, parameter]))
    assert type(back) is Marked and back.note == "kept" and back.tolist() == [0, 1, 2]
    assert type(other) is torch.nn.Parameter and other.group == 3


def test_storages_come_back_with_their_tensors():
    tensor = torch.arange(4, dtype=torch.int16)
    back = loaded(saved([tensor[1:], tensor.untyped_storage(), tensor._typed_storage()]))
    back[1][2] = 9
    assert back[0].tolist() == [9, 2, 3] and back[2].dtype is torch.int16 and len(back[2]) == 4


def test_files_that_only_read_and_seek():
    class Plain:
        def __init__(self, content):
            file = io.BytesIO(content)
            self.read, self.seek, self.tell = file.read, file.seek, file.tell
            self.readline = file.readline

    assert torch.load(Plain(saved(torch.arange(3)))).tolist() == [0, 1, 2]
    with pytest.raises(AttributeError, match="no attribute 'read' or 'seek'"):
        torch.load(3)


def on(location, content):
    """The same file, saved on another device."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            size = len(location).to_bytes(4, "little")
            new.writestr(info.filename, data.replace(b"\x03\0\0\0cpu", size + location.encode()))
    return file.getvalue()


def test_map_location_in_all_its_forms():
    content = on("cuda:1", saved({"a": torch.arange(3)}))
    with pytest.raises(RuntimeError, match="deserialize object on a CUDA device"):
        loaded(content)
    seen = []

    def function(storage, location):
        seen.append((len(storage), location))
        return storage if location == "cuda:1" else None

    for where in ("cpu", torch.device("cpu"), {"cuda:1": "cpu"}, function):
        assert loaded(content, map_location=where)["a"].tolist() == [0, 1, 2]
    assert seen == [(24, "cuda:1")]
    base = torch.arange(3)
    loaded(on("cuda:1", saved([base, base[1:]])), map_location=function)
    assert len(seen) == 2  # once for each storage
    for where in ("cuda", {"cpu": "cpu"}, lambda storage, location: None):
        with pytest.raises(RuntimeError, match="deserialize object on a CUDA device"):
            loaded(content, map_location=where)
    with pytest.raises(TypeError, match="map_location must be"):
        loaded(content, map_location=3)


@pytest.mark.parametrize("new_format", [True, False])
def test_tensors_without_memory(new_format):
    file = io.BytesIO()
    torch.save(
        [torch.ones(2, 3).t(), torch.ones(2, device="meta")],
        file,
        _use_new_zipfile_serialization=new_format,
    )
    whole, empty = loaded(file.getvalue(), map_location="meta")
    assert whole.is_meta and whole.shape == (3, 2) and whole.stride() == (1, 3)
    assert empty.is_meta and empty.shape == (2,)


def test_a_device_of_the_users_own():
    def restore(storage, location):
        return storage if location == "abacus:0" else None

    torch.serialization.register_package(50, lambda storage: None, restore)
    assert loaded(on("abacus:0", saved(torch.arange(2)))).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.int16, torch.complex64, torch.uint8])
def test_files_of_the_other_byte_order(dtype):
    tensor = torch.tensor([1, 2, 258]).to(dtype)
    other = {"little": "big", "big": "little"}[sys.byteorder]
    width = tensor.itemsize // 2 if tensor.is_complex() else tensor.itemsize
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(tensor))) as old, zipfile.ZipFile(file, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if "/data/" in info.filename:
                parts = (data[i : i + width][::-1] for i in range(0, len(data), width))
                data = b"".join(parts)
            new.writestr(info.filename, other if info.filename.endswith("byteorder") else data)
    assert loaded(file.getvalue()).tolist() == tensor.tolist()


def test_legacy_files_follow_one_another():
    value = {"a": torch.arange(6.0).view(2, 3).t(), "b": torch.ones(2, dtype=torch.bfloat16)}
    file = io.BytesIO(b"head")
    file.seek(4)
    for part in (value, [1, 2]):
        torch.save(part, file, _use_new_zipfile_serialization=False)
    file.seek(4)
    back = torch.load(file)
    assert back["a"].tolist() == [[0, 3], [1, 4], [2, 5]] and back["a"].stride() == (1, 3)
    assert back["b"].dtype is torch.bfloat16 and torch.load(file) == [1, 2]


def tar_of(value_pickle, tensors):
    """A file of the oldest format: `tensors` are (key, values, sizes, strides, offset)."""
    storages, records = pickle.dumps(len(tensors), 2), pickle.dumps(len(tensors), 2)
    for key, values, sizes, strides, offset in tensors:
        kind = b"\x80\x02(K" + bytes([key]) + b"X\x03\0\0\0cpuctorch\nFloatStorage\nt."
        storages += kind + struct.pack(f"<q{len(values)}f", len(values), *values)
        numbers = (len(sizes), *sizes, *strides, offset)
        records += b"\x80\x02(K" + bytes([key + 100, ord("K"), key]) + b"Nt."
        records += struct.pack(f"<q{len(numbers) - 1}q", *numbers)
    file = io.BytesIO()
    parts = {"storages": storages + pickle.dumps([], 2), "tensors": records, "pickle": value_pickle}
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def test_the_oldest_format():
    content = tar_of(b"\x80\x02]K\x65Qa.", [(1, [1, 2, 3, 4, 5, 6], (2, 2), (1, 3), 1)])
    assert loaded(content)[0].tolist() == [[2, 5], [3, 6]]
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        loaded(content[: len(content) // 4])


def test_another_pickle_module():
    class Careless(pickle.Unpickler):
        def find_class(self, module, name):
            return "replaced" if name == "OrderedDict" else super().find_class(module, name)

    module = types.SimpleNamespace(__name__="mine", Unpickler=Careless, Pickler=pickle._Pickler)
    file = io.BytesIO()
    torch.save([torch.ones(1)], file, pickle_module=module)
    assert loaded(file.getvalue(), pickle_module=module)[0].tolist() == [1]
    with pytest.raises(RuntimeError, match="Can not safely load weights"):
        loaded(file.getvalue(), pickle_module=module, weights_only=True)
    with pytest.raises(TypeError, match="no subclass of Python's"):
        torch.save([1], file, pickle_module=types.SimpleNamespace(__name__="c", Pickler=dict))


@pytest.mark.parity
@pytest.mark.parametrize("new_format", [True, False])
def test_files_move_both_ways_with_pytorch(tmp_path, new_format):
    import torch as pytorch

    def value(of):
        shared = of.arange(6.0)
        parameter = of.nn.Parameter(of.ones(2, dtype=of.float64))
        return {
            "views": [shared, shared.view(2, 3).t(), shared[2:4]],
            "dtypes": [of.tensor([0, 1, 2]).to(getattr(of, name)) for name in names],
            "conjugate": of.tensor([1 + 2j]).conj(),
            "state": of.nn.LSTM(2, 3).state_dict(),
            "parameter": parameter,
            "facts": [of.Size([1, 2]), of.float16, of.device("cpu"), b"bytes"],
            "optimizer": of.optim.Adam([parameter], lr=0.1).state_dict(),
            "meta": of.ones(2, device="meta"),
            "empty": of.ones(0, 3),
        }

    names = DTYPE_NAMES if new_format else DTYPE_NAMES[:-2]  # those have no class of storages
    path = tmp_path / "x.pt"
    for writer, reader in ((torch, pytorch), (pytorch, torch)):
        writer.save(value(writer), path, _use_new_zipfile_serialization=new_format)
        back = reader.load(path)
        assert [t.tolist() for t in back["views"]] == [t.tolist() for t in value(torch)["views"]]
        back["views"][0][2] = 50
        assert back["views"][1][2, 0] == 50 and back["views"][2][0] == 50
        for name, tensor in zip(names, back["dtypes"], strict=True):
            assert tensor.dtype is getattr(reader, name), name
            assert tensor.to(reader.float32).tolist() == [0, 1, 1 if name == "bool" else 2]
        assert back["conjugate"].is_conj() and back["conjugate"].tolist() == [1 - 2j]
        assert list(back["state"]) == list(reader.nn.LSTM(2, 3).state_dict())
        assert isinstance(back["parameter"], reader.nn.Parameter)
        assert back["facts"] == value(reader)["facts"]
        assert back["meta"].is_meta and back["empty"].shape == (0, 3)
        assert back["optimizer"]["param_groups"][0]["lr"] == 0.1


DTYPE_NAMES = (
    "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 uint16 uint32".split()
)


@pytest.mark.parity
def test_files_of_pytorch_without_checksums_and_with_subclasses(tmp_path):
    import torch as pytorch

    path = tmp_path / "x.pt"
    pytorch.serialization.set_crc32_options(False)
    try:
        pytorch.save(pytorch.arange(3), path)
    finally:
        pytorch.serialization.set_crc32_options(True)
    assert torch.load(path).tolist() == [0, 1, 2]
    tensor = pytorch.arange(3)
    tensor.note = "kept"
    pytorch.save(tensor, path)
    assert torch.load(path).note == "kept"
    for mmap in (True, False):
        pytorch.save({"a": pytorch.arange(5.0)}, path)
        assert torch.load(path, mmap=mmap)["a"].tolist() == [0, 1, 2, 3, 4]


def test_names_of_python_2_that_pickles_of_protocol_2_have(tmp_path):
    torch.save([range(3), slice(1, 2), {1}], tmp_path / "x.pt")
    assert torch.load(tmp_path / "x.pt", weights_only=False) == [range(3), slice(1, 2), {1}]
    with pytest.raises(pickle.UnpicklingError, match="xrange"):
        torch.load(tmp_path / "x.pt")


@pytest.mark.parity
def test_whole_modules_move_both_ways_with_pytorch(tmp_path):
    import torch as pytorch

    def models(of):
        nn = of.nn
        block = nn.TransformerEncoderLayer(
            8, 2, 16, batch_first=True, activation=nn.functional.gelu
        )
        layers = (nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
        return [
            (nn.Sequential(*layers), (2, 1, 5, 5)),
            (nn.TransformerEncoder(block, 2), (1, 4, 8)),
        ]

    path = tmp_path / "x.pt"
    for writer, reader in ((torch, pytorch), (pytorch, torch)):
        for model, shape in models(writer):
            writer.save(model.eval(), path)
            back = reader.load(path, weights_only=False)
            values = numpy.random.default_rng(0).random(shape, numpy.float32)
            with writer.no_grad():
                expected = model(writer.from_numpy(values)).tolist()
            with reader.no_grad():
                found = back(reader.from_numpy(values)).tolist()
            numpy.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
