"""What Python changes between two calls of a compiled function: its results are never those of
before.
"""

import collections
import contextlib
import functools
import os
import random
import time
import types

import numpy
import pytest
from scenarios import often, same_as_eager, values, x4

import flambeau as torch

shared = types.ModuleType("shared")  # a module of the user's
shared.factor, shared.table = 2.0, {"a": [1.0, 2.0]}
shared.helper = lambda x: x * 3
setting = 1.0


SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


@scenario
def nested_attribute(compile):
    holder = types.SimpleNamespace(inner=types.SimpleNamespace(scale=2.0))
    function = compile(lambda x: x * holder.inner.scale)
    out = often(function, x4())
    holder.inner.scale = 3.0
    out += often(function, x4())
    holder.inner = types.SimpleNamespace(scale=5.0)
    return out + often(function, x4())


@scenario
def containers(compile):
    table, items = {"a": 1.0}, [1.0, [2.0]]

    def body(x):
        for value in table.values():
            x = x * value
        return x + items[0] + items[1][0] + len(items)

    function = compile(body)
    out = often(function, x4())
    table["b"] = 3.0
    out += often(function, x4())
    items[1][0] = 7.0
    out += often(function, x4())
    items.append(1)
    out += often(function, x4())
    table["a"], table["b"] = 5.0, 1.0
    del table["b"]
    return out + often(function, x4())


@scenario
def order_of_a_dict(compile):
    table = {"a": 1.0, "b": 2.0}

    def body(x):
        for name, value in table.items():
            x = x * value + (1 if name == "a" else 0)
        return x

    function = compile(body)
    out = often(function, x4())
    table["a"] = table.pop("a")
    return out + often(function, x4())


@scenario
def default_arguments(compile):
    def body(x, factor=2.0, *, shift=1.0):
        return x * factor + shift

    function = compile(body)
    out = often(function, x4())
    body.__defaults__ = (4.0,)
    out += often(function, x4())
    body.__kwdefaults__ = {"shift": 9.0}
    return out + often(function, x4())


@scenario
def default_arguments_of_a_helper(compile):
    def helper(x, factor=2.0, *, shift=0.0):
        return x * factor + shift

    function = compile(lambda x: helper(x))
    out = often(function, x4())
    helper.__defaults__ = (4.0,)
    out += often(function, x4())
    helper.__kwdefaults__ = {"shift": 9.0}
    return out + often(function, x4())


@scenario
def code_of_a_helper(compile):
    def helper(x):
        return x * 2

    def other(x):
        return x * 5

    function = compile(lambda x: helper(x))
    out = often(function, x4())
    helper.__code__ = other.__code__
    return out + often(function, x4())


@scenario
def code_of_the_function(compile):
    def body(x):
        return x * 2

    function = compile(body)
    out = often(function, x4())
    body.__code__ = (lambda x: x * 5).__code__
    return out + often(function, x4())


@scenario
def closures(compile):
    count, inner = 1.0, x4()

    def body(x):
        return x * count + inner

    function = compile(body)
    out = often(function, x4())
    count = 2.0
    out += often(function, x4())
    inner = torch.ones(4)
    out += often(function, x4())
    inner = torch.ones(1)
    return out + often(function, x4())


@scenario
def globals_of_modules(compile):
    global setting
    function = compile(lambda x: shared.helper(x) * shared.factor + shared.table["a"][0] + setting)
    out = often(function, x4())
    for name, value in (("factor", 4.0), ("helper", lambda x: x - 1)):
        before = getattr(shared, name)
        setattr(shared, name, value)
        out += often(function, x4())
        setattr(shared, name, before)
        out += often(function, x4())
    shared.table["a"][0] += 1
    out += often(function, x4())
    shared.table["a"][0] -= 1
    setting = 8.0
    out += often(function, x4())
    setting = 1.0
    return out


class Scaled:
    factor = 2.0
    items = (1.0,)

    def __init__(self):
        self._size = 1.0

    @property
    def size(self):
        return self._size * 2

    @staticmethod
    def fixed(x):
        return x + 1

    @classmethod
    def of_class(cls, x):
        return x * cls.factor

    def apply(self, x):
        return self.of_class(self.fixed(x)) * self.size + self.items[0]


@scenario
def methods_properties_and_classes(compile):
    class Mine(Scaled):
        pass

    mine = Mine()
    function = compile(lambda x: mine.apply(x))
    out = often(function, x4())
    mine._size = 3.0
    out += often(function, x4())
    Mine.factor = 5.0
    out += often(function, x4())
    Mine.fixed = staticmethod(lambda x: x - 7)
    out += often(function, x4())
    Mine.size = property(lambda self: 0.5)
    out += often(function, x4())
    mine.items = (4.0,)
    out += often(function, x4())
    mine.apply = lambda x: x
    out += often(function, x4())
    del mine.apply
    out += often(function, x4())
    Mine.apply = lambda self, x: x * 100
    return out + often(function, x4())


