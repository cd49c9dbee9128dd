"""What the knobs do: programs shown while they run, kernels run without a compiler."""

import os
import pathlib
import subprocess
import sys
import threading

import flambeau as torch
from flambeau._base import DECLARATIONS

HERE = pathlib.Path(__file__).parent


def run(program, **knobs):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLAMBEAU_")}
    cache = os.environ.get("FLAMBEAU_CACHE")
    environment |= {"FLAMBEAU_CACHE": cache} if cache else {}
    done = subprocess.run(
        [sys.executable, *program],
        env={**environment, **knobs},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_ops_are_shown_as_they_are_called():
    program = (
        "import flambeau as torch\n"
        "x = torch.ones(2, 3, requires_grad=True)\n"
        "(x * 2).sum().backward()\n"
        "torch.add(x.detach(), 1, out=torch.zeros(2, 3)).mul_(3)\n"
    )
    lines = run(["-c", program], FLAMBEAU_SHOW="ops").stderr.splitlines()
    assert "mul(float32[2, 3], 2)" in lines
    assert "sum(float32[2, 3], None, False, None)" in lines
    assert "mul(float32[2, 3], strides=[0, 0], 2)" in lines  # of the gradient
    assert lines.index("add(float32[2, 3], 1, 1)") < lines.index("mul_(float32[2, 3], 3)")


def test_kernels_are_shown_as_loops_and_as_llvm():
    program = ["-c", "import flambeau as torch; torch.ones(3) + 1"]
    assert "pointwise add(float32) -> add(%0" in run(program, FLAMBEAU_SHOW="loops").stderr
    assert "fadd <" in run(program, FLAMBEAU_SHOW="llvm", FLAMBEAU_CACHE="off").stderr


def test_everything_around_kernels_is_the_same_without_a_compiler():
    """A good part of this suite passes where NumPy runs the kernels."""
    files = ["test_autograd.py", "test_nn_layers.py", "test_ops_shapes.py", "test_compile.py"]
    parts = [str(HERE / name) for name in files]
    program = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n", "0", *parts]
    assert " passed" in run(program, FLAMBEAU_BACKEND="interpret").stdout


def test_no_compiler_means_none():
    """Neither for kernels, nor for products, convolutions and programs."""
    program = (
        "import flambeau as torch\n"
        "from flambeau.runtime import jit\n"
        "x = torch.arange(6.0)\n"
        "for step in [torch.compile(lambda: x + 1)] * 3: step()\n"  # the native guard is loaded
        "before = jit.statistics()\n"
        "print((torch.sin(x) / 3).cumsum(0).argmax().item())\n"
        "w, conv1d = torch.ones(3, 2, 3), torch.nn.functional.conv1d\n"
        "step = torch.compile(lambda x: torch.softmax(conv1d(x, w) @ torch.ones(32, 64), 1))\n"
        "for _ in range(3): step(torch.ones(8, 2, 34))\n"
        "assert step.show().startswith('program of')\n"
        "assert jit.statistics() == before\n"
    )
    assert run(["-c", program], FLAMBEAU_BACKEND="interpret").stdout == "3\n"


def test_a_traced_body_is_its_threads_own_business():
    """Ops of other threads happen while one thread traces the bodies of fused ops."""
    interval, wrong, done = sys.getswitchinterval(), [], threading.Event()

    def work():
        while not done.is_set():
            y = torch.ones(3) + 1
            if y.add_(1).tolist() != [3.0, 3.0, 3.0]:
                wrong.append(y)

    def guarded():
        try:
            work()
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(3)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for n in range(1, 120):
            torch.nn.functional.gelu(torch.ones(n))
    finally:
        sys.setswitchinterval(interval)
        done.set()
        for thread in threads:
            thread.join()
    assert not wrong


def test_the_page_names_every_knob_and_every_word():
    page = (HERE.parent.parent / "docs" / "looking.md").read_text(encoding="utf-8")
    for declaration in DECLARATIONS:
        assert f"`{declaration.variable}`" in page
        for word in declaration.words:
            assert f"`{word}`" in page, word


def test_programs_and_their_memory_are_shown_and_dumped(tmp_path):
    program = (
        "import flambeau as torch\n"
        "step = torch.compile(lambda x: (x + 1).sum())\n"
        "for _ in range(3): step(torch.ones(4))\n"
        "torch.compile(lambda x: x.item())(torch.ones(1))\n"
    )
    knobs = {"FLAMBEAU_SHOW": "programs, memory", "FLAMBEAU_VERIFY": "1"}
    text = run(["-c", program], **knobs, FLAMBEAU_DUMP=str(tmp_path / "made")).stderr
    assert "program of" in text and "memory of a program" in text and "peak" in text
    assert (tmp_path / "made" / "index.html").exists()
