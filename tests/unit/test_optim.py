"""Optimizers against their papers' formulas in NumPy, and the base class's rules."""

import copy
import math

import numpy as np
import pytest

import flambeau
from flambeau import optim

START = np.array([0.5, -1.0, 2.0, 0.25], dtype=np.float64)
TARGET = np.array([1.0, 1.0, -1.0, 0.5], dtype=np.float64)
SCALES = np.array([1.0, 3.0, 0.5, 10.0], dtype=np.float64)
STEPS = 7


def slope(x):
    """The gradient of half the scaled squared distance from the target."""
    return SCALES * (x - TARGET)


def run(name, steps=STEPS, **options):
    parameter = flambeau.tensor(START.tolist(), dtype=flambeau.float64, requires_grad=True)
    optimizer = getattr(optim, name)([parameter], **options)
    for _ in range(steps):
        gradient = slope(parameter.detach().numpy())
        parameter.grad = flambeau.tensor(gradient.tolist(), dtype=flambeau.float64)
        optimizer.step()
    return parameter.detach().numpy()


def sgd(lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    x, buffer = START.copy(), None
    for _ in range(STEPS):
        g = (-1 if maximize else 1) * slope(x) + weight_decay * x
        if momentum:
            buffer = g.copy() if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        x = x - lr * g
    return x


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "nesterov": True},
        {"maximize": True},
    ],
)
def test_sgd(options):
    np.testing.assert_allclose(run("SGD", lr=0.1, **options), sgd(**options), rtol=1e-12)


def adam(lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled=False):
    x = START.copy()
    m, v, most = np.zeros(4), np.zeros(4), np.zeros(4)
    for t in range(1, STEPS + 1):
        g = slope(x)
        if decoupled:
            x = x * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * x
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        most = np.maximum(most, v)
        corrected = (most if amsgrad else v) / (1 - betas[1] ** t)
        x = x - lr * m / (1 - betas[0] ** t) / (np.sqrt(corrected) + eps)
    return x


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam(name, amsgrad, weight_decay):
    options = {"lr": 0.1, "betas": (0.9, 0.99), "amsgrad": amsgrad, "weight_decay": weight_decay}
    expected = adam(**options, decoupled=name == "AdamW")
    np.testing.assert_allclose(run(name, **options), expected, rtol=1e-9)


def test_adagrad():
    x, total = START.copy(), np.full(4, 0.1)
    for t in range(STEPS):
        g = slope(x)
        total = total + g * g
        x = x - 0.1 / (1 + t * 0.01) * g / (np.sqrt(total) + 1e-10)
    result = run("Adagrad", lr=0.1, lr_decay=0.01, initial_accumulator_value=0.1)
    np.testing.assert_allclose(result, x, rtol=1e-12)


def test_adadelta():
    x, square, past = START.copy(), np.zeros(4), np.zeros(4)
    for _ in range(STEPS):
        g = slope(x)
        square = 0.9 * square + 0.1 * g * g
        delta = np.sqrt(past + 1e-6) / np.sqrt(square + 1e-6) * g
        past = 0.9 * past + 0.1 * delta * delta
        x = x - delta
    np.testing.assert_allclose(run("Adadelta"), x, rtol=1e-12)


def test_adamax():
    x, m, most = START.copy(), np.zeros(4), np.zeros(4)
    for t in range(1, STEPS + 1):
        g = slope(x)
        m = 0.9 * m + 0.1 * g
        most = np.maximum(0.999 * most, np.abs(g) + 1e-8)
        x = x - 0.1 / (1 - 0.9**t) * m / most
    np.testing.assert_allclose(run("Adamax", lr=0.1), x, rtol=1e-12)


@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop(centered):
    x, square, mean, buffer = START.copy(), np.zeros(4), np.zeros(4), np.zeros(4)
    for _ in range(STEPS):
        g = slope(x)
        square = 0.99 * square + 0.01 * g * g
        mean = 0.99 * mean + 0.01 * g
        spread = square - mean * mean if centered else square
        buffer = 0.5 * buffer + g / (np.sqrt(spread) + 1e-8)
        x = x - 0.01 * buffer
    np.testing.assert_allclose(run("RMSprop", momentum=0.5, centered=centered), x, rtol=1e-11)


