"""Passes over programs: `flambeau.fx.passes` and `flambeau.fx.experimental`."""

import operator
import sys
import xml.etree.ElementTree as ElementTree

import pytest

import flambeau as ft
from flambeau import fx, nn
from flambeau.fx.experimental.const_fold import split_const_subgraphs
from flambeau.fx.experimental.merge_matmul import merge_matmul
from flambeau.fx.experimental.meta_tracer import symbolic_trace as trace_with_shapes
from flambeau.fx.experimental.normalize import NormalizeArgs, NormalizeOperators
from flambeau.fx.experimental.optimization import extract_subgraph, fuse, remove_dropout
from flambeau.fx.experimental.proxy_tensor import make_fx
from flambeau.fx.passes import (
    annotate_getitem_nodes,
    graph_manipulation,
    net_min_base,
    param_fetch,
    pass_manager,
    split_utils,
    splitter_base,
)
from flambeau.fx.passes.dialect.common.cse_pass import CSEPass
from flambeau.fx.passes.fake_tensor_prop import FakeTensorProp
from flambeau.fx.passes.graph_drawer import FxGraphDrawer
from flambeau.fx.passes.graph_transform_observer import GraphTransformObserver
from flambeau.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from flambeau.fx.passes.infra.pass_base import PassBase, PassResult
from flambeau.fx.passes.infra.pass_manager import (
    PassManager,
    pass_result_wrapper,
    this_before_that_pass_constraint,
)
from flambeau.fx.passes.operator_support import (
    OperatorSupport,
    OpSupports,
    any_chain,
    chain,
    create_op_support,
)
from flambeau.fx.passes.shape_prop import ShapeProp
from flambeau.fx.passes.split_module import split_module
from flambeau.fx.passes.tools_common import legalize_graph
from flambeau.fx.passes.utils import compare_graphs, lift_subgraph_as_module
from flambeau.fx.passes.utils.source_matcher_utils import (
    check_subgraphs_connected,
    get_source_partitions,
)
from flambeau.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x):
        y = self.drop(ft.relu(self.bn(self.conv(x))))
        return self.head(F.adaptive_avg_pool2d(y, 1).flatten(1))


def net():
    made = Net()
    made.bn.running_mean.copy_(ft.randn(4))
    made.bn.running_var.copy_(ft.rand(4) + 0.5)
    with ft.no_grad():
        made.bn.weight.copy_(ft.randn(4))
        made.bn.bias.copy_(ft.randn(4))
    return made.eval()


X = ft.randn(2, 3, 5, 5)


@pytest.mark.parametrize("kind", [ShapeProp, FakeTensorProp])
def test_shapes_are_noted(kind):
    module = fx.symbolic_trace(net())
    kind(module).propagate(X)
    metas = {n.name: n.meta["tensor_meta"] for n in module.graph.nodes if "tensor_meta" in n.meta}
    assert tuple(metas["conv"].shape) == (2, 4, 5, 5) and metas["conv"].dtype is ft.float32
    assert tuple(metas["output"].shape) == (2, 2) and metas["flatten"].stride == (4, 1)


def test_batch_norms_are_folded():
    model = net()
    fused = fuse(model)
    assert not any(isinstance(each, nn.BatchNorm2d) for each in fused.modules())
    assert ft.allclose(fused(X), model(X), atol=1e-5)
    assert any(isinstance(each, nn.BatchNorm2d) for each in model.modules())


def test_shared_convolutions_are_not_folded():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv(x)
            return self.bn(y) + y + self.bn(self.conv(y))

    model = Shared().eval()
    model.bn.running_mean.copy_(ft.randn(3))
    assert ft.allclose(fuse(model)(X), model(X), atol=1e-5)


