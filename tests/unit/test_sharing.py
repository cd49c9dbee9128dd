"""Memory that processes share, and `torch.multiprocessing`."""

import gc
import os
import pathlib
import signal

import pytest

import flambeau as torch
import flambeau.multiprocessing as mp

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs files in memory")


def test_sharing_moves_all_that_lies_in_the_storage():
    base = torch.arange(6.0)
    view, array, alias = base[2:], base.numpy(), base.data
    assert not base.is_shared()
    assert base.share_memory_() is base
    assert base.is_shared() and view.is_shared() and base.untyped_storage().is_shared()
    base[3] = 50
    assert view.tolist() == [2, 50, 4, 5] and base._version == 1
    assert array.tolist() == alias.tolist() == [0, 1, 2, 3, 4, 5]  # they keep the old memory
    before = base.data_ptr()
    assert base.share_memory_().data_ptr() == before
    assert torch.zeros(0).share_memory_().is_shared()


def test_the_old_memory_is_freed_and_shared_memory_is_too():
    def mapped():
        return pathlib.Path("/proc/self/maps").read_text().count("flambeau-shared")

    gc.collect()
    before, files = mapped(), len(os.listdir("/proc/self/fd"))
    tensors = [torch.ones(1000).share_memory_() for _ in range(20)]
    assert mapped() > before
    del tensors
    gc.collect()
    assert mapped() == before and len(os.listdir("/proc/self/fd")) == files


def add_to(index, tensor, model):
    tensor[index] += index + 1
    with torch.no_grad():
        model.weight[index] = index


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_write_to_the_same_memory(method):
    shared, model = torch.zeros(2).share_memory_(), torch.nn.Linear(2, 2).share_memory()
    assert model.weight.is_shared()
    mp.start_processes(add_to, (shared, model), nprocs=2, start_method=method)
    assert shared.tolist() == [1, 2] and model.weight.tolist() == [[0, 0], [1, 1]]


def answer(queue, back):
    whole, part, parameter = queue.get()
    whole += 1
    part *= 2
    back.put((part, parameter.requires_grad, type(parameter).__name__, whole.dtype))
    back.get()  # what it sent lives as long as this process


def test_tensors_go_through_queues_as_shared_memory():
    context = mp.get_context("spawn")
    queue, back = context.Queue(), context.Queue()
    process = context.Process(target=answer, args=(queue, back))
    process.start()
    whole = torch.arange(4)
    queue.put((whole, whole[2:], torch.nn.Parameter(torch.ones(1))))
    part, requires_grad, name, dtype = back.get(timeout=60)
    assert whole.tolist() == [1, 2, 6, 8] and part.tolist() == [6, 8]
    assert (requires_grad, name, dtype) == (True, "Parameter", torch.int64)
    back.put(None)
    process.join()
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor"):
        mp.reducer.ForkingPickler.dumps(torch.ones(1, requires_grad=True) * 2)


def fail(index, how):
    if index == 1 and how == "raise":
        raise ValueError("the reason")
    if index == 1 and how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if index == 1 and how == "exit":
        os._exit(5)
    if how != "none":
        signal.pause()  # until it is ended


def test_a_process_that_fails_is_told_and_ends_the_others():
    for how, kind, text in (
        ("raise", mp.ProcessRaisedException, r"Process 1 terminated(?s:.*)ValueError: the reason"),
        ("kill", mp.ProcessExitedException, "process 1 terminated with signal SIGKILL"),
        ("exit", mp.ProcessExitedException, "process 1 terminated with exit code 5"),
    ):
        context = mp.start_processes(fail, (how,), nprocs=2, join=False, start_method="fork")
        with pytest.raises(kind, match=text) as caught:
            while not context.join(timeout=60):
                pass
        assert caught.value.error_index == 1
        assert not any(process.is_alive() for process in context.processes)
    assert mp.start_processes(fail, ("none",), nprocs=2, start_method="fork") is None


def test_sharing_strategies():
    assert mp.get_sharing_strategy() in mp.get_all_sharing_strategies()
    mp.set_sharing_strategy("file_system")
    assert mp.get_sharing_strategy() == "file_system"
    with pytest.raises(ValueError, match="unknown sharing strategy"):
        mp.set_sharing_strategy("telepathy")
    mp.set_sharing_strategy("file_descriptor")


def test_without_files_in_memory(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    shared = torch.arange(3).share_memory_()
    assert shared.is_shared() and shared.tolist() == [0, 1, 2]


def test_storages_on_files(tmp_path):
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(8)))
    private = torch.UntypedStorage.from_file(path, False, 8)
    private[0] = 9
    assert path.read_bytes()[0] == 0 and private.tolist()[:2] == [9, 1]
    shared = torch.UntypedStorage.from_file(str(path), shared=True, nbytes=12)
    shared[0] = 7
    assert path.read_bytes() == bytes([7, *range(1, 8), 0, 0, 0, 0])
    with pytest.raises(RuntimeError, match="has 12 bytes, fewer than 13"):
        torch.UntypedStorage.from_file(path, nbytes=13)
    assert len(torch.UntypedStorage.from_file(path)) == 0