@scenario
def the_class_of_an_object(compile):
    class Other(Scaled):
        factor = 9.0

    mine = Scaled()
    function = compile(lambda x: mine.apply(x))
    out = often(function, x4())
    mine.__class__ = Other
    return out + often(function, x4())


@scenario
def special_methods(compile):
    class Number:
        def __init__(self, value):
            self.value = value

        def __call__(self, x):
            return x * self.value

        def __getitem__(self, k):
            return self.value + k

        def __len__(self):
            return int(self.value)

        def __getattr__(self, name):
            return self.__dict__["value"] * 10

    number = Number(2.0)
    function = compile(lambda x: number(x) + number[1] + len(number) + number.missing)
    out = often(function, x4())
    number.value = 3.0
    out += often(function, x4())
    number.missing = 0.0
    out += often(function, x4())
    Number.__len__ = lambda self: 50
    return out + often(function, x4())


@scenario
def arrays_that_are_changed(compile):
    array = numpy.ones(4, dtype="float32")
    function = compile(lambda x: x + torch.from_numpy(array) + torch.tensor(array) + array[0])
    out = often(function, x4())
    array[0] = 5
    out += often(function, x4())
    view = compile(lambda x, a: x + torch.as_tensor(a))
    out += often(view, x4(), array)
    array[1] = 7
    return out + often(view, x4(), array)


@scenario
def the_environment(compile):
    def body(x):
        return x * float(os.environ.get("FACTOR_OF_A_TEST", "2")) + os.getpid() * 0

    function = compile(body)
    out = often(function, x4())
    os.environ["FACTOR_OF_A_TEST"] = "7"
    out += often(function, x4())
    del os.environ["FACTOR_OF_A_TEST"]
    return out + often(function, x4())


@scenario
def clocks_and_random_numbers(compile):
    def clock(x):
        return x * (time.perf_counter_ns() >= limit[0])

    def drawn(x):
        return x * random.random() + numpy.random.rand() + mine.random()

    limit, mine, out = [0], random.Random(1), []
    function = compile(clock)
    out += often(function, x4())
    limit[0] = time.perf_counter_ns() + 10**12
    out += often(function, x4())
    random.seed(0)
    numpy.random.seed(0)
    return out + often(compile(drawn), x4())


@scenario
def exceptions_that_are_caught(compile):
    table = {}

    def body(x):
        try:
            return x * table["factor"]
        except KeyError:
            return x * 2

    def refused(x):
        try:
            return x.view(3, 3)
        except RuntimeError:
            return x * 3

    function = compile(body)
    out = often(function, x4()) + often(compile(refused), x4())
    table["factor"] = 9.0
    return out + often(function, x4())


