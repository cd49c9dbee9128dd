"""`FLAMBEAU_VERIFY=1`: programs and kernels that contradict themselves are refused, by name."""

import pytest

import flambeau as torch
from flambeau import ir
from flambeau._base import knobs
from flambeau.graph import execute, passes
from flambeau.graph.capture import Capture
from flambeau.graph.memory import plan_memory
from flambeau.graph.program import Buffer, Call, Loop, Operand, Program, Rows, Sums, Together
from flambeau.graph.verify import Verifier, verify
from flambeau.types import contiguous, layout

FLOAT, DOUBLE, LONG, HALF = ir.loop.float32, ir.loop.float64, ir.loop.int64, ir.loop.float16
X = ir.load(0, FLOAT)


def captured():
    """A program of kernels, rows and a product, and what it is captured from."""
    x, w = torch.randn(64, 7), torch.randn(7, 64)

    def function():
        return torch.softmax((x @ w).relu(), 1), x.t().sum(0) + 1

    function()
    capture = Capture()
    with capture:
        results = function()
    assert capture.broken is None, capture.broken
    return capture.program(results)


def dense(buffer, *shape, dtype=FLOAT, start=0):
    return Operand(buffer, start, contiguous(shape, dtype))


def strided(buffer, shape, strides, start=0):
    return Operand(buffer, start, layout(shape, strides, FLOAT))


def loop(out, *inputs, body=None, kind=ir.Pointwise):
    loads = [ir.load(k, o.layout.dtype) for k, o in enumerate(inputs)]
    value = body or (ir.const(1.0, FLOAT) if not loads else sum(loads[1:], loads[0]))
    kernel = kind("made", [o.layout.dtype for o in inputs], [out.layout.dtype], [value])
    return Loop(kernel, (out, *inputs))


def total(out, x, axis):
    state, other = ir.state(0, FLOAT), ir.other(0, FLOAT)
    parts = [ir.const(0.0, FLOAT)], [X], [state + other], [state]
    return Loop(ir.Reduce("total", [FLOAT], [FLOAT], *parts), (out, x), (axis,))


def refused(instructions, results=(), numbers=0):
    with pytest.raises(ir.Invalid) as raised:
        verify(Program(list(instructions), list(results), numbers), "a pass")
    text = str(raised.value)
    assert text.startswith("after a pass")
    return text


def buffers(count=3, nbytes=96):
    return [Buffer(k, nbytes) for k in range(count)]


def test_what_is_captured_is_well_formed_after_each_pass():
    program = captured()
    assert any(isinstance(i, Rows) for i in program.instructions)
    assert any(isinstance(i, Call) for i in program.instructions)
    with knobs.override(verify=True):
        passes.optimize(program)


def test_the_pass_is_named_that_broke_a_program(monkeypatch):
    def careless(program):
        return Program(program.instructions[1:], program.results, program.numbers)

    monkeypatch.setattr(passes, "PASSES", (passes.without_dead, careless))
    with knobs.override(verify=True), pytest.raises(ir.Invalid, match="after careless, instr"):
        passes.optimize(captured())


def test_operands_lie_in_their_buffers():
    a, b, _ = buffers()
    fill = loop(dense(a, 24))
    assert "bytes 4 to 100 of 96" in refused([loop(dense(a, 24, start=4))])
    text = refused([fill, loop(dense(b, 4), strided(a, (4,), (8,)))])
    assert "instruction 1" in text and "bytes 0 to 100 of 96" in text
    given = Buffer(7, 16, torch.zeros(8)[4:])
    assert "of 32" in refused([loop(dense(b, 8), dense(given, 8))])
    verify(Program([loop(dense(b, 4), dense(given, 4))], []), "")
    assert "result" in refused([fill], [dense(a, 25)])


def test_types_and_shapes_are_those_of_the_kernel():
    a, b, c = buffers()
    first = loop(dense(a, 4, 3))
    good = loop(dense(b, 4, 3), dense(a, 4, 3))
    swapped = good._replace(operands=(good.operands[0], dense(a, 4, 3, dtype=LONG)))
    assert "int64 where the kernel has float32" in refused([first, swapped])
    short = good._replace(operands=good.operands[:1])
    assert "1 operands, and the kernel has 2" in refused([first, short])
    bent = good._replace(operands=(good.operands[0], dense(a, 3, 4)))
    assert "should have the shape (4, 3)" in refused([first, bent])
    assert "should have the shape (4,)" in refused([first, total(dense(b, 3), dense(a, 4, 3), 1)])
    assert "axes (2,)" in refused([first, total(dense(b, 4), dense(a, 4, 3), 2)])
    number = loop(dense(c, 4), body=ir.cast(ir.param(2, DOUBLE), FLOAT))
    assert "number 2 is read, and there are 2" in refused([number], numbers=2)
    verify(Program([number], [], 3), "")


