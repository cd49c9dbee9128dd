"""Recording programs, running them, copying them: `flambeau.fx`."""

import copy
import io
import math
import operator
import pickle
import re
import threading

import pytest

import flambeau as ft
from flambeau import fx, nn
from flambeau.nn import functional as F


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.scale = nn.Parameter(ft.full((4,), 2.0))
        self.register_buffer("shift", ft.ones(4))

    def forward(self, x):
        return F.relu(self.linear(x) * self.scale + self.shift)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(4, 2)

    def forward(self, x, bias=0.5):
        return self.head(self.blocks(x)) + bias


def test_a_traced_module_computes_what_the_module_does():
    net, x = Net(), ft.randn(3, 4)
    traced = fx.symbolic_trace(net)
    traced.graph.lint()
    assert ft.equal(traced(x), net(x))
    assert ft.equal(traced(x, bias=2.0), net(x, 2.0))
    assert ft.equal(fx.Interpreter(traced).run(x), net(x))
    assert dict(traced.named_parameters()).keys() == dict(net.named_parameters()).keys()
    traced(x).sum().backward()
    assert net.head.weight.grad is not None  # the parameters are the module's own


def test_modules_are_called_as_usual_after_a_trace():
    net = Net()
    before = nn.Module.__call__, nn.Module.__getattr__, ft.relu.__code__, dict(net.__dict__)
    fx.symbolic_trace(net)
    with pytest.raises(fx.proxy.TraceError):
        fx.symbolic_trace(lambda x: x if x.sum() > 0 else -x)
    after = nn.Module.__call__, nn.Module.__getattr__, ft.relu.__code__, dict(net.__dict__)
    assert before[:3] == after[:3]
    assert before[3].keys() == after[3].keys()


def test_another_thread_runs_while_one_traces():
    net, x, results = Net(), ft.randn(3, 4), []

    def program(y):
        def other():
            results.append(net(x))
            results.append(F.relu(ft.tensor([-1.0, 1.0])))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return ft.relu(y)

    module = fx.symbolic_trace(program)
    assert ft.equal(results[0], net(x)) and results[1].tolist() == [0, 1]
    assert [node.name for node in module.graph.nodes] == ["y", "relu", "output"]


def test_functions_record_under_any_name_and_from_any_place():
    held = F.relu
    table = {"act": ft.sigmoid}

    def program(x, weight):
        y = held(x) + table["act"](x) + ft.Tensor.flatten(x)
        return ft.cat([y, ft.zeros(x.shape[0])]), F.linear(y, weight=weight)

    graph = fx.symbolic_trace(program).graph
    targets = [node.target for node in graph.nodes if node.op == "call_function"]
    assert targets[:2] == [F.relu, ft.sigmoid]
    assert {ft.flatten, ft.cat, ft.zeros, F.linear} <= set(targets)


def test_proxies_made_by_hand_record():
    graph = fx.Graph()
    x = graph.placeholder("x")
    y = F.relu(fx.Proxy(x)) * 2
    graph.output(ft.relu(y).node)
    graph.lint()
    assert fx.GraphModule({}, graph)(ft.tensor([-1.0, 3.0])).tolist() == [0, 6]


def test_proxies_of_two_tracers_do_not_meet():
    a, b = (fx.Proxy(fx.Graph().placeholder(name)) for name in "ab")
    with pytest.raises(RuntimeError, match="Found multiple different tracers"):
        ft.add(a, b)


# --- overriding the tracer -----------------------------------------------------------------------


def test_leaves_are_what_the_tracer_says():
    class Deep(fx.Tracer):
        def is_leaf_module(self, m, module_qualified_name):
            return False

    net = Net()
    graph = Deep().trace(net)
    assert not graph.find_nodes(op="call_module")
    assert len(graph.find_nodes(op="call_function", target=F.linear)) == 3
    x = ft.randn(2, 4)
    assert ft.equal(fx.GraphModule(net, graph)(x), net(x))


