"""``flambeau run``: as Python runs a script, in a world where torch means flambeau."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

import flambeau

TOP = pathlib.Path(flambeau.__file__).parent.parent
RUN = [sys.executable, "-m", "flambeau", "run"]
COMMAND = [sys.executable, str(TOP / "flambeau_launch.py")]  # what `flambeau` starts


def environment(**more):
    path = os.pathsep.join(filter(None, [str(TOP), os.environ.get("PYTHONPATH", "")]))
    return dict(os.environ, PYTHONPATH=path, **more)


def execute(command, folder, **more):
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment(**more), timeout=120
    )


def run_code(folder, code, *arguments, **more):
    (folder / "script.py").write_text(code)
    return execute([*RUN, "script.py", *arguments], folder, **more)


def test_torch_and_flambeau_are_the_same_modules(tmp_path):
    done = run_code(
        tmp_path,
        """
import torch, torch.nn as nn, flambeau
from torch import optim
import torch.optim
assert torch is flambeau
assert nn is flambeau.nn is torch.nn
assert optim is flambeau.optim is torch.optim
assert torch.__spec__.name == "flambeau" and torch.__name__ == torch.Tensor.__module__ == "torch"
assert nn.__spec__.name == "flambeau.nn"
import sys
assert sys.modules["torch.nn"] is sys.modules["flambeau.nn"]
print("fine")
""",
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_an_installed_torch_is_not_taken(tmp_path):
    site = tmp_path / "site" / "torch"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text("raise SystemExit('the other one')")
    code = "import sys, torch\nprint(torch.__spec__.name)"
    environment_path = os.pathsep.join([str(TOP), str(site.parent)])
    (tmp_path / "script.py").write_text(code)
    done = subprocess.run(
        [*RUN, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=environment_path),
    )
    assert (done.stdout, done.stderr) == ("flambeau\n", "")


def test_a_missing_module_says_so_and_names_the_nearest(tmp_path):
    done = run_code(tmp_path, "import torch.optin")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: No module named 'torch.optin': flambeau has no such module; "
        "the nearest existing one is 'torch.optim'"
    )


def test_a_missing_name_says_so_and_names_the_nearest(tmp_path):
    code = """
import torch, torch.nn.functional as F
def tell(call):
    try: call()
    except (AttributeError, ImportError) as error: print(type(error).__name__, error)
def from_import():
    from torch.nn import Linaer
tell(lambda: torch.sotfmax); tell(lambda: F.rellu); tell(lambda: torch.optim.Adamm)
tell(from_import)
print(hasattr(F, "nothing"))
torch.ones(1).sotfmax(0)
"""
    done = run_code(tmp_path, code)
    words = "module {!r} has no attribute {!r} in flambeau; the nearest existing name is {!r}"
    assert done.stdout.splitlines() == [
        "AttributeError " + words.format("torch", "sotfmax", "softmax"),
        "AttributeError " + words.format("torch.nn.functional", "rellu", "relu"),
        "AttributeError " + words.format("torch.optim", "Adamm", "Adam"),
        "ImportError " + words.format("torch.nn", "Linaer", "Linear"),
        "False",
    ]
    assert done.stderr.splitlines()[-1].endswith("Did you mean: 'softmax'?")


def test_programs_can_ask_whether_a_module_exists(tmp_path):
    done = run_code(
        tmp_path,
        """
from importlib.util import find_spec
assert find_spec("torch") is not None
assert find_spec("torch.no_such_module") is None
assert find_spec("torch.nn") is not None
try:
    import torch.no_such_module
except ImportError as error:
    assert error.name == "torch.no_such_module"
""",
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_started_by_multiprocessing_see_flambeau(tmp_path, method):
    if method == "forkserver" and sys.platform == "win32":
        pytest.skip("Windows only spawns")
    done = run_code(
        tmp_path,
        f"""
import multiprocessing
import torch

def who(_):
    import torch.nn
    return torch.nn.__name__

if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(1) as pool:
        print(pool.map(who, [0]))
""",
    )
    assert done.stdout == "['flambeau.nn']\n", done.stderr


def test_processes_started_by_subprocess_see_flambeau(tmp_path):
    done = run_code(
        tmp_path,
        """
