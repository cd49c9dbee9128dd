"""`compile`: programs in place of Python give what Python gives, bit for bit, whatever changes."""

import gc
import types

import numpy
import pytest

import flambeau as torch
from flambeau import runtime
from flambeau.graph import compile
from flambeau.nn import functional as F

nn = torch.nn


def net(*, dropout=0.0, norm=False):
    torch.manual_seed(3)
    layers = [nn.Linear(12, 16), nn.BatchNorm1d(16) if norm else nn.ReLU(), nn.Tanh()]
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(16, 5))


def batch(rows=8):
    torch.manual_seed(4)
    return torch.randn(rows, 12), torch.randint(0, 5, (rows,))


def trainer(model, make_optimizer, inside=True):
    optimizer = make_optimizer(model.parameters())

    def step(x, y):
        if inside:
            optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, optimizer


def states(model):
    found = {k: v.detach().numpy().copy() for k, v in model.state_dict().items()}
    grads = {k: p.grad.numpy().copy() for k, p in model.named_parameters() if p.grad is not None}
    return found | {f"grad {k}": v for k, v in grads.items()}


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        numpy.testing.assert_array_equal(a[key], b[key], key)


def variants(compiled):
    compiled = getattr(compiled, "_compiled", compiled)
    return [v for entry in compiled._entries.values() for v in entry.variants]


def reasons(compiled):
    return [entry.reason for entry in compiled._entries.values() if entry.reason]


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
    ),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "maximize": lambda p: torch.optim.Adam(p, lr=0.01, maximize=True),
    "tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01)),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "centered": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.9),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.1, t0=2),
    "adadelta": lambda p: torch.optim.Adadelta(p),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr_decay=0.1),
    "adamax": lambda p: torch.optim.Adamax(p, weight_decay=0.1),
    "nadam": lambda p: torch.optim.NAdam(p),
    "radam": lambda p: torch.optim.RAdam(p, betas=(0.9, 0.9)),
    "rprop": lambda p: torch.optim.Rprop(p),
}
TO_PYTHON = {"sparse": lambda p: torch.optim.SparseAdam(p)}


COMBINATIONS = [(name, {}) for name in OPTIMIZERS | TO_PYTHON]
COMBINATIONS += [(name, o) for name in ("sgd", "adam") for o in ({"dropout": 0.4}, {"norm": True})]


@pytest.mark.parametrize(("name", "options"), COMBINATIONS)
def test_training_steps_equal_eager_ones(name, options):
    x, y = batch()
    found = []
    for wrap in (lambda f: f, compile):
        model = net(**options)
        step, optimizer = trainer(model, (OPTIMIZERS | TO_PYTHON)[name])
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
        step = wrap(step)
        torch.manual_seed(11)
        losses = []
        for _ in range(7):
            losses.append(step(x, y).item())
            schedule.step(1.0)
        found.append((losses, states(model), torch.rand(3).tolist()))
    assert found[0][0] == found[1][0]
    same(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]  # the random stream went on alike
    assert len(variants(step)) == (name in OPTIMIZERS)


def test_muon_and_steps_that_are_compiled_alone():
    found = []
    for wrap in (lambda f: f, compile):
        model = nn.Sequential(nn.Linear(6, 4, bias=False), nn.Tanh(), nn.Linear(4, 3, bias=False))
        with torch.no_grad():
            for k, p in enumerate(model.parameters()):
                p.copy_(torch.linspace(-1, 1, p.numel()).reshape(p.shape) * (k + 1))
        optimizer = torch.optim.Muon(model.parameters(), lr=0.1)
        step = wrap(optimizer.step)
        for k in range(6):
            optimizer.zero_grad(set_to_none=k % 2 == 0)
            model(torch.ones(2, 6) * k).square().sum().backward()
            step()
        found.append(states(model))
    same(*found)
    assert len(variants(step)) == 1