def test_nothing_is_read_before_it_is_written():
    a, b, _ = buffers()
    assert "before it is written" in refused([loop(dense(b, 4), dense(a, 4))])
    half = loop(dense(a, 2))
    read = loop(dense(b, 4), dense(a, 4))
    assert "only a part of it was written" in refused([half, read])
    rest = loop(dense(a, 2, start=8))
    verify(Program([half, rest, read], [dense(b, 4)]), "")
    columns = [loop(strided(a, (4,), (2,), start=4 * k)) for k in range(2)]
    whole = loop(dense(b, 8), dense(a, 8))
    verify(Program([*columns, whole], []), "")
    assert "only a part" in refused([columns[1], whole])
    assert "before it is written" in refused([], [dense(a, 4)])
    a.empty = True  # the user's own `torch.empty`
    verify(Program([loop(dense(b, 4), dense(a, 4))], []), "")
    large, far = buffers(2, 1 << 17)
    assert "before it is written" in refused([loop(dense(far, 8), dense(large, 8))])


def test_writes_do_not_alias_what_other_points_read():
    a, b, _ = buffers()
    fill = loop(dense(a, 4, 4))
    assert "at other points" in refused([fill, loop(dense(a, 4, 4), strided(a, (4, 4), (1, 4)))])
    assert "at other points" in refused([fill, loop(dense(a, 8), dense(a, 8, start=4))])
    assert "for several points" in refused([loop(strided(b, (4, 4), (0, 1)))])
    assert "at other points" in refused([fill, total(dense(a, 4), dense(a, 4, 4), 0)])
    even, odd = strided(a, (8,), (2,)), strided(a, (8,), (2,), start=4)
    verify(Program([fill, loop(even, odd), loop(dense(a, 4, 4), dense(a, 4, 4))], []), "")
    both = ir.Pointwise("both", [], [FLOAT, FLOAT], [ir.const(1.0, FLOAT)] * 2)
    twice = Loop(both, (dense(b, 4), dense(b, 4, start=8)))
    assert "at the same time" in refused([twice])


def test_what_runs_in_any_order_is_independent():
    a, b, _ = buffers()
    verify(Program([Together([loop(dense(a, 4)), loop(dense(a, 4, start=16))])], []), "")
    fill = loop(dense(a, 4))
    assert "another loop has" in refused([fill, Together([fill, loop(dense(b, 4), dense(a, 4))])])
    assert "another loop has" in refused([Together([fill, loop(dense(a, 4, start=12))])])
    assert "no loop" in refused([Together([])])


def test_rows_do_not_need_each_other():
    a, b, c = buffers()
    fill, sums = loop(dense(a, 4, 3)), total(dense(b, 4), dense(a, 4, 3), 1)
    spread = loop(dense(c, 4, 3), dense(a, 4, 3), strided(b, (4, 3), (1, 0)))
    verify(Program([Rows([fill, sums, spread], 1)], [dense(c, 4, 3)]), "")
    down = total(dense(b, 3), dense(a, 4, 3), 0)
    assert "a row is folded" in refused([Rows([fill, down], 1)])
    turned = loop(dense(c, 4, 4), strided(a, (4, 4), (1, 4)))
    assert "in rows that others have" in refused([Rows([loop(dense(a, 4, 4)), turned], 1)])
    late = loop(dense(c, 4, 3), strided(a, (4, 3), (3, 1), start=12))
    assert "in rows that others have" in refused([loop(dense(a, 24)), Rows([fill, late], 1)])
    assert "has not the rows (4,)" in refused([Rows([fill, loop(dense(b, 3, 3))], 1)])
    scan = Loop(ir.Scan("scan", [FLOAT], [FLOAT], *total(dense(b, 4), dense(a, 4, 3), 1).kernel
                        .values()), (dense(c, 4, 3), dense(a, 4, 3)), (1,))  # fmt: skip
    assert "has no rows" in refused([Rows([fill, scan], 1)])