def test_a_tracer_sees_modules_and_decides():
    seen = []

    class Watching(fx.Tracer):
        def call_module(self, m, forward, args, kwargs):
            seen.append(self.path_of_module(m))
            return super().call_module(m, forward, args, kwargs)

        def to_bool(self, obj):
            return True

        def iter(self, obj):
            return iter([obj[0], obj[1]])

    def program(x):
        a, b = [y for y in x]
        return a if a.sum() > b.sum() else b

    graph = Watching().trace(program)
    assert graph.output_node().args[0].name == "getitem"
    Watching().trace(Net())
    assert seen[:3] == ["blocks", "blocks.0", "blocks.0.linear"]


def test_a_proxy_of_ones_own():
    class Named(fx.Proxy):
        @property
        def label(self):
            return "mine"

    class Own(fx.Tracer):
        def proxy(self, node):
            return Named(node, self)

    labels = []
    Own().trace(lambda x: labels.append((x + 1).label))
    assert labels == ["mine"]


def test_buffers_can_be_proxies():
    class Own(fx.Tracer):
        proxy_buffer_attributes = True

    graph = Own().trace(Block())
    assert [n.target for n in graph.find_nodes(op="get_attr")] == ["scale", "shift"]


def test_shapes_of_parameters_can_be_constants():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(ft.ones(3, 2))

        def forward(self, x):
            return x * 2 if self.weight.shape[0] == 3 else x

    with pytest.raises(fx.proxy.TraceError):
        fx.symbolic_trace(Own())
    graph = fx.Tracer(param_shapes_constant=True).trace(Own())
    assert len(graph.find_nodes(op="call_function", target=operator.mul)) == 1


def test_modules_along_the_way_are_noted():
    node = next(n for n in fx.symbolic_trace(Net()).graph.nodes if n.target == "blocks.1.linear")
    stack = node.meta["nn_module_stack"]
    assert list(stack) == ["blocks", "blocks.1", "blocks.1.linear"]
    assert stack["blocks.1"] == ("blocks.1", Block)


def plus(x, y=1):
    return x + y


fx.wrap("plus")
fx.wrap("len")
sqrt = math.sqrt


def test_wrapped_functions_are_recorded_as_they_are():
    def program(x):
        return plus(x, y=len(x)) + math.sqrt(x.shape[0]) + sqrt(x.shape[0])

    module = fx.symbolic_trace(program)
    targets = [n.target for n in module.graph.nodes if n.op == "call_function"]
    assert targets.count(math.sqrt) == 2 and len in targets and plus in targets
    assert module(ft.ones(4)).tolist() == [9, 9, 9, 9]
    assert 'wrap("len")' in module.code
    assert plus(1) == 2 and len([1]) == 1


def test_wrap_belongs_to_the_top_of_a_module():
    with pytest.raises(NotImplementedError, match="wrap must be called at the top level"):
        fx.wrap("len")
    with pytest.raises(RuntimeError, match="Unsupported type for global function!"):
        fx.wrap(3)


class Pair(metaclass=fx.ProxyableClassMeta):
    def __init__(self, a, b):
        self.a, self.b = a, b


def test_classes_can_be_recorded():
    module = fx.symbolic_trace(lambda x: Pair(x, x + 1).b)
    assert module(ft.ones(1)).tolist() == [2]
    assert Pair in [n.target for n in module.graph.nodes]


# --- fixed arguments -----------------------------------------------------------------------------


def test_fixed_arguments_are_asserted():
    module = fx.symbolic_trace(lambda x, flag: x if flag else -x, {"flag": False})
    assert module(ft.ones(1), False).tolist() == [-1]
    with pytest.raises(AssertionError, match="flag has been specialized to have value False but"):
        module(ft.ones(1), True)
    positional = fx.symbolic_trace(lambda x, y: x if y is None else y, (fx.PH, None))
    assert positional(ft.ones(1), None).tolist() == [1]
    with pytest.raises(RuntimeError, match="Tracing expected 2 arguments but got 1 concrete"):
        fx.symbolic_trace(lambda x, y: x, (fx.PH,))


