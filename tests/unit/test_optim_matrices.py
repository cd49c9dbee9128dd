"""Optimizers that look at a matrix as a whole, and averages of weights over training."""

import numpy as np
import pytest

import flambeau as torch
from flambeau.optim import SGD, Adafactor, Muon, swa_utils

RNG = np.random.default_rng(3)


def run(kind, start, gradients, **options):
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = kind([parameter], **options)
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
    return parameter.detach().numpy(), optimizer


def adafactor(x, gradients, lr=1e-2, decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0):
    x = x.copy()
    eps1 = np.finfo(x.dtype).eps if eps[0] is None else eps[0]
    rows, columns, whole = 0.0, 0.0, 0.0
    for step, g in enumerate(gradients, 1):
        beta = 1 - step**decay
        rms = np.sqrt(np.mean(x * x))
        x = x * (1 - lr * weight_decay)
        if x.ndim < 2:
            whole = beta * whole + (1 - beta) * g * g
            variance = whole
        else:
            rows = beta * rows + (1 - beta) * np.mean(g * g, -1, keepdims=True)
            columns = beta * columns + (1 - beta) * np.mean(g * g, -2, keepdims=True)
            variance = rows * columns / np.maximum(np.mean(rows, -2, keepdims=True), eps1)
        update = g / np.sqrt(np.maximum(variance, eps1**2))
        update /= max(1.0, np.sqrt(np.mean(update**2)) / d)
        x = x - max(eps[1], rms) * min(lr, 1 / np.sqrt(step)) * update
    return x


@pytest.mark.parametrize("shape", [(4, 5), (7,), (2, 3, 4)])
@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1, "lr": 0.5}, {"eps": (1e-2, 2.0), "d": 1.5}]
)
def test_adafactor(shape, options):
    start, gradients = RNG.normal(size=shape), RNG.normal(size=(5, *shape))
    found, optimizer = run(Adafactor, start, gradients, **options)
    np.testing.assert_allclose(found, adafactor(start, gradients, **options), rtol=1e-10)
    state = optimizer.state_dict()["state"][0]
    assert sum(v.numel() for k, v in state.items() if k != "step") < max(start.size, 8)


@pytest.mark.parametrize("shape", [(6, 24), (24, 6)])
def test_muon_steps_by_a_nearly_orthogonal_matrix(shape):
    start, gradient = RNG.normal(size=shape), RNG.normal(size=shape)
    found, _ = run(Muon, start, [gradient], lr=0.1, weight_decay=0.0)
    step = (start - found) / (0.1 * max(1, shape[0] / shape[1]) ** 0.5)
    assert np.all(np.abs(np.linalg.svd(step, compute_uv=False) - 1) < 0.4)
    u, _, vh = np.linalg.svd(gradient, full_matrices=False)
    assert np.sum(step * (u @ vh)) > 0.9 * min(shape)  # the polar factor's direction
    half, _ = run(Muon, start, [gradient], lr=0.1, weight_decay=5.0)
    np.testing.assert_allclose(half, found - 0.5 * start, atol=1e-12)


def test_matrices_only():
    with pytest.raises(
        ValueError, match=r"Muon only supports 2D parameters .* torch.Size\(\[3\]\)"
    ):
        Muon([torch.nn.Parameter(torch.zeros(3))])
    with pytest.raises(ValueError, match="Clipping threshold d should be >= 1"):
        Adafactor([torch.nn.Parameter(torch.zeros(3))], d=0.5)


@pytest.mark.parametrize(
    "options, shares",
    [
        ({}, [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
        ({"avg_fn": swa_utils.get_ema_avg_fn(0.5)}, [1 / 8, 1 / 8, 1 / 4, 1 / 2]),
        ({"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.5)}, [1 / 8, 1 / 8, 1 / 4, 1 / 2]),
    ],
)
def test_averaged_model(options, shares):
    model = torch.nn.Linear(2, 1)
    averaged = swa_utils.AveragedModel(model, **options)
    seen = []
    for number in range(4):
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[number**2, -number]]))
        seen.append(model.weight.detach().numpy().copy())
        averaged.update_parameters(model)
    expected = sum(share * weight for share, weight in zip(shares, seen, strict=True))
    np.testing.assert_allclose(averaged.module.weight.detach().numpy(), expected, rtol=1e-6)
    assert averaged.n_averaged.item() == 4
    assert list(averaged.state_dict()) == ["n_averaged", "module.weight", "module.bias"]


def test_update_bn_averages_batches_equally_and_puts_everything_back():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2, momentum=0.3)).eval()
    batches = [RNG.normal(size=(5, 2)), RNG.normal(size=(5, 2)) + 3]
    swa_utils.update_bn([(torch.tensor(b).float(), "label") for b in batches], model)
    mean = np.mean([b.mean(0) for b in batches], 0)
    variance = np.mean([b.var(0, ddof=1) for b in batches], 0)
    np.testing.assert_allclose(model[0].running_mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(model[0].running_var.numpy(), variance, rtol=1e-5)
    assert model[0].momentum == 0.3 and not model.training


@pytest.mark.parametrize(
    "strategy, rates", [("linear", [0.35, 0.2, 0.05, 0.05]), ("cos", [0.3875, 0.1625, 0.05, 0.05])]
)
def test_swalr(strategy, rates):
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = swa_utils.SWALR(optimizer, 0.05, anneal_epochs=3, anneal_strategy=strategy)
    found = []
    for _ in rates:
        optimizer.step()
        schedule.step()
        found += schedule.get_last_lr()
    np.testing.assert_allclose(found, rates)
    with pytest.raises(ValueError, match="instead got steps"):
        swa_utils.SWALR(optimizer, 0.05, anneal_strategy="steps")