def test_dropout_is_removed():
    model = net()
    removed = remove_dropout(model)
    assert "drop" not in removed.code and ft.equal(removed(X), model(X))


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_a_program_is_split(parts):
    model = net()
    module = fx.symbolic_trace(model)
    order = {node: place for place, node in enumerate(module.graph.nodes)}
    paths = {}
    split = split_module(module, model, lambda node: order[node] * parts // len(order), paths)
    split.graph.lint()
    assert len(list(split.children())) == parts
    assert ft.equal(split(X), model(X))
    assert {path.partition(".")[2]: old for path, old in paths.items()}["conv"] == "conv"


def test_parts_may_be_woven_but_not_in_a_circle():
    def program(x, y):
        a, b = x + 1, y * 2
        return (a - b, a * b), b

    module = fx.symbolic_trace(program)
    names = {"add": "a", "mul": "b", "sub": "c", "mul_1": "c"}
    split = split_module(module, module, lambda node: names[node.name])
    x, y = ft.ones(2), ft.ones(2)
    assert str(split(x, y)) == str(program(x, y))
    with pytest.raises(RuntimeError, match="cycle exists between partitions!"):
        split_module(
            fx.symbolic_trace(lambda x: ft.relu(-ft.relu(x))),
            module,
            lambda node: node.name.startswith("relu"),
        )


def test_a_program_is_split_by_tags():
    model = net()
    module = fx.symbolic_trace(model)
    for node in module.graph.nodes:
        node.tag = "late" if "head" in str(node.target) else "early"
    split, paths = split_utils.split_by_tags(module, ["early", "late"], return_fqn_mapping=True)
    assert [name for name, _ in split.named_children()] == ["early", "late"]
    assert paths["late.head.0"] == "head.0" and ft.equal(split(X), model(X))


SUPPORTED = create_op_support(
    lambda modules, node: node.target in (ft.relu, operator.add, ft.sigmoid)
)


def test_what_a_back_end_can_run():
    module = fx.symbolic_trace(net())
    ShapeProp(module).propagate(X)
    modules = dict(module.named_modules())
    nodes = {node.name: node for node in module.graph.nodes}
    table = OperatorSupport({"torch.relu": (((ft.float32,),), {}), "flatten": None})
    support = chain(table, OpSupports.decline_if_node_in_names({"flatten"}))
    assert support.is_node_supported(modules, nodes["relu"])
    assert not support.is_node_supported(modules, nodes["flatten"])
    assert not support.is_node_supported(modules, nodes["conv"])
    either = any_chain(support, OpSupports.decline_if_input_dtype(ft.float64))
    assert either.is_node_supported(modules, nodes["conv"])


def test_nodes_are_grouped_without_circles():
    def program(x):
        a = ft.relu(x)
        b = ft.sigmoid(a)
        c = ft.sin(a)  # not supported, between two that are
        return ft.relu(b + c) + a

    module = fx.symbolic_trace(program)
    x = ft.randn(3)
    expected = module(x)
    partitioner = CapabilityBasedPartitioner(module, SUPPORTED)
    parts = partitioner.propose_partitions()
    assert sorted(sorted(n.name for n in part.nodes) for part in parts) == [
        ["add", "add_1", "relu_1"],
        ["relu", "sigmoid"],
    ]
    fused = partitioner.fuse_partitions(parts)
    fused.graph.lint()
    assert ft.equal(fused(x), expected)
    assert sum(node.op == "call_module" for node in fused.graph.nodes) == 2


def test_random_programs_are_partitioned_and_compute_the_same():
    ft.manual_seed(0)
    for _ in range(20):
        graph = fx.Graph()
        nodes = [graph.placeholder("x")]
        for _ in range(30):
            a, b, kind = ft.randint(0, len(nodes), (3,)).tolist()
            if kind % 3 == 0:
                nodes.append(graph.call_function(ft.sin, (nodes[a],)))
            else:
                nodes.append(graph.call_function(operator.add, (nodes[a], nodes[b])))
        graph.output(tuple(nodes[-5:]))
        module = fx.GraphModule({}, graph)
        x = ft.rand(2)
        expected = ft.stack(list(module(x)))
        fused = CapabilityBasedPartitioner(module, SUPPORTED, True).partition_and_fuse()
        fused.graph.lint()
        assert ft.equal(ft.stack(list(fused(x))), expected)


def test_a_splitter_alternates():
    class Splitter(splitter_base._SplitterBase):
        pass

    def program(x):
        return ft.relu(ft.sin(ft.relu(x) + 1)) * 2

    splitter = Splitter(fx.symbolic_trace(program), [ft.ones(2)], SUPPORTED)
    assert "torch.sin" in splitter.node_support_preview().split("Unsupported")[1]
    result = splitter.generate_split_results()
    names = [name for name, _ in result.split_module.named_children()]
    assert names == ["_run_on_acc_0", "_run_on_cpu_1", "_run_on_acc_2", "_run_on_cpu_3"]
    assert ft.equal(result.split_module(ft.ones(2)), program(ft.ones(2)))
    assert result.submodule_inputs["_run_on_cpu_1"][0].tolist() == [2, 2]
    assert "2 on the accelerator" in splitter.split_preview()


@pytest.mark.parametrize("method", ["sequential", "binary", "accumulate", "block", "skip"])
def test_the_node_that_makes_the_difference_is_found(method):
    class Minimizer(net_min_base._MinimizerBase):
        def run_a(self, mod, inputs, report_idx=-1):
            return mod(*inputs)

        def run_b(self, mod, inputs, report_idx=-1):
            class Wrong(fx.Interpreter):
                def call_function(self, target, args, kwargs):
                    return super().call_function(
                        ft.cos if target is ft.sin else target, args, kwargs
                    )

            return Wrong(mod).run(*inputs)

    module = fx.symbolic_trace(lambda x: ft.exp(ft.sin(ft.relu(x) + 1)) * 2)
    settings = net_min_base._MinimizerSettingBase(traverse_method=method)

    def compare(a, b, names):
        distance = float((a - b).abs().max())
        return distance, distance < 1e-6

    minimizer = Minimizer(module, (ft.ones(2),), compare, settings)
    if method == "skip":
        found = minimizer.minimize(skip_nodes=["add", "mul"])
        assert {node.name for node in found} == {"sin", "exp"}
        return
    assert [node.name for node in minimizer.minimize()] == ["sin"]
    if method == "block":
        last = minimizer.minimize(find_last_node=True)
        first = minimizer.minimize(find_last_node=False)
        assert [{n.name for n in found} for found in (last, first)] == [
            {"relu", "add", "sin"},
            {"sin", "exp", "mul"},
        ]
    assert [n.name for n in minimizer.minimize(start="sin", end="exp")] == ["sin"]
    with pytest.raises(net_min_base.FxNetMinimizerResultMismatchError):
        minimizer.run_nodes("relu", "sin")


def test_constants_are_computed_once():
    class Folding(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(ft.randn(2, 2)), nn.Parameter(ft.randn(2, 2))

        def forward(self, x):
            w = ft.matmul(self.a, self.b).relu()
            return x @ w + w.sum()

    model = Folding()
    folded = split_const_subgraphs(model)
    x = ft.randn(3, 2)
    assert ft.allclose(folded(x), model(x))
    targets = [n.target for n in folded.graph.nodes if n.op.startswith("call")]
    assert ft.matmul not in targets and "relu" not in targets
    assert (
        folded.has_folding_been_run and not folded._FX_CONST_FOLDED_ATTRS_relu.requires_grad
    ) or 1
    same = split_const_subgraphs(model, lambda node: node.target is ft.matmul)
    assert ft.matmul in [n.target for n in same.graph.nodes]


def test_arguments_and_operators_are_normalized():
    module = fx.symbolic_trace(lambda x: F.dropout(x, 0.1, False) + ft.add(x, 1))
    made = NormalizeArgs(module).transform()
    nodes = [n for n in made.graph.nodes if n.target in (F.dropout, ft.add)]
    assert all(not node.args for node in nodes)
    assert nodes[1].kwargs["alpha"] == 1 and "out" not in nodes[1].kwargs
    x = ft.ones(2)
    assert ft.equal(made(x), module(x))
    sized = fx.symbolic_trace(lambda x: x + x.shape[0] * 2)
    ShapeProp(sized).propagate(x)
    normal = NormalizeOperators(sized).transform()
    targets = [n.target for n in normal.graph.nodes]
    assert ft.add in targets and operator.mul in targets and ft.equal(normal(x), sized(x))


def test_products_are_merged():
    def program(a, b, w):
        return ft.matmul(a, w) + 1, ft.matmul(b, w)

    a, b, w = ft.randn(2, 3), ft.randn(4, 3), ft.randn(3, 5)
    merged = merge_matmul(fx.symbolic_trace(program))
    merged.graph.lint()
    assert sum(n.target is ft.matmul for n in merged.graph.nodes) == 1
    for found, wanted in zip(merged(a, b, w), program(a, b, w), strict=True):
        assert ft.allclose(found, wanted, atol=1e-6)
    chain = merge_matmul(fx.symbolic_trace(lambda a, w: ft.matmul(ft.matmul(a, w), w)))
    assert sum(n.target is ft.matmul for n in chain.graph.nodes) == 2


def test_what_is_computed_twice_is_computed_once():
    def program(x):
        a, b = ft.sin(x) + 1, ft.sin(x) + 1
        c, d = ft.sin(x) + 1.0, ft.rand_like(x)
        e = ft.rand_like(x)
        y = x * 2
        z = x * 2
        y.add_(1)
        return a, b, c, d, e, y, z

    module = fx.symbolic_trace(program)
    x = ft.ones(2)
    result = CSEPass()(module)
    assert result.modified
    module.graph.lint()
    counted = [n.target for n in module.graph.nodes if n.op == "call_function"]
    assert counted.count(operator.add) == 2 and counted.count(ft.rand_like) == 2
    assert counted.count(ft.sin) == 1
    found = module(x)
    assert found[5].tolist() == [3, 3] and found[6].tolist() == [2, 2]


def test_passes_run_in_an_order_that_holds():
    def first(gm):
        gm.trail = [*getattr(gm, "trail", []), "first"]

    def second(gm):
        gm.trail = [*getattr(gm, "trail", []), "second"]

    class Third(PassBase):
        def call(self, graph_module):
            graph_module.trail = [*graph_module.trail, "third"]
            return PassResult(graph_module, False)

        def requires(self, graph_module):
            assert "first" in graph_module.trail

    a, b = pass_result_wrapper(first), pass_result_wrapper(second)
    manager = PassManager([b, a, Third()], [this_before_that_pass_constraint(a, b)])
    with pytest.raises(RuntimeError, match="pass schedule constraint violated"):
        manager(fx.symbolic_trace(lambda x: x))
    manager.solve_constraints()
    result = manager(fx.symbolic_trace(lambda x: x))
    assert result.modified and result.graph_module.trail.index("first") < (
        result.graph_module.trail.index("second")
    )
    with pytest.raises(RuntimeError, match="An error occurred when running the 'broken' pass"):

        def broken(gm):
            raise KeyError("x")

        PassManager([pass_result_wrapper(broken)])(fx.symbolic_trace(lambda x: x))


def test_passes_as_plain_functions():
    again = pass_manager.loop_pass(lambda n: n * 2, n_iter=3)
    until = pass_manager.loop_pass(lambda n: n + 1, predicate=lambda n: n < 20)
    assert pass_manager.PassManager.build_from_passlist([again, until])(1) == 20


def test_sizes_attributes_types_and_targets():
    module = fx.symbolic_trace(net())
    graph_manipulation.get_size_of_all_nodes(module, (X,))
    nodes = {node.name: node for node in module.graph.nodes}
    assert nodes["conv"].size_bytes == (2 * 4 * 25 * 4, 2 * 4 * 25 * 4 + (4 * 3 * 9 + 4) * 4)
    param_fetch.lift_lowering_attrs_to_nodes(module)
    assert nodes["conv"].attrs_for_lowering["kernel_size"] == (3, 3)
    graph_manipulation.replace_target_nodes_with(
        module, "call_function", ft.relu, "call_function", ft.sigmoid
    )
    assert ft.sigmoid in [n.target for n in module.graph.nodes]

    def program(pair: tuple[int, ft.Tensor]):
        return pair[0], pair[1]

    graph = fx.symbolic_trace(program).graph
    annotate_getitem_nodes.annotate_getitem_nodes(graph)
    assert [n.type for n in graph.find_nodes(op="call_function")] == [int, ft.Tensor]


def test_graphs_are_compared_lifted_and_sorted():
    a, b = (
        fx.symbolic_trace(p).graph for p in (lambda x: ft.relu(x) + 1, lambda y: ft.relu(y) + 1)
    )
    assert compare_graphs(a, b)
    assert not compare_graphs(a, fx.symbolic_trace(lambda x: ft.relu(x) + 2).graph)
    module = fx.symbolic_trace(net())
    lifted, paths = lift_subgraph_as_module(module, module.graph, "part")
    assert paths["part.conv"] == "conv" and ft.equal(lifted(X), net_result(module))
    nodes = list(module.graph.nodes)
    nodes[1].prepend(nodes[4])
    with pytest.raises(RuntimeError, match="used before it has been defined"):
        module.graph.lint()
    legalize_graph(module).graph.lint()


def net_result(module):
    return module(X)


def test_nodes_are_found_by_where_they_come_from():
    graph = fx.symbolic_trace(net()).graph
    found = get_source_partitions(graph, [nn.Linear, nn.ReLU, ft.relu])
    assert [[n.name for n in p.nodes] for p in found[nn.Linear]] == [["head_0"], ["head_2"]]
    first, last = found[nn.Linear]
    assert check_subgraphs_connected(first, found[nn.ReLU][0])
    assert not check_subgraphs_connected(first, last)
    assert found[ft.relu][0].output_nodes[0].name == "relu"


def test_a_part_is_extracted():
    module = fx.symbolic_trace(net())
    nodes = {node.name: node for node in module.graph.nodes}
    part = extract_subgraph(
        module, [nodes["conv"], nodes["bn"]], [nodes["x"]], [nodes["bn"], nodes["conv"]]
    )
    bn, conv = part(X)
    assert ft.equal(module.bn(conv), bn)


def test_a_pass_is_observed(tmp_path):
    module = fx.symbolic_trace(lambda x: ft.relu(x) + 1)
    with GraphTransformObserver(module, "swap", log_url=str(tmp_path)) as observer:
        fx.replace_pattern(module, lambda x: ft.relu(x), lambda x: ft.sigmoid(x))
    assert observer.created_nodes == {"sigmoid"} and observer.erased_nodes == {"relu"}
    assert "+    %sigmoid" in observer.difference
    assert (tmp_path / "swap_output_graph.svg").exists()


def test_meta_tracing_decides_on_shapes():
    module = trace_with_shapes(lambda x, n: x * 2 if x.shape[0] == 3 else x, {"x": ft.ones(3)})
    assert module(ft.ones(3), 1).tolist() == [2, 2, 2]


# --- programs as ops ------------------------------------------------------------------------------


def test_a_program_is_written_down_in_ops():
    def program(x, w):
        y = F.relu(x @ w)
        if y.sum() > -1:  # decided: Python is not in the program
            y = y + 1
        return y.sum()

    x, w = ft.randn(2, 3), ft.randn(3, 4)
    module = make_fx(program)(x, w)
    module.graph.lint()
    other = ft.randn(2, 3)
    assert ft.allclose(module(other, w), program(other, w))
    assert all(n.op in ("placeholder", "call_function", "output") for n in module.graph.nodes)


def test_gradients_are_written_down():
    def program(x, w):
        w = w.detach().requires_grad_()
        loss = F.softmax(x @ w, -1)[:, 0].sum()
        return ft.autograd.grad(loss, w)[0]

    x, w = ft.randn(2, 3), ft.randn(3, 4)
    module = make_fx(program)(x, w)
    other = ft.randn(2, 3)
    assert ft.allclose(module(other, w), program(other, w), atol=1e-6)


def test_trees_constants_in_place_and_tables():
    constant = ft.ones(2)

    def program(d):
        y = d["a"] * constant
        y.add_(d["b"][0])
        return {"out": y, "two": (y, y.max(0))}

    inputs = {"a": ft.tensor([1.0, 2.0]), "b": [ft.tensor([3.0, 4.0])]}
    module = make_fx(program)(inputs)
    found = module({"a": inputs["a"] * 2, "b": inputs["b"]})
    assert found["out"].tolist() == [5, 8] and float(found["two"][1][0]) == 8
    table = {ft.silu if hasattr(ft, "silu") else F.silu: lambda x: x * ft.sigmoid(x)}
    decomposed = make_fx(lambda x: F.silu(x), table)(inputs["a"])
    names = [n.name for n in decomposed.graph.nodes]
    assert "sigmoid" in names and "silu" not in names


def test_shapes_suffice():
    module = make_fx(lambda x: (x @ x).sum(), tracing_mode="fake")(ft.ones(3, 3))
    assert float(module(ft.eye(3))) == 3


# --- drawings -------------------------------------------------------------------------------------


def test_a_drawing_shows_shapes_kinds_and_modules():
    module = fx.symbolic_trace(net())
    ShapeProp(module).propagate(X)
    svg = module.graph.to_svg("Net")
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    texts = [each.text for each in root.iter(space + "text")]
    for wanted in ("Net", "Conv2d", "2 × 4 × 5 × 5  float32", "head", "convolution"):
        assert wanted in texts
    drawn = [g for g in root.iter(space + "g") if g.find(space + "title") is not None]
    assert len(drawn) == len(module.graph.nodes)
    boxes = []
    for group in drawn:
        rect = group.find(space + "rect")
        x, y, w, h = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
        boxes.append((x, y, x + w, y + h))
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3], "boxes overlap"
    left, top, width, height = map(float, root.get("viewBox").split())
    for a in boxes:
        assert left <= a[0] and a[2] <= left + width and top <= a[1] and a[3] <= top + height


def test_a_drawing_as_text_for_graphviz(tmp_path):
    module = fx.symbolic_trace(net())
    drawer = FxGraphDrawer(module, "net")
    text = drawer.get_dot_graph().to_string()
    assert text.startswith('digraph "net" {') and text.count("{") == text.count("}")
    assert '"conv" -> "bn";' in text and 'subgraph "cluster_head"' in text
    drawer.get_dot_graph().write_svg(tmp_path / "net.svg")
    ElementTree.parse(tmp_path / "net.svg")
    assert list(drawer.get_all_dot_graphs()) == ["net"]


# --- size -----------------------------------------------------------------------------------------


def long_program(nodes):
    graph = fx.Graph()
    last = [graph.placeholder("x")]
    for number in range(nodes):
        target = (ft.relu, operator.add, ft.sin)[number % 3]
        args = (last[-1],) if target is not operator.add else (last[-1], last[len(last) // 2])
        last.append(graph.call_function(target, args))
    graph.output(last[-1])
    return fx.GraphModule({}, graph)


def passes(module):
    module.graph.lint()
    module.graph.eliminate_dead_code()
    module.recompile()
    str(module.graph)
    fx.replace_pattern(module, lambda x: ft.sin(ft.relu(x)), lambda x: ft.relu(ft.sin(x)))
    fx.replace_pattern(module, lambda x: ft.relu(x), lambda x: ft.sigmoid(x))
    CSEPass()(module)
    split_module(module, module, lambda node: 0)
    CapabilityBasedPartitioner(module, SUPPORTED).partition_and_fuse()


def calls_of(function):
    """How many functions, Python's and built-in ones, are called: a time that does not depend on
    the machine.
    """
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_passes_do_work_in_proportion_to_the_nodes():
    passes(long_program(300))
    calls = [calls_of(lambda n=n: passes(long_program(n))) for n in (500, 4000)]
    assert calls[1] < 8.8 * calls[0], calls  # 64 times if one pass were quadratic
