"""Programs that are made ready in the background."""

import os
import subprocess
import sys

import pytest

import flambeau as torch
from flambeau.graph import compiled as compiling
from flambeau.graph.background import Job, Worker, worker


def net():
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    return model, torch.randn(7, 4)


def test_calls_run_as_they_are_until_the_program_is_ready(monkeypatch):
    model, x = net()
    gate = Worker()
    monkeypatch.setattr(compiling, "worker", gate)
    calls = []

    def function(x):
        calls.append(None)
        return model(x)

    jobs = []
    monkeypatch.setattr(gate, "start", lambda work, name: jobs.append(Job(work, name)) or jobs[0])
    compiled = torch.compile(model, mode="background")
    want = model(x)
    for _ in range(5):
        assert torch.equal(compiled(x), want)
    assert len(jobs) == 1 and compiled.show() == ""
    jobs[0].run()
    assert "program of" in compiled.show()
    assert torch.equal(compiled(x), want)


def test_a_training_step_goes_on_in_the_background():
    def trained(compile_it):
        model, x = net()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)

        def step():
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        step = torch.compile(step, mode="background") if compile_it else step
        losses = []
        for k in range(12):
            losses.append(step().item())
            if k == 6:
                worker.wait()
        return losses

    assert trained(True) == trained(False)


def test_what_fails_is_told_once(monkeypatch):
    model, x = net()

    def failing(*_):
        raise RuntimeError("no room for kernels")

    monkeypatch.setattr(compiling.Variant, "build", failing)
    compiled = torch.compile(model, mode="background")
    compiled(x)
    with pytest.warns(RuntimeWarning, match="background failed: no room for kernels") as told:
        compiled(x)
        worker.wait()
    assert len(told) == 1
    assert torch.equal(compiled(x), model(x))
    worker.wait()
    assert "could not be made ready" in compiled.show()


def test_jobs_of_a_worker_are_all_done_in_order():
    done, own = [], Worker()
    jobs = [own.start(lambda k=k: done.append(k), "job") for k in range(50)]
    own.wait()
    assert done == list(range(50)) and all(job.over for job in jobs)


PROGRAM = """
import os, sys
import flambeau as torch
from flambeau.graph.background import worker
make = torch.compile(mode="background")
functions = [make(lambda x, k=k: (x * k).tanh().sum()) for k in range(9)]
x = torch.arange(5.0)
for f in functions:
    f(x), f(x)
if sys.argv[1] == "fork":
    child = os.fork()
    if child == 0:
        for _ in range(4):
            want = [(x * k).tanh().sum().item() for k in range(9)]
            assert [f(x).item() for f in functions] == want
        worker.wait()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print("end")
"""


@pytest.mark.parametrize("how", ["exit", "fork"])
def test_a_process_ends_while_programs_are_made_ready(how, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, how], capture_output=True, timeout=120,
        env={**os.environ, "FLAMBEAU_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"end\n", b"")