def test_state_that_a_captured_step_makes_is_made_once():
    found = []
    for wrap in (lambda f: f, compile):
        first, second = nn.Linear(3, 3), nn.Linear(3, 3)
        with torch.no_grad():
            for p in (*first.parameters(), *second.parameters()):
                p.fill_(0.5)
        optimizer = torch.optim.SGD(
            [*first.parameters(), *second.parameters()], lr=0.1, momentum=0.9
        )
        late = {"on": False}

        def step(x):
            optimizer.zero_grad()  # noqa: B023
            out = first(x)  # noqa: B023
            out = second(out) if late["on"] else out  # noqa: B023
            out.square().sum().backward()
            optimizer.step()  # noqa: B023

        step = wrap(step)
        for k in range(12):
            late["on"] = k > 4
            step(torch.ones(2, 3))
        found.append(states(second))
    same(*found)
    assert len(variants(step)) == 2


def test_the_learning_rate_is_read_anew():
    x, y = batch()
    found = []
    for wrap in (lambda f: f, compile):
        model = net()
        step, optimizer = trainer(model, OPTIMIZERS["adam"])
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        step = wrap(step)
        for _ in range(8):
            step(x, y)
            schedule.step()
        found.append(states(model))
    same(*found)
    assert len(variants(step)) == 1


def test_shapes_modes_and_python_values_that_change():
    scale = {"by": 1.0}
    torch.manual_seed(0)
    drop = nn.Dropout(0.5)
    weight = torch.randn(4, 4)

    class Thing:
        power = 2
        shift = 1.0

    thing = Thing()
    thing.shift = 0.5

    def function(x, flag=False, *, names=("a",)):
        out = drop(x @ weight) * scale["by"] + thing.shift
        return {"out": out.relu() if flag else out, "names": len(names)}

    compiled = compile(function)

    def check(*args, **kwargs):
        for _ in range(4):
            torch.manual_seed(5)
            expected = function(*args, **kwargs)
            torch.manual_seed(5)
            got = compiled(*args, **kwargs)
            assert got["names"] == expected["names"]
            numpy.testing.assert_array_equal(got["out"].numpy(), expected["out"].numpy())

    x = torch.randn(3, 4)
    check(x)
    check(torch.randn(3, 4))
    check(torch.randn(5, 4), True)
    check(torch.randn(4, 3).t(), flag=True, names=("a", "b"))
    scale["by"] = 3.0
    check(x)
    thing.shift = -2.0
    check(x)
    drop.eval()
    check(x)
    drop.train()
    check(x)
    drop.p = 0.1
    check(x)
    weight = torch.randn(4, 4)
    check(x)
    weight.mul_(2)
    check(x)
    with torch.no_grad():
        check(x)
    assert not reasons(compiled)


def test_results_are_memory_of_their_own():
    weight = torch.ones(3)
    compiled = compile(lambda x: (x + weight, x, weight, (x * 2)[1:]))
    x = torch.arange(3.0)
    kept = [compiled(x) for _ in range(4)]
    x.add_(10)
    kept.append(compiled(x))
    assert kept[3][0].tolist() == [1.0, 2.0, 3.0] and kept[4][0].tolist() == [11.0, 12.0, 13.0]
    assert kept[4][1] is x and kept[4][2] is weight
    assert kept[3][3].tolist() == [2.0, 4.0]


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_that_are_reset_outside_or_added_to(to_none):
    x, y = batch()
    found = []
    for wrap in (lambda f: f, compile):
        model = net()
        step, optimizer = trainer(model, OPTIMIZERS["sgd"], inside=False)
        step = wrap(step)
        for k in range(9):
            if k % 3 != 2:
                optimizer.zero_grad(set_to_none=to_none)
            step(x, y)
        found.append(states(model))
    same(*found)


def test_an_old_gradient_is_not_overwritten():
    x, y = batch()
    model = net()
    step, _ = trainer(model, OPTIMIZERS["sgd"])
    step = compile(step)
    step(x, y), step(x, y), step(x, y)
    old = model[0].weight.grad
    before = old.tolist()
    step(x, y)
    assert old.tolist() == before and model[0].weight.grad is not old


