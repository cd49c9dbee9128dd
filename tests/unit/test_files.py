"""Files: what is saved comes back, PyTorch reads it, and no file runs code or leaves a half-written
one.
"""

import io
import os
import pickle
import zipfile

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


class Evil:
    def __reduce__(self):
        return os.mkdir, ("hacked",)


def test_a_hostile_pickle_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load(path)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_truncated_files_are_refused(keep):
    content = saved(torch.arange(1000))
    cut = content[: int(len(content) * keep) if isinstance(keep, float) else keep]
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        loaded(cut)


def test_flipped_bytes_are_noticed():
    content = bytearray(saved(torch.zeros(1000)))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(RuntimeError, match="failed reading"):
        loaded(bytes(content))


def test_a_tensor_cannot_reach_outside_its_storage():
    content = saved(torch.arange(4))
    small = saved(torch.arange(2))
    with zipfile.ZipFile(io.BytesIO(content)) as big, zipfile.ZipFile(io.BytesIO(small)) as other:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as mixed:
            for info in big.infolist():
                source = other if "/data/" in info.filename else big
                mixed.writestr(info.filename, source.read(info.filename))
    with pytest.raises(RuntimeError, match="should hold 4 elements"):
        loaded(file.getvalue())


def test_an_interrupted_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.pt"
    torch.save([1], path)
    with pytest.raises(Exception, match=r"pickle|lambda"):
        torch.save([lambda: 0], path)
    assert torch.load(path) == [1] and os.listdir(tmp_path) == ["model.pt"]


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


@pytest.mark.parity
def test_files_move_both_ways_with_pytorch(tmp_path):
    import torch as pytorch

    path = tmp_path / "x.pt"
    torch.save(
        {"a": torch.arange(6.0).view(2, 3).t(), "p": torch.nn.Linear(2, 2).state_dict()}, path
    )
    assert pytorch.load(path)["a"].tolist() == [[0, 3], [1, 4], [2, 5]]
    pytorch.save(
        {"a": pytorch.arange(6.0).view(2, 3)[:, 1:], "h": pytorch.ones(2, dtype=pytorch.bfloat16)},
        path,
    )
    back = torch.load(path)
    assert back["a"].tolist() == [[1, 2], [4, 5]] and back["h"].dtype is torch.bfloat16
