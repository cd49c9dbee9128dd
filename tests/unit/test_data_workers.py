"""Loaders with worker processes: order, transport, failures, and that nothing is left behind."""

import gc
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy
import pytest

import flambeau as torch
from flambeau.data import DataLoader, Dataset, IterableDataset, get_worker_info

TOP = pathlib.Path(__file__).resolve().parent.parent.parent

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux", reason="workers are forked, and looked up in /proc"
    ),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]


class Made(Dataset):
    """Samples made by a function of the index."""

    def __init__(self, make, length=24):
        self.make, self.length = make, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.make(index)


class Shared(IterableDataset):
    """The numbers below `stop`, each from one worker, from worker 0 only those below half of it."""

    def __init__(self, stop):
        self.stop = stop

    def __iter__(self):
        info = get_worker_info()
        stop = self.stop if info.id else self.stop // 2
        return iter(range(info.id, stop, info.num_workers))


def load(make, length=24, **options):
    options = {"batch_size": 4, "num_workers": 2, "timeout": 60} | options
    return DataLoader(Made(make, length), **options)


def first_numbers(loader):
    return [batch[0].item() for batch in loader]


def children():
    """Processes that this one has and that are not zombies."""
    found = set()
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(stat.parent.name))
    return found


def test_workers_give_what_one_process_gives():
    def make(index):
        return {
            "row": torch.full((3,), float(index)),
            "half": torch.tensor([index * 0.5]).to(torch.bfloat16),
            "array": numpy.full((2, 2), index, "i4"),
            "large": numpy.full(20000, index, "f4"),
            "empty": numpy.zeros((0, 3)),
            "name": f"sample {index}",
            "pair": (index, [index / 3]),
        }

    def flat(value):
        if isinstance(value, dict):
            return {key: flat(part) for key, part in value.items()}
        if isinstance(value, list):
            return [flat(part) for part in value]
        return (str(value.dtype), value.tolist()) if hasattr(value, "tolist") else value

    for options in ({}, {"shuffle": True}, {"batch_size": 5, "drop_last": True}):
        torch.manual_seed(3)
        alone = [flat(batch) for batch in load(make, num_workers=0, timeout=0, **options)]
        torch.manual_seed(3)
        assert [flat(batch) for batch in load(make, **options)] == alone


def test_batches_can_be_written_to():
    for size in (2, 50000):
        batch = next(iter(load(lambda index, size=size: torch.zeros(size))))
        batch += 1
        assert batch.sum().item() == 4 * size


def test_workers_start_from_pytorchs_seeds():
    """Recorded from PyTorch 2.13: manual_seed(7), then what each worker's generators give first."""

    def make(index):
        return random.random(), numpy.random.rand(), torch.rand(1).item()

    torch.manual_seed(7)
    drawn = list(load(make, 4, batch_size=None, num_workers=2))
    expected = [
        (0.9290632898373887, 0.03541536592796235, 0.11662513017654419),
        (0.5574193789609411, 0.240715442815568, 0.3148404359817505),
        (0.10243784940911504, 0.2915959425421556, 0.13414353132247925),
        (0.46183154346070987, 0.9137194064224758, 0.28084486722946167),
    ]
    assert numpy.allclose(drawn, expected, rtol=0, atol=1e-12)


def test_worker_info():
    def describe(index):
        info = get_worker_info()
        return info.id, info.num_workers, info.seed, info.dataset.length

    assert get_worker_info() is None
    torch.manual_seed(1)
    drawn = list(load(describe, 6, batch_size=None))
    assert [(worker, count, length) for worker, count, _, length in drawn] == [
        (0, 2, 6),
        (1, 2, 6),
    ] * 3
    assert drawn[1][2] == drawn[0][2] + 1


def test_init_function():
    started = []
    loader = load(lambda index: started[0] + 10, batch_size=None, worker_init_fn=started.append)
    assert list(loader) == [10, 11] * 12
    assert started == []


def test_streams_are_taken_in_turn():
    loader = DataLoader(Shared(12), batch_size=2, num_workers=2, timeout=60)
    assert [batch.tolist() for batch in loader] == [[0, 2], [1, 3], [4], [5, 7], [9, 11]]


def test_persistent_workers_make_many_passes():
    loader = load(lambda index: index, persistent_workers=True)
    who = load(lambda index: os.getpid(), batch_size=None, persistent_workers=True)
    assert set(who) == set(who)
    for _ in range(3):
        for _batch in loader:
            break  # what this pass leaves must not come in the next
    assert first_numbers(loader) == list(range(0, 24, 4))
    stream = DataLoader(Shared(8), batch_size=None, num_workers=2, persistent_workers=True)
    assert list(stream) == list(stream) == [0, 1, 2, 3, 5, 7]


def test_order_out_of_order():
    def slow_at_first(index):
        time.sleep(0.5 if index < 4 else 0)
        return index

    drawn = first_numbers(load(slow_at_first, in_order=False))
    assert sorted(drawn) == list(range(0, 24, 4))
    assert drawn[0] != 0
    assert first_numbers(load(slow_at_first)) == sorted(drawn)