def test_trees_of_arguments():
    def program(d, b):
        return {"out": d["a"] * d["l"][1], "b": [b, b]}

    module = fx.symbolic_trace(program, {"d": {"a": fx.PH, "l": [fx.PH, fx.PH]}})
    d = {"l": [0, 3], "a": ft.ones(1)}  # the order of keys does not matter
    for result in (module(d, 4), copy.deepcopy(module)(d, 4)):
        assert result["out"].tolist() == [3] and result["b"] == [4, 4]
    again = pickle.loads(pickle.dumps(module))
    assert again(d, 4)["b"] == [4, 4]
    with pytest.raises(KeyError):
        module({"a": 1}, 1)


# --- what cannot be traced ------------------------------------------------------------------------

CONTROL = "symbolically traced variables cannot be used as inputs to control flow"


def branch(x):
    if x.sum() > 0:
        return x
    return -x


@pytest.mark.parametrize(
    "program, error, message",
    [
        (branch, fx.proxy.TraceError, CONTROL),
        (lambda x: not x, fx.proxy.TraceError, CONTROL),
        (lambda x: x in [1], fx.proxy.TraceError, CONTROL),
        (lambda x: [y for y in x], fx.proxy.TraceError, "Proxy object cannot be iterated."),
        (lambda x: len_(x), RuntimeError, "'len' is not supported in symbolic tracing by default."),
        (lambda x: range(x.shape[0]), TypeError, "'Attribute|'Proxy' object cannot be interpreted"),
        (lambda x: int(x[0]), TypeError, r"int\(\) argument must be a string, a bytes-like object"),
        (lambda x: float(x), TypeError, r"float\(\) argument must be a string or a real number"),
        (lambda x: f"{x}", fx.proxy.TraceError, "the text of a traced variable"),
        (lambda x: isinstance(x, ft.Tensor), fx.proxy.TraceError, r"isinstance\(\) and __class__"),
        (lambda x: x + nn.Parameter(ft.ones(1)), NameError, "parameter is not a member of this"),
        (lambda x: Block()(x), NameError, "module is not installed as a submodule"),
        (lambda x: ft.add(x, object()), NotImplementedError, "argument of type:"),
        (lambda x: {x: 1}, RuntimeError, "cannot contain a Node. Got key: x$"),
        (
            lambda x: complex(x),
            TypeError,
            r"complex\(\) first argument must be a string or a number",
        ),
        (ft.relu, TypeError, "needs a function that calls torch.relu: it is recorded as a whole"),
        (len, TypeError, "needs a module or a Python function, not builtin_function_or_method"),
    ],
)
def test_errors(program, error, message):
    with pytest.raises(error, match=message):
        fx.symbolic_trace(program)


len_ = [len][0]


def test_an_error_names_the_line_and_the_ways_out():
    with pytest.raises(fx.proxy.TraceError) as raised:
        fx.symbolic_trace(branch)
    text = str(raised.value)
    assert "test_fx.py:" in text and "if x.sum() > 0:" in text
    for way in ("concrete_args", "torch.fx.wrap", "torch.cond"):
        assert way in text


def test_an_annotated_input_is_an_instance_of_its_type():
    def program(x: ft.Tensor):
        return x + 1 if isinstance(x, ft.Tensor) else x - 1

    assert fx.symbolic_trace(program)(ft.ones(1)).tolist() == [2]


def test_unpacking_is_recorded():
    module = fx.symbolic_trace(lambda x: (lambda a, b: a - b)(*[v for v in unpack(x)]))
    assert module((5, 3)) == 2


def unpack(x):
    a, b = x
    return a, b


# --- values that shapes decide --------------------------------------------------------------------


def test_conditions_on_shapes_are_decided_by_examples_and_asserted():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(ft.ones(3))

        def forward(self, x):
            if x.dim() == 2 and x.shape[1] == self.weight.shape[0]:
                x = x * self.weight
            for i in range(x.shape[0]):
                x = x + i
            return x.reshape(len(x.shape), -1)

    net, x = Net(), ft.ones(2, 3)
    module = fx.symbolic_trace(net, example_inputs=(x,))
    assert ft.equal(module(x), net(x))
    module.graph.eliminate_dead_code()
    module.recompile()
    with pytest.raises(AssertionError, match=r"was .* while the program was traced"):
        module(ft.ones(3, 3))
    with pytest.raises(fx.proxy.TraceError, match=CONTROL):
        fx.symbolic_trace(branch, example_inputs=(x,))


