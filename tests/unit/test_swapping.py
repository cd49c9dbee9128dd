"""`torch.utils.swap_tensors`: two tensors that change places."""

import pytest

import flambeau as torch
from flambeau.utils import swap_tensors


class Named(torch.Tensor):
    pass


def test_everything_changes_places():
    first = torch.nn.Parameter(torch.arange(3.0))
    second = torch.ones(2, 2, dtype=torch.float64).as_subclass(Named).clone()
    second.name_of_mine = "second"
    first.grad = torch.full((3,), 7.0)
    swap_tensors(first, second)
    assert type(first) is Named and first.name_of_mine == "second" and first.grad is None
    assert first.tolist() == [[1, 1], [1, 1]] and first.dtype is torch.float64
    assert type(second) is torch.nn.Parameter and second.tolist() == [0, 1, 2]
    assert second.requires_grad and not first.requires_grad and second.grad.tolist() == [7] * 3


def test_a_module_goes_on_with_the_new_parameter():
    layer = torch.nn.Linear(2, 1, bias=False)
    weight = layer.weight
    swap_tensors(weight, torch.nn.Parameter(torch.tensor([[3.0, 4.0]])))
    assert layer.weight is weight
    layer(torch.tensor([[1.0, 2.0]])).sum().backward()
    assert weight.grad.tolist() == [[1, 2]]
    optimizer = torch.optim.SGD(layer.parameters(), lr=1)
    optimizer.step()
    assert weight.tolist() == [[2, 2]]


def test_a_gradient_on_its_way_arrives_at_the_holder():
    first, second = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    loss = (first * 5).sum()
    swap_tensors(first, second)
    loss.backward()
    assert first.grad is None and second.grad.tolist() == [5]


def test_views_stay():
    base = torch.ones(3)
    view = base[1:]
    for pair in ((base, torch.ones(3)), (torch.ones(3), view)):
        with pytest.raises(RuntimeError, match="it is a view, or has views"):
            swap_tensors(*pair)
