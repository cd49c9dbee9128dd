"""Printed programs: the text is PyTorch's, kept in tests/golden/fx/printed.txt."""

import operator
import pathlib
import pickle
import warnings

import fx_programs
import pytest

import flambeau as ft
from flambeau import fx
from flambeau.fx.annotate import annotate
from flambeau.fx.tensor_type import is_consistent, is_more_precise

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "fx" / "printed.txt"


def test_the_text_is_pytorchs():
    assert fx_programs.printed(ft).split("\n") == GOLDEN.read_text(encoding="utf-8").split("\n")


@pytest.mark.parity
def test_the_golden_text_is_what_pytorch_prints():
    torch = pytest.importorskip("torch")
    importlib_fx = pytest.importorskip("torch.fx")
    assert importlib_fx is torch.fx
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = fx_programs.printed(torch)
    assert text.split("\n") == GOLDEN.read_text(encoding="utf-8").split("\n")


@pytest.mark.parametrize("name", fx_programs.programs(ft))
def test_printed_names_stand_for_what_was_recorded(name):
    root, concrete = fx_programs.programs(ft)[name]
    graph = fx.symbolic_trace(root, concrete).graph
    graph.lint()
    for node in graph.nodes:
        if node.op == "call_function" and node.target.__module__ == "torch":
            assert fx.names.resolve(fx.names.qualified_name(node.target)) is node.target