# --- in place -------------------------------------------------------------------------------------


def test_item_assignment_is_recorded():
    def program(x):
        x[0] = 5
        x[1:] = x[:1] + 1
        return x

    module = fx.symbolic_trace(program)
    x = ft.zeros(3)
    assert module(x) is x and x.tolist() == [5, 6, 6]
    module.graph.eliminate_dead_code()
    module.recompile()
    y = ft.zeros(3)
    module(y)
    assert y.tolist() == [5, 6, 6]


def added(x):
    x += 1
    return x


def old_value_read_later(x):
    y = x * 2
    z = y
    y += 1
    return z + y


def through_a_view(x):
    y = x * 2
    first = y[0]
    first += 10
    return y


def sizes(x):
    n = x.shape[0]
    m = n
    n += 1
    return n, m


def fresh(x):
    y = x * 2
    y += 1
    y *= y
    return y


@pytest.mark.parametrize("program", [added, old_value_read_later, through_a_view, sizes, fresh])
def test_in_place_operators_do_what_they_did(program):
    module = fx.symbolic_trace(program)
    x, y = ft.ones(2), ft.ones(2)
    expected, found = program(x), module(y)
    assert ft.equal(x, y)
    if isinstance(expected, tuple):
        assert expected == found
    else:
        assert ft.equal(expected, found)
    z = ft.ones(2)
    again = pickle.loads(pickle.dumps(module))
    assert str(again(z)) == str(expected) and ft.equal(z, x)


def test_in_place_operators_on_fresh_values_print_as_pytorchs():
    targets = [n.target for n in fx.symbolic_trace(fresh).graph.nodes if n.op == "call_function"]
    assert operator.iadd not in targets and operator.add in targets


# --- copies ---------------------------------------------------------------------------------------


class OwnTracer(fx.Tracer):
    pass


def same_nodes(a, b):
    rows = [
        [(n.op, n.name, n.target, str(n.args), str(n.kwargs), n.type) for n in g.nodes]
        for g in (a, b)
    ]
    return rows[0] == rows[1]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_have_the_same_nodes(copied):
    ft.manual_seed(1)  # other weights may leave every unit off
    net = Net()
    module = fx.GraphModule(net, OwnTracer().trace(net), "Mine")
    node = module.graph.find_nodes(op="call_module")[0]
    node.meta["note"] = [1, 2]
    with module.graph.inserting_after(node):
        added = module.graph.call_function(operator.iadd, (node, 1))
    node.replace_all_uses_with(added, lambda user: user is not added)
    module.recompile()
    module.meta["own"] = "kept"
    made = copied(module)
    assert same_nodes(made.graph, module.graph)
    assert made.code == module.code and type(made).__name__ == "Mine"
    assert made.graph._tracer_cls is OwnTracer
    assert made.graph.find_nodes(op="call_module")[0].meta["note"] == [1, 2]
    assert made.meta == {"own": "kept"}
    x = ft.randn(2, 4)
    assert ft.equal(made(x), module(x))
    made.head.weight.data.zero_()
    assert not ft.equal(made(x), module(x))


def test_a_saved_module_is_loaded():
    module, file = fx.symbolic_trace(Net()), io.BytesIO()
    ft.save(module, file)
    file.seek(0)
    x = ft.randn(2, 4)
    assert ft.equal(ft.load(file, weights_only=False)(x), module(x))


def test_every_instance_has_a_class_of_its_own():
    a, b = fx.symbolic_trace(lambda x: x + 1), fx.symbolic_trace(lambda x: x - 1)
    assert type(a) is not type(b) and isinstance(a, fx.GraphModule)
    assert a(1) == 2 and b(1) == 0


