"""The examples: their data, its readers, and that they train."""

import ast
import gzip
import importlib.util
import os
import pathlib
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / "mnist" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


digits = load("digits")


def idx_bytes(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def idx_directory(tmp_path):
    """Five training and two test images of noise, as the four files."""
    random = np.random.default_rng(0)
    for part, count in (("train", 5), ("t10k", 2)):
        images = random.integers(0, 256, (count, 28, 28))
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(count)))
    return tmp_path


def test_bundled_digits_are_whole_distinct_and_shuffled():
    train_images, train_labels, test_images, test_labels = digits.load_digits()
    assert train_images.shape == (8000, 28, 28)
    assert test_images.shape == (2000, 28, 28)
    images = np.concatenate((train_images, test_images)).reshape(10000, -1)
    labels = np.concatenate((train_labels, test_labels))
    assert images.dtype == labels.dtype == np.uint8
    assert len(np.unique(images, axis=0)) == 10000  # no test image was trained on
    assert np.bincount(labels).tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    shares = np.bincount(test_labels) / np.bincount(labels)
    assert np.abs(shares - 0.2).max() < 0.05
    assert 0.128 < images.mean() / 255 < 0.134  # MNIST's published mean is 0.1307


def test_bytes_come_back_from_three_decimals():
    bytes_from_fractions = load("make_data").bytes_from_fractions
    every = np.arange(256)
    assert (bytes_from_fractions(np.round(every / 255, 3)) == every).all()
    with pytest.raises(ValueError, match="away from every"):
        bytes_from_fractions(np.array([0.002]))
    with pytest.raises(ValueError):
        bytes_from_fractions(np.array([256 / 255]))


def test_idx_files_packed_or_not(idx_directory):
    plain = digits.load_digits(idx_directory)
    for path in list(idx_directory.iterdir()):
        with gzip.open(path.with_name(path.name + ".gz"), "wb") as packed:
            packed.write(path.read_bytes())
        path.unlink()
    packed = digits.load_digits(idx_directory)
    assert [array.shape for array in plain] == [(5, 28, 28), (5,), (2, 28, 28), (2,)]
    assert all((a == b).all() for a, b in zip(plain, packed, strict=True))
    assert plain[1].tolist() == [0, 1, 2, 3, 4]


def images_of(count):
    return idx_bytes(np.zeros((count, 28, 28)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"", "0 bytes are too few"),
        ("train-images-idx3-ubyte", b"<html>", "not an IDX file"),
        ("train-images-idx3-ubyte", b"\0\0\x0d\1\0\0\0\0", "element type 0x0d"),
        ("train-images-idx3-ubyte", b"\0\0\x08\3\0\0", "within its header of 3"),
        ("train-images-idx3-ubyte", images_of(5)[:-1], "truncated.*needs 3920 bytes, 3919"),
        ("train-images-idx3-ubyte", images_of(5) + b"x", "too long"),
        ("train-labels-idx1-ubyte", idx_bytes(np.zeros(4)), "4 labels for 5 images"),
        ("train-images-idx3-ubyte", idx_bytes(np.zeros((5, 784))), r"\[5, 784\] instead of"),
        ("train-labels-idx1-ubyte", idx_bytes(np.zeros((5, 1))), "instead of"),
        ("t10k-labels-idx1-ubyte", idx_bytes(np.array([3, 10])), "label 10 is not a digit"),
    ],
)
def test_bad_idx_files_are_named(idx_directory, name, content, message):
    (idx_directory / name).write_bytes(content)
    with pytest.raises(digits.DataError, match=f"{name}.*{message}"):
        digits.load_digits(idx_directory)


def test_missing_and_damaged_files_are_named(idx_directory):
    path = idx_directory / "t10k-images-idx3-ubyte"
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    with pytest.raises(digits.DataError, match="neither t10k-images-idx3-ubyte nor"):
        digits.load_digits(idx_directory)
    damaged = bytearray(packed)
    damaged[len(damaged) // 2] ^= 0xFF
    for content in (packed[:-20], bytes(damaged), b"not gzip at all"):
        path.with_name(path.name + ".gz").write_bytes(content)
        with pytest.raises(digits.DataError, match="damaged gzip file"):
            digits.load_digits(idx_directory)


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*/train.py")), ids=lambda p: p.parent.name)
def test_training_scripts_are_plain_pytorch(script):
    imported = set()
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    siblings = {path.stem for path in script.parent.glob("*.py")}
    assert imported <= {"torch", "numpy"} | siblings | set(sys.stdlib_module_names)


def run_under_pytorch(arguments, directory):
    pytest.importorskip("torch")
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=900)