def test_a_pass_keeps_what_leaves_the_program():
    a, *_ = buffers()
    given = Buffer(9, 96, torch.zeros(24))
    whole = Program([loop(dense(a, 4)), loop(dense(given, 4))], [dense(a, 4)])
    check = Verifier(whole)
    check.after("none", whole)
    with pytest.raises(ir.Invalid, match="after greedy: other given memory is written"):
        check.after("greedy", Program(whole.instructions[:1], whole.results))
    with pytest.raises(ir.Invalid, match="after turning: the program's results are others"):
        check.after("turning", Program(whole.instructions, [dense(a, 2)]))


def pointwise(value, inputs=(FLOAT,), outputs=(FLOAT,), **more):
    return ir.Pointwise("made", inputs, outputs, [value], **more)


def reduction(element=X, combine=None, finish=None, init=None):
    state, other = ir.state(0, FLOAT), ir.other(0, FLOAT)
    return ir.Reduce(
        "made", [FLOAT], [FLOAT], [init or ir.const(0.0, FLOAT)], [element],
        [combine or state + other], [finish or state],
    )  # fmt: skip


def node(op, *args, dtype=FLOAT, value=None, part=""):
    return ir.node(op, *args, dtype=dtype, value=value, part=part)


def loops(step):
    return ir.repeat(step, [X], 4)[0]


KERNELS = {
    "input 1 is read, and there are 1": pointwise(ir.load(1, FLOAT)),
    "input 0 is float32, and read as float64": pointwise(ir.load(0, DOUBLE)),
    "input 0 is complex, and read whole": pointwise(X, [ir.loop.complex64]),
    "a part of input 0": pointwise(node("load", value=0, part="re")),
    "add of float32, int64 gives float32": pointwise(node("add", X, ir.const(1, LONG))),
    "add of float32, float32 gives float64": pointwise(node("add", X, X, dtype=DOUBLE)),
    "add has 1 arguments": pointwise(node("add", X)),
    "no primitive 'spin'": pointwise(node("spin", X, X)),
    "select by a float32": pointwise(node("select", X, X, X)),
    "sqrt of int64": pointwise(node("sqrt", ir.const(1, LONG), dtype=LONG)),
    "or of float32": pointwise(node("or", X, X)),
    "shl of float32": pointwise(node("shl", X, X)),
    "lt gives float32": pointwise(node("lt", X, X)),
    "bitcast from float32 to float64": pointwise(node("bitcast", X, dtype=DOUBLE)),
    "add of a half type": pointwise(node("add", *[ir.load(0, HALF)] * 2, dtype=HALF), [HALF]),
    "a parameter is float32": pointwise(node("param", value=0)),
    "body reads state0": pointwise(ir.state(0, FLOAT)),
    "the check is no bool": pointwise(X, check=X),
    "1 results for 2 outputs": pointwise(X, outputs=[FLOAT, FLOAT]),
    "element has the types float64": reduction(element=ir.cast(X, DOUBLE)),
    "combine reads %0": reduction(combine=ir.state(0, FLOAT) + X),
    "finish reads position": reduction(finish=ir.cast(ir.position, FLOAT)),
    "state 1 is read, and there are 1": reduction(finish=ir.state(1, FLOAT)),
    "item 3 of 1": pointwise(node("item", loops(lambda v: (v < 4, [v + 1])).args[0], value=3)),
    "a place is named by a float32": ir.Indexed(
        "made", [FLOAT], [FLOAT], [X], [ir.Place(0, (1,))]
    ),
    "operand 5 has a place": ir.Indexed("made", [LONG], [FLOAT], [ir.cast(ir.load(0, LONG), FLOAT)],
                                        [ir.Place(0, (5,))]),
}  # fmt: skip


@pytest.mark.parametrize("message", KERNELS)
def test_kernels_are_typed(message):
    with pytest.raises(ir.Invalid) as raised:
        ir.verify(KERNELS[message])
    assert message in str(raised.value) and "in " in str(raised.value)


def test_loops_inside_expressions_are_typed():
    whole = loops(lambda v: (v < 4, [v + X])).args[0]
    ir.verify(pointwise(node("item", whole, value=0)))
    cycle = whole.value
    for wrong, message in (
        (cycle._replace(proceed=cycle.variables[0]), "goes on while a number holds"),
        (cycle._replace(following=(X,)), "reads %0, which it is not given"),
        (cycle._replace(variables=cycle.variables[:1]), "a loop takes float32, and gets"),
        (cycle._replace(following=(ir.const(1, LONG),)), "its step gives int64"),
    ):
        broken = node("repeat", *whole.args, value=wrong)
        with pytest.raises(ir.Invalid, match=message):
            ir.verify(pointwise(node("item", broken, value=0)))


