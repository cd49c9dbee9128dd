"""Epilogues of captured products: fewer instructions, the same bits."""

import numpy
import pytest

import flambeau as torch
from flambeau.graph.program import Loop, Sums
from flambeau.nn import functional as F

pytestmark = pytest.mark.machine_code("products take kernels into theirs")


def program_of(compiled):
    [variant] = [v for entry in compiled._entries.values() for v in entry.variants]
    return variant.executable.program


def kinds(compiled):
    """How many products and pointwise kernels the program has."""
    found = program_of(compiled).instructions
    loops = [i for i in found if isinstance(i, Loop) and i.kernel.kind == "pointwise"]
    return sum(isinstance(i, Sums) for i in found), len(loops)


def tensors(*shapes):
    torch.manual_seed(0)
    return [torch.randn(*shape) for shape in shapes]


def check(function, *arguments):
    """Compiled as eager, bit for bit, twice; the compiled function."""
    compiled = torch.compile(function)
    for _ in range(3):
        expected, got = function(*arguments), compiled(*arguments)
        for a, b in zip(expected, got, strict=True):
            numpy.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
    return compiled


CASES = {
    "bias and activation": lambda x, w, b, r: (F.gelu(F.linear(x, w, b)),),
    "residual": lambda x, w, b, r: (r + F.linear(x, w, b).relu() * 2,),
    "both are wanted": lambda x, w, b, r: (y := F.linear(x, w, b), y.tanh()),
    "other types": lambda x, w, b, r: (y := x @ w.t(), y > 0, y.half()),
    "wider types": lambda x, w, b, r: (y := x @ w.t(), y.double() * 3, y.int()),
    "by rows and columns": lambda x, w, b, r: ((x @ w.t()) * r[:, :1] + r[0],),
    "heads": lambda x, w, b, r: (F.linear(x, w, b).view(100, 8, -1).sin(),),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_follows_a_product_joins_it(name, dtype):
    arguments = [t.to(dtype) for t in tensors((100, 250), (200, 250), (200,), (100, 200))]
    with torch.no_grad():
        compiled = check(CASES[name], *arguments)
    assert kinds(compiled) == (1, 0)


def test_what_cannot_join():
    """Turned results, and writes to what the product reads."""
    x, w = tensors((100, 250), (250, 250))
    compiled = check(lambda x, w: ((x @ w).t().contiguous() + 1,), x, w)
    assert kinds(compiled) == (1, 1)

    def overwrites(x, w):
        x = x.clone()
        x.add_(x @ w)
        return (x,)

    assert kinds(check(overwrites, x, w))[0] == 1


def test_dropout_and_optimizer_join():
    def make():
        torch.manual_seed(1)
        model = torch.nn.Sequential(
            torch.nn.Linear(200, 300), torch.nn.Dropout(0.3), torch.nn.Linear(300, 200)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        (x,) = tensors((128, 200))

        def step():
            optimizer.zero_grad()
            loss = (model(x) - x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return model, step

    (ours, step), (theirs, eager) = make(), make()
    compiled = torch.compile(step)
    for _ in range(5):
        torch.manual_seed(7)
        loss = compiled()
        torch.manual_seed(7)
        assert loss.item() == eager().item()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        numpy.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
        numpy.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())
    weights = {id(p) for p in ours.parameters()}
    products = [i for i in program_of(compiled).instructions if isinstance(i, Sums)]
    assert sum(any(id(o.buffer.holder) in weights for o in i.writes) for i in products) == 2


def block(dims=2, channels=32, kernel=3, **options):
    """relu(norm(conv(x)) + r) with statistics that are not trivial."""
    torch.manual_seed(2)
    conv = (torch.nn.Conv1d, torch.nn.Conv2d)[dims - 1](channels, 64, kernel, **options)
    norm = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)[dims - 1](64)
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.weight.normal_()
    model = torch.nn.Sequential(conv, norm).eval()
    return lambda x, r: (torch.relu(model(x) + r),)


BLOCKS = {
    "winograd": (block(padding=1), (2, 32, 14, 14), (2, 64, 14, 14)),
    "winograd, with a bias, one image": (block(padding=1, bias=True), (1, 32, 9, 7), (64, 1, 1)),
    "direct": (block(stride=2), (3, 32, 15, 15), (3, 64, 7, 7)),
    "many channels": (block(channels=200, kernel=2), (1, 200, 6, 5), (1, 64, 5, 4)),
    "groups": (block(groups=4, kernel=5), (2, 32, 9, 9), (2, 64, 5, 5)),
    "one place": (block(kernel=3), (2, 32, 3, 3), (2, 64, 1, 1)),
    "one dimension": (block(1), (2, 32, 40), (2, 64, 38)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_what_follows_a_convolution_joins_it(name):
    function, *shapes = BLOCKS[name]
    with torch.no_grad():
        compiled = check(function, *tensors(*shapes))
    # Single numbers for each channel are made beside it.
    assert kinds(compiled)[0] == 1
    found = program_of(compiled).instructions
    assert all(i.operands[0].layout.numel <= 64 for i in found if isinstance(i, Loop))


def test_an_epilogue_where_winograd_is_not_finite():
    """The direct kernel repeats the epilogue: nothing may be added twice."""
    function = block(padding=1)
    x, r = tensors((1, 32, 12, 12), (1, 64, 12, 12))
    x[0, 3, 5, 5], x[0, 4, 1, 1] = float("inf"), float("nan")
    with torch.no_grad():
        check(function, x, r)
        conv = torch.nn.Conv2d(32, 64, 3, padding=1, bias=False)

        def in_place(x, r):
            r = r.clone()
            r += conv(x)
            return (r,)

        check(in_place, x, r)


def test_planes_that_are_swept_stay_as_they_are():
    torch.manual_seed(2)
    conv = torch.nn.Conv2d(8, 8, 3, groups=8)
    with torch.no_grad():
        compiled = check(lambda x: (conv(x).relu(),), *tensors((2, 8, 10, 10)))
    assert kinds(compiled) == (0, 1)


def test_a_convolution_trains():
    """Gradients through an epilogue that stores what backward reads."""

    def make():
        torch.manual_seed(1)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.GELU(),
            torch.nn.Conv2d(32, 16, 3, stride=2), torch.nn.SiLU(),
        )  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        (x,) = tensors((2, 16, 13, 13))

        def step():
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return model, step

    (ours, step), (theirs, eager) = make(), make()
    compiled = torch.compile(step)
    for _ in range(4):
        assert compiled().item() == eager().item()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        numpy.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
