"""Values that a compiled function reaches on unusual ways, and that change between calls."""

import array
import collections
import contextlib
import contextvars
import copy
import dataclasses
import gc
import operator
import os
import types
import weakref
from typing import NamedTuple

import pytest
from scenarios import often, same_as_eager, x4

import flambeau as torch

SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


def changed(compile, body, *changes):
    """The results of a function before and after each change."""
    function = compile(body)
    out = often(function, x4())
    for change in changes:
        change()
        out += often(function, x4())
    return out


class Holder:
    factor = 2.0


@scenario
def getters_that_name_attributes(compile):
    holder = Holder()
    get, call = operator.attrgetter("factor"), operator.methodcaller("__getattribute__", "factor")
    out = changed(compile, lambda x: x * get(holder), lambda: setattr(holder, "factor", 3.0))
    return out + changed(
        compile, lambda x: x * call(holder), lambda: setattr(holder, "factor", 4.0)
    )


@scenario
def weak_references(compile):
    holder = Holder()
    weak = weakref.ref(holder)
    return changed(compile, lambda x: x * weak().factor, lambda: setattr(holder, "factor", 3.0))


@scenario
def properties_of_metaclasses_and_closures_of_properties(compile):
    factor = [2.0]

    class Meta(type):
        @property
        def factor(cls):
            return factor[0]

    class Inner(metaclass=Meta):
        @property
        def own(self):
            return factor[0]

    inner = Inner()
    return changed(
        compile, lambda x: x * Inner.factor + inner.own, lambda: factor.__setitem__(0, 3.0)
    )


@scenario
def attributes_of_functions(compile):
    def body(x):
        return x * body.factor + other.factor

    def other():
        pass

    body.factor = other.factor = 2.0
    return changed(
        compile, body,
        lambda: setattr(body, "factor", 3.0), lambda: setattr(other, "factor", 4.0),
    )  # fmt: skip


@scenario
def slots_that_are_filled_later(compile):
    class Slots:
        __slots__ = ("factor",)

    slots = Slots()
    body = lambda x: x * getattr(slots, "factor", 7.0)  # noqa: E731
    return changed(
        compile, body, lambda: setattr(slots, "factor", 3.0), lambda: delattr(slots, "factor")
    )


@scenario
def memory_that_others_write(compile):
    numbers, memory = array.array("d", [1.0, 2.0]), memoryview(bytearray(b"ab"))
    return changed(
        compile, lambda x: x * numbers[0] + memory[1],
        lambda: numbers.__setitem__(0, 3.0), lambda: memory.__setitem__(1, 9),
    )  # fmt: skip


@scenario
def variables_of_a_context(compile):
    variable = contextvars.ContextVar("variable", default=1.0)
    return changed(compile, lambda x: x * variable.get(), lambda: variable.set(3.0))


@scenario
def the_environment_of_a_frozen_module(compile):
    out = changed(
        compile, lambda x: x * float(os.environ.get("FACTOR_OF_A_TEST", "2")),
        lambda: os.environ.__setitem__("FACTOR_OF_A_TEST", "7"),
        lambda: os.environ.__delitem__("FACTOR_OF_A_TEST"),
    )  # fmt: skip
    return out


@scenario
def containers_of_many_elements(compile):
    numbers, table = list(range(20_000)), dict.fromkeys(range(20_000), 1)
    out = changed(
        compile, lambda x: x * numbers[15_000] + table[15_000],
        lambda: numbers.__setitem__(15_000, 5), lambda: table.__setitem__(15_000, 6),
    )  # fmt: skip
    return out


@scenario
def cells_of_functions_that_are_arguments(compile):
    def made():
        factor = 1.0

        def get(x):
            return x * factor

        def more():
            nonlocal factor
            factor += 1

        return get, more

    get, more = made()
    function = compile(lambda x, get: get(x))
    return [y for _ in range(3) for y in (more(), *often(function, x4(), get))]