import subprocess, sys
ask = "import torch; print(torch.__spec__.name)"
subprocess.run([sys.executable, "-c", ask], cwd="/", check=True)
""",
    )
    assert done.stdout == "flambeau\n", done.stderr


SEMANTICS = """
import os, sys
print(sys.argv, os.path.abspath(sys.path[0]), __name__, os.path.abspath(__file__), __spec__)
print(sorted(name for name in globals() if name.startswith("__")))
import beside
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("runner", [RUN, RUN[:-1], [*COMMAND, "run"]])
def test_a_script_sees_what_python_shows_it(tmp_path, runner):
    (tmp_path / "beside.py").write_text("print('beside')")
    (tmp_path / "script.py").write_text(SEMANTICS)
    arguments = ["script.py", "7", "-m", "--help", "run"]
    expected = execute([sys.executable, *arguments], tmp_path)
    got = execute([*runner, *arguments], tmp_path)
    assert expected.returncode == 7
    assert (got.returncode, got.stdout, got.stderr) == (7, expected.stdout, expected.stderr)


def test_tracebacks_show_the_script_only(tmp_path):
    code = "def f():\n    raise KeyError('gone')\n\nf()\n"
    (tmp_path / "script.py").write_text(code)
    expected = execute([sys.executable, "script.py"], tmp_path)
    got = execute([*RUN, "script.py"], tmp_path)
    assert got.returncode == 1
    assert got.stderr == expected.stderr


def test_modules_and_lines_of_code_run_as_well(tmp_path):
    (tmp_path / "tool.py").write_text("import sys, torch\nprint(torch.__spec__.name, sys.argv[1:])")
    assert execute([*RUN, "-m", "tool", "a"], tmp_path).stdout == "flambeau ['a']\n"
    code = "import torch; print(torch.__spec__.name)"
    assert execute([*RUN, "-c", code], tmp_path).stdout == "flambeau\n"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_interrupting_ends_as_python_ends(tmp_path):
    (tmp_path / "script.py").write_text("import time\nprint('on', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [*RUN, "script.py"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT  # which shells report as 130
    assert errors.endswith("KeyboardInterrupt\n")


def test_commands_that_only_tell(tmp_path):
    done = execute([*COMMAND, "--version"], tmp_path)
    assert done.stdout == f"flambeau {flambeau.__version__}\n", done.stderr
    told = execute(
        [*COMMAND, "info"], tmp_path, FLAMBEAU_CACHE="/some/cache", FLAMBEAU_SHWO="ops"
    ).stdout
    assert "set        FLAMBEAU_CACHE=/some/cache\n" in told
    assert "set        FLAMBEAU_SHWO=ops: no such knob\n" in told
    assert "FLAMBEAU_SHOW" in told


def test_an_unknown_command_is_refused(tmp_path):
    done = execute([sys.executable, "-m", "flambeau", "explian"], tmp_path)
    assert done.returncode == 2
    assert "Did you mean 'explain'?" in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["explain", "-h"]])
def test_help_is_about_flambeau(tmp_path, words):
    done = execute([*COMMAND, *words], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("flambeau run SCRIPT [ARGS]")


def test_arguments_that_mean_nothing_are_refused(tmp_path):
    done = execute([*COMMAND, "info", "all"], tmp_path)
    assert (done.returncode, done.stderr) == (2, "flambeau info takes no arguments\n")


def test_explain_tells_an_op_and_names_the_nearest_of_an_unknown_one(tmp_path):
    told = execute([*COMMAND, "explain", "aten::add"], tmp_path)
    assert told.stdout.startswith("aten::add(Tensor|Scalar self, Tensor|Scalar other"), told.stderr
    place = re.search(r"declared +(\S+):(\d+)", told.stdout)
    assert place is not None
    assert "aten::add(" in (TOP / place[1]).read_text().splitlines()[int(place[2]) - 1]
    done = execute([*COMMAND, "explain", "aten::matmull"], tmp_path)
    assert done.returncode == 1
    assert "the nearest is 'matmul'" in done.stderr
