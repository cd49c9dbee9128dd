"""`torch.futures`."""

import threading

import pytest

import flambeau as torch


def test_a_value_that_comes_later():
    future = torch.futures.Future()
    seen = []
    future.add_done_callback(lambda done: seen.append(done.value()))
    doubled = future.then(lambda done: 2 * done.wait())
    failed = future.then(lambda done: 1 / 0)
    assert not future.done()
    with pytest.raises(RuntimeError, match="no value yet"):
        future.value()
    thread = threading.Timer(0.05, future.set_result, (3,))
    thread.start()
    assert future.wait() == 3 and doubled.wait() == 6
    thread.join()
    assert seen == [3]
    with pytest.raises(ZeroDivisionError):
        failed.wait()
    with pytest.raises(RuntimeError, match="only be marked completed once"):
        future.set_result(4)


def test_several_values():
    futures = [torch.futures.Future() for _ in range(3)]
    together = torch.futures.collect_all(futures)
    for place, future in enumerate(futures):
        assert not together.done()
        future.set_result(place)
    assert together.wait() == futures and torch.futures.wait_all(futures) == [0, 1, 2]
    assert torch.futures.collect_all([]).wait() == []