@pytest.mark.parametrize(
    ("error", "expected"), [(ValueError, ValueError), (KeyError, KeyError), (OSError, OSError)]
)
def test_an_exception_comes_over_with_its_place(error, expected):
    def read(index):
        if index == 17:
            raise error("unreadable")
        return index

    with pytest.raises(expected) as caught:
        list(load(read))
    text = str(caught.value)
    assert text.startswith(f"Caught {error.__name__} in DataLoader worker process 0.\n")
    assert "while loading dataset[17]" in text
    assert "Original Traceback (most recent call last)" in text
    assert "in read" in text


def test_an_exception_of_a_type_that_takes_no_text():
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(one, two)

    def read(index):
        raise Odd(1, 2)

    with pytest.raises(RuntimeError, match="Caught Odd in DataLoader worker process 0"):
        list(load(read))


def test_failures_of_init_and_of_transport():
    with pytest.raises(ZeroDivisionError, match="Caught ZeroDivisionError in DataLoader worker"):
        list(load(int, worker_init_fn=lambda worker: 1 // worker))
    with pytest.raises(Exception, match=r"[pP]ickle"):
        list(load(lambda index: lambda: index, batch_size=None))


def test_loading_goes_on_after_an_exception():
    def read(index):
        if index == 2:
            raise ValueError("unreadable")
        return index

    batches = iter(load(read, batch_size=None, length=5))
    drawn = [next(batches), next(batches)]
    with pytest.raises(ValueError, match="unreadable"):
        next(batches)
    assert [*drawn, *batches] == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"\(pid \d+\) is killed by signal: Killed"),
        (lambda: os._exit(3), r"\(pid \d+\) exited unexpectedly with exit code 3"),
    ],
)
def test_a_dead_worker_is_reported(end, text):
    gc.collect()
    before = children()
    where = r"(?s:.*)\n  worker 0 was loading the batch of dataset\[8, 9, 10, 11\]"
    with pytest.raises(RuntimeError, match=text + where):
        list(load(lambda index: end() if index == 9 else index))
    assert children() == before


def test_a_worker_killed_between_passes_is_reported_once():
    loader = load(lambda index: index, persistent_workers=True)
    gc.collect()
    before = children()
    list(loader)
    os.kill(max(children() - before), signal.SIGKILL)
    with pytest.raises(RuntimeError, match="is killed by signal"):
        list(loader)
    assert first_numbers(loader) == list(range(0, 24, 4))


def test_timeout():
    loader = load(lambda index: time.sleep(2 if index == 8 else 0), timeout=0.3, batch_size=None)
    text = r"DataLoader timed out after 0\.3 seconds\n(?s:.*)worker 0 was loading dataset\[8\]"
    with pytest.raises(RuntimeError, match=text):
        list(loader)


def test_many_keys_and_many_results_do_not_block_each_other():
    def wordy(index):
        return ["x" * 100] * 500

    loader = load(wordy, 400_000, batch_size=100_000, prefetch_factor=4, collate_fn=len)
    loader.dataset.__class__.__getitems__ = lambda self, indices: indices
    try:
        assert list(loader) == [100_000] * 4
    finally:
        del loader.dataset.__class__.__getitems__
    long = load(wordy, 40, batch_size=5, prefetch_factor=8, collate_fn=list)
    assert [len(batch) for batch in long] == [5] * 8


def test_nothing_is_left_behind():
    """Descriptors, processes and memory are the same after many epochs, left early or not."""

    def large(index):
        return numpy.full(100_000, index, "f4")

    gc.collect()  # the loaders of failed passes, which tracebacks hold
    loader = load(large)
    list(loader)
    before = len(os.listdir("/proc/self/fd")), children(), mapped()
    for epoch in range(10):
        for _batch in loader:
            if epoch % 2:
                break
    del _batch
    assert (len(os.listdir("/proc/self/fd")), children()) == before[:2]
    assert mapped() < before[2] + 3_000_000


def mapped():
    """Bytes of batches that are mapped."""
    total = 0
    for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
        if "flambeau-batch" in line:
            start, stop = line.split()[0].split("-")
            total += int(stop, 16) - int(start, 16)
    return total


PROGRAM = """
    import time
    from flambeau.data import DataLoader, Dataset

    class Slow(Dataset):
        def __len__(self):
            return 1000

        def __getitem__(self, index):
            time.sleep(0.05)
            return index

    batches = iter(DataLoader(Slow(), batch_size=2, num_workers=2))
    next(batches)
    print(*(worker.process.pid for worker in batches._crew.workers), flush=True)
    for batch in batches:
        pass
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_program(end):
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TOP)},
        start_new_session=True,
    )
    workers = [int(pid) for pid in program.stdout.readline().split()]
    assert len(workers) == 2
    if end is signal.SIGINT:
        os.killpg(program.pid, end)  # as a terminal does
    else:
        program.send_signal(end)
    _, errors = program.communicate(timeout=30)
    assert program.returncode in (-end, 130)
    assert errors.count("Traceback") == (end is signal.SIGINT)
    deadline = time.monotonic() + 15
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_too_many_workers_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="This DataLoader will create 1000 worker processes"):
            load(int, num_workers=1000)
