"""Writing in place under autograd: which is forbidden, and the gradients of what is not."""

import pytest

import flambeau as torch


def leaf(*values):
    return torch.tensor(list(values), dtype=torch.float64).requires_grad_()


def values(tensor):
    return tensor.detach().numpy().tolist()


def test_leaves_and_their_views_are_not_written():
    a = leaf(1.0, 2.0, 3.0)
    with pytest.raises(RuntimeError, match=r"^a leaf Variable that requires grad"):
        a.mul_(2)
    for view in (a[:2], a.view(3), a[:2].view(2)):
        with pytest.raises(RuntimeError, match=r"^a view of a leaf Variable that requires grad"):
            view.mul_(2)
    with torch.no_grad():
        a.mul_(2)
        a[:1].add_(1)
    a.detach().add_(1)
    a.data.add_(1)
    assert values(a) == [5, 6, 8] and a.is_leaf


@pytest.mark.parametrize(
    "change",
    [
        lambda y, b: y.mul_(b),
        lambda y, b: y[:2].mul_(b[:2]),
        lambda y, b: y.view(4)[1:3].mul_(b[1:3]),
        lambda y, b: y.__setitem__(slice(1, 3), b[1:3] * b[1:3]),
        lambda y, b: y.reshape((2, 2))[1].mul_(b.reshape((2, 2))[0]),
        lambda y, b: y.reshape((2, 2)).t()[0].add_(b[:2]),
    ],
)
def test_gradients_through_written_values(change):
    """Against central differences of the whole program."""

    def program(a, b):
        y = a * 2
        z = y[1:]  # a view that lives on and must see the change
        change(y, b)
        return (y * y).sum() + (z * a[1:]).sum()

    torch.autograd.gradcheck(program, (leaf(1.0, 2.0, 3.0, 4.0), leaf(0.5, 1.5, 2.5, 3.5)))


def test_a_view_written_changes_the_history_of_its_base():
    base, a = torch.ones(3, dtype=torch.float64), leaf(2.0, 5.0)
    view = base[:2]
    view.mul_(a)
    assert base.requires_grad and view.requires_grad
    base.sum().backward()
    assert values(a.grad) == [1, 1]


def test_views_from_no_grad_are_not_written_with_grad():
    y = leaf(1.0, 2.0) * 1
    with torch.no_grad():
        view = y.view(2)
        view.add_(1)
    with pytest.raises(RuntimeError, match="A view was created in no_grad mode"):
        view.mul_(2)


def test_versions():
    a = leaf(1.0, 2.0)
    y = a * 1
    detached, apart = y.detach(), y.data
    before = y._version
    detached.add_(1)
    assert y._version == before + 1
    apart.add_(1)
    assert y._version == before + 1 and values(y) == [3, 4]


@pytest.mark.parametrize(
    "write", [lambda y: y.add_(1), lambda y: y[0].add_(1), lambda y: y.detach().zero_()]
)
def test_saved_values_that_were_written_are_noticed(write):
    y = leaf(1.0, 2.0) * 1
    z = y * y
    write(y)
    with pytest.raises(
        RuntimeError, match=r"by an inplace operation: \[torch.DoubleTensor \[2\]\].* is at version"
    ):
        z.sum().backward()


def test_detach_in_place():
    y = leaf(1.0) * 1
    assert y.detach_() is y and not y.requires_grad
    with pytest.raises(RuntimeError, match="Can't detach views in-place"):
        (leaf(1.0, 2.0) * 1)[:1].detach_()


@pytest.mark.parametrize("write", [
    lambda y: y.mul_(3), lambda y: y.mul_(3).mul_(1), lambda y: y.view(2).mul_(3),
    lambda y: y[:].copy_(y.detach() * 3 + 0 * y), lambda y: y.unsqueeze_(0).mul_(3).squeeze_(),
])  # fmt: skip
def test_what_is_retained_is_the_gradient_of_the_last_value(write):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x.clone()
    y.retain_grad()
    write(y)
    assert y.retains_grad
    (y * y).sum().backward()
    assert y.grad.tolist() == [6.0, 12.0]


def test_retaining_on_a_view_survives_a_write_to_its_base():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x.clone()
    view = y.view(2)
    view.retain_grad()
    y.mul_(3)
    view.sum().backward()
    assert view.grad.tolist() == [1.0, 1.0] and x.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("answer", [torch.ones(2), [torch.ones(2)]], ids=["tensor", "list"])
def test_hooks_of_nodes_answer_with_tuples(answer):
    y = torch.ones(2, requires_grad=True).exp()
    y.grad_fn.register_prehook(lambda grads: answer)
    with pytest.raises(TypeError, match="expected tuple, but hook returned"):
        y.sum().backward()