def test_parameters_that_are_replaced_or_loaded():
    x, y = batch()
    found = []
    for wrap in (lambda f: f, compile):
        model = net()
        step, optimizer = trainer(model, OPTIMIZERS["adam"])
        step = wrap(step)
        for k in range(12):
            if k == 4:
                model[0].weight.data = model[0].weight.data * 0.5
            if k == 6:
                model.load_state_dict({n: v * 2 for n, v in model.state_dict().items()})
            if k == 8:
                optimizer.load_state_dict(optimizer.state_dict())
            if k == 10:
                model[0].weight.requires_grad_(False)
            step(x, y)
        found.append(states(model))
    same(*found)


class Counter:
    def __init__(self):
        self.count = 0


BREAKS = {
    "item": lambda x, c: x * x.sum().item(),
    "bool": lambda x, c: x if x.sum() > 0 else -x,
    "numpy": lambda x, c: x + torch.tensor(numpy.array(x.detach().numpy()).sum()),
    "print": lambda x, c: print("seen") or x + 1,
    "count": lambda x, c: (setattr(c, "count", c.count + 1), x + c.count)[1],
    "nonzero": lambda x, c: x.nonzero().sum() + x[x > 0].sum(),
    "object": lambda x, c: Counter(),
    "disabled": lambda x, c: left_to_python(x),
}


@torch.compiler.disable
def left_to_python(x):
    return x + 1


@pytest.mark.parametrize("name", BREAKS)
def test_what_cannot_be_captured_runs_as_it_is(name, capsys):
    function, counters = BREAKS[name], [Counter(), Counter()]
    compiled = compile(function)
    for k in range(5):
        x = torch.arange(4.0) - k
        expected, got = function(x, counters[0]), compiled(x, counters[1])
        if name != "object":
            assert torch.equal(expected, got)
    assert counters[0].count == counters[1].count
    assert reasons(compiled) and not variants(compiled)
    assert capsys.readouterr().out.count("seen") == (10 if name == "print" else 0)
    strict = compile(function, fullgraph=True)
    strict(torch.ones(4), counters[1])
    for _ in range(3):
        with pytest.raises(RuntimeError, match="fullgraph"):
            strict(torch.ones(4), counters[1])


def test_errors_are_those_of_the_users_line():
    table = nn.Embedding(5, 3)
    compiled = compile(lambda k: table(k).detach().sum())
    good = torch.tensor([1, 2])
    for _ in range(4):
        compiled(good)
    assert variants(compiled)
    with pytest.raises(IndexError) as error:
        compiled(torch.tensor([1, 7]))
    assert "test_compile.py" in str(error.value)
    assert torch.equal(compiled(good), table(good).detach().sum())


def test_a_step_that_is_refused_did_not_happen():
    x, y = torch.rand(4, 3), torch.rand(4, 2)
    found = []
    for wrap in (lambda f: f, compile):
        layer = nn.Linear(3, 2)
        with torch.no_grad():
            layer.weight.fill_(0.5)
            layer.bias.zero_()
        optimizer = torch.optim.Adam(layer.parameters())

        def step(x, y):
            optimizer.zero_grad()  # noqa: B023
            loss = F.binary_cross_entropy(layer(x).sigmoid() * x.amax(), y)  # noqa: B023
            loss.backward()
            optimizer.step()  # noqa: B023
            return loss

        step = wrap(step)
        for k in range(8):
            if k in (1, 5):
                with pytest.raises(RuntimeError, match="between 0 and 1"):
                    step(x + 100, y)
            else:
                step(x, y)
        found.append(states(layer))
    same(*found)
    assert variants(step)


def test_arguments_on_the_same_memory():
    def function(a, b):
        a.add_(1)
        return a * b

    compiled = compile(function)
    for make in (lambda: (torch.ones(3), torch.ones(3)), lambda: (lambda t: (t, t))(torch.ones(3))):
        for _ in range(4):
            a, b = make()
            c, d = make()
            assert torch.equal(compiled(a, b), function(c, d)) and torch.equal(a, c)


