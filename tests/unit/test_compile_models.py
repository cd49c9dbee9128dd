"""Whole models compiled do what they do eagerly: results, gradients, buffers, random streams."""

import copy

import numpy
import pytest
from test_fx_nets import NETS, leaves

import flambeau as torch
from flambeau.nn import functional as F


def total(result):
    """One number of all floating-point results."""
    found = [t for t in leaves(result) if torch.is_tensor(t) and t.is_floating_point()]
    return sum((t * t).mean() for t in found)


def whole_step(model, optimizer, wrap):
    def step(*inputs):
        optimizer.zero_grad()
        loss = total(model(*inputs))
        loss.backward()
        optimizer.step()
        return loss

    return wrap(step)


def module_alone(model, optimizer, wrap):
    called = wrap(model)

    def step(*inputs):
        optimizer.zero_grad()
        loss = total(called(*inputs))
        loss.backward()
        optimizer.step()
        return loss

    return step


def trained(make, model, inputs, wrap):
    model = copy.deepcopy(model)
    parameters, losses = [p for p in model.parameters() if p.requires_grad], []
    torch.manual_seed(6)
    if parameters:
        step = make(model, torch.optim.SGD(parameters, lr=0.01), wrap)
        losses = [step(*inputs).item() for _ in range(4)]
    model.eval()
    with torch.no_grad():
        called = wrap(model)
        losses += [float(total(called(*inputs))) for _ in range(3)]
    return losses, {n: v.numpy() for n, v in model.state_dict().items()}, torch.rand(2).tolist()


def check(model, inputs):
    for make in (whole_step, module_alone):
        eager = trained(make, model, inputs, lambda f: f)
        compiled = trained(make, model, inputs, torch.compile)
        numpy.testing.assert_allclose(compiled[0], eager[0], rtol=1e-5)
        assert compiled[2] == eager[2]
        for name, value in eager[1].items():
            numpy.testing.assert_allclose(compiled[1][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", NETS)
def test_nets(kind):
    torch.manual_seed(0)
    check(kind(), kind.inputs)


def test_a_recurrent_classifier():
    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(11, 6)
            self.cells = torch.nn.LSTM(6, 5, num_layers=2, batch_first=True, bidirectional=True)
            self.out = torch.nn.Linear(10, 4)

        def forward(self, numbers):
            out, (last, _) = self.cells(self.embed(numbers))
            return F.log_softmax(self.out(out), -1), last

    torch.manual_seed(0)
    check(Tagger(), (torch.randint(0, 11, (3, 7)),))
