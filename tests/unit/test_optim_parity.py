"""Optimizers beside PyTorch's: the same steps, and state dicts that move both ways."""

import numpy as np
import pytest

import flambeau
import flambeau.optim

pytestmark = pytest.mark.parity
reference = pytest.importorskip("torch")

OPTIONS = {
    "ASGD": [{"lr": 0.1}, {"t0": 2, "weight_decay": 0.1}],
    "Adadelta": [{"rho": 0.8, "weight_decay": 0.1}],
    "Adafactor": [{"lr": 0.1, "weight_decay": 0.1}],
    "Adagrad": [{"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3}],
    "Adam": [{"lr": 0.1}, {"amsgrad": True, "weight_decay": 0.1, "fused": True}],
    "AdamW": [{"lr": 0.1, "foreach": True}, {"amsgrad": True, "maximize": True}],
    "Adamax": [{"weight_decay": 0.1}],
    "LBFGS": [{"lr": 0.5}, {"line_search_fn": "strong_wolfe", "max_iter": 4}],
    "Muon": [{"lr": 0.1}, {"nesterov": False, "adjust_lr_fn": "match_rms_adamw"}],
    "NAdam": [{"lr": 0.1}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "RAdam": [{"lr": 0.1}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "RMSprop": [{"lr": 0.1}, {"centered": True, "momentum": 0.9, "weight_decay": 0.1}],
    "Rprop": [{"lr": 0.1, "etas": (0.4, 1.3)}],
    "SGD": [{"lr": 0.1}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}],
}
CASES = [(name, options) for name, each in OPTIONS.items() for options in each]


class Trained:
    """Parameters of one library, moved by its optimizer."""

    def __init__(self, lib, name, options, values):
        self.lib, self.name = lib, name
        self.parameters = [lib.tensor(v.copy()).requires_grad_() for v in values]
        self.optimizer = getattr(lib.optim, name)(self.parameters, **options)

    def steps(self, first, last):
        for step in range(first, last):
            if self.name == "LBFGS":
                self.optimizer.step(self.loss)
                continue
            draws = np.random.default_rng(step)
            for p in self.parameters:
                p.grad = self.lib.tensor(draws.standard_normal(tuple(p.shape)))
            self.optimizer.step()

    def loss(self):
        self.optimizer.zero_grad()
        loss = sum(((p - 1) ** 2).sum() + (p**4).sum() for p in self.parameters)
        loss.backward()
        return loss

    def values(self):
        return [p.detach().numpy().copy() for p in self.parameters]

    def continued_by(self, lib, options, first, last):
        """What an optimizer of `lib` makes of these parameters and this state."""
        other = Trained(lib, self.name, options, self.values())
        other.optimizer.load_state_dict(carried(self.optimizer.state_dict(), lib))
        other.steps(first, last)
        return other.values()


def carried(state, lib):
    if hasattr(state, "detach"):
        return lib.tensor(state.detach().numpy().copy())
    if isinstance(state, dict):
        return {key: carried(value, lib) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(carried(value, lib) for value in state)
    return state


def form(state):
    """A state dict with tensors replaced by dtype and shape."""
    if hasattr(state, "detach"):
        return str(state.dtype), tuple(state.shape)
    if isinstance(state, dict):
        return {key: form(value) for key, value in state.items()}
    return state


@pytest.mark.parametrize("name, options", CASES)
def test_steps_and_states_are_pytorchs(name, options):
    draws = np.random.default_rng(0)
    shapes = [(3, 4), (5, 2)] if name == "Muon" else [(3, 4), (5,)]
    values = [draws.standard_normal(shape) for shape in shapes]
    ours, theirs = (Trained(lib, name, options, values) for lib in (flambeau, reference))
    for each in (ours, theirs):
        each.steps(0, 3)
    crossed = [
        ours.continued_by(reference, options, 3, 5),
        theirs.continued_by(flambeau, options, 3, 5),
    ]
    if name != "LBFGS":  # it keeps scratch memory in its state
        assert form(ours.optimizer.state_dict()) == form(theirs.optimizer.state_dict())
    assert repr(ours.optimizer) == repr(theirs.optimizer)
    for each in (ours, theirs):
        each.steps(3, 5)
    for found in (ours.values(), *crossed):
        for a, b in zip(found, theirs.values(), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-7)  # PyTorch keeps some numbers in float32
