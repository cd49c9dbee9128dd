"""More of PyTorch's passes and helpers of `torch.fx`, and pickles that it wrote."""

import pickle

import pytest

import flambeau as ft
from flambeau import fx, nn
from flambeau.fx import operator_schemas
from flambeau.fx.experimental.optimization import optimize_for_inference
from flambeau.fx.experimental.proxy_tensor import make_fx
from flambeau.fx.experimental.schema_type_annotation import AnnotateTypesWithSchema
from flambeau.fx.graph_module import reduce_graph_module
from flambeau.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from flambeau.fx.passes.infra.pass_manager import PassManager
from flambeau.fx.passes.operator_support import OpSupports
from flambeau.fx.passes.reinplace import reinplace
from flambeau.fx.passes.shape_prop import ShapeProp
from flambeau.fx.passes.split_module import split_module, split_module_simple
from flambeau.fx.passes.split_utils import split_by_tags
from flambeau.fx.passes.splitter_base import (
    FxNetAccNodesFinder,
    _SplitterBase,
    generate_inputs_for_submodules,
)
from flambeau.nn import functional as F

X = ft.randn(4, 4)


def same(a, b):
    if isinstance(a, ft.Tensor):
        return ft.equal(a, b)
    return len(a) == len(b) and all(map(same, a, b))


# --- reinplace ------------------------------------------------------------------------------------


def chain(x, y):
    a = x + y  # fresh: the relu may overwrite it
    b = ft.relu(a)
    return b * 2


def input_first(x, y):
    return ft.relu(x) + y  # relu must not write to x; the sum may


def read_later(x, y):
    a = x + y
    return ft.relu(a) + a


def view_read_later(x, y):
    a = x + y
    flat = a.view(-1)
    b = ft.sin(a)
    return b, flat.sum()


def other_operand_shares(x, y):
    a = x + y
    return a + a.t()


def wider_result(x, y):
    a = x + y
    return a + ft.ones(2, 4, 4)


def expanded(x, y):
    a = (x.sum() + y.sum()).expand(4)
    return ft.relu(a)


def twice(x, y):
    a = x + y
    return ft.mul(a, a)


def returned(x, y):
    a = x + y
    return a, ft.relu(a)


