"""Random programs that write to memory which others see: tracing, copying and every pass keep what
they compute, and what they leave in their inputs.
"""

import copy
import pickle
import random

import pytest

import flambeau as ft
from flambeau import fx
from flambeau.fx.experimental import const_fold, merge_matmul, normalize
from flambeau.fx.passes.dialect.common.cse_pass import CSEPass
from flambeau.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from flambeau.fx.passes.operator_support import create_op_support
from flambeau.fx.passes.reinplace import reinplace
from flambeau.fx.passes.shape_prop import ShapeProp
from flambeau.fx.passes.split_module import split_module
from flambeau.fx.passes.splitter_base import _SplitterBase
from flambeau.fx.passes.tools_common import legalize_graph

VALUES = (
    "{a} + {b}", "{a} + {b}", "{a} @ y", "{a}.t()", "{a}[0] + y * 0", "{a}.reshape(2, 2)",
    "ft.relu({a})", "{a}", "{a}.unsqueeze(0).squeeze(0)", "{a}.chunk(2)[1].expand(2, 2)",
)  # fmt: skip
WRITES = (
    "{a} += {b}", "{a} *= 2", "{a}[0] = {b}[1]", "{a}[1] += 1", "{a}.add_({b})",
    "ft.relu_({a})", "{a}.t()[0] = 3", "ft.neg({b}, out={a})",
)  # fmt: skip


def random_program(seed):
    """The text of a function of two matrices, half of whose statements write somewhere."""
    choose = random.Random(seed)
    names, lines = ["x", "y"], ["def program(x, y):"]
    for _ in range(choose.randint(3, 10)):
        writes = choose.random() < 0.5
        statement = choose.choice(WRITES if writes else VALUES)
        statement = statement.format(a=choose.choice(names), b=choose.choice(names))
        if not writes:
            names.append(f"v{len(names)}")
            statement = f"{names[-1]} = {statement}"
        lines.append(f"    {statement}")
    lines.append(f"    return {', '.join(choose.sample(names, min(3, len(names))))},")
    return "\n".join(lines)


def outcome(program):
    """What a program gives, and what is in its inputs afterwards."""
    x, y = ft.arange(4.0).reshape(2, 2) + 1, ft.arange(4.0).reshape(2, 2) * 3 - 2
    return [value.tolist() for value in (*program(x, y), x, y)]


def dead_code(module):
    module.graph.eliminate_dead_code()
    return module


def replaced(pattern, replacement):
    def change(module):
        fx.replace_pattern(module, pattern, replacement)
        return module

    return change


def split(module):
    places = {node: place for place, node in enumerate(module.graph.nodes)}
    return split_module(module, module, lambda node: places[node] * 3 // len(places))


def every_second(modules, node):
    return len(node.name) % 2 == 0


def partitioned(module, **options):
    support = create_op_support(every_second)
    partitioner = CapabilityBasedPartitioner(
        module, support, allows_single_node_partition=True, **options
    )
    return partitioner.partition_and_fuse()


def normalized(module):
    ShapeProp(module).propagate(ft.ones(2, 2), ft.ones(2, 2))
    return normalize.NormalizeOperators(module).transform()


PASSES = {
    "nothing": lambda module: module,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "Transformer": lambda module: fx.Transformer(module).transform(),
    "traced again": fx.symbolic_trace,
    "dead code": dead_code,
    "common expressions": lambda module: CSEPass()(module).graph_module,
    "constants": const_fold.split_const_subgraphs,
    "products": merge_matmul.merge_matmul,
    "named arguments": lambda module: normalize.NormalizeArgs(module).transform(),
    "operators": normalized,
    "in place": lambda module: reinplace(module, ft.ones(2, 2), ft.ones(2, 2)),
    "partitions": partitioned,
    "narrow partitions": lambda module: partitioned(module, skip_horizontal_fusion=True),
    "parts": split,
    "accelerator": lambda module: _SplitterBase(module, [], create_op_support(every_second))(),
    "order": legalize_graph,
    "one pattern": replaced(lambda a, b: a + b, lambda a, b: ft.add(b, a)),
    "two nodes": replaced(lambda a, b: ft.relu(a) + b, lambda a, b: a.clamp(min=0).add(b)),
    "views": replaced(lambda a: a.unsqueeze(0).squeeze(0), lambda a: a.view(2, 2)),
}
PROGRAMS = {}


def programs():
    """Those of 80 random programs that run: text, graph module, outcome."""
    for seed in range(80 if not PROGRAMS else 0):
        text = random_program(seed)
        space = {"ft": ft}
        exec(text, space)
        try:
            wanted = outcome(space["program"])
        except RuntimeError:  # an expanded tensor that is written to
            continue
        PROGRAMS[text] = fx.symbolic_trace(space["program"]), wanted
    return PROGRAMS


@pytest.mark.parametrize("name", PASSES)
def test_programs_do_what_they_did(name):
    assert len(programs()) > 50
    for text, (module, wanted) in programs().items():
        made = PASSES[name](copy.deepcopy(module))
        made.graph.lint()
        made.recompile()
        assert outcome(made) == wanted, f"{text}\n{module.code}\n{made.code}"
        assert outcome(fx.Interpreter(made).run) == wanted, text