def test_radam_changes_its_rule_when_the_variance_is_tractable():
    x, m, v = START.copy(), np.zeros(4), np.zeros(4)
    longest = 2 / (1 - 0.9) - 1
    rules = set()
    for t in range(1, STEPS + 1):
        g = slope(x)
        m = 0.9 * m + 0.1 * g
        v = 0.9 * v + 0.1 * g * g
        length = longest - 2 * t * 0.9**t / (1 - 0.9**t)
        rules.add(length > 5)
        step = 0.1 * m / (1 - 0.9**t)
        if length > 5:
            r = math.sqrt(
                (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            )
            step = step * r * math.sqrt(1 - 0.9**t) / (np.sqrt(v) + 1e-8)
        x = x - step
    assert rules == {False, True}
    np.testing.assert_allclose(run("RAdam", lr=0.1, betas=(0.9, 0.9)), x, rtol=1e-11)


def test_rprop():
    x, previous, size = START.copy(), np.zeros(4), np.full(4, 0.3)
    for _ in range(STEPS):
        g = slope(x)
        sign = np.sign(g * previous)
        size = np.clip(size * np.where(sign > 0, 1.2, np.where(sign < 0, 0.5, 1)), 1e-6, 50)
        g = np.where(sign < 0, 0, g)
        x = x - np.sign(g) * size
        previous = g
    np.testing.assert_allclose(run("Rprop", lr=0.3), x, rtol=1e-12)


def test_sparse_adam_changes_only_rows_with_a_gradient():
    layer = flambeau.nn.Embedding(5, 2, sparse=True).double()
    start = layer.weight.detach().numpy().copy()
    optimizer = optim.SparseAdam(layer.parameters(), lr=0.1, betas=(0.8, 0.9))
    m, v, x = np.zeros((5, 2)), np.zeros((5, 2)), start.copy()
    for step, row in enumerate([1, 3, 1], 1):
        optimizer.zero_grad()
        (layer(flambeau.tensor([row])) ** 2).sum().backward()
        optimizer.step()
        g = 2 * x[row]
        m[row] = 0.8 * m[row] + 0.2 * g
        v[row] = 0.9 * v[row] + 0.1 * g * g
        rate = 0.1 * math.sqrt(1 - 0.9**step) / (1 - 0.8**step)
        x[row] -= rate * m[row] / (np.sqrt(v[row]) + 1e-8)
    np.testing.assert_allclose(layer.weight.detach().numpy(), x, rtol=1e-12)
    np.testing.assert_array_equal(layer.weight.detach().numpy()[[0, 2, 4]], start[[0, 2, 4]])
    assert optimizer.state_dict()["state"][0]["step"] == 3


def test_lbfgs_finds_the_minimum_of_rosenbrocks_valley():
    x = flambeau.tensor([-1.2, 1.0], dtype=flambeau.float64, requires_grad=True)
    optimizer = optim.LBFGS([x], max_iter=60, line_search_fn="strong_wolfe")
    losses = []

    def closure():
        optimizer.zero_grad()
        along, across = 1 - x[0], x[1] - x[0] * x[0]
        loss = along * along + across * across * 100
        loss.backward()
        losses.append(loss.item())
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(x.detach().numpy(), [1, 1], atol=1e-4)
    assert len(losses) < 75


def leaf(*values):
    return flambeau.tensor([float(value) for value in values], requires_grad=True)


def test_state_dict_numbers_parameters_and_holds_steps_as_tensors():
    first, second = leaf(1, 2), leaf(3)
    optimizer = optim.Adam([{"params": [first]}, {"params": [second], "lr": 0.5}])
    for parameter in (first, second):
        parameter.grad = flambeau.ones_like(parameter)
    optimizer.step()
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    assert state["param_groups"][1]["lr"] == 0.5
    step = state["state"][1]["step"]
    assert step.dtype is flambeau.float32 and step.shape == () and step.item() == 1

    other = optim.Adam([{"params": [leaf(1, 2)]}, {"params": [leaf(3)]}])
    other.load_state_dict(copy.deepcopy(state))
    assert other.param_groups[1]["lr"] == 0.5
    assert other.state[other.param_groups[0]["params"][0]]["exp_avg"].tolist() == pytest.approx(
        [0.1, 0.1]
    )


def test_loading_continues_as_if_uninterrupted():
    def steps(parameter, optimizer, count):
        for _ in range(count):
            parameter.grad = (parameter.detach() - 1) * 2
            optimizer.step()

    whole = leaf(0.5, -2)
    steps(whole, optim.Adam([whole], lr=0.1), 6)
    begun = leaf(0.5, -2)
    first = optim.Adam([begun], lr=0.1)
    steps(begun, first, 3)
    continued = begun.detach().clone().requires_grad_()
    second = optim.Adam([continued])
    second.load_state_dict(first.state_dict())
    steps(continued, second, 3)
    assert continued.tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.SGD([]), ValueError, "optimizer got an empty parameter list"),
        (lambda: optim.SGD(leaf(1)), TypeError, "should be an iterable of Tensors or dicts"),
        (lambda: optim.SGD([3]), TypeError, "one of the params is int"),
        (lambda: optim.SGD([leaf(1) * 2]), ValueError, "can't optimize a non-leaf Tensor"),
        (lambda: optim.SGD([leaf(1)], lr=-1), ValueError, "Invalid learning rate: -1"),
        (lambda: optim.SGD([leaf(1)], nesterov=True), ValueError, "Nesterov momentum requires"),
        (lambda: optim.Adam([leaf(1)], betas=(1.0, 0.9)), ValueError, "beta parameter at index 0"),
        (lambda: optim.SGD([{"params": {leaf(1)}}]), TypeError, "ordering of tensors in sets"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_parameter_belongs_to_one_group():
    parameter = leaf(1)
    optimizer = optim.SGD([parameter])
    with pytest.raises(ValueError, match="appear in more than one parameter group"):
        optimizer.add_param_group({"params": [parameter]})


def test_step_hooks_and_closure():
    parameter = leaf(1)
    optimizer = optim.SGD([parameter], lr=1.0)
    order = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: order.append("pre"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: order.append("post"))

    def closure():
        order.append("closure")
        optimizer.zero_grad()
        loss = (parameter * 3).sum()
        loss.backward()
        return loss

    with flambeau.no_grad():
        loss = optimizer.step(closure)
    assert order == ["pre", "closure", "post"]
    assert loss.item() == 3 and parameter.tolist() == [-2]


@pytest.mark.parametrize(
    "name", ["ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop"]
)
def test_differentiable_steps_have_the_gradients_of_their_formulas(name):
    start = flambeau.tensor(START.tolist(), dtype=flambeau.float64, requires_grad=True)

    def trained(x):
        parameter = x.clone()
        optimizer = getattr(optim, name)([parameter], lr=0.1, differentiable=True)
        for _ in range(3):
            parameter.grad = (parameter - 1) ** 3
            optimizer.step()
        return parameter

    assert flambeau.autograd.gradcheck(trained, start)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_learning_rates_are_differentiable(name):
    rate = flambeau.tensor(0.1, dtype=flambeau.float64, requires_grad=True)

    def trained(lr):
        parameter = flambeau.tensor(START.tolist(), dtype=flambeau.float64).requires_grad_().clone()
        optimizer = getattr(optim, name)([parameter], lr=lr, differentiable=True)
        for _ in range(3):
            parameter.grad = (parameter - 1) * 2
            optimizer.step()
        return parameter

    assert flambeau.autograd.gradcheck(trained, rate)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("Adam", {"fused": True, "foreach": True}, RuntimeError, "cannot be `True` together"),
        ("SGD", {"fused": True, "differentiable": True}, RuntimeError, "does not support"),
        (
            "AdamW",
            {"betas": (flambeau.tensor(0.5), 0.9)},
            ValueError,
            "both floats or both Tensors",
        ),
        ("SparseAdam", {"lr": 0}, ValueError, "Invalid learning rate: 0"),
    ],
)
def test_options_that_do_not_go_together(name, options, error, message):
    with pytest.raises(error, match=message):
        getattr(flambeau.optim, name)([flambeau.zeros(2)], **options)
