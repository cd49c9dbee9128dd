"""Every transformation keeps the user's lines: each call of its result says where it is from."""

import copy
import pickle

import pytest

import flambeau as ft
from flambeau import fx, nn
from flambeau.fx.experimental import const_fold, merge_matmul, normalize, optimization
from flambeau.fx.experimental.schema_type_annotation import AnnotateTypesWithSchema
from flambeau.fx.passes import graph_manipulation, tools_common
from flambeau.fx.passes.dialect.common.cse_pass import CSEPass
from flambeau.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from flambeau.fx.passes.operator_support import OpSupports
from flambeau.fx.passes.reinplace import reinplace
from flambeau.fx.passes.shape_prop import ShapeProp
from flambeau.fx.passes.split_module import split_module
from flambeau.fx.passes.split_utils import split_by_tags
from flambeau.fx.passes.utils import lift_subgraph_as_module
from flambeau.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
        self.drop, self.linear = nn.Dropout(), nn.Linear(2, 2)
        self.weight = nn.Parameter(ft.eye(2))

    def forward(self, x):
        y = self.norm(self.conv(x))
        y = F.relu(y).mean((2, 3))
        a, b = y.chunk(2, 1)
        y = self.drop(self.linear(y)) + ft.cat((a, b), 1)
        y = ft.matmul(y, self.weight) + ft.matmul(y * 2, self.weight)
        return ft.sigmoid(y) * ft.sigmoid(y) + self.weight.exp().sum()


X = ft.randn(3, 1, 5, 5)


def traced():
    ft.manual_seed(0)
    net = Net().eval()
    tracer = fx.Tracer()
    tracer.record_stack_traces = True
    module = fx.GraphModule(net, tracer.trace(net))
    ShapeProp(module).propagate(X)
    return module


def in_place(change):
    def changed(module):
        change(module)
        module.recompile()
        return module

    return changed


def partitioned(module):
    support = OpSupports.decline_if_node_in_names({"linear"})
    return CapabilityBasedPartitioner(module, support).partition_and_fuse()


def tagged(module):
    for node in module.graph.nodes:
        node.tag = "all"
    return split_by_tags(module, ["all"])


def lifted(module):
    graph = fx.Graph()
    values = {}
    result = graph.graph_copy(module.graph, values)
    graph.output(result)
    return lift_subgraph_as_module(module, graph)[0]


def replaced(module):
    found = fx.replace_pattern(
        module, lambda x: ft.sigmoid(x), lambda x: 1 / (1 + ft.exp(ft.neg(x)))
    )
    assert len(found) == 2
    return module


def extracted(module):
    nodes = [n for n in module.graph.nodes if n.op not in ("placeholder", "output")]
    inputs = module.graph.find_nodes(op="placeholder")
    outputs = module.graph.output_node().all_input_nodes
    return optimization.extract_subgraph(module, nodes, inputs, outputs)


def halves(module):
    first = list(module.graph.nodes)[:12]
    return lambda node: int(node not in first)


TRANSFORMATIONS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "Transformer": lambda module: fx.Transformer(module).transform(),
    "dead code": in_place(lambda module: module.graph.eliminate_dead_code()),
    "replace_pattern": replaced,
    "fuse": optimization.fuse,
    "remove_dropout": optimization.remove_dropout,
    "extract_subgraph": extracted,
    "const_fold": const_fold.split_const_subgraphs,
    "merge_matmul": merge_matmul.merge_matmul,
    "NormalizeArgs": lambda module: normalize.NormalizeArgs(module).transform(),
    "NormalizeOperators": lambda module: normalize.NormalizeOperators(module).transform(),
    "AnnotateTypes": lambda module: AnnotateTypesWithSchema(module).transform(),
    "CSE": lambda module: CSEPass()(module).graph_module,
    "split_module": lambda module: split_module(module, module, halves(module)),
    "split_by_tags": tagged,
    "partition_and_fuse": partitioned,
    "lift_subgraph": lifted,
    "replace_target": in_place(
        lambda module: graph_manipulation.replace_target_nodes_with(
            module, "call_function", ft.sigmoid, "call_function", ft.tanh
        )
    ),
    "legalize_graph": tools_common.legalize_graph,
    "reinplace": lambda module: reinplace(module, X),
}


def calls(module):
    """All calls but those of parts that a pass made, whose own calls count."""
    for node in module.graph.nodes:
        part = node.op == "call_module" and module.get_submodule(node.target)
        if isinstance(part, fx.GraphModule):
            yield from calls(part)
        elif node.op.startswith("call"):
            yield node


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_every_transformation_keeps_the_lines(name):
    made = TRANSFORMATIONS[name](traced())
    made.graph.lint()
    nodes = list(calls(made))
    assert nodes
    parts = [n for n in nodes if _takes_apart(n, made)]
    missing = [node for node in nodes if not node.stack_trace and node not in parts]
    assert not missing
    assert all("in forward" in node.stack_trace for node in nodes if node.stack_trace)


def _takes_apart(node, module):
    """Whether a node takes a result of a part out of the part's tuple."""
    source = node.args[0] if node.args else None
    return (
        isinstance(source, fx.Node)
        and source.op == "call_module"
        and isinstance(source.graph.owning_module.get_submodule(source.target), fx.GraphModule)
    )
