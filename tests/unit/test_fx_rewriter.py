"""Replacing patterns: where a pattern is found, where not, and that results stay."""

import operator

import pytest

import flambeau as ft
from flambeau import fx, nn
from flambeau.fx.passes.utils.matcher_utils import SubgraphMatcher
from flambeau.fx.passes.utils.matcher_with_name_node_map_utils import (
    SubgraphMatcherWithNameNodeMap,
)
from flambeau.fx.subgraph_rewriter import replace_pattern_with_filters
from flambeau.nn import functional as F


def relu_neg(x):
    return -ft.relu(x)


def negated_relu(x):
    return ft.neg(ft.relu(x))


def added(x, y):
    return ft.add(x, y)


def multiplied(x, y):
    return ft.mul(x, y) + 0


def both(x, y):
    return x + y, x * y


# (name, program, pattern, replacement, how often it is there, inputs)
CASES = [
    ("once", lambda x: relu_neg(x) + 1, relu_neg, negated_relu, 1, 1),
    ("twice", lambda x: relu_neg(relu_neg(x)), relu_neg, negated_relu, 2, 1),
    ("side by side", lambda x: relu_neg(x) + relu_neg(x * 2), relu_neg, negated_relu, 2, 1),
    ("not there", lambda x: ft.relu(-x), relu_neg, negated_relu, 0, 1),
    ("read outside", lambda x: (lambda r: -r + r)(ft.relu(x)), relu_neg, negated_relu, 0, 1),
    ("returned outside", lambda x: (lambda r: (-r, r))(ft.relu(x)), relu_neg, negated_relu, 0, 1),
    ("in a list", lambda x, y: ft.stack([ft.add(x, y), ft.add(y, x)]), added, multiplied, 2, 2),
    (
        "in a nested list",
        lambda x, y: ft.cat([ft.stack([ft.add(x, y)]), ft.stack([y])]).sum(0),
        added,
        lambda x, y: y + x,
        1,
        2,
    ),
    (
        "fed by an earlier match, in a list",
        lambda x, y: ft.stack([ft.add(ft.add(x, y), y), x]),
        added,
        lambda x, y: x - -y,
        2,
        2,
    ),
    ("by name", lambda x, y: ft.add(x, other=y), added, lambda x, y: y + x, 1, 2),
    ("another default", lambda x, y: ft.add(x, y, alpha=2), added, multiplied, 0, 2),
    ("the default, given", lambda x, y: ft.add(x, y, alpha=1), added, lambda x, y: y + x, 1, 2),
    ("same input twice", lambda x: ft.add(x, x), added, lambda x, y: y + x, 1, 1),
    (
        "one input for two parameters",
        lambda x, y: ft.mul(x, y) + ft.mul(x, x),
        lambda x: ft.mul(x, x),
        lambda x: x**2,
        1,
        2,
    ),
    ("a number", lambda x: ft.add(x, 3), lambda x: ft.add(x, 3), lambda x: x + 1 + 2, 1, 1),
    ("another number", lambda x: ft.add(x, 3), lambda x: ft.add(x, 4), lambda x: x, 0, 1),
    ("another type of number", lambda x: x + 1, lambda x: x + 1.0, lambda x: x, 0, 1),
    ("true is not one", lambda x: ft.sum(x, 1), lambda x: ft.sum(x, True), lambda x: x, 0, 1),
    ("a number for an input", lambda x: ft.add(x, 3), added, lambda x, y: y + x, 1, 1),
    (
        "a slice",
        lambda x: x[1:3] * 2,
        lambda x: x[1:3],
        lambda x: ft.narrow(x, 0, 1, 2),
        1,
        1,
    ),
    ("another slice", lambda x: x[1:3] * 2, lambda x: x[1:2], lambda x: x, 0, 1),
    (
        "keyword arguments",
        lambda x: F.dropout(x, 0.5, False),
        lambda x: F.dropout(x, p=0.5, training=False),
        lambda x: x * 1,
        1,
        1,
    ),
    ("methods", lambda x: x.relu().neg(), lambda x: x.relu().neg(), lambda x: -ft.relu(x), 1, 1),
    ("a method is no function", lambda x: x.relu(), lambda x: ft.relu(x), lambda x: x, 0, 1),
    (
        "two results",
        lambda x, y: (lambda a, m: a - m)(*both(x, y)),
        both,
        lambda x, y: (y + x, y * x),
        1,
        2,
    ),
    (
        "two results, apart",
        lambda x, y: (lambda a: a.relu() - x * y)(x + y),
        both,
        lambda x, y: (y + x, y * x),
        1,
        2,
    ),
    (
        "two results with no place for both",
        lambda x, y: (lambda a: a * a.sin())(x + y),
        lambda x, y, z: (x + y, z * 1),
        lambda x, y, z: (y + x, z),
        0,
        2,
    ),
    (
        "overlapping",
        lambda x: ft.relu(ft.relu(ft.relu(x))),
        lambda x: ft.relu(ft.relu(x)),
        lambda x: ft.relu(x) + 0,
        1,
        1,
    ),
    ("the whole program", relu_neg, relu_neg, negated_relu, 1, 1),
    (
        "written in between",
        lambda x: (lambda r: (operator.iadd(r, 1), -r)[1])(ft.relu(x)),
        relu_neg,
        negated_relu,
        0,
        1,
    ),
    (
        "the input written in between",
        lambda x: (lambda y: (lambda r: (y.add_(100), r + y[0])[1])(ft.relu(y)))(x * 1),
        lambda y: ft.relu(y) + y[0],
        lambda y: y[0] + ft.relu(y),
        0,
        1,
    ),
    ("nested results", lambda x: {"a": [relu_neg(x)]}["a"][0], relu_neg, negated_relu, 1, 1),
    (
        "a constant tensor is its own",
        lambda x: x + ft.ones(2),
        lambda x: x + ft.zeros(2),
        lambda x: x,
        0,
        1,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    "name, program, pattern, replacement, count, inputs", CASES, ids=[case[0] for case in CASES]
)
def test_cases(name, program, pattern, replacement, count, inputs):
    module = fx.symbolic_trace(program)
    before = str(module.graph)
    x = [ft.tensor([1.0, -2.0, 3.0, 0.5]), ft.tensor([2.0, 4.0, -1.0, 3.0])][:inputs]
    if name == "a constant tensor is its own":
        x = [x[0][:2]]
    elif name == "true is not one":
        x = [ft.ones(2, 2)]
    expected = module(*[each.clone() for each in x])
    found = fx.replace_pattern(module, pattern, replacement)
    module.graph.lint()
    assert len(found) == count
    if not count:
        assert str(module.graph) == before
    result = module(*[each.clone() for each in x])
    equal = ft.stack(list(result)) if isinstance(result, tuple) else result
    wanted = ft.stack(list(expected)) if isinstance(expected, tuple) else expected
    if replacement is not multiplied:
        assert ft.allclose(equal, wanted)
    for match in found:
        assert match.anchor in match.nodes_map.values()


def test_a_replacement_stands_before_its_first_user():
    module = fx.symbolic_trace(lambda a, b: ft.relu(a) + b + (ft.relu(b) + a).neg())
    fx.replace_pattern(module, lambda x, y: ft.relu(x) + y, lambda x, y: ft.sigmoid(x) * y)
    names = [node.name for node in module.graph.nodes]  # the order in which PyTorch prints them
    assert names == ["a", "b", "sigmoid_1", "mul_1", "neg", "sigmoid", "mul", "add_2", "output"]
    assert ft.equal(module(*[ft.ones(2)] * 2), (lambda s: s - s)(ft.ones(2).sigmoid()))


def test_a_replacement_brings_its_modules():
    class Pattern(nn.Module):
        def forward(self, x):
            return ft.relu(x)

    class Replacement(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.LeakyReLU(0.5)

        def forward(self, x):
            return self.act(x)

    module = fx.symbolic_trace(lambda x: ft.relu(x) + ft.relu(-x))
    assert len(fx.replace_pattern(module, Pattern(), fx.symbolic_trace(Replacement()))) == 2
    assert isinstance(module.act, nn.LeakyReLU)
    assert module(ft.tensor([-2.0])).tolist() == [1.0]


def test_modules_match_by_path_and_type():
    class Net(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.linear, self.act = nn.Linear(2, 2), act

        def forward(self, x):
            return self.act(self.linear(x))

    def replace(net):
        module = fx.symbolic_trace(net)
        return len(fx.replace_pattern(module, Net(nn.ReLU()), lambda x: x))

    assert replace(Net(nn.ReLU())) == 1 and replace(Net(nn.Tanh())) == 0


def test_filters_callbacks_and_literals():
    def program(x):
        return ft.add(x, 3) * ft.add(x, 4)

    def pattern(x):
        return ft.add(x, 0)

    assert not replace_pattern_with_filters(fx.symbolic_trace(program), pattern, lambda x: x)
    module = fx.symbolic_trace(program)
    found = replace_pattern_with_filters(
        module,
        pattern,
        lambda x: ft.sub(x, 1),
        [lambda match, graph, pattern: match.anchors[0].args[1] == 4],
        ignore_literals=True,
    )
    assert len(found) == 1 and [node.target for node in found[0].replacements] == [ft.sub]
    assert module(ft.tensor([2.0])).tolist() == [5.0]

    def doubled(match, graph, pattern_graph):
        number = match.anchors[0].args[1] * 2
        return fx.symbolic_trace(lambda x: ft.add(x, number)).graph

    module = fx.symbolic_trace(program)
    replace_pattern_with_filters(
        module, pattern, ignore_literals=True, replacement_callback=doubled
    )
    assert module(ft.tensor([2.0])).tolist() == [80.0]
    with pytest.raises(AssertionError, match="Must provide either replacement"):
        replace_pattern_with_filters(module, pattern)


def test_lines_of_the_user_stay():
    tracer = fx.Tracer()
    tracer.record_stack_traces = True
    root = nn.Module()
    module = fx.GraphModule(root, tracer.trace(lambda x: ft.relu(x) + 1))
    old = module.graph.find_nodes(op="call_function", target=ft.relu)[0].stack_trace
    fx.replace_pattern(module, ft_relu, lambda x: ft.sigmoid(x) * 2)
    made = [n for n in module.graph.nodes if n.target in (ft.sigmoid, operator.mul)]
    assert len(made) == 2 and all(node.stack_trace == old for node in made)


def ft_relu(x):
    return ft.relu(x)


def test_the_matcher_names_what_it_found():
    graph = fx.symbolic_trace(lambda a, b: ft.relu(ft.add(a, b))).graph
    pattern = fx.symbolic_trace(lambda x, y: ft.relu(ft.add(x, y))).graph
    (match,) = SubgraphMatcher(pattern).match(graph)
    assert [node.name for node in match.placeholder_nodes] == ["a", "b"]
    assert match.name_node_map["add"].name == "add"
    assert [node.name for node in match.returning_nodes] == ["relu"]
    (whole,) = SubgraphMatcher(pattern, match_output=True).match(graph)
    assert whole.anchors[0].op == "output"
    with pytest.raises(ValueError, match="empty pattern"):
        SubgraphMatcher(fx.Graph())


def test_a_pattern_names_its_values():
    def pattern(x):
        inner = ft.relu(x)
        return ft.neg(inner), {"inner": inner}

    matcher = SubgraphMatcherWithNameNodeMap(fx.symbolic_trace(pattern))
    (match,) = matcher.match(fx.symbolic_trace(lambda a: ft.neg(ft.relu(a + 1))).graph)
    assert match.name_node_map["inner"].target is ft.relu