def test_views_and_writes_in_place():
    def function(x, state):
        y = x.t()[1:]
        y.mul_(2)
        state[0] = y.sum(0)[:2]
        z = torch.zeros(4, 2)
        z[1:3] = x[:2, :2].exp()
        z[:, 0] += 1
        return z, x.sum()

    compiled = compile(function)
    for k in range(5):
        x, s = torch.arange(12.0).reshape(4, 3) / (k + 1), torch.zeros(3, 2)
        u, v = x.clone(), s.clone()
        got, expected = compiled(x, s), function(u, v)
        assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])
        assert torch.equal(x, u) and torch.equal(s, v)
    assert variants(compiled)


def test_a_module_and_a_method():
    model = net().eval()

    class Holder:
        def __init__(self):
            self.weight = torch.randn(3)

        @compile
        def scaled(self, x):
            return x * self.weight

    holder = Holder()
    x, _ = batch()
    compiled = torch.compile(model)
    with torch.no_grad():
        for _ in range(4):
            assert torch.equal(compiled(x), model(x))
            assert torch.equal(holder.scaled(x[:, :3]), x[:, :3] * holder.weight)
    with pytest.raises(TypeError, match="callable"):
        compile(3)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}, {"norm": True}], ids=str)
def test_a_module_whose_results_are_differentiated_outside(options):
    x, y = batch()
    found = []
    for wrap in (lambda f: f, compile):
        model, head = net(**options), nn.Linear(12, 12)
        with torch.no_grad():
            head.weight.copy_(torch.eye(12))
            head.bias.zero_()
        optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)
        call = wrap(model)
        torch.manual_seed(5)
        losses = []
        for _ in range(6):
            optimizer.zero_grad()
            out = call(head(x))
            loss = F.cross_entropy(out * 2, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found.append((losses, states(model), states(head)))
    assert found[0][0] == found[1][0]
    same(found[0][1], found[1][1])
    same(found[0][2], found[1][2])
    assert variants(call)


def test_results_with_and_without_gradients():
    weight = torch.randn(3, requires_grad=True)

    def function(x):
        return x * weight, x > 0, (x * weight).detach(), x.sum()

    compiled = compile(function)
    for _ in range(4):
        x = torch.randn(3)
        a, b = compiled(x), function(x)
        assert [t.requires_grad for t in a] == [t.requires_grad for t in b]
        for s, t in zip(a, b, strict=True):
            assert torch.equal(s, t)
        [grad] = torch.autograd.grad(a[0].sum(), weight)
        assert torch.equal(grad, x)
    with torch.no_grad():
        assert not compiled(x)[0].requires_grad
    out = compiled(x)[0]
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_containers_of_the_run_and_slots_of_objects():
    class Slotted:
        __slots__ = ("factor",)

    thing = Slotted()
    thing.factor = 2.0

    def push(values, x):
        values.append(x * thing.factor)

    def function(x):
        values = []
        for _ in range(3):
            push(values, x)
        named = {"total": sum(values)}
        named["total"] += 1
        return named["total"]

    compiled = compile(function)
    x = torch.ones(3)
    for factor in (2.0, 2.0, 2.0, 5.0, 5.0, 5.0):
        thing.factor = factor
        assert compiled(x).tolist() == [3 * factor + 1] * 3
    assert len(variants(compiled)) == 2

    outer = []

    def remembers(x):
        outer.append(1)
        return x + len(outer)

    compiled = compile(remembers)
    assert [compiled(torch.zeros(1)).item() for _ in range(5)] == [1, 2, 3, 4, 5]


def test_a_compiled_module_is_a_module():
    model = net()
    compiled = torch.compile(model)
    assert isinstance(compiled, nn.Module)
    assert [id(p) for p in compiled.parameters()] == [id(p) for p in model.parameters()]
    assert list(compiled.state_dict()) == [f"_orig_mod.{name}" for name in model.state_dict()]
    compiled.eval()
    assert not model.training and not model[0].training
    model.note = "seen"
    assert compiled.note == "seen"
    with pytest.raises(AttributeError, match="nothing"):
        compiled.nothing  # noqa: B018


def test_zeros_of_both_signs():
    compiled = compile(lambda x, by: x * by)
    for by in (0.0, 0.0, 0.0, -0.0, -0.0, -0.0, float("nan"), float("nan"), float("nan")):
        got = compiled(torch.ones(1), by).item()
        assert repr(got) == repr(by)


def test_what_programs_ask_and_tell_the_compiler():
    compiled = compile(lambda x: x + (1 if torch.compiler.is_compiling() else 2))
    assert [compiled(torch.zeros(1)).item() for _ in range(4)] == [2, 1, 1, 1]
    assert not torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    assert variants(compiled)
    torch.compiler.reset()
    assert not variants(compiled) and compiled(torch.zeros(1)).item() == 2

    assert compile(left_to_python) is left_to_python
    broken = compile(lambda x: (x * 2, torch._dynamo.graph_break(), x * 3)[2])
    for _ in range(4):
        assert broken(torch.ones(1)).item() == 3
    assert "graph_break" in reasons(broken)[0]
    with torch.compiler.set_stance("force_eager"):
        torch._dynamo.reset()
        for _ in range(4):
            compiled(torch.zeros(1))
        assert not variants(compiled)
    assert torch.compiler.list_backends() == ["flambeau"]
    with pytest.raises(RuntimeError, match="stance"):
        torch.compiler.set_stance("hurry")


def test_values_of_classes_modules_sets_and_arrays():
    module = types.ModuleType("settings_of_a_user")
    module.scale = 2.0

    class Settings:
        shift = 1.0
        on = True

    thing, names, table = Settings(), {"a"}, numpy.ones(2, dtype=numpy.float32)
    extra = types.SimpleNamespace(k1=1.0, k2=2.0)

    def function(x, k=1):
        y = x * module.scale + Settings.shift + (thing.shift if thing.on else 0)
        y = y + (5 if "b" in names else 0) + torch.tensor(table)
        return y + getattr(extra, f"k{k}")

    compiled = compile(function)

    def check():
        for _ in range(4):
            x = torch.ones(2)
            assert compiled(x).tolist() == function(x).tolist()

    check()
    assert len(variants(compiled)) == 1, reasons(compiled)
    module.scale = 3.0
    check()
    Settings.shift = 4.0
    check()
    thing.shift = 7.0
    check()
    Settings.on = False
    check()
    names.add("b")
    check()
    table[0] = 9
    check()
    extra.k1 = 8.0
    check()
    assert not reasons(compiled)


def test_iterators_are_read_on():
    rows = iter([torch.ones(2) * k for k in range(8)])
    compiled = compile(lambda x: x + next(rows))
    assert [compiled(torch.zeros(2))[0].item() for _ in range(6)] == [0, 1, 2, 3, 4, 5]


def test_results_whose_backward_ran_say_so():
    weight = torch.ones(3, requires_grad=True)

    def step(x):
        weight.grad = None
        loss = (x * weight).exp().sum()
        loss.backward()
        return loss

    compiled = compile(step)
    for _ in range(5):
        loss = compiled(torch.ones(3))
        assert loss.requires_grad
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def test_what_a_capture_computed_is_given_back():
    a = torch.randn(1 << 18)
    compiled = compile(lambda: ((a * 2 + 1).exp() - a).tanh())
    for _ in range(3):
        compiled()
    gc.collect()
    before = runtime.memory().allocated
    compiled = None
    gc.collect()
    assert before - runtime.memory().allocated < a.nbytes


def test_what_an_optimizer_is_given_may_change():
    """Its state is replaced, and two parameters have one gradient for a while."""
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        a, b = (torch.nn.Parameter(torch.randn(3)) for _ in range(2))
        optimizer = torch.optim.Adam([a, b], lr=0.1)
        step = torch.compile(optimizer.step) if compiled else optimizer.step
        values = []
        for k in range(12):
            a.grad = torch.full((3,), float(k + 1))
            b.grad = a.grad if k in (4, 5, 9) else torch.ones(3)
            if k == 7:
                zeros, ones = torch.zeros(3), torch.ones(3)
                optimizer.state[a] = {"step": 1.0, "exp_avg": zeros, "exp_avg_sq": ones}
            step()
            values.append((a.tolist(), b.tolist(), optimizer.state[a]["step"]))
        results.append(values)
    assert results[0] == results[1]
