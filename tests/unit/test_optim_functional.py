"""Functional forms of optimizers make the steps that their classes make."""

import importlib

import numpy as np
import pytest

import flambeau as torch
from flambeau.optim._functional import adam, sgd

PAIRS = {
    "betas": ("beta1", "beta2"),
    "etas": ("etaminus", "etaplus"),
    "step_sizes": ("step_size_min", "step_size_max"),
}
# Class, its options, and the states that its function takes, in order.
CASES = [
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}, "exp_avg exp_avg_sq max_exp_avg_sq step"),
    ("Adam", {"maximize": True}, "exp_avg exp_avg_sq max_exp_avg_sq step"),
    ("AdamW", {"weight_decay": 0.1}, "exp_avg exp_avg_sq max_exp_avg_sq step"),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, "momentum_buffer"),
    ("Adagrad", {"lr_decay": 0.1}, "sum step"),
    ("Adadelta", {"weight_decay": 0.1}, "square_avg acc_delta step"),
    ("Adamax", {}, "exp_avg exp_inf step"),
    ("ASGD", {"t0": 1}, "ax mu eta step"),
    ("NAdam", {"decoupled_weight_decay": True}, "exp_avg exp_avg_sq mu_product step"),
    ("RAdam", {"weight_decay": 0.1}, "exp_avg exp_avg_sq step"),
    ("RMSprop", {"centered": True, "momentum": 0.5}, "square_avg grad_avg momentum_buffer step"),
    ("Rprop", {}, "prev step_size step"),
]


def gradients():
    random = np.random.default_rng(0)
    shapes = ((3, 2), (4,))
    return [[torch.from_numpy(random.normal(size=shape)) for shape in shapes] for _ in range(4)]


@pytest.mark.parametrize("name, options, keys", CASES)
def test_functions_make_the_steps_of_classes(name, options, keys):
    steps, module = gradients(), importlib.import_module(f"flambeau.optim.{name.lower()}")
    function = getattr(module, name.lower())
    expected = [torch.ones_like(gradient).requires_grad_() for gradient in steps[0]]
    optimizer = getattr(torch.optim, name)(expected, **options)
    for step in steps:
        for parameter, gradient in zip(expected, step, strict=True):
            parameter.grad = gradient
        optimizer.step()
    group = dict(optimizer.param_groups[0])
    kept = [optimizer.state_dict()["state"][place] for place in range(2)]
    for pair, names in PAIRS.items():
        group.update(zip(names, group.pop(pair, ()), strict=False))
    taken = function.__code__.co_varnames[: function.__code__.co_argcount]
    taken += function.__code__.co_varnames[len(taken) :][: function.__code__.co_kwonlyargcount]
    group = {key: value for key, value in group.items() if key in taken and key != "params"}

    found = [torch.ones_like(gradient) for gradient in steps[0]]
    states = [
        [start(key, parameter, options, group) for parameter in found] if key in kept[0] else []
        for key in keys.split()
    ]
    for step in steps:
        function(found, step, *states, **group)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=0)  # its numbers are float32 tensors
    for key, values in zip(keys.split(), states, strict=True):
        for value, there in zip(values, kept, strict=False):
            assert torch.allclose(value, there[key], rtol=1e-6, atol=0), key


def start(key, parameter, options, group):
    """What a state begins with."""
    if key == "momentum_buffer" and "nesterov" in options:
        return None
    if key in ("step", "mu", "eta", "mu_product"):
        return torch.tensor({"step": 0.0, "eta": group["lr"] if key == "eta" else 0}.get(key, 1.0))
    if key == "step_size":
        return torch.full_like(parameter, 1e-2)
    return torch.zeros_like(parameter)


def test_overflowed_gradients_make_no_step_and_scales_are_undone():
    def step(**more):
        parameter, lists = torch.zeros(2), [[torch.zeros(2)], [torch.zeros(2)], []]
        count = torch.tensor(0.0)
        adam(
            [parameter], [torch.tensor([8.0, -8.0])], *lists, [count], amsgrad=False, beta1=0.9,
            beta2=0.99, lr=0.1, weight_decay=0, eps=1e-8, maximize=False, **more,
        )  # fmt: skip
        return parameter.tolist(), lists[0][0].tolist(), count.item()

    assert step(found_inf=torch.tensor(1.0)) == ([0, 0], [0, 0], 0)
    parameter, mean, count = step(grad_scale=torch.tensor(4.0), found_inf=torch.tensor(0.0))
    assert parameter == pytest.approx([-0.1, 0.1]) and count == 1
    assert mean == pytest.approx([0.2, -0.2])


def test_arguments_without_defaults_are_required():
    with pytest.raises(TypeError, match="maximize"):
        sgd([], [], [], weight_decay=0, momentum=0, lr=1, dampening=0, nesterov=False)
