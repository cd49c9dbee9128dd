"""Graphs built and changed by hand, and what `lint` finds."""

import pytest

import flambeau as ft
from flambeau import fx, nn
from flambeau.nn import functional as F


def graph_of(program=lambda x: ft.relu(x) + 1):
    graph = fx.symbolic_trace(program).graph
    return graph, {node.name: node for node in graph.nodes}


def test_nodes_are_inserted_moved_and_erased():
    graph, nodes = graph_of()
    with graph.inserting_before(nodes["add"]):
        neg = graph.call_function(ft.neg, (nodes["relu"],))
    nodes["add"].replace_input_with(nodes["relu"], neg)
    with graph.inserting_after(neg):
        late = graph.call_method("abs", (neg,))
    assert [n.name for n in graph.nodes] == ["x", "relu", "neg", "abs_1", "add", "output"]
    assert nodes["relu"] < neg < nodes["output"] and not neg < nodes["x"]
    assert next(n.name for n in reversed(graph.nodes)) == "output"
    assert neg.users == {nodes["add"]: None, late: None}
    graph.erase_node(late)
    with pytest.raises(RuntimeError, match="Tried to erase Node neg but it still had 1 users"):
        graph.erase_node(neg)
    graph.lint()
    assert neg.all_input_nodes == [nodes["relu"]]
    neg.append(nodes["relu"])
    with pytest.raises(RuntimeError, match="Argument 'relu' of Node 'neg' was used before it has"):
        graph.lint()


def test_arguments_change_users():
    _, nodes = graph_of(lambda x, y: ft.stack([x, {"a": x, "s": slice(x, None)}]) + y)
    stack, x, y = nodes["stack"], nodes["x"], nodes["y"]
    assert list(x.users) == [stack]
    stack.args = ([y, y],)
    assert not x.users and list(y.users) == [nodes["add"], stack]
    stack.update_kwarg("dim", 1)
    stack.insert_arg(1, x)
    stack.update_arg(1, y)
    assert (stack.args, dict(stack.kwargs)) == (([y, y], y), {"dim": 1})
    with pytest.raises(TypeError, match="object does not support mutation"):
        stack.args[0].append(x)
    with pytest.raises(TypeError, match="object does not support mutation"):
        stack.kwargs["dim"] = 2
    assert stack.replace_all_uses_with(x) == [nodes["add"]]


def test_dead_code_goes_and_effects_stay():
    def program(x, y):
        ft.relu(x).sum()
        y.add_(1)
        ft._assert(x, "none")
        x[0] = y
        F.relu(y, inplace=True)
        return y

    graph, _ = graph_of(program)
    assert graph.eliminate_dead_code()
    kept = [n.name for n in graph.nodes if n.op.startswith("call")]
    assert kept == ["add_", "_assert", "setitem", "relu_1"]
    assert not graph.eliminate_dead_code()
    assert graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    assert [n.op for n in graph.nodes] == ["placeholder", "placeholder", "output"]


def test_arguments_brought_to_the_signature():
    _, nodes = graph_of(lambda x: F.dropout(F.linear(x, x), 0.3))
    linear = nodes["linear"].normalized_arguments(None, normalize_to_only_use_kwargs=True)
    x = nodes["x"]
    assert linear.kwargs == {"input": x, "weight": x, "bias": None}
    net = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2)))
    node = net.graph.find_nodes(op="call_module")[0]
    found = node.normalized_arguments(net, normalize_to_only_use_kwargs=True)
    assert list(found.kwargs) == ["input"]


# --- lint -----------------------------------------------------------------------------------------


def cycle(module, nodes):
    nodes["linear"].args = (nodes["relu"],)


def duplicate(module, nodes):
    nodes["relu"].name = "linear"


def foreign(module, nodes):
    nodes["relu"].args = (fx.Graph().placeholder("z"),)


def erased(module, nodes):
    graph = module.graph
    with graph.inserting_before(nodes["relu"]):
        gone = graph.call_function(ft.neg, (nodes["linear"],))
    graph.erase_node(gone)
    nodes["relu"].args = (gone,)


def no_module(module, nodes):
    nodes["linear"].target = "nope.x"