def test_a_traced_module_is_traced_again():
    net = Net()
    once = fx.symbolic_trace(net)
    twice = fx.symbolic_trace(once)
    assert once.code == twice.code


def test_a_package_is_written(tmp_path):
    module = fx.symbolic_trace(Net())
    with pytest.warns(UserWarning, match="saved as pickled files"):
        module.to_folder(tmp_path / "saved", "Saved")
    text = (tmp_path / "saved" / "module.py").read_text()
    space = {}
    exec(re.sub(r"^(import|from) torch", r"\1 flambeau", text, flags=re.M).replace(
        "import flambeau\n", "import flambeau as torch\n"), space)  # fmt: skip
    x = ft.randn(2, 4)
    assert ft.equal(space["Saved"]()(x), module(x))


# --- modules of graphs ----------------------------------------------------------------------------


def test_submodules_are_added_and_deleted():
    module = fx.symbolic_trace(Net())
    assert module.add_submodule("extra.deep", nn.ReLU())
    assert isinstance(module.extra.deep, nn.ReLU)
    assert not module.add_submodule("head.weight.x", nn.ReLU())
    assert module.delete_submodule("extra.deep") and not module.delete_submodule("extra.deep")
    module.delete_all_unused_submodules()
    assert not hasattr(module, "extra") and hasattr(module, "head")
    module.graph.lint()


def test_a_module_made_of_a_dictionary():
    graph = fx.Graph()
    x = graph.placeholder("x")
    y = graph.create_node("call_module", "a.linear", (x,))
    z = graph.create_node("get_attr", "weight")
    graph.output(graph.call_function(ft.add, (y, z)))
    linear, weight = nn.Linear(2, 2), ft.ones(2)
    module = fx.GraphModule({"a.linear": linear, "weight": weight}, graph)
    assert ft.equal(module(weight), linear(weight) + 1)
    assert "weight" in dict(module.named_buffers())
    with pytest.raises(RuntimeError, match="but that target was not provided"):
        fx.GraphModule({"weight": weight}, graph)
    with pytest.raises(RuntimeError, match="Unsupported type 3 passed for root!"):
        fx.GraphModule(3, graph)


def test_an_error_says_where_in_the_program_it_happened():
    module = fx.symbolic_trace(lambda x: ft.relu(x) @ ft.ones(3, 4))
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied") as raised:
        module(ft.ones(5, 5))
    note = raised.value.__notes__[0]
    assert note.startswith(
        "Call using an FX-traced Module, line 7 of the traced Module's generated"
    )
    assert "matmul = relu @ _tensor_constant0" in note and note.endswith("~~~ <--- HERE")
    with pytest.raises(RuntimeError) as raised:
        fx.Interpreter(module).run(ft.ones(5, 5))
    assert raised.value.__notes__[0].startswith("While executing %matmul : [num_users=1]")


# --- interpreters ---------------------------------------------------------------------------------


def test_an_interpreter_is_overridden_by_opcode():
    class Swapped(fx.Interpreter):
        def call_function(self, target, args, kwargs):
            if target is ft.sigmoid:
                return ft.neg(*args, **kwargs)
            return super().call_function(target, args, kwargs)

        def call_method(self, target, args, kwargs):
            return super().call_method("neg" if target == "abs" else target, args, kwargs)

    module = fx.symbolic_trace(lambda x: ft.sigmoid(x).abs() + 1)
    x = ft.tensor([1.0, -2.0])
    assert Swapped(module).run(x).tolist() == [2, -1]


def test_values_are_dropped_after_their_last_use():
    module = fx.symbolic_trace(lambda x: ft.relu(ft.relu(ft.relu(x))))
    interpreter = fx.Interpreter(module)
    interpreter.run(ft.ones(2))
    assert [node.op for node in interpreter.env] == ["output"]
    keeping = fx.Interpreter(module, garbage_collect_values=False)
    keeping.run(ft.ones(2))
    assert len(keeping.env) == 5
    args = [ft.ones(2)]
    assert interpreter.boxed_run(args).tolist() == [1, 1] and args == []