@pytest.mark.parity
def test_digits_train_under_pytorch(tmp_path):
    script = EXAMPLES / "mnist" / "train.py"
    done = run_under_pytorch([script, "--epochs", 1, "--limit", 640], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stderr  # no progress bar where nobody watches
    assert "reloaded, it scores" in done.stdout
    missing = run_under_pytorch([script, "--data", tmp_path], tmp_path)
    assert missing.returncode == 1
    assert missing.stderr.startswith("train.py: ") and "Traceback" not in missing.stderr


@pytest.mark.parity
def test_chargpt_trains_under_pytorch(tmp_path):
    script = EXAMPLES / "chargpt" / "train.py"
    arguments = [script, "--steps", 20, "--megabytes", 0.2, "--length", 5, "--sample-every", 10]
    done = run_under_pytorch(arguments, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "step 20: training loss" in done.stdout


REPORT = re.compile(r"^(.{22}) +([\d,]+) parameters +[\d.]+ ms +([\d.]+) % right$", re.MULTILINE)


def check_rewriting(printed):
    rows = [(title.strip(), int(n.replace(",", "")), float(right)) for title, n, right in printed]
    assert [title for title, _, _ in rows] == ["trained", "batch norms folded", "low-rank layers"]
    (_, before, right), (_, folded, right_folded), (_, thin, right_thin) = rows
    assert before - 48 == folded  # two norms with weight and bias are two biases
    assert thin < before / 20
    assert right > 90 and right_folded == right and right_thin > right - 5


@pytest.mark.parity
def test_a_network_is_rewritten_under_pytorch(tmp_path):
    script = EXAMPLES / "rewriting" / "train.py"
    done = run_under_pytorch([script], tmp_path)
    assert done.returncode == 0, done.stderr
    check_rewriting(REPORT.findall(done.stdout))


def run_under_flambeau(arguments, directory):
    command = [sys.executable, "-m", "flambeau", *map(str, arguments)]
    environment = dict(os.environ, PYTHONPATH=str(EXAMPLES.parent))
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=900, env=environment
    )


@pytest.mark.machine_code("training takes minutes without")
def test_digits_train_under_flambeau(tmp_path):
    script = EXAMPLES / "mnist" / "train.py"
    done = run_under_flambeau([script, "--epochs", 2, "--limit", 2000], tmp_path)
    assert done.returncode == 0, done.stderr
    accuracy = [
        float(line.split("test accuracy ")[1].split("%")[0])
        for line in done.stdout.splitlines()
        if "test accuracy" in line
    ]
    assert accuracy[-1] > 90 and accuracy[-1] > accuracy[0]
    assert f"reloaded, it scores {accuracy[-1]:.2f}%" in done.stdout


def test_chargpt_trains_under_flambeau(tmp_path):
    script = EXAMPLES / "chargpt" / "train.py"
    arguments = [script, "--steps", 30, "--megabytes", 0.2, "--length", 20, "--sample-every", 15]
    arguments += ["--layers", 1, "--width", 32, "--heads", 2, "--context", 32, "--warmup", 5]
    done = run_under_flambeau(arguments, tmp_path)
    assert done.returncode == 0, done.stderr
    losses = [
        float(line.split("training loss ")[1].split(",")[0])
        for line in done.stdout.splitlines()
        if "training loss" in line
    ]
    assert losses and losses[-1] < 4.0


@pytest.mark.machine_code("training takes minutes without")
def test_a_network_is_rewritten_under_flambeau(tmp_path):
    script = EXAMPLES / "rewriting" / "train.py"
    done = run_under_flambeau([script, "--draw", tmp_path], tmp_path)
    assert done.returncode == 0, done.stderr
    check_rewriting(REPORT.findall(done.stdout))
    before, after = [(tmp_path / f"{name}.svg").read_text() for name in ("before", "after")]
    assert "BatchNorm2d" in before and "BatchNorm2d" not in after


@pytest.mark.parametrize(
    "folder, net, inputs",
    [
        ("mnist", "DigitNet()", "torch.rand(2, 1, 28, 28)"),
        ("chargpt", "CharGPT(20, 8, 16, 2, 2, 0.1)", "torch.randint(0, 20, (2, 8))"),
        ("rewriting", "Net(16)", "torch.rand(2, 1, 32, 32)"),
    ],
)
def test_modules_are_traced(tmp_path, folder, net, inputs):
    script = tmp_path / "traced.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(EXAMPLES / folder)!r})\n"
        "import torch, torch.fx\nfrom train import *\n"
        f"net, inputs = {net}.eval(), {inputs}\n"
        "module = torch.fx.symbolic_trace(net)\n"
        "module.graph.lint()\n"
        "assert torch.equal(module(inputs), net(inputs))\n"
        "assert torch.equal(torch.fx.Interpreter(module).run(inputs), net(inputs))\n"
    )
    subprocess.run([sys.executable, "-m", "flambeau", "run", str(script)], check=True)