PROGRAMS = {
    chain: ["relu_", "mul_"],
    input_first: ["add_"],
    read_later: ["add_"],
    view_read_later: [],
    other_operand_shares: [],
    wider_result: [],
    expanded: ["add_"],
    twice: [],
    returned: [],
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_ops_overwrite_what_nobody_reads(program):
    x, y = ft.randn(4, 4), ft.randn(4, 4)
    wanted = program(x, y)
    module = reinplace(make_fx(program)(x, y), x, y)
    assert [n.target for n in module.graph.find_nodes(op="call_method")] == PROGRAMS[program]
    module.graph.lint()
    before = x.clone(), y.clone()
    assert same(module(x, y), wanted)
    assert same((x, y), before)


# --- splitting ------------------------------------------------------------------------------------


def program(x):
    return ft.relu(x) + ft.sin(x).cos()


def test_parts_are_named_and_give_tuples():
    module = fx.symbolic_trace(program)
    parts = {node: node.name in ("sin", "cos") for node in module.graph.nodes}
    split = split_module(
        module, module, lambda n: int(parts[n]), partition_affix="mine", tuple_return=True
    )
    assert [name for name, _ in split.named_children()] == ["submod_mine_1", "submod_mine_0"]
    assert isinstance(split.submod_mine_1(X), tuple)
    assert same(split(X), program(X))
    simple = split_module_simple(module, {n: int(p) for n, p in parts.items()})
    assert isinstance(simple.submod_1(X), tuple)
    assert same(simple(X), program(X))
    with pytest.raises(RuntimeError, match="relu is in no partition"):
        split_module_simple(module, {})


def test_parts_get_parameters_and_name_their_nodes_anew():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(ft.ones(4))

        def forward(self, x):
            y = (x + self.p).relu()
            return y + 1 + y

    module = fx.symbolic_trace(Net())
    early = ("add", "relu")
    split = split_module(module, module, lambda n: int(n.name not in early))
    assert "submod_0 = self.submod_0(x, p)" in split.code  # as PyTorch prints it
    assert [n.name for n in split.submod_1.graph.nodes] == ["relu", "add", "add_1", "output"]
    assert list(dict(split.named_parameters())) == ["p"]
    assert ft.equal(split(ft.ones(4)), module(ft.ones(4)))
    options = {"keep_original_node_name": True, "keep_original_input_name": False}
    split = split_module(module, module, lambda n: int(n.name not in early), **options)
    assert [n.name for n in split.submod_1.graph.nodes] == ["arg_0", "add_1", "add_2", "output"]


def test_parts_of_a_class_of_ones_own():
    class Mine(fx.GraphModule):
        pass

    module = fx.symbolic_trace(program)
    for node in module.graph.nodes:
        node.tag = "a" if node.name == "relu" else "b"
    split, paths = split_by_tags(module, ["a", "b"], True, True, Mine)
    assert isinstance(split, Mine) and isinstance(split.a, Mine)
    assert isinstance(split.a(X), tuple)
    assert same(split(X), program(X))
    assert paths == {}


def test_what_is_no_tensor_does_not_cross():
    def sizes(x):
        n = x.size(0)
        return ft.relu(x) * n

    module = fx.symbolic_trace(sizes)
    ShapeProp(module).propagate(X)
    support = OpSupports.decline_if_node_in_names({"relu", "mul"})
    loose = FxNetAccNodesFinder(module, support, allow_non_tensor=True)()
    strict = FxNetAccNodesFinder(module, support, allow_non_tensor=False)()
    assert [n.name for n in loose] == ["size"]
    assert not strict
    split = _SplitterBase(module, [X], support)()
    assert [name for name, _ in split.named_children()] == ["_run_on_cpu_0"]


def test_inputs_of_submodules():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.ReLU(inplace=True)

        def forward(self, x):
            return self.second(self.first(x) + 1)

    net = Net()
    with ft.no_grad():
        found = generate_inputs_for_submodules(net, [X], ["second"], deepcopy=True)
    assert same(found["second"][0], net.first(X) + 1)


def test_reading_the_same_value_need_not_connect():
    def forked(x):
        return ft.sin(x).relu(), ft.cos(x).relu()

    def parts(**options):
        module = fx.symbolic_trace(forked)
        support = OpSupports.decline_if_node_in_names(set())
        partitioner = CapabilityBasedPartitioner(module, support, **options)
        found = [sorted(n.name for n in part.nodes) for part in partitioner.propose_partitions()]
        assert same(partitioner.partition_and_fuse()(X), forked(X))
        return found

    assert parts() == [["cos", "relu", "relu_1", "sin"]]
    assert parts(skip_horizontal_fusion=True) == [["relu", "sin"], ["cos", "relu_1"]]


def test_a_check_of_ones_own():
    seen = []
    manager = PassManager([])
    manager.add_checks(lambda module: seen.append(module))
    module = fx.symbolic_trace(program)
    manager(module)
    assert seen == [module]
    with pytest.raises(ValueError, match="only have 1 argument"):
        manager.add_checks(lambda a, b: None)


# --- types and signatures -------------------------------------------------------------------------


class Typed(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.shift = nn.Linear(4, 4), nn.Parameter(ft.ones(4))

    def forward(self, x):
        y = F.relu(self.linear(x) + self.shift)
        values, indices = ft.max(y, 0)
        return ft.exp(values) + indices + ft.split(x, 2)[0].sum(0)


def test_types_from_signatures():
    net = Typed()
    module = AnnotateTypesWithSchema(fx.symbolic_trace(net)).transform()
    assert ft.equal(module(X), net(X))
    kinds = {node.name: node.type for node in module.graph.nodes if node.type is not None}
    tensor = dict.fromkeys(("linear", "shift", "relu", "exp"), ft.Tensor)
    assert kinds == tensor | {"split": list[ft.Tensor]}
    plain = AnnotateTypesWithSchema(fx.symbolic_trace(net), False, False, False).transform()
    assert {n.name for n in plain.graph.nodes if n.type is not None} == {"exp", "split"}


@pytest.mark.parametrize(
    ("signature", "argument", "fits"),
    [
        (ft.Tensor, ft.Tensor, True),
        (ft.Tensor, nn.Parameter, True),
        (ft.Tensor, int, False),
        (float, int, True),
        (int, float, False),
        (list[int], int, True),
        (list[int], list[int], True),
        (list[int], tuple[int, ...], True),
        (list[int], list[str], False),
        (int | None, type(None), True),
        (int | None, str, False),
    ],
)
def test_types_that_fit(signature, argument, fits):
    assert operator_schemas.type_matches(signature, argument) is fits


def test_hints_of_containers():
    hint = operator_schemas.create_type_hint
    assert hint([int, int]) == list[int]
    assert hint((int, int)) == tuple[int, ...]
    assert hint([ft.Tensor, nn.Parameter]) == list[ft.Tensor]
    assert hint(int) is int


def test_tracers_may_refuse_to_record_writes():
    tracer = fx.Tracer()
    tracer.check_mutable_operations = True
    tracer.trace(lambda x: ft.relu(x))
    with pytest.raises(NotImplementedError, match="Tried to trace mutable operation aten::relu_"):
        tracer.trace(lambda x: ft.relu_(x))


# --- make_fx --------------------------------------------------------------------------------------


def test_programs_in_ops_know_lines_and_modules():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    module = make_fx(net, record_module_stack=True, record_stack_traces=True)(X)
    linear, relu = module.graph.find_nodes(op="call_function")
    assert list(linear.meta["nn_module_stack"]) == ["", "0"]
    assert relu.meta["nn_module_stack"]["1"] == ("1", nn.ReLU)
    assert "make_fx(net" in relu.stack_trace


def test_programs_for_other_sizes_are_refused_at_the_wrong_size():
    module = make_fx(lambda x: x.reshape(-1) * x.shape[0], tracing_mode="symbolic")(X)
    assert ft.equal(module(X), X.reshape(-1) * 4)
    with pytest.raises(AssertionError, match=r"the shape of x_1 was \(4, 4\)"):
        module(X[:2])


# --- inference ------------------------------------------------------------------------------------


def test_a_model_is_made_faster():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.ReLU()).eval()
    net[1].running_mean.copy_(ft.randn(2))
    x = ft.randn(1, 1, 5, 5)
    wanted = net(x)
    fast = optimize_for_inference(net, {"mkldnn_layout_optimize": False})
    assert ft.allclose(fast(x), wanted, atol=1e-6)
    assert [type(m) for m in fast.children()] == [nn.Conv2d, nn.ReLU]
    kept = optimize_for_inference(net, {"conv_bn_fuse": False, "remove_dropout": False})
    assert len(kept.graph.nodes) == 6
    with pytest.raises(RuntimeError, match="no such passes: quantize"):
        optimize_for_inference(net, {"quantize": True})


# --- pickles that PyTorch wrote -------------------------------------------------------------------


def test_a_program_as_text_is_traced_again():
    net = Typed()
    imports = "import torch\nfrom math import inf\nimport torch.fx._pytree as fx_pytree"
    code = (
        "def forward(self, x):\n"
        "    linear = self.linear(x)\n"
        "    relu = torch.nn.functional.relu(linear, inplace = False)\n"
        "    return (relu + self.shift, fx_pytree is not None and inf)\n"
    )
    state = {**net.__getstate__(), "_code": code, "_tracer_extras": {}, "_lineno_map": {}}
    module = reduce_graph_module(state, imports)
    module.graph.lint()
    assert same(module(X)[0], F.relu(net.linear(X)) + net.shift)
    again = pickle.loads(pickle.dumps(module))
    assert same(again(X)[0], module(X)[0])


@pytest.mark.parity
def test_pytorchs_own_pickles_are_loaded(tmp_path):
    torch = pytest.importorskip("torch")
    placeholder = torch.fx.PH

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
            self.register_buffer("shift", torch.randn(3))

        def forward(self, inputs):
            x = self.layers(inputs["x"]) + self.shift
            x += inputs["y"]
            return {"sum": x.sum(), "all": [x]}

    tree = {"inputs": {"x": placeholder, "y": placeholder}}
    x, y = torch.randn(2, 3), torch.randn(2, 3)
    for concrete in (None, tree):
        module = torch.fx.symbolic_trace(Net(), concrete)
        torch.save(module, tmp_path / "module.pt")
        wanted = module({"x": x, "y": y})["sum"].item()
        mine = ft.load(tmp_path / "module.pt", weights_only=False)
        inputs = {"x": ft.from_numpy(x.numpy()), "y": ft.from_numpy(y.numpy())}
        assert mine(inputs)["sum"].item() == pytest.approx(wanted, rel=1e-5)
