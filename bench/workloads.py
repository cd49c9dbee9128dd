"""What is timed: each workload takes the library as its argument and returns one unit of work."""

from collections.abc import Callable
from typing import Any

Step = Callable[[], object]
WORKLOADS: dict[str, Callable[[Any], Step]] = {}


def workload(build: Callable[[Any], Step]) -> Callable[[Any], Step]:
    WORKLOADS[build.__name__] = build
    return build


@workload
def tiny_add(torch: Any) -> Step:
    """Two numbers' worth of arithmetic: the cost of a call."""
    a, b = torch.randn(4), torch.randn(4)
    return lambda: a + b


@workload
def tiny_view(torch: Any) -> Step:
    """A transposed row: the cost of making a view."""
    a = torch.randn(4, 4)
    return lambda: a.t()[1]


@workload
def tiny_backward(torch: Any) -> Step:
    """Three ops forward and backward: the cost of the tape."""
    a, b, c = (torch.randn(8, requires_grad=True) for _ in range(3))
    return lambda: (a * b + c).sum().backward()


@workload
def elementwise_chain(torch: Any) -> Step:
    """Five elementwise ops on a million elements: memory traffic."""
    a, b = torch.randn(1_000_000), torch.randn(1_000_000)
    return lambda: ((a * b + 1).exp() - b).tanh()


@workload
def row_sums(torch: Any) -> Step:
    """Sums of the rows of a matrix of a million elements."""
    a = torch.randn(1000, 1000)
    return lambda: a.sum(1)


@workload
def softmax_rows(torch: Any) -> Step:
    """Softmax over the rows of an attention-sized matrix."""
    a = torch.randn(512, 512)
    return lambda: torch.softmax(a, 1)


@workload
def matmul_small(torch: Any) -> Step:
    """A product of two 64 by 64 matrices."""
    a, b = torch.randn(64, 64), torch.randn(64, 64)
    return lambda: a @ b


@workload
def matmul_large(torch: Any) -> Step:
    """A product of two 1024 by 1024 matrices."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return lambda: a @ b


@workload
def mlp_step(torch: Any) -> Step:
    """One training step of a small perceptron: forward, backward, Adam."""
    nn = torch.nn
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.randn(32, 64), torch.randint(0, 10, (32,))

    def step() -> object:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step