@scenario
def containers_that_are_views_of_others(compile):
    chain, user = collections.ChainMap({"a": 1.0}, {"b": 2.0}), collections.UserDict(a=1.0)
    spaces = types.SimpleNamespace(inner=types.SimpleNamespace(values=[{"c": 1.0}]))
    return changed(
        compile,
        lambda x: x * chain["a"] + chain["b"] + user["a"] + spaces.inner.values[0]["c"],
        lambda: chain.maps[1].update(b=5.0), lambda: user.update(a=3.0),
        lambda: spaces.inner.values[0].update(c=9.0),
        lambda: setattr(spaces, "inner", types.SimpleNamespace(values=[{"c": 4.0}])),
    )  # fmt: skip


@scenario
def distributions(compile):
    normal = torch.distributions.Normal(x4(), x4() + 1)
    moved = torch.distributions.AffineTransform(1.0, 2.0, cache_size=1)
    return changed(
        compile, lambda x: normal.log_prob(x) + moved(x),
        lambda: setattr(normal, "loc", x4() + 5), lambda: setattr(moved, "loc", 3.0),
        lambda: normal.scale.add_(1),
    )  # fmt: skip


@scenario
def engines_of_quasi_random_numbers(compile):
    engine = torch.quasirandom.SobolEngine(4)
    return often(compile(lambda x: engine.draw(1) + x), x4())


@scenario
def scalers_inside_a_step(compile):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)

    @compile
    def step(x):
        optimizer.zero_grad()
        scaler.scale(model(x).square().mean()).backward()
        scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return norm, scaler.get_scale()

    return [y for k in range(9) for y in often(step, x4() * (torch.inf if k == 5 else 1), times=1)]


@scenario
def containers_that_answer_otherwise(compile):
    class Doubling(dict):
        def __getitem__(self, key):
            return dict.__getitem__(self, key) * 2

        def __iter__(self):
            raise RuntimeError("nobody may ask")

        keys = values = items = __len__ = __iter__

    table, kept = Doubling(a=1.0), Holder()
    weak = weakref.WeakValueDictionary(a=kept)
    return changed(
        compile, lambda x: x * table["a"] + weak["a"].factor,
        lambda: dict.__setitem__(table, "a", 3.0), lambda: setattr(kept, "factor", 5.0),
    )  # fmt: skip


@scenario
def callbacks_of_a_stack_of_contexts(compile):
    seen = []

    def body(x):
        with contextlib.ExitStack() as stack:
            stack.callback(seen.append, 1)
            return x * 2

    return [y for _ in range(4) for y in (*often(compile(body), x4()), len(seen))]


@scenario
def modules_that_are_copied_inside(compile):
    layer = torch.nn.Linear(4, 2)
    torch.nn.init.ones_(layer.weight), torch.nn.init.zeros_(layer.bias)
    return changed(
        compile, lambda x: copy.deepcopy(layer)(x), lambda: torch.nn.init.zeros_(layer.weight)
    )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_what_is_reached_is_compared(scenario):
    same_as_eager(scenario)


def test_arguments_that_change_afterwards_are_others():
    compiled = torch.compile(lambda values: values[0] * 2)
    kept = []
    for k in range(6):
        values = [torch.full((3,), float(k), requires_grad=True)]
        values.append(compiled(values))
        assert values[1].tolist() == [2.0 * k] * 3
        kept.append(weakref.ref(values[1]))
    assert sum(len(e.variants) for e in compiled._entries.values()) == 1
    del values
    gc.collect()
    assert [weak() for weak in kept] == [None] * 6


def test_a_container_that_is_given_back_is_the_argument():
    compiled = torch.compile(lambda values: (values, values[0] * 2))
    for k in range(4):
        values = [torch.full((2,), float(k))]
        got, doubled = compiled(values)
        assert got is values and doubled.tolist() == [2.0 * k] * 2


def test_objects_that_are_arguments_are_not_kept():
    compiled = torch.compile(lambda holder, x: x * holder.factor)
    kept = []
    for _ in range(3):
        holder = Holder()
        kept.append(weakref.ref(holder))
        for _ in range(4):
            assert compiled(holder, x4()).tolist() == [0.0, 2.0, 4.0, 6.0]
        del holder
    gc.collect()
    assert [weak() for weak in kept] == [None] * 3 and not compiled._entries


