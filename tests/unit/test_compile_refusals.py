"""Compiled functions refuse elements as eager ones do: with the same words, at the user's line."""

import pytest

import flambeau as torch
from flambeau.nn import functional as F

REFUSING = {
    "quantile": (lambda q: torch.quantile(torch.arange(4.0), q), [0.2, 0.9], [0.2, 1.5]),
    "nan": (lambda q: torch.quantile(torch.arange(4.0), q), [0.2, 0.9], [0.2, float("nan")]),
    "multi_margin": (lambda t: F.multi_margin_loss(torch.ones(3, 4), t), [0, 2, 1], [0, 4, 1]),
    "multilabel": (
        lambda t: F.multilabel_margin_loss(torch.ones(3), t), [0, 2, -1], [0, 3, -1]),
    "unpool": (
        lambda i: F.max_unpool2d(torch.ones(1, 1, 2), i.reshape(1, 1, 2), 2), [0, 3], [0, 8]),
    "lu": (torch.linalg.lu_factor, [[1.0, 2.0], [3.0, 5.0]], [[1.0, 2.0], [2.0, 4.0]]),
    "eigvals": (torch.linalg.eigvals, [[1.0, 2.0], [3.0, 5.0]], [[1.0, float("inf")], [0.0, 1.0]]),
    "ldl": (torch.linalg.ldl_factor, [[2.0, 1.0], [1.0, 3.0]], [[0.0, 0.0], [0.0, 0.0]]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSING)
def test_elements_are_refused_alike(name):
    function, fine, bad = REFUSING[name]
    compiled = torch.compile(function, fullgraph=True)
    for _ in range(3):
        for a, b in zip(parts(function(torch.tensor(fine))), parts(compiled(torch.tensor(fine)))):
            assert a.equal(b)
    with pytest.raises(Exception) as expected:
        function(torch.tensor(bad))
    with pytest.raises(type(expected.value)) as told:
        compiled(torch.tensor(bad))
    assert str(told.value).split("\n")[0] == str(expected.value).split("\n")[0]
    assert parts(compiled(torch.tensor(fine)))[0].equal(parts(function(torch.tensor(fine)))[0])


def parts(result):
    return result if isinstance(result, tuple) else (result,)


def test_backward_is_captured_with_numbers_that_host_ops_take():
    """The program of a backward is made before there are gradients: with numbers, not with what
    memory happens to hold.
    """
    junk = torch.full((1 << 12,), 3e38)
    del junk  # its block is what comes next
    compiled = torch.compile(torch.linalg.eigvals, fullgraph=True)
    matrix = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    slopes = []
    for function in (torch.linalg.eigvals, *[compiled] * 4):
        x = matrix.clone().requires_grad_()
        function(x).abs().sum().backward()
        slopes.append(x.grad.tolist())
    assert slopes[1:] == slopes[:1] * 4


def test_gradients_of_masks_and_fills_are_captured():
    mask = torch.tensor([[True, False], [True, True]])

    def scattered(x, source):
        return torch.ones(2, 2).masked_scatter(mask, source * 2).square().sum() + x.sum()

    def filled(x, value):
        return (x * 3).index_fill(1, torch.tensor([1, 1, -1]), value * 2).square().sum()

    for function, other in ((scattered, torch.arange(5.0)), (filled, torch.tensor(3.0))):
        compiled = torch.compile(function, fullgraph=True)
        found = []
        for run in (function, compiled, compiled):
            x, y = torch.ones(2, 2).requires_grad_(), other.clone().requires_grad_()
            run(x, y).backward()
            found.append([x.grad.tolist(), y.grad.tolist()])
        assert found[1:] == found[:1] * 2
    assert found[0][1] == 4 * 2 * 3.0 * 2  # two places of a column, each 4 * 2 * value


@pytest.mark.parametrize(
    "function, name",
    [
        (lambda x: x[x > 0] * 2, "a mask"),
        (lambda x: x.nonzero() * 2, "nonzero"),
        (lambda x: x.unique() * 2, "unique"),
        (lambda x: x.repeat_interleave(torch.tensor([1, 0, 2])) * 2, "repeat_interleave"),
    ],
)
def test_lengths_that_the_data_say_are_named(function, name):
    message = f"the shape of what {name} gives depends on the data"
    compiled = torch.compile(function, fullgraph=True)
    with pytest.raises(Exception, match=message):
        for _ in range(3):
            compiled(torch.tensor([1.0, -1.0, 1.0]))
