"""Workloads that read, write and order by index: each small, where the call counts, and large."""

from collections.abc import Callable
from typing import Any

from workloads import WORKLOADS, Step

Made = Callable[..., Step]


def sizes(small: tuple[int, ...], large: tuple[int, ...]) -> Callable[[Made], Made]:
    """Decorator: a workload for each of two sizes."""

    def add(build: Made) -> Made:
        for name, size in (("small", small), ("large", large)):
            WORKLOADS[f"{build.__name__}_{name}"] = lambda torch, size=size: build(torch, *size)
        return build

    return add


@sizes((4, 8), (1000, 1000))
def gather(torch: Any, rows: int, columns: int) -> Step:
    """An element of the line for each element."""
    a, index = torch.randn(rows, columns), torch.randint(0, columns, (rows, columns))
    return lambda: a.gather(1, index)


@sizes((4, 8), (1000, 1000))
def scatter_add(torch: Any, rows: int, columns: int) -> Step:
    """Every element added to one of its column."""
    a, index = torch.zeros(rows, columns), torch.randint(0, rows, (rows, columns))
    source = torch.randn(rows, columns)
    return lambda: a.scatter_add(0, index, source)


@sizes((10, 8, 4), (30_000, 256, 8192))
def index_rows(torch: Any, rows: int, width: int, count: int) -> Step:
    """Rows of a table."""
    table, index = torch.randn(rows, width), torch.randint(0, rows, (count,))
    return lambda: table[index]


@sizes((10, 8, 4), (30_000, 256, 8192))
def add_rows(torch: Any, rows: int, width: int, count: int) -> Step:
    """Rows added to those of a table, in place."""
    table, index = torch.randn(rows, width), torch.randint(0, rows, (count,))
    source = torch.randn(count, width)
    return lambda: table.index_put_((index,), source, accumulate=True)


@sizes((10, 8, 4), (10_000, 256, 8192))
def embedding_step(torch: Any, rows: int, width: int, count: int) -> Step:
    """An embedding forward and backward."""
    table = torch.randn(rows, width, requires_grad=True)
    index, grad = torch.randint(0, rows, (count,)), torch.randn(count, width)

    def step() -> None:
        table.grad = None
        torch.nn.functional.embedding(index, table).backward(grad)

    return step


@sizes((4, 8), (1000, 1000))
def chosen(torch: Any, rows: int, columns: int) -> Step:
    """The elements that a mask holds for."""
    a = torch.randn(rows, columns)
    mask = a > 0
    return lambda: a[mask]


@sizes((4, 8), (1000, 1000))
def flip(torch: Any, rows: int, columns: int) -> Step:
    """Lines backwards."""
    a = torch.randn(rows, columns)
    return lambda: a.flip(1)


@sizes((4, 8), (1000, 1000))
def tril(torch: Any, rows: int, columns: int) -> Step:
    """A lower triangle."""
    a = torch.randn(rows, columns)
    return lambda: a.tril()


@sizes((100,), (1_000_000,))
def sort(torch: Any, count: int) -> Step:
    """A line in order."""
    a = torch.randn(count)
    return lambda: a.sort()


@sizes((100,), (1_000_000,))
def topk(torch: Any, count: int) -> Step:
    """The ten largest elements."""
    a = torch.randn(count)
    return lambda: a.topk(10)


@sizes((100,), (1_000_000,))
def median(torch: Any, count: int) -> Step:
    """The middle element."""
    a = torch.randn(count)
    return lambda: a.median()


@sizes((8, 4), (100_000, 1_000_000))
def searchsorted(torch: Any, length: int, count: int) -> Step:
    """Where numbers belong in a sorted line."""
    line, a = torch.randn(length).sort().values, torch.randn(count)
    return lambda: torch.searchsorted(line, a)
