"""Programs as libraries on `torch.fx` are written: extraction of features, quantisation, profiling,
decomposition, splitting for pipelines, tracers with proxies of their own.
"""

import collections
import copy
import operator
import pickle
import time

import pytest

import flambeau as torch
from flambeau import fx, nn
from flambeau.fx.passes.shape_prop import ShapeProp
from flambeau.fx.passes.split_module import split_module
from flambeau.nn import functional as F


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.conv2(self.relu(self.conv1(x)))
        return self.relu(y + x)


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
        self.layer1 = nn.Sequential(Residual(4), Residual(4))
        self.layer2 = Residual(4)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.layer2(self.layer1(self.stem(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        x = F.dropout(x, 0.1, self.training)
        return self.fc(self.drop(x))


X = torch.randn(2, 3, 9, 9)


# --- extraction of features -----------------------------------------------------------------------


class NodePathTracer(fx.Tracer):
    """Gives nodes names by where in the modules they were made."""

    def __init__(self, leaves=()):
        super().__init__()
        self.leaves, self.current, self.qualnames = tuple(leaves), "", collections.OrderedDict()

    def is_leaf_module(self, m, module_qualified_name):
        return isinstance(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m, forward, args, kwargs):
        before = self.current
        try:
            self.current = self.path_of_module(m)
            return super().call_module(m, forward, args, kwargs)
        finally:
            self.current = before

    def create_proxy(self, kind, target, args, kwargs, name=None, type_expr=None, *more):
        proxy = super().create_proxy(kind, target, args, kwargs, name, type_expr)
        path = self.current
        if kind != "call_module":
            own = target if isinstance(target, str) else target.__name__
            path = f"{path}.{own}" if path else own
        count = sum(each.split(":")[0] == path for each in self.qualnames.values())
        self.qualnames[proxy.node] = f"{path}:{count}" if count else path
        return proxy


def feature_extractor(model, wanted, leaves=()):
    """A module that gives a dict of inner values and computes nothing else."""
    tracer = NodePathTracer(leaves)
    graph = tracer.trace(model)
    graph.print_tabular = None  # nobody needs it
    outputs = {name: node for node, name in tracer.qualnames.items() if name in wanted}
    assert outputs.keys() == set(wanted)
    old = next(node for node in reversed(graph.nodes) if node.op == "output")
    graph.erase_node(old)
    graph.owning_module = model
    graph.output({wanted[name]: node for name, node in outputs.items()})
    graph.eliminate_dead_code()
    return fx.GraphModule(model, graph, "Extractor")


def test_features_are_extracted():
    model = Backbone().eval()
    stem = model.stem(X)
    extractor = feature_extractor(model, {"stem.2": "low", "layer1.0.relu:1": "mid"})
    found = extractor(X)
    assert list(found) == ["low", "mid"]
    assert torch.equal(found["mid"], model.layer1[0](stem.clone()))
    assert not hasattr(extractor, "fc") and not hasattr(extractor, "layer2")
    whole = feature_extractor(model, {"layer2": "high"}, leaves=(Residual,))
    assert torch.equal(whole(X)["high"], model.layer2(model.layer1(model.stem(X))))
    training = feature_extractor(model.train(), {"fc": "out"})
    assert training.training and "training = True" in training.code
    assert "training = False" in feature_extractor(model.eval(), {"fc": "out"}).code


# --- quantisation ---------------------------------------------------------------------------------


class Observer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("low", torch.tensor(float("inf")))
        self.register_buffer("high", torch.tensor(float("-inf")))

    def forward(self, x):
        self.low.copy_(torch.minimum(self.low, x.detach().min()))
        self.high.copy_(torch.maximum(self.high, x.detach().max()))
        return x


class QuantTracer(fx.Tracer):
    """Leaves of its own, and notes in which module a node was made."""

    def __init__(self, skipped):
        super().__init__()
        self.skipped, self.scopes = skipped, {}

    def is_leaf_module(self, m, module_qualified_name):
        return type(m) in self.skipped or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, kind, target, args, kwargs, name=None, type_expr=None):
        node = super().create_node(kind, target, args, kwargs, name, type_expr)
        self.scopes[node.name] = self.scope.module_path, self.scope.module_type
        return node


WATCHED = (nn.Conv2d, nn.Linear)


def prepare(model, skipped=()):
    tracer = QuantTracer(skipped)
    module = fx.GraphModule(model, tracer.trace(copy.deepcopy(model)), type(model).__name__)
    module.meta["scopes"] = tracer.scopes
    modules = dict(module.named_modules())
    for node in list(module.graph.nodes):
        if node.op == "call_module" and isinstance(modules[node.target], WATCHED):
            name = f"{node.name}_observer"
            module.add_submodule(name, Observer())
            with module.graph.inserting_after(node):
                seen = module.graph.call_module(name, (node,))
            node.replace_all_uses_with(seen, lambda user, seen=seen: user is not seen)
    module.graph.lint()
    module.recompile()
    return module


def fake_quantize(x, low: float, high: float):
    step = (high - low) / 255
    return torch.round((x - low) / step).clamp(0, 255) * step + low


fx.wrap("fake_quantize")


def convert(module):
    module = copy.deepcopy(module)
    for node in module.graph.find_nodes(op="call_module"):
        observer = module.get_submodule(node.target)
        if isinstance(observer, Observer):
            with module.graph.inserting_before(node):
                args = (node.args[0], observer.low.item(), observer.high.item())
                made = module.graph.call_function(fake_quantize, args)
            made.meta["is_wrapped"] = True  # nobody traces into it
            node.replace_all_uses_with(made)
            module.graph.erase_node(node)
    module.delete_all_unused_submodules()
    module.graph.lint()
    module.recompile()
    return module


def test_observers_come_and_go():
    model = Backbone().eval()
    prepared = prepare(model)
    assert torch.equal(prepared(X), model(X))
    observers = [m for m in prepared.modules() if isinstance(m, Observer)]
    assert len(observers) == 8 and all(m.low < m.high for m in observers)
    assert prepared.meta["scopes"]["layer1_0_conv1"] == ("layer1.0.conv1", nn.Conv2d)
    assert prepared.meta["scopes"]["add"] == ("layer1.0", Residual)
    prepared = pickle.loads(pickle.dumps(prepared))
    converted = convert(prepared)
    assert not any(isinstance(m, Observer) for m in converted.modules())
    assert torch.allclose(converted(X), model(X), atol=0.05)
    assert not torch.equal(converted(X), model(X))
    assert converted.code.count("fake_quantize(") == 8
    again = fx.symbolic_trace(converted)  # the wrapped function is not traced into
    assert again.code.count("fake_quantize(") == 8
    assert sum(isinstance(m, Observer) for m in prepare(model, (Residual,)).modules()) == 2


# --- interpreters ---------------------------------------------------------------------------------


class Profiler(fx.Interpreter):
    def __init__(self, module):
        super().__init__(module)
        self.seconds = collections.defaultdict(list)

    def run_node(self, n):
        begin = time.perf_counter()
        value = super().run_node(n)
        self.seconds[n].append(time.perf_counter() - begin)
        return value


class SwapFunctions(fx.Interpreter):
    def call_function(self, target, args, kwargs):
        if target is torch.sigmoid:
            return torch.neg(*args, **kwargs)
        return super().call_function(target, args, kwargs)

    def call_method(self, target, args, kwargs):
        if target == "neg":
            owner, *rest = args
            return owner.sigmoid(*rest, **kwargs)
        return super().call_method(target, args, kwargs)


def test_interpreters_time_and_exchange():
    module = fx.symbolic_trace(Backbone().eval())
    profiler = Profiler(module)
    for _ in range(3):
        assert torch.equal(profiler.run(X), module(X))
    assert {len(each) for each in profiler.seconds.values()} == {3}
    assert profiler.seconds.keys() == set(module.graph.nodes)
    swapped = SwapFunctions(fx.symbolic_trace(lambda x: torch.sigmoid(x).neg()))
    assert torch.equal(swapped.run(X), X.neg().sigmoid())


# --- decomposition by tracing again ---------------------------------------------------------------

RULES = {
    F.relu: lambda x, inplace=False: (x > 0) * x,
    torch.sigmoid: lambda x: 1 / (1 + torch.exp(-x)),
}


def decompose(module):
    graph, values, tracer = fx.Graph(), {}, None
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in RULES:
            tracer = tracer or fx.proxy.GraphAppendingTracer(graph)
            args = [fx.Proxy(values[a], tracer) if isinstance(a, fx.Node) else a for a in node.args]
            values[node] = RULES[node.target](*args, **node.kwargs).node
        else:
            values[node] = graph.node_copy(node, lambda n: values[n])
    return fx.GraphModule(module, graph)


def test_functions_are_decomposed_through_proxies():
    def program(x):
        return F.relu(x).add(torch.sigmoid(x))

    module = decompose(fx.symbolic_trace(program))
    module.graph.lint()
    assert torch.allclose(module(X), program(X))
    names = [node.name for node in module.graph.nodes]
    assert names == ["x", "gt", "mul", "neg", "exp", "add", "truediv", "add_1", "output"]


# --- pipelines ------------------------------------------------------------------------------------


@fx.has_side_effect
def stage_ends():
    """Marks the end of a stage."""


class Marked(fx.Tracer):
    def call_module(self, m, forward, args, kwargs):
        made = super().call_module(m, forward, args, kwargs)
        if isinstance(m, Residual):
            self.create_proxy("call_function", stage_ends, (), {})
        return made


def test_a_program_is_cut_at_marks():
    model = Backbone().eval()
    module = fx.GraphModule(model, Marked().trace(model))
    assert module.graph.eliminate_dead_code() is False
    stage = 0

    def stage_of(node):
        nonlocal stage
        now, stage = stage, stage + (node.target is stage_ends)
        return now

    split = split_module(module, model, stage_of, keep_original_order=True)
    assert [name for name, _ in split.named_children()] == [f"submod_{i}" for i in range(4)]
    value = X
    for _, part in split.named_children():
        value = part(value)
    assert torch.equal(value, model(X))
    assert len(list(split.parameters())) == len(list(model.parameters()))


# --- proxies of one's own -------------------------------------------------------------------------


class ShapedProxy(fx.Proxy):
    """Knows its value's shape, so that programs may ask for it."""

    def size(self, dim=None):
        return self.node.meta["shape"] if dim is None else self.node.meta["shape"][dim]

    @property
    def shape(self):
        return self.size()

    def __len__(self):
        return self.shape[0]


class ShapedTracer(fx.Tracer):
    def __init__(self, **shapes):
        super().__init__()
        self.shapes = shapes

    def proxy(self, node):
        if node.op == "placeholder":
            node.meta["shape"] = torch.Size(self.shapes[node.name])
            return ShapedProxy(node, self)
        return super().proxy(node)

    def to_bool(self, obj):
        return True  # this library takes the first branch

    def iter(self, obj):
        return iter([obj[i] for i in range(len(obj))])


def test_proxies_that_know_shapes():
    def program(x, y):
        if x.sum() > 0:
            x = x.reshape(x.size(0), -1)
        for row in y:
            x = x + row.sum()
        return x.view(x.shape[0], *y.shape)

    graph = ShapedTracer(x=(4, 6), y=(2, 3)).trace(program)
    module = fx.GraphModule({}, graph)
    x, y = torch.rand(4, 6), torch.rand(2, 3)
    assert torch.equal(module(x, y), program(x, y))
    assert "x.reshape(4, -1)" in module.code


# --- programs built by hand -----------------------------------------------------------------------


def test_a_graph_is_built_and_changed_by_hand():
    graph = fx.Graph(tracer_cls=QuantTracer)
    x = graph.placeholder("x")
    weight = graph.get_attr("weight")
    product = graph.create_node("call_function", torch.matmul, (x, weight), name="product")
    rows = graph.call_method("size", (product, 0))
    graph.output((product, {"rows": rows}))
    module = fx.GraphModule({"weight": nn.Parameter(torch.eye(3))}, graph, "Built")
    assert module(torch.ones(2, 3))[1] == {"rows": 2}
    with graph.inserting_before(product):
        shift = graph.call_function(operator.add, (x, 1))
    product.replace_input_with(x, shift)
    product.insert_arg(1, weight)
    product.args = product.args[:2]
    product.update_kwarg("out", None)
    module.recompile()
    graph.lint()
    ShapeProp(module).propagate(torch.ones(2, 3))
    assert product.meta["tensor_meta"].shape == (2, 3)
    assert module(torch.ones(2, 3))[0].tolist() == [[2.0] * 3] * 2
    assert graph.find_nodes(op="call_function", target=torch.matmul) == [product]
    assert copy.deepcopy(module).graph._tracer_cls is QuantTracer


@pytest.mark.parametrize("kind", [Backbone, Residual])
def test_state_dicts_of_traced_modules_are_the_modules(kind):
    model = kind() if kind is Backbone else kind(4)
    traced = fx.symbolic_trace(model)
    assert traced.state_dict().keys() == model.state_dict().keys()
    other = kind() if kind is Backbone else kind(4)
    other.load_state_dict(traced.state_dict())
    for a, b in zip(traced.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
