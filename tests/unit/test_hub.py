"""`torch.hub` on local folders and files."""

import hashlib
import sys

import pytest

import flambeau as torch


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "beside.py").write_text("WIDTH = 3")
    (tmp_path / "hubconf.py").write_text('''
dependencies = ["numpy"]
import flambeau as torch
from beside import WIDTH

def small(outputs=2):
    """A small model."""
    return torch.nn.Linear(WIDTH, outputs)

def _hidden():
    pass
''')
    yield tmp_path
    sys.modules.pop("beside", None)


def test_models_of_a_folder(folder):
    before = list(sys.path)
    model = torch.hub.load(folder, "small", outputs=5, source="local")
    assert model.weight.shape == (5, 3) and sys.path == before
    assert torch.hub.list(str(folder), source="local") == ["small"]
    assert torch.hub.help(folder, "small", source="local") == "A small model."


def test_what_a_folder_does_not_offer(folder):
    with pytest.raises(RuntimeError, match="Cannot find callable large in hubconf"):
        torch.hub.load(folder, "large", source="local")
    with pytest.raises(RuntimeError, match="Cannot find callable dependencies"):
        torch.hub.load(folder, "dependencies", source="local")
    with pytest.raises(RuntimeError, match="flambeau downloads no code"):
        torch.hub.load("owner/name", "small")
    with pytest.raises(ValueError, match='Unknown source: "web"'):
        torch.hub.load(folder, "small", source="web")
    with pytest.raises(FileNotFoundError, match=r"it has no hubconf\.py"):
        torch.hub.load(folder / "nowhere", "small", source="local")
    (folder / "hubconf.py").write_text('dependencies = ["no_such_package"]')
    with pytest.raises(RuntimeError, match="Missing dependencies: no_such_package"):
        torch.hub.list(folder, source="local")


def test_weights_from_an_address(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    source = tmp_path / "w.pth"
    torch.save({"a": torch.arange(3)}, source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    named = source.rename(tmp_path / f"w-{digest[:8]}.pth")
    for _ in range(2):
        found = torch.hub.load_state_dict_from_url(named.as_uri(), check_hash=True)
        assert found["a"].tolist() == [0, 1, 2]
        named.unlink(missing_ok=True)  # the second time it is in the cache
    assert capsys.readouterr().err.count("Downloading") == 1
    assert torch.hub.get_dir() == str(tmp_path / "home" / "hub")
    wrong = tmp_path / "w-00000000.pth"
    torch.save([1], wrong)
    with pytest.raises(RuntimeError, match="invalid hash value"):
        torch.hub.load_state_dict_from_url(wrong.as_uri(), check_hash=True)
    assert not (tmp_path / "home" / "hub" / "checkpoints" / wrong.name).exists()
