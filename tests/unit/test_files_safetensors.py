"""The safetensors format, both ways: through flambeau's own functions, and through the package's,
which find flambeau under the name of torch.
"""

import json
import os
import pathlib
import random
import subprocess
import sys

import numpy
import pytest
import safetensors.numpy

import flambeau as torch
from flambeau.serialization import load_safetensors, save_safetensors

DTYPES = "bool uint8 int8 int16 int32 int64 float16 float32 float64 uint16 uint32 uint64".split()


def test_every_dtype_and_shape_comes_back(tmp_path):
    path = tmp_path / "x.safetensors"
    base = torch.tensor([[0, 1, 2], [3, 4, 5]])
    tensors = {name: base.to(getattr(torch, name)) for name in [*DTYPES, "bfloat16", "complex64"]}
    tensors |= {"empty": torch.ones(0, 2), "scalar": torch.tensor(3.5), "view": base.t()[1:]}
    tensors |= {"conjugate": torch.tensor([1 + 2j, 3j], dtype=torch.complex64).conj()}
    save_safetensors(tensors, path, {"kind": "test"})
    for back in (load_safetensors(path), torch.load(path)):
        assert {n: (t.dtype, t.tolist()) for n, t in back.items()} == {
            n: (t.dtype, t.tolist()) for n, t in tensors.items()
        }
    with safetensors.safe_open(path, framework="numpy") as opened:
        assert opened.metadata() == {"kind": "test"}


def test_the_package_reads_and_writes_the_same(tmp_path):
    path = tmp_path / "x.safetensors"
    arrays = {name: numpy.arange(5).astype(name) for name in DTYPES}
    safetensors.numpy.save_file(arrays, path)
    assert {n: t.tolist() for n, t in load_safetensors(path).items()} == {
        n: a.tolist() for n, a in arrays.items()
    }
    save_safetensors({"a": torch.arange(6.0).view(2, 3)}, path)
    assert safetensors.numpy.load_file(path)["a"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_bytes_are_mapped_not_copied(tmp_path):
    path = tmp_path / "x.safetensors"
    save_safetensors({"a": torch.zeros(1 << 20), "b": torch.ones(3)}, path)
    tensors = load_safetensors(path)
    first, second = tensors["a"], tensors["b"]
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    places = sorted((t.data_ptr(), t.nbytes) for t in (first, second))
    assert places[1][0] == places[0][0] + places[0][1] and places[0][0] % 4096 == header % 4096
    first[5] = 7  # does not reach the file
    assert load_safetensors(path)["a"][5] == 0 and first[5] == 7
    del tensors, second
    assert first.sum() == 7  # keeps the map


def test_tensors_on_the_device_meta(tmp_path):
    path = tmp_path / "x.safetensors"
    save_safetensors({"a": torch.ones(2, 3)}, path)
    back = torch.load(path, map_location="meta")["a"]
    assert back.is_meta and back.shape == (2, 3)


def test_what_the_format_lacks_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(TypeError, match="'a' is no tensor but a int"):
        save_safetensors({"a": 1}, path)
    with pytest.raises(ValueError, match="complex128, which safetensors lacks"):
        save_safetensors({"a": torch.ones(1, dtype=torch.complex128)}, path)
    assert not os.listdir(tmp_path)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_safetensors({"a": torch.ones(3), "b": torch.ones(2, dtype=torch.int8)}, path)
    content = path.read_bytes()
    for length in range(0, len(content), 5):
        path.write_bytes(content[:length])
        with pytest.raises(RuntimeError):
            load_safetensors(path)
    header = int.from_bytes(content[:8], "little")
    chance = random.Random(0)
    for place in range(8 + header):
        flipped = bytes([content[place] ^ (1 << chance.randrange(8))])
        path.write_bytes(content[:place] + flipped + content[place + 1 :])
        try:
            for tensor in load_safetensors(path).values():
                tensor.tolist()
        except RuntimeError:
            pass


def test_a_header_that_points_outside_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    for facts in (
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        {"dtype": "F32", "shape": [4], "data_offsets": [-4, 12]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
    ):
        header = json.dumps({"a": facts}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        with pytest.raises(RuntimeError):
            torch.load(path)


def test_the_packages_own_functions_find_flambeau(tmp_path):
    (tmp_path / "script.py").write_text("""
import torch
from safetensors import safe_open
from safetensors.torch import load, load_file, load_model, save, save_file, save_model
assert torch.__spec__.name == "flambeau"
tensors = {"a": torch.arange(6.0).view(2, 3), "h": torch.ones(2, dtype=torch.bfloat16)}
save_file(tensors, "x.safetensors", {"kind": "test"})
for back in (load_file("x.safetensors"), load(save(tensors)), torch.load("x.safetensors")):
    assert all(torch.equal(back[name], tensors[name]) for name in tensors), back
    assert back["h"].dtype is torch.bfloat16
with safe_open("x.safetensors", framework="pt") as opened:
    assert opened.get_tensor("a").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert opened.get_slice("a")[:, 1:].tolist() == [[1, 2], [4, 5]]
    assert opened.metadata() == {"kind": "test"}
model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
model.tied = other.tied = None
model.tied, other.tied = model.weight, other.weight
save_model(model, "m.safetensors")
assert load_model(other, "m.safetensors") == (set(), [])
assert torch.equal(model.weight, other.tied) and torch.equal(model.bias, other.bias)
print("fine")
""")
    done = subprocess.run(
        [sys.executable, "-m", "flambeau", "run", "script.py"],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(pathlib.Path(torch.__file__).parent.parent)),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.parity
def test_files_move_both_ways_with_pytorch(tmp_path):
    import safetensors.torch
    import torch as pytorch

    path = tmp_path / "x.safetensors"
    save_safetensors(torch.nn.Linear(3, 2).state_dict(), path)
    pytorch.nn.Linear(3, 2).load_state_dict(safetensors.torch.load_file(path))
    safetensors.torch.save_file(pytorch.nn.Linear(3, 2).state_dict(), path)
    torch.nn.Linear(3, 2).load_state_dict(load_safetensors(path))