def test_tabular():
    class Net(ft.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = ft.nn.Linear(2, 2)

        def forward(self, x):
            return ft.add(self.linear(x), 1, alpha=2)

    expected = """\
opcode         name    target     args         kwargs
-------------  ------  ---------  -----------  ------------
placeholder    x       x          ()           {}
call_module    linear  linear     (x,)         {}
call_function  add     torch.add  (linear, 1)  {'alpha': 2}
output         output  output     (add,)       {}"""
    assert fx.symbolic_trace(Net()).graph.tabular() == expected


def test_names_avoid_pythons_and_each_other():
    graph = fx.Graph()
    names = [graph.placeholder(wish).name for wish in ("x", "x", "x_1", "x_7", "x", "input", "3a")]
    assert names == ["x", "x_1", "x_2", "x_7", "x_8", "input_1", "_3a"]
    assert graph.create_node("call_method", "layerNorm", (), name=None).name == "layer_norm"


def test_two_nodes_with_one_name_still_print_a_program_that_runs():
    graph = fx.Graph()
    x = graph.placeholder("x")
    one = graph.call_function(ft.neg, (x,))
    two = graph.call_function(ft.neg, (one,))
    two.name = one.name
    graph.output((one, two))
    a, b = fx.GraphModule({}, graph)(ft.ones(2))
    assert (a.tolist(), b.tolist()) == ([-1, -1], [1, 1])
    with pytest.raises(RuntimeError, match="Node redefined name neg!"):
        graph.lint()


def test_the_diff_of_two_graphs_shows_what_a_pass_changed():
    def program(x):
        return (ft.relu(x) + 1).sum()

    before, after = fx.symbolic_trace(program).graph, fx.symbolic_trace(program).graph
    assert before.diff(after) == ""
    node = next(node for node in after.nodes if node.target is ft.relu)
    node.target = ft.sigmoid
    lines = before.diff(after).split("\n")
    assert [line for line in lines if line.startswith("-")] == [
        "-    %relu : [num_users=1] = call_function[target=torch.relu](args = (%x,), kwargs = {})"
    ]
    assert lines[-1] == "5 nodes -> 5: -1 +1"


def test_lines_of_the_user_are_comments():
    class Net(ft.nn.Module):
        def forward(self, x):
            y = ft.relu(x)
            return y + 1

    tracer = fx.Tracer()
    tracer.record_stack_traces = True
    module = fx.GraphModule(Net(), tracer.trace(Net()), "Net")
    text = module.print_readable(print_output=False)
    assert "in forward, code: y = ft.relu(x)\n        relu = torch.relu(x)" in text
    assert "in forward, code: return y + 1\n        add = relu + 1" in text


def test_lines_that_are_generated_can_be_changed():
    module = fx.symbolic_trace(lambda x: ft.relu(x))

    def transformer(before):
        return lambda lines: ["print('begun')\n", *(before(lines) if before else lines)]

    with module.graph.on_generate_code(transformer):
        module.recompile()
        assert "print('begun')" in module.code
    module.recompile()
    assert "begun" not in module.code


def test_a_code_generator_of_ones_own():
    class ListCodeGen(fx.CodeGen):
        def gen_fn_def(self, free_vars, maybe_return_annotation):
            lines = f"def forward(self, args_list){maybe_return_annotation}:"
            return f"{lines}\n    {', '.join(free_vars)} = args_list"

        def additional_globals(self):
            return [("Three", 3)]

        def process_inputs(self, *inputs):
            assert len(inputs) == 1
            return inputs[0]

    module = fx.symbolic_trace(lambda a, b: a - b)
    module.graph.set_codegen(ListCodeGen())
    module.recompile()
    x = [ft.ones(2) * 5, ft.ones(2)]
    assert module(x).tolist() == [4, 4]
    assert fx.Interpreter(module).run(x).tolist() == [4, 4]


def test_other_names_of_functions_are_printed_as_they_were_called():
    def program(x):
        y = ft.absolute(x) + ft.special.expit(x) + ft.arccos_(x) + ft.nn.functional.tanh(x)
        values, places = ft.nn.functional.max_pool1d(y, 2, return_indices=True)
        return ft.meshgrid(values, places), ft.nn.functional.fractional_max_pool2d(y, 2, 1)

    code = fx.symbolic_trace(program).code
    for text in (
        "torch.absolute(x)",
        "torch._C._special.special_expit(x)",
        "torch.arccos_(x)",
        "x.tanh()",
        "max_pool1d_with_indices(add_2, 2, stride = None",
        "torch.functional.meshgrid(getitem, getitem_1, indexing = None)",
        "fractional_max_pool2d(add_2, 2, 1)",
    ):
        assert text in code
    with pytest.warns(UserWarning, match="deprecated"):
        assert "interpolate(" in fx.symbolic_trace(lambda x: ft.nn.functional.upsample(x, 3)).code


@pytest.mark.parity
def test_every_function_prints_as_pytorchs():
    """Each public function, called with one proxy and with two and a number, where PyTorch lets it:
    a builtin of PyTorch's refuses too few or too many arguments at once.
    """
    torch = pytest.importorskip("torch")
    different = {}
    for space in ("", "nn.functional", "linalg", "fft", "special"):
        theirs, ours = (operator.attrgetter(space)(t) if space else t for t in (torch, ft))
        for name in dir(theirs):
            pair = [getattr(each, name, None) for each in (theirs, ours)]
            if (
                name.startswith(("_", "set_", "use_", "autocast_"))
                or name in UNUSUAL
                or not all(map(callable, pair))
            ):
                continue
            for call in (lambda f: lambda x: f(x), lambda f: lambda x, y: f(x, y, 3)):
                texts = [text_of(torch.fx, call(pair[0])), text_of(fx, call(pair[1]))]
                if texts[0] is not None and texts[0] != texts[1]:
                    different[f"{space}.{name}"] = texts
    assert different == {}


# Classes, switches, and functions of other kinds; those whose inner name PyTorch prints
# (`_sym_sqrt`), or whose arguments it prints as the tuple that it keeps them in (`sym_sum`).
UNUSUAL = frozenset(
    (
        *("device", "fractional_max_pool2d", "fractional_max_pool3d", "threshold", "typename"),
        *("sym_sqrt", "sym_sum"),
        *("compile", "cond", "fork", "load", "save", "seed", "manual_seed", "while_loop", "vmap"),
        *("clear_autocast_cache", "init_num_threads", "prepare_multiprocessing_environment"),
    )
)


def text_of(library, program):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return library.symbolic_trace(program).code
        except Exception:
            return None


def test_gradual_types_are_stored():
    class Typed(ft.nn.Module):
        def forward(self, x: fx.TensorType((1, 2, fx.Dyn)), y: fx.Dyn):
            return annotate(x + y, fx.TensorType([1, fx.Dyn, fx.Dyn])) * 2

    module = fx.symbolic_trace(Typed())
    for made in (module, pickle.loads(pickle.dumps(module)), fx.Transformer(module).transform()):
        x, y, add, mul, _ = made.graph.nodes
        assert x.type.dims == (1, 2, fx.Dyn) and y.type == fx.Dyn and mul.type is None
        assert str(add.type) == "TensorType[(1, Dyn, Dyn)]"
        assert ft.equal(made(ft.ones(1, 2, 3), ft.ones(3)), ft.full((1, 2, 3), 4.0))
    wide, narrow = fx.TensorType((fx.Dyn, 2)), fx.TensorType((1, 2))
    assert is_consistent(wide, narrow) and not is_consistent(narrow, fx.TensorType((2, 2)))
    assert is_more_precise(narrow, wide) and not is_more_precise(wide, narrow)
    with pytest.raises(RuntimeError, match="already had a type on it"):
        fx.symbolic_trace(lambda x: annotate(annotate(x + 1, int), float))