def no_child(module, nodes):
    nodes["linear"].target = "linear.nope"


def parameter(module, nodes):
    nodes["linear"].target = "linear.weight"


def deleted(module, nodes):
    del module.linear


def text_target(module, nodes):
    nodes["relu"].target = "relu"


def function_target(module, nodes):
    nodes["linear"].target = ft.relu


def opcode(module, nodes):
    nodes["relu"].op = "call"


def too_many(module, nodes):
    nodes["relu"].args = (nodes["linear"], 1, 2, 3)


def too_few(module, nodes):
    nodes["relu"].args = ()


def unknown_name(module, nodes):
    nodes["linear"].kwargs = {"nope": 1}


def two_outputs(module, nodes):
    module.graph.output(nodes["relu"])


def late_input(module, nodes):
    with module.graph.inserting_after(nodes["relu"]):
        module.graph.placeholder("late")


def bad_name(module, nodes):
    nodes["relu"].name = "re lu"


def twice(module, nodes):
    with module.graph.inserting_before(nodes["linear"]):
        module.graph.placeholder("x")


def bad_parameter(module, nodes):
    nodes["x"].target = "x y"


def default_first(module, nodes):
    with module.graph.inserting_before(nodes["x"]):
        module.graph.placeholder("first", default_value=1)


def no_self(module, nodes):
    with module.graph.inserting_after(nodes["relu"]):
        module.graph.call_method("sum")


@pytest.mark.parametrize(
    "change, message",
    [
        (cycle, "Argument 'relu' of Node 'linear' was used before it has been defined!"),
        (duplicate, "Node redefined name linear!"),
        (foreign, "Argument 'z' of Node 'relu' does not belong to this Graph"),
        (erased, "Argument 'neg' of Node 'relu' was erased"),
        (no_module, "Node linear target nope.x references nonexistent attribute nope of "),
        (
            no_child,
            "Node linear target linear.nope references nonexistent attribute nope of linear",
        ),
        (parameter, "Node linear target linear.weight weight of linear does not reference an nn.M"),
        (deleted, "Node linear target linear references nonexistent attribute linear of "),
        (text_target, "Node relu target relu has type str but a Callable is expected"),
        (function_target, "Node linear target .* has type function but a str is expected"),
        (opcode, "Node relu had unknown opcode call!"),
        (too_many, "Node relu calls torch.relu, which does not take these arguments"),
        (too_few, "Node relu calls torch.relu, which does not take these arguments"),
        (unknown_name, "Node linear calls linear, which does not take these arguments"),
        (two_outputs, "Node 'output_1' comes after the output 'output'!"),
        (late_input, "Placeholder 'late' comes after Node 'relu'!"),
        (bad_name, "Node 're lu' has a name that no program can use!"),
        (twice, "Placeholder 'x_1' is the parameter x, which is one already!"),
        (bad_parameter, "Placeholder 'x' is the parameter x y, which cannot be one!"),
        (default_first, "Placeholder 'x' has no default, and comes after 'first', which has!"),
        (no_self, "Node sum_1 calls the method sum of nothing!"),
    ],
)
def test_lint_names_what_is_wrong(change, message):
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x):
            return ft.relu(self.linear(x))

    module = fx.symbolic_trace(Small())
    module.graph.lint()
    change(module, {node.name: node for node in module.graph.nodes})
    with pytest.raises((RuntimeError, ValueError), match=message):
        module.graph.lint()


def test_nodes_are_checked_when_they_are_made():
    graph = fx.Graph()
    with pytest.raises(AssertionError, match="op 'foo' is not in _legal_ops"):
        graph.create_node("foo", "x")
    with pytest.raises(ValueError, match="a Callable is expected"):
        graph.create_node("call_function", "x")
    with pytest.raises(AssertionError, match="Expected target to be str, got"):
        graph.placeholder(3)


def test_a_callee_need_not_be_hashable():
    class Adder:
        __hash__ = None
        __name__ = "adder"

        def __call__(self, x, y):
            return x + y

    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(Adder(), (x, 1)))
    graph.lint()
    assert fx.GraphModule({}, graph)(2) == 3