def test_kernels_are_checked_before_they_are_compiled():
    kernel = pointwise(node("add", X, ir.const(1, LONG)))
    one = contiguous((4,), FLOAT)
    with knobs.override(verify=True), pytest.raises(ir.Invalid, match="add of float32, int64"):
        torch.compiler.plan(kernel, [one], [one])


def test_products_do_not_write_what_they_multiply():
    x, w = torch.randn(96, 96), torch.randn(96, 96)
    capture = Capture()
    with capture:
        result = torch.relu(x @ w)
    program = capture.program([result])
    verify(program, "")
    (k, sums), *_ = [(k, i) for k, i in enumerate(program.instructions) if isinstance(i, Sums)]
    out, a, b = sums.operands

    def changed(*operands):
        instructions = list(program.instructions)
        instructions[k] = sums.replaced(operands)
        return refused(instructions, program.results)

    short = contiguous((48, 96), FLOAT)
    assert "is multiplied" in changed(a, a, b)
    assert "do not fit" in changed(out, a, b._replace(layout=short))
    assert "bytes" in changed(out, a._replace(start=64), b)
    assert "should have the shape" in changed(out._replace(layout=short), a, b)


def test_factors_are_of_one_type():
    x, w = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    capture = Capture()
    with capture:
        results = [torch.conv2d(x, w), torch.randn(96, 96) @ torch.randn(96, 96)]
    program = capture.program(results)
    verify(program, "")
    found = [i for i in program.instructions if isinstance(i, Sums)]
    for sums in found:
        a, b, *more = sums.factors
        whole = contiguous(b.layout.shape, HALF)
        wrong = sums._replace(factors=(a, b._replace(layout=whole), *more))
        before = program.instructions[: program.instructions.index(sums)]
        assert "is multiplied with float16" in refused([*before, wrong])
    assert found


def test_calls_lie_in_their_buffers():
    x = torch.randn(5)
    capture = Capture()
    with capture:
        result = x.sort().values
    program = capture.program([result])
    (k, call), *_ = [(k, i) for k, i in enumerate(program.instructions) if isinstance(i, Call)]
    beyond = [o._replace(start=o.buffer.nbytes + 8) for o in call.operands]
    before = program.instructions[:k]
    assert "bytes" in refused([*before, call.replaced(beyond)])


def test_memory_is_given_to_one_thing_at_a_time(monkeypatch):
    """Plans in which two pieces that overlap in time do so in space are refused, all others not."""
    x, seen = torch.randn(40, 7), []

    def function():
        a = x.cumsum(0)
        b, c = a.cumsum(1), a.sort(0).values
        return (b.cumsum(0) * c).sum(), (c @ a.t()).softmax(1).sum(0)

    def planned(pieces, results):
        memory = plan_memory(pieces, results)
        seen.append((pieces, memory))
        return memory

    monkeypatch.setattr(execute, "plan_memory", planned)
    compiled = torch.compile(function, fullgraph=True)
    assert all(torch.equal(a, b) for _ in range(3) for a, b in zip(compiled(), function()))
    [(pieces, memory)] = seen
    for k, one in enumerate(pieces):
        for j, other in enumerate(pieces[:k]):
            if memory.places[k] == memory.places[j]:
                continue
            places = list(memory.places)
            places[k] = places[j]

            def damaged(pieces, results, places=places, memory=memory):
                return memory._replace(places=places)

            monkeypatch.setattr(execute, "plan_memory", damaged)
            torch.compiler.reset()
            met = one.first <= other.last and other.first <= one.last
            room = places[k].home == -1 and places[k].start + one.nbytes > memory.nbytes
            if met or room:
                match = "goes to byte" if room else "memory"
                with pytest.raises(ir.Invalid, match=match):
                    compiled(), compiled()
            elif not any(
                p.first <= one.last and one.first <= p.last and k != n != j
                and memory.places[n].home == places[k].home
                and memory.places[n].start < places[k].start + one.nbytes
                and places[k].start < memory.places[n].start + p.nbytes
                for n, p in enumerate(pieces)
            ):  # fmt: skip
                compiled(), compiled()
