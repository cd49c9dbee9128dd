"""Control flow in traced programs: what shapes and modules decide, and the guards that stay."""

import copy
import pickle

import pytest

import flambeau as ft
from flambeau import fx, nn
from flambeau.fx.experimental.debug import set_trace
from flambeau.fx.experimental.meta_tracer import MetaTracer
from flambeau.fx.experimental.rewriter import RewritingTracer
from flambeau.nn import functional as F


class Block(nn.Module):
    scale = 2.0

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.scaled, self.sizes, self._hidden = True, [3, (1, 2)], 3

    @property
    def wide(self):
        return self._hidden > 2

    def forward(self, x):
        y = self.linear(x)
        if y.shape[-1] == self.sizes[0] and self.scaled and self.wide:
            y = y * self.scale
        return F.dropout(y, 0.5, self.training)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.count, self.norm = Block(), 2, nn.BatchNorm1d(3)

    def forward(self, x):
        x = self.norm(x)
        for _ in range(self.count):
            x = self.block(x)
        return x + 1 if x.dim() == 2 else x


X = ft.randn(4, 3)


@pytest.fixture
def traced():
    net = Net().eval()
    module = fx.symbolic_trace(net, example_inputs=(X,))
    module.graph.lint()
    assert ft.equal(module(X), net(X))
    return module


def test_without_examples_nothing_is_guarded():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.flag = True

        def forward(self, x):
            return x + 1 if self.flag else x

    assert "assert" not in fx.symbolic_trace(Plain()).code
    module = fx.symbolic_trace(Plain(), example_inputs=())
    module.flag = False
    with pytest.raises(AssertionError, match=r"flag was True while the program was traced"):
        module(X)


ATTRIBUTES = {
    "count": 3,
    "block.scaled": False,
    "block.sizes": [4],
    "block._hidden": 1,
    "block.scale": 1.0,
    "block.training": True,
}


@pytest.mark.parametrize("path", ATTRIBUTES)
def test_plain_attributes_are_guarded(traced, path):
    *prefix, name = path.split(".")
    setattr(traced.get_submodule(".".join(prefix)), name, ATTRIBUTES[path])
    with pytest.raises(AssertionError, match=rf"{path} was .* while the program was traced"):
        traced(X)


def test_each_attribute_is_guarded_once(traced):
    targets = [node.target for node in traced.graph.find_nodes(op="get_attr")]
    assert sorted(targets) == sorted(ATTRIBUTES)


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda module: pickle.loads(pickle.dumps(module)),
        lambda module: fx.Transformer(module).transform(),
    ],
)
def test_guards_are_copied_with_the_program(traced, copied):
    made = copied(traced)
    assert ft.equal(made(X), traced(X))
    made.block.scaled = False
    with pytest.raises(AssertionError, match=r"block\.scaled was True"):
        made(X)


def test_dtypes_are_guarded_and_nan_is_not():
    class Casting(nn.Module):
        def __init__(self):
            super().__init__()
            self.dtype, self.fill = ft.float64, float("nan")

        def forward(self, x):
            return x.double() if self.dtype is ft.float64 else x + self.fill

    module = fx.symbolic_trace(Casting(), example_inputs=())
    assert module(X).dtype is ft.float64
    module.dtype = ft.float32
    with pytest.raises(AssertionError, match=r"dtype was torch.float64"):
        module(X)


def test_training_mode_is_guarded_where_the_program_asked_for_it(traced):
    traced.train()
    with pytest.raises(AssertionError, match=r"block\.training was False"):
        traced(X)


def test_shapes_are_known_behind_layers():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, x):
            x = self.norm(self.convolution(x))
            return x.mean((2, 3)) if x.shape[2] > 1 else x.flatten(1)

    net, x = Deep(), ft.randn(2, 1, 5, 5)
    module = fx.symbolic_trace(net, example_inputs=(x,))
    assert net.norm.num_batches_tracked == 0  # nothing was computed
    assert module(x).shape == (2, 2)
    with pytest.raises(AssertionError, match="while the program was traced"):
        module(ft.randn(2, 1, 3, 3))


def test_a_trace_leaves_modules_as_they_were(traced):
    assert "__getattribute__" not in vars(nn.Module)
    assert Net().block.scaled is True


def test_examples_by_name():
    def program(x, y):
        return x + y if x.shape == y.shape else x

    tracer = MetaTracer()
    graph = tracer.trace(program, meta_args={"x": X, "y": X})
    module = fx.GraphModule({}, graph)
    assert ft.equal(module(X, X), X + X)
    with pytest.raises(AssertionError):
        module(X, X[:1])


# --- statements written as calls ------------------------------------------------------------------


class Asserting(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Net()

    def forward(self, x):
        assert x.shape[0] == 4, "four rows"
        y: ft.Tensor = x * 2
        return self.inner.norm(y)


def test_assertions_and_annotations_are_rewritten():
    net = Asserting().eval()
    tracer = RewritingTracer()
    module = fx.GraphModule(net, tracer.trace(net))
    assert ft.equal(module(X), net(X))
    assert "mul : torch.Tensor = x * 2" in module.code
    with pytest.raises(AssertionError, match="four rows"):
        module(X[:2])
    limit = 5.0

    def closed(x):
        assert x.sum() < limit
        return x + limit

    closed_module = fx.GraphModule({}, RewritingTracer().trace(closed))
    assert closed_module(ft.zeros(2)).tolist() == [5, 5]
    with pytest.raises(AssertionError):
        closed_module(ft.ones(9))


def test_a_program_can_stop_in_the_debugger(monkeypatch):
    stops = []
    monkeypatch.setattr("pdb.set_trace", lambda: stops.append(1))
    module = set_trace(fx.symbolic_trace(lambda x: x + 1))
    assert module(ft.ones(1)).item() == 2
    assert stops == [1]