@scenario
def exceptions_that_are_raised(compile):
    def body(x, n):
        y = x * 2
        if limit[0] > 1:
            raise ValueError(f"limit {limit[0]}")
        return y / (1 // n)

    limit = [1]
    function = compile(body)
    out = often(function, x4(), 1) + often(function, x4(), 0)
    limit[0] = 2
    out += often(function, x4(), 1)
    limit[0] = 0
    return out + often(function, x4(), 1)


@scenario
def recursion(compile):
    def power(x, n):
        return x if n == 0 else power(x, n - 1) * base[0]

    base = [2.0]
    function = compile(lambda x: power(x, depth[0]))
    depth = [3]
    out = often(function, x4())
    depth[0] = 5
    out += often(function, x4())
    base[0] = 3.0
    return out + often(function, x4())


@scenario
def generator_functions(compile):
    def parts(x):
        for factor in factors:
            yield x * factor

    factors = [1.0, 2.0]
    function = compile(lambda x: sum(parts(x)))
    out = often(function, x4())
    factors.append(3.0)
    out += often(function, x4())
    stream = iter(range(100))
    return out + often(compile(lambda x: x + next(stream)), x4())


@scenario
def context_managers(compile):
    @contextlib.contextmanager
    def scaled():
        level.append(scale[0])
        try:
            yield level[-1]
        finally:
            level.pop()

    def body(x):
        with scaled() as factor, torch.no_grad(), contextlib.suppress(ValueError):
            return x * factor

    level, scale = [], [2.0]
    function = compile(body)
    out = often(function, x4())
    scale[0] = 4.0
    return out + often(function, x4())


@scenario
def counters(compile):
    def body(x):
        state["calls"] += 1
        calls.append(len(calls))
        return x * state["calls"] + len(calls)

    state, calls = {"calls": 0}, []
    return [*often(compile(body), x4(), times=8), list(calls)]


@scenario
def partials_and_bound_methods(compile):
    def scale(x, factor):
        return x * factor

    holder = types.SimpleNamespace(function=functools.partial(scale, factor=2.0))
    function = compile(lambda x: holder.function(x))
    out = often(function, x4())
    holder.function = functools.partial(scale, factor=5.0)
    out += often(function, x4())
    holder.function.keywords["factor"] = 6.0
    out += often(function, x4())
    mine = Scaled()
    method = compile(mine.apply)
    out += often(method, x4())
    mine._size = 10.0
    return out + often(method, x4())


@scenario
def caches_and_named_tuples(compile):
    Pair = collections.namedtuple("Pair", "a b")

    @functools.lru_cache
    def factor(n):
        return table[n]

    table = {4: 2.0, 5: 3.0}
    function = compile(lambda p: Pair(p.a * factor(len(p.a)), p.b + 1))
    out = often(function, Pair(x4(), 1.0)) + often(function, Pair(x4(), 2.0))
    table[4] = 7.0
    out += often(function, Pair(x4(), 1.0))
    factor.cache_clear()
    return out + often(function, Pair(x4(), 1.0)) + often(function, Pair(torch.ones(5), 1.0))


@scenario
def ordered_and_default_dicts(compile):
    table = collections.defaultdict(lambda: 4.0)
    queue, chosen = collections.deque([1.0, 2.0]), {1, 2}

    def body(x):
        return x * table["a"] + queue[0] + len(queue) + (1 in chosen)

    function = compile(body)
    out = often(function, x4())
    table["a"] = 1.5
    out += often(function, x4())
    queue.rotate()
    out += often(function, x4())
    queue.append(1.0)
    out += often(function, x4())
    chosen.discard(1)
    return out + often(function, x4())


@scenario
def arguments_of_all_kinds(compile):
    function = compile(lambda x, o: x * (o if isinstance(o, int | float) else len(o)))
    out = []
    for other in (1, 1.0, True, 2, [1, 2], (1, 2), [1, 3, 4], "ab", {"k": 1}, {"k": 2, "l": 1},
                  -0.0, 0.0, float("nan"), range(3), b"abc", frozenset({1})):  # fmt: skip
        out += often(lambda o=other: [repr(values(function(x4(), o)))])
    return out


@scenario
def objects_as_arguments(compile):
    function = compile(lambda x, o: x * o.scale)
    first, second = types.SimpleNamespace(scale=2.0), types.SimpleNamespace(scale=3.0)
    out = often(function, x4(), first) + often(function, x4(), second)
    first.scale = 4.0
    return out + often(function, x4(), first) + often(function, x4(), second)


@scenario
def attributes_that_are_missing(compile):
    flags = types.SimpleNamespace()

    def asked(x):
        return x * (2 if hasattr(flags, "double") else 1) + getattr(flags, "shift", 0)

    def tried(x):
        try:
            return x + flags.more
        except AttributeError:
            return x

    functions = compile(asked), compile(tried)
    out = []
    for name, value in (
        ("unused", 0),
        ("double", 1),
        ("shift", 3),
        ("more", 5.0),
        ("double", None),
    ):
        if value is None:
            delattr(flags, name)
        else:
            setattr(flags, name, value)
        for function in functions:
            out += often(function, x4())
    return out


@scenario
def defaults_that_are_changed(compile):
    def helper(x, table=[1.0], options={"k": 2.0}):  # noqa: B006 - that is the point
        return x * table[0] + options["k"]

    function, direct = compile(lambda x: helper(x)), compile(helper)
    out = often(function, x4()) + often(direct, x4())
    helper.__defaults__[0][0] = 4.0
    out += often(function, x4()) + often(direct, x4())
    helper.__defaults__[1]["k"] = 5.0
    return out + often(function, x4()) + often(direct, x4())


@scenario
def dictionaries_that_are_filled_anew(compile):
    table = {"a": 2.0, "b": 3.0}
    holder = types.SimpleNamespace(first=2.0, second=3.0)

    def ordered(x):
        for name, value in table.items():
            x = x * value + len(name)
        return x

    def named(x):
        return x * table["b"] + (table["a"] if "a" in table else 0)

    def held(x):
        return x * holder.first + holder.second

    functions = [compile(f) for f in (ordered, named, held)]
    out = [y for f in functions for y in often(f, x4())]
    for entries in (
        {"ccc": 2.0, "b": 3.0},
        {"b": 3.0, "ccc": 2.0},
        {"b": 4.0},
        {"a": 2.0, "b": 3.0},
    ):
        table.clear()
        table.update(entries)
        holder.__dict__.clear()
        holder.second, holder.first = entries["b"], 1.5
        out += [y for f in functions for y in often(f, x4())]
    for k in range(40):  # grows without changing what is read
        table[f"z{k}"] = 1.0
        setattr(holder, f"z{k}", 1.0)
        out += [functions[1](x4()), functions[2](x4())]
    table["b"], holder.first = 9.0, 9.0
    return out + [y for f in functions[1:] for y in often(f, x4())]


@pytest.mark.parametrize("run", SCENARIOS, ids=lambda f: f.__name__)
def test_what_python_changes_between_calls(run):
    same_as_eager(run)