def test_an_interpreter_begins_with_given_values():
    module = fx.symbolic_trace(lambda x: ft.relu(x) + 1)
    relu = module.graph.find_nodes(op="call_function")[0]
    found = fx.Interpreter(module).run(ft.ones(1), initial_env={relu: ft.tensor([7.0])})
    assert found.tolist() == [8]
    with pytest.raises(RuntimeError, match="Expected positional argument for parameter x, but one"):
        fx.Interpreter(module).run()


def test_a_transformer_makes_a_new_module_and_keeps_notes():
    class Swapped(fx.Transformer):
        def call_function(self, target, args, kwargs):
            if target is F.relu:
                return ft.sigmoid(args[0]) * 2
            return super().call_function(target, args, kwargs)

    net = Net()
    tracer = fx.Tracer()
    tracer.record_stack_traces = True
    module = fx.GraphModule(net, tracer.trace(net), "Net")
    made = Swapped(module).transform()
    made.graph.lint()
    assert ft.sigmoid in [n.target for n in made.graph.nodes]
    assert F.relu not in [n.target for n in made.graph.nodes]
    calls = [n for n in made.graph.nodes if n.op.startswith("call")]
    assert all(n.stack_trace for n in calls)
    x = ft.randn(2, 4)
    assert made(x).shape == net(x).shape


def test_notes_pass_on():
    with fx.traceback.annotate({"stage": 1}):
        graph = fx.symbolic_trace(lambda x: ft.relu(x)).graph
    assert graph.find_nodes(op="call_function")[0].meta["custom"] == {"stage": 1}
    module = fx.symbolic_trace(lambda x: ft.relu(x))
    module.graph.find_nodes(op="call_function")[0].meta["mark"] = 7

    class Again(fx.Interpreter):
        def run(self, *args):
            with fx.traceback.preserve_node_meta():
                return super().run(*args)

    seen = fx.Tracer().trace(lambda x: Again(module).run(x))
    assert seen.find_nodes(op="call_function")[0].meta["mark"] == 7


# --- control flow as nodes ------------------------------------------------------------------------


class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2))
        self.scale = nn.Parameter(ft.tensor(3.0))

    def forward(self, x):
        y = ft.cond(x.sum() > 0, lambda x: self.inner(x) * self.scale, lambda x: -x, (x,))
        (y,) = ft.while_loop(lambda y: y.abs().sum() < 100, lambda y: (y * 2 + 1,), (y,))
        return fx.control.map(lambda row, x: row + x.sum(), y, x)


def test_control_flow_is_recorded():
    net = Deciding()
    module = fx.symbolic_trace(net)
    module.graph.lint()
    targets = [n.target for n in module.graph.nodes]
    assert (
        targets.count(ft.cond) == targets.count(ft.while_loop) == targets.count(fx.control.map) == 1
    )
    copied = pickle.loads(pickle.dumps(module))
    for x in (ft.ones(2, 2), -ft.ones(2, 2)):
        for made in (module, copied, fx.Interpreter(module).run):
            assert ft.allclose(made(x), net(x))
    assert {name for name, _ in module.named_parameters()} >= {"true_graph_0.scale"}


def test_branches_take_traced_values_as_operands_only():
    with pytest.raises(RuntimeError, match="Found multiple different tracers"):
        fx.symbolic_trace(lambda x, y: ft.cond(x, lambda x: ft.add(x, y), lambda x: x, (x,)))


def test_assertions_can_be_recorded():
    class Asserting(fx.Tracer):
        trace_asserts = True

    # pytest rewrites the assert statements of this file
    text = "def program(x):\n    assert x.sum() > 0\n    assert tracing()\n    return x + 1"
    space = {"tracing": fx.is_fx_tracing}
    exec(text, space)
    module = fx.GraphModule(nn.Module(), Asserting().trace(space["program"]))
    assert not fx.is_fx_tracing()
    assert module(ft.ones(1)).tolist() == [2]
    with pytest.raises(AssertionError, match="assertion of <string>:2"):
        module(-ft.ones(1))
    with pytest.raises(fx.proxy.TraceError):
        Asserting().trace(branch)