class Slowing(torch.optim.SGD):
    """Counts its steps, and sets its rate by them."""

    steps = 0

    def step(self, closure=None):
        self.steps += 1
        for group in self.param_groups:
            group["lr"] = 0.1 / self.steps
        super().step(closure)


@pytest.mark.parametrize("inside", [True, False])
def test_learning_rates_that_are_set_inside(inside):
    def run(compile):
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 2)
        kind = Slowing if inside else torch.optim.SGD
        optimizer = kind(model.parameters(), 0.1)

        @compile
        def step(x, rate):
            for group in optimizer.param_groups if not inside else ():
                group["lr"] = rate
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

        for k in range(8):
            step(x4(), 0.1 if k % 3 else 0.2)
        rates = [group["lr"] for group in optimizer.param_groups]
        return model.weight.tolist(), rates, getattr(optimizer, "steps", 0)

    assert run(torch.compile) == run(lambda function: function)


def test_attributes_of_tensors():
    weight = torch.nn.Parameter(x4())
    weight.factor = 2.0
    compiled = torch.compile(lambda x: x * weight.factor)
    for factor in (2.0, 3.0):
        weight.factor = factor
        for _ in range(3):
            assert compiled(x4())[1] == factor

    def marking(x):
        x.total = x.sum()
        y = x * 2
        y.note = "made here"
        return y

    compiled = torch.compile(marking)
    for k in range(4):
        x = x4() + k
        assert compiled(x).note == "made here" and x.total == x.sum()
    compiled = torch.compile(lambda x: torch.nn.Parameter(x * 2))
    assert all(type(compiled(x4())) is torch.nn.Parameter for _ in range(4))
    compiled = torch.compile(lambda x: x * x.is_leaf)
    for _ in range(4):
        x = x4().requires_grad_()
        assert compiled(x)[1] == 1 and compiled(x * 1)[1] == 0


def test_generators_that_are_made_inside():
    draws = (
        lambda: torch.rand(2, generator=torch.Generator().manual_seed(2)),
        lambda: torch.rand(2, generator=torch.Generator()),
    )
    for draw in draws:
        compiled = torch.compile(draw)
        assert all(torch.equal(compiled(), draw()) for _ in range(4))


class Pairs(NamedTuple):
    x: torch.Tensor
    factor: float = 2.0

    def scaled(self):
        return self.x * self.factor


@dataclasses.dataclass
class Batch:
    x: torch.Tensor
    factor: float = 2.0

    def scaled(self):
        return self.x * self.factor


@pytest.mark.parametrize("kind", [Pairs, Batch])
def test_each_call_may_get_another_record(kind):
    compiled = torch.compile(lambda record: record.scaled() + 1)
    for k in range(6):
        for factor in (2.0, 3.0):
            record = kind(x4() + k, factor)
            assert torch.equal(compiled(record), record.x * factor + 1)
    assert [len(entry.variants) for entry in compiled._entries.values()] == [1, 1]
    same = torch.compile(lambda one, other: (one is other) + one.x)
    for _ in range(3):
        record = Batch(x4())
        assert same(record, record)[0] == 1 and same(record, Batch(record.x))[0] == 0


def test_records_that_are_changed_kept_or_given_back():
    def change(batch):
        batch.x = batch.x * 2
        batch.count = getattr(batch, "count", 0) + 1
        return batch.x + 1

    kept = []
    changing, giving = torch.compile(change), torch.compile(lambda batch: batch)
    keeping = torch.compile(lambda batch: (kept.append(batch), batch.x * 2)[1])
    for k in range(5):
        batch = Batch(x4() + k)
        assert torch.equal(changing(batch), batch.x + 1) and batch.count == 1
        assert torch.equal(batch.x, (x4() + k) * 2)
        assert giving(batch) is batch
        keeping(batch)
        assert len(kept) == k + 1 and kept[-1] is batch
