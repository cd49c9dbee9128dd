"""Fixed composites: the sequence of plans does what the body does."""

import numpy as np
import pytest

import flambeau as torch
from flambeau.nn import functional
from flambeau.ops import find

CL = torch.channels_last


def test_same_layouts_other_tensors():
    m, k = torch.rand(4, 4), torch.rand(4, 4)
    torch.kron(m, m)  # noted with one tensor in both places
    assert np.allclose(torch.kron(m, k).numpy(), np.kron(m.numpy(), k.numpy()))
    assert np.allclose(torch.inner(k, m).numpy(), k.numpy() @ m.numpy().T)
    torch.einsum("ij,jk->ik", m, m)
    assert np.allclose(torch.einsum("ij,jk->ik", m, k).numpy(), m.numpy() @ k.numpy())


def test_gradients_of_what_is_called_again():
    for _ in range(2):
        x = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: torch.kron(x, x), x)
        assert torch.autograd.gradcheck(lambda x: functional.pad(x, (1, -1), value=2.0), x)
        assert torch.autograd.gradgradcheck(lambda x: torch.einsum("ij,kj->ik", x, x), x)
    assert not torch.kron(x.detach(), x.detach()).requires_grad


def test_results_that_are_arguments_or_views():
    x = torch.rand(5)
    assert x.flatten() is x
    y = torch.rand(2, 3)
    assert y.flatten()._base is y and y.flatten().data_ptr() == y.data_ptr()
    assert y.t().reshape(6)._base is None  # a copy of its own
    for _ in range(2):
        y.flatten()[0] = 7
        assert y[0, 0] == 7


def test_errors_stay():
    for _ in range(2):
        with pytest.raises(RuntimeError, match="invalid for input of size"):
            torch.rand(2, 3).reshape(4)
        with pytest.raises(RuntimeError, match="1D tensors expected"):
            torch.dot(torch.rand(2, 2), torch.rand(4))


@pytest.mark.parametrize(
    "run",
    [
        lambda x: functional.max_pool2d(x, 2),
        lambda x: functional.avg_pool2d(x, 3, 1, 1),
        lambda x: functional.adaptive_avg_pool2d(x, 1),
        lambda x: functional.adaptive_avg_pool2d(x, (4, 3)),
        lambda x: functional.interpolate(x, scale_factor=2),
        lambda x: functional.interpolate(x, size=(9, 5), mode="bicubic"),
        lambda x: functional.batch_norm(x, None, None, training=True),
    ],
)
def test_channels_stay_last(run):
    x = torch.rand(2, 3, 6, 8, dtype=torch.float64)
    plain, last = run(x), run(x.contiguous(memory_format=CL))
    assert last.is_contiguous(memory_format=CL) and plain.is_contiguous()
    assert np.allclose(plain.numpy(), last.numpy())
    leaf = x[:1].contiguous(memory_format=CL).requires_grad_()
    assert torch.autograd.gradcheck(run, leaf)


def test_uneven_cells_are_means():
    x = torch.rand(1, 1, 7, 5, dtype=torch.float64)
    made = functional.adaptive_avg_pool2d(x, (3, 2)).numpy()[0, 0]
    bounds = [[(i * n // s, -(-(i + 1) * n // s)) for i in range(s)] for n, s in ((7, 3), (5, 2))]
    want = [[x.numpy()[0, 0, a:b, c:d].mean() for c, d in bounds[1]] for a, b in bounds[0]]
    assert np.allclose(made, want)


def test_likelihood_and_its_transpose():
    x = torch.rand(5, 4, dtype=torch.float64, requires_grad=True)
    target, weight = torch.tensor([1, 0, 3, 1, 2]), torch.rand(4, dtype=torch.float64)
    rows, w = np.arange(5), np.where(target.numpy() == 0, 0, weight.numpy()[target.numpy()])
    terms = -x.detach().numpy()[rows, target.numpy()] * w

    def run(reduction):
        return functional.nll_loss(x, target, weight, ignore_index=0, reduction=reduction)

    assert np.allclose(run("none").detach().numpy(), terms)
    assert float(run("mean")) == pytest.approx(terms.sum() / w.sum())
    for reduction in ("none", "mean", "sum"):
        assert torch.autograd.gradcheck(lambda x, r=reduction: functional.nll_loss(
            x, target, weight, ignore_index=0, reduction=r), x)  # fmt: skip
    slope = find("nn._nll_slope").door
    inputs = torch.rand(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: slope(s, target, weight, (5, 4), 0, 0), inputs)
    with pytest.raises(IndexError, match="Target 9 is out of bounds"):
        functional.nll_loss(x, torch.tensor([1, 0, 9, 1, 2]))


def test_plans_noted_in_inference_mode_serve_training():
    x = torch.rand(1, 2, 7, 7)
    runs = [
        lambda x: functional.interpolate(x, size=(9, 5), mode="bilinear"),
        lambda x: functional.adaptive_avg_pool2d(x, 4),
        lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect"),
    ]
    with torch.inference_mode():
        assert all(run(x).is_inference() for run in runs)
    for run in runs:
        run(x.requires_grad_()).sum().backward()
