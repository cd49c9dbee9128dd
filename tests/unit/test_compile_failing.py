"""Programs that fail half-way: what they did before happens once, and the error is the user's."""

import pytest
from scenarios import often, same_as_eager, x4

import flambeau as torch

nn = torch.nn
SCENARIOS = []
INDICES = (1, 1, 1, 2, 9, 9, 1, 9, 1)  # 9 is out of range


def scenario(function):
    SCENARIOS.append(function)
    return function


def weights():
    return torch.arange(15.0).reshape(5, 3)


@scenario
def arguments_and_buffers_that_were_written(compile):
    table, norm = weights(), nn.BatchNorm1d(4)

    def body(x, i):
        x.add_(1)
        norm(x.expand(2, 4) * 1)
        return table[i] * x[0]

    function, x = compile(body), x4()
    state = lambda: (x.tolist(), norm.running_mean.tolist(), int(norm.num_batches_tracked))  # noqa: E731
    return [y for i in INDICES for y in (*often(function, x, torch.tensor([i]), times=1), state())]


@scenario
def random_numbers_that_were_drawn(compile):
    table = weights()
    function = compile(lambda i: table[i] * torch.rand(3))
    return [
        y for i in INDICES for y in (*often(function, torch.tensor([i]), times=1), torch.rand(1))
    ]


@scenario
def gradients_that_are_added_to(compile):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)

    def losing(i, y):
        loss = nn.functional.cross_entropy(model(i), y)
        loss.backward()
        return loss.detach()

    def stepping(i, y):
        loss = losing(i, y)
        optimizer.step()
        return loss

    out = []
    for body in (losing, stepping):
        function = compile(body)
        for i in INDICES:
            for given in ((i, 0), (1, min(i, 8))):
                out += often(function, *map(torch.tensor, ([given[0]], [given[1]])), times=1)
                out += [None if p.grad is None else p.grad.tolist() for p in model.parameters()]
                out += [s["step"] for s in optimizer.state.values()]
    return out


@scenario
def errors_of_ops_of_the_host(compile):
    count = torch.zeros(2)

    def body(x):
        count.add_(1)
        torch.rand(1)
        return torch.linalg.cholesky(x)

    def caught(x):
        try:
            return torch.linalg.cholesky(x)
        except RuntimeError:
            return x * 7

    out = []
    for function in (compile(body), compile(caught)):
        for sign in (1, 1, 1, 1, -1, -1, 1, -1):
            out += [*often(function, sign * torch.eye(2), times=1), count.tolist()]
            out.append(torch.rand(1).item())
    return out


@scenario
def divisions_by_zero(compile):
    function = compile(lambda x, d: x.add_(1) // d)
    out = []
    for d in (1, 1, 1, 0, 0, 2):
        x = torch.ones(3, dtype=torch.int64)
        out += [*often(function, x, torch.tensor(d), times=1), x.tolist()]
    return out


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_what_fails_half_way_happens_once(scenario):
    same_as_eager(scenario)


def test_the_line_of_an_op_of_the_host_that_raises_is_the_users():
    def body(x):
        y = x * 2
        return torch.linalg.cholesky(y)

    compiled = torch.compile(body)
    for _ in range(4):
        compiled(torch.eye(2))
    with pytest.raises(RuntimeError, match="not positive-definite") as caught:
        compiled(-torch.eye(2))
    lines = [entry.lineno for entry in caught.traceback if str(entry.path) == __file__]
    assert lines[-1] == body.__code__.co_firstlineno + 1
