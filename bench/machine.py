"""What the machine can do: how fast memory is copied, and how fast matrices are multiplied."""

import time
from typing import Any, NamedTuple

MEGABYTES = 128
SIZE = 1024  # of the matrices
ROUNDS = 30


class Machine(NamedTuple):
    """Bytes that a copy reads and writes in a second, operations of a float32 product."""

    copy: float
    products: float


def _best(work: Any) -> float:
    """The shortest time of several, in seconds: nothing makes a machine faster than it is."""
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def measured(flambeau: Any) -> Machine:
    """The figures of this machine, with as many threads as are set."""
    count = MEGABYTES << 18
    a, b = flambeau.randn(count), flambeau.zeros(count)
    copy = 2 * 4 * count / _best(lambda: b.copy_(a))
    x, y = flambeau.randn(SIZE, SIZE), flambeau.randn(SIZE, SIZE)
    products = 2 * SIZE**3 / _best(lambda: x @ y)
    return Machine(copy, products)
