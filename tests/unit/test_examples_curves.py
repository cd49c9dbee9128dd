"""The examples' first steps give PyTorch's losses: those of `tests/golden/examples.txt`.

That file is what `python tests/unit/test_examples_curves.py` writes where `torch` is PyTorch.
"""

import os
import pathlib
import random
import re
import string
import subprocess
import sys
import tempfile

import pytest

INTERPRETED = os.environ.get("FLAMBEAU_BACKEND") == "interpret"
TOP = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = TOP / "tests" / "golden" / "examples.txt"
WORDS = "words/train.py --steps 5 --report-every 1 --text text --model "
COMMANDS = {
    "digits": "mnist/train.py --epochs 1 --limit 320 --checkpoint digits.pt",
    "autoencoder": "mnist/vae.py --epochs 1 --limit 640",
    "adversaries": "mnist/dcgan.py --epochs 3 --limit 128",
    "words-lstm": WORDS + "lstm",
    "words-gru": WORDS + "gru",
    "words-rnn": WORDS + "rnn",
    "words-transformer": WORDS + "transformer",
    "graph-convolution": "graphs/train.py --steps 5 --report-every 1 --model gcn",
    "graph-attention": "graphs/train.py --steps 5 --report-every 1 --model gat",
    "reinforce": "cartpole/train.py --episodes 5 --report-every 1 --method reinforce",
    "actor-critic": "cartpole/train.py --episodes 5 --report-every 1 --method actor-critic",
    "waves": "sine/train.py --steps 5 --waves 20 --length 60",
}


def losses(name, folder, *interpreter):
    """What an example tells of its losses, in the order of its output."""
    script, *arguments = COMMANDS[name].split(" ")
    if INTERPRETED and interpreter and name == "waves":  # a step evaluates the network 20 times
        arguments += ["--steps", "2"]  # the last of two options counts
    words = random.Random(0).choices(string.ascii_lowercase, range(1, 27), k=20_000)
    (folder / "text").write_text(" ".join(words))
    done = subprocess.run(
        [sys.executable, *interpreter, str(TOP / "examples" / script), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        env=dict(os.environ, PYTHONPATH=str(TOP)),
    )
    assert done.returncode == 0, done.stderr
    return [float(loss) for loss in re.findall(r"loss (-?[\d.]+)", done.stdout)]


def golden(name):
    """PyTorch's losses."""
    lines = (line.split() for line in GOLDEN.read_text().splitlines())
    return next([float(loss) for loss in told] for found, *told in lines if found == name)


def close_to(expected):
    return pytest.approx(expected, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("name", COMMANDS)
def test_first_losses_are_those_of_pytorch(name, tmp_path):
    found = losses(name, tmp_path, "-m", "flambeau")
    assert len(found) >= 2 and found == close_to(golden(name)[: len(found)])
    assert INTERPRETED or len(found) == len(golden(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", COMMANDS)
def test_recorded_losses_are_those_of_pytorch(name, tmp_path):
    pytest.importorskip("torch")
    assert losses(name, tmp_path) == close_to(golden(name))


def main():
    with tempfile.TemporaryDirectory() as folder:
        found = {name: losses(name, pathlib.Path(folder)) for name in COMMANDS}
    GOLDEN.write_text("".join(f"{name} {' '.join(map(str, found[name]))}\n" for name in found))


if __name__ == "__main__":
    main()
