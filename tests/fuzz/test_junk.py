"""Every registered op, called with junk in a process of its own.

It may refuse, but never crash, stumble over its own code or leave a half-written tensor.
"""

import os
import pathlib
import subprocess
import sys

import pytest

HUNT = pathlib.Path(__file__).with_name("hunt.py")
PARTS = 2


@pytest.mark.parametrize("part", range(PARTS))
def test_junk_is_refused(part, tmp_path):
    trace = tmp_path / "call"
    paths = [str(HUNT.parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"FLAMBEAU_HUNT": str(trace), "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HUNT), "0", "2", str(part), str(PARTS)],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    last = trace.read_text() if trace.exists() else "no call"
    assert done.returncode in (0, 1), (
        f"crashed ({done.returncode}) in {last}\n{done.stderr[-2000:]}"
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
