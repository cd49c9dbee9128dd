"""Functions of which a part cannot be captured: cut into parts, they do what they did."""

import random
import threading
import time
import traceback

import numpy
import pytest

import flambeau as torch
from flambeau._base import knobs
from flambeau.graph import compile
from flambeau.nn import functional as F

nn = torch.nn


def programs(compiled):
    """How many programs there are, of parts and units as well."""
    compiled = getattr(compiled, "_compiled", compiled)
    inside = (*compiled._parts, *compiled._units.values())
    return sum(len(e.variants) for e in compiled._entries.values()) + sum(map(programs, inside))


def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def batches(count):
    torch.manual_seed(4)
    return [(torch.randn(4, 6), torch.randint(0, 3, (4,))) for _ in range(count)]


def step_with_item(model, optimizer, log):
    def step(x, y):
        optimizer.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out, y)
        loss.backward()
        optimizer.step()
        log.append(loss.item())
        extra = (out * 2).sum()
        if extra > 0:
            z = out.relu() + 1
        else:
            z = out.tanh() - 1
        return z.sum().item()

    return step


def step_broken_before_backward(model, optimizer, log):
    def step(x, y):
        optimizer.zero_grad()
        hidden = model[0](x)
        if hidden.sum() > 1:
            hidden = hidden * 0.5
        loss = F.cross_entropy(model[2](model[1](hidden)), y)
        log.append(float(loss))
        loss.backward()
        optimizer.step()
        return hidden.relu()

    return step


@pytest.mark.parametrize("make", [step_with_item, step_broken_before_backward])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_training_steps_that_read_elements(make, optimizer):
    found = []
    for wrap in (lambda f: f, compile):
        model, log = net(), []
        step = wrap(make(model, getattr(torch.optim, optimizer)(model.parameters(), lr=0.05), log))
        results = [step(x, y) for x, y in batches(9)]
        results = [r.tolist() if isinstance(r, torch.Tensor) else r for r in results]
        found.append((results, log, [p.tolist() for p in model.parameters()]))
    assert found[0] == found[1]
    assert programs(step) >= 3


def test_an_epoch_whose_body_breaks():
    found = []
    for wrap in (lambda f: f, compile):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

        def epoch(loader, log):
            total, steps = 0.0, 0
            for k, (x, y) in enumerate(loader):
                optimizer.zero_grad()  # noqa: B023
                loss = F.cross_entropy(model(x), y)  # noqa: B023
                loss.backward()
                optimizer.step()  # noqa: B023
                total += loss.item()
                steps += 1
                if steps % 3 == 0:
                    log.append((k, total))
                    continue
            return total / steps

        epoch = wrap(epoch)
        log = []
        found.append(([epoch(batches(5), log) for _ in range(6)], log))
    assert found[0] == found[1]
    assert programs(epoch)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.count = 0
        self.__secret = 2.0

    def helper(self, x):
        return self.a(x).relu() * self.__secret

    def forward(self, x, *rest, scale=1.0, **more):
        self.count += 1
        y = self.helper(x) * scale
        for r in rest:
            y = y + r
        if self.count % 2:
            print("", end="")
        z = self.b(y)
        try:
            value = z.sum().item()
        except ValueError:
            value = 0
        return {"out": z * 2, "value": value, "count": self.count, **more}


class Below(Net):
    def forward(self, x, **more):
        inner = super().forward(x, **more)
        print("", end="")
        inner["out"] = inner["out"] + super().helper(inner["out"])
        return inner


@pytest.mark.parametrize("kind", [Net, Below])
@pytest.mark.parametrize("grad", [True, False])
def test_modules_in_parts(kind, grad):
    modules = kind(), kind()
    compiled = compile(modules[1])
    optimizers = [torch.optim.SGD(m.parameters(), lr=1e-3) for m in modules]
    for k in range(16):
        x = torch.randn(3, 4)
        options = {"scale": 2.0} if k % 2 else {"seen": k // 8}
        with torch.set_grad_enabled(grad):
            a, b = modules[0](x, **options), compiled(x, **options)
        out, other = a.pop("out"), b.pop("out")
        assert a == b and torch.equal(out, other)
        for loss, optimizer in zip((out, other), optimizers, strict=True):
            if grad:
                optimizer.zero_grad()
                loss.square().sum().backward()
                optimizer.step()
    for p, q in zip(modules[0].parameters(), modules[1].parameters(), strict=True):
        assert torch.equal(p, q)
    assert programs(compiled)


def closures(x):
    made = []
    for k in range(3):
        made.append(lambda: x * k)  # noqa: B023
    print(end="")
    y = sum(f() for f in made)

    def later():
        return y * z

    z = x + 1
    print(end="")
    return later()


def counted_inside(x):
    count = 0

    def more():
        nonlocal count
        count += 1
        return count

    x = x + more()
    print(end="")
    return x * more() + count


def ways_out(x):
    n = 0
    with torch.no_grad():
        while x.sum() < 100:
            x = x * 2 + 1
            n += 1
            if n > 50:
                break
        else:
            x = x - 1
    try:
        y = x / 2
        value = y.max().item()
        z = y + value
    except RuntimeError:
        z = x
    finally:
        x = x + 1
    for k in range(3):
        if z[k] > 300:
            continue
        z = z + k
        if z.sum() > 1000:
            return z
    return z + x


def unbound(x):
    if x.sum() > 3:
        y = x * 2
    z = x.exp().relu()
    print(end="")
    return (z + y).sum() if x.sum() > 3 else z


def deleted(x):
    y = x * 2
    z = y + 1
    print(end="")
    del y
    y = z * z
    return y - x


def several(x):
    a, *b = (x + k for k in range(3))
    print(end="")
    (c := a * 2).add_(1)
    match len(b):
        case 2:
            d = b[0] * b[1]
        case n:
            d = x + n
    print(end="")
    return [c, d], {"b": tuple(b)}


COUNT = 0


def counts(x):
    global COUNT
    y = x * 2
    COUNT += 1
    return y + COUNT - COUNT


@pytest.mark.parametrize(
    "function", [closures, counted_inside, ways_out, unbound, deleted, several, counts]
)
def test_statements_of_all_kinds(function):
    compiled = compile(function)
    for k in range(9):
        x = torch.ones(3) * (k % 4 + 0.5)
        a, b = function(x.clone()), compiled(x.clone())
        flat = torch.utils._pytree.tree_flatten
        for s, t in zip(flat(a)[0], flat(b)[0], strict=True):
            assert torch.equal(s, t)


def test_cells_that_are_written_to():
    n = 0

    def function(x):
        nonlocal n
        y = (x * 2).exp()
        n += 1
        z = y + n
        return z * n

    compiled = compile(function)
    assert [compiled(torch.zeros(1)).item() for _ in range(5)] == [2.0, 6.0, 12.0, 20.0, 30.0]


def test_breaks_are_said_once_with_the_users_line(capfd):
    def function(x):
        y = x * 2
        value = y.sum().item()
        return y + value

    before, knobs.show = knobs.show, frozenset({"breaks"})
    try:
        compiled = compile(function)
        for _ in range(6):
            compiled(torch.ones(3))
    finally:
        knobs.show = before
    said = capfd.readouterr().err
    assert said.count("is split") == 1
    assert "test_compile_breaks.py" in said and "value = y.sum().item()" in said


def test_errors_come_from_the_users_line():
    def function(x):
        y = x + 1
        if y.sum() > 10:
            raise ValueError("mine")
        z = (y * 2).view(2)
        return z

    compiled = compile(function)
    for k in range(5):
        assert torch.equal(compiled(torch.ones(2) * k), function(torch.ones(2) * k))
    for _ in range(3):
        with pytest.raises(ValueError, match="mine") as error:
            compiled(torch.ones(2) * 50)
        assert traceback.extract_tb(error.tb)[-1].line == 'raise ValueError("mine")'
        with pytest.raises(RuntimeError, match="shape") as error:
            compiled(torch.ones(3))
        assert any(line.line == "z = (y * 2).view(2)" for line in traceback.extract_tb(error.tb))


def test_a_function_that_always_raises_is_left_alone():
    def function(x):
        raise KeyError(x.shape[0])

    compiled = compile(function)
    for _ in range(6):
        with pytest.raises(KeyError):
            compiled(torch.ones(2))
    assert not programs(compiled)


def test_recursion_generators_and_nesting():
    @compile
    def factorial(x, n):
        return x if n == 0 else factorial(x * n, n - 1)

    assert [factorial(torch.ones(1), k % 4).item() for k in range(12)] == [1.0, 1.0, 2.0, 6.0] * 3

    def counting(x):
        for k in range(3):
            yield x + k

    generator = compile(counting)
    for _ in range(4):
        assert [t.item() for t in generator(torch.zeros(1))] == [0, 1, 2]
    inner = compile(lambda x: x * 2 + 1)
    outer = compile(lambda x: inner(x).sum() + inner(x * 3).sum())
    assert [outer(torch.ones(3) * k).item() for k in range(5)] == [6.0, 30.0, 54.0, 78.0, 102.0]
    assert programs(outer) == 1


def test_views_of_arguments_are_their_views():
    compiled = compile(lambda x, y: (x, x[1:], y.t(), x.view(-1)[0]))
    weight = torch.tensor(3.0, requires_grad=True)
    for k in range(5):
        x, y = torch.arange(4.0) + k, torch.ones(2, 3)
        same, rest, turned, _ = compiled(x, y)
        assert same is x and rest._base is x and turned._base is y
        rest.mul_(weight)
        [grad] = torch.autograd.grad(x.sum(), weight)
        assert grad.item() == 6 + 3 * k


def test_arguments_that_get_a_history():
    def function(x, w):
        x.mul_(w)
        return x.sum()

    compiled = compile(function)
    for _ in range(5):
        w, x = torch.tensor(2.0, requires_grad=True), torch.ones(3)
        compiled(x, w).backward()
        assert x.requires_grad and w.grad.item() == 3


def test_threads_that_call_the_same_function():
    weight = torch.randn(16, 16)

    def function(x):
        return (x @ weight).relu().sum(1)

    compiled, wrong = compile(function), []

    def work(start):
        for k in range(40):
            x = torch.full((5 + (k + start) % 3, 16), float(k))
            if not torch.equal(compiled(x), function(x)):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and programs(compiled)


def test_inference_mode_and_autocast():
    first, second = net(), net()
    compiled = compile(second)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (first, second)]
    for k, (x, _) in enumerate(batches(7)):
        results = []
        for module, optimizer in zip((first, compiled), optimizers, strict=True):
            optimizer.zero_grad()
            with torch.autocast("cpu", cache_enabled=k != 5):
                results.append(module(x))
            results[-1].float().square().sum().backward()
            optimizer.step()
        assert results[1].dtype == torch.bfloat16 and torch.equal(*results)
        with torch.inference_mode():
            out = compiled(x)
            assert out.is_inference() and torch.equal(out, first(x))
        assert compiled(x).requires_grad and compiled(x).dtype == torch.float32
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(p, q)
    assert programs(compiled) == 3


def test_tensors_of_subclasses():
    class Mine(torch.Tensor):
        pass

    compiled = compile(lambda x: x * 2)
    plain, own = nn.Parameter(torch.ones(2)), torch.ones(2).as_subclass(Mine)
    for _ in range(4):
        assert type(compiled(own)) is Mine
        compiled(plain).sum().backward()
    assert plain.grad.tolist() == [8.0, 8.0] and programs(compiled) == 1


def test_gradients_that_a_step_reads_or_drops():
    found = []
    for wrap in (lambda f: f, compile):
        layer = nn.Linear(3, 3)
        with torch.no_grad():
            layer.weight.copy_(torch.eye(3))
            layer.bias.zero_()
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)

        def step():
            optimizer.step()  # noqa: B023
            optimizer.zero_grad()  # noqa: B023

        step = wrap(step)
        for k in range(7):
            layer(torch.ones(2, 3) * k).square().sum().backward()
            step()
            assert layer.weight.grad is None
        found.append(layer.weight.tolist())
    assert found[0] == found[1] and programs(step) == 1


def test_hooks_of_gradients():
    weight, seen = torch.ones(3, requires_grad=True), []
    weight.register_hook(lambda g: g * 3)

    def watched(x):
        y = x * weight
        y.register_hook(lambda g: seen.append(1))
        return y.sum()

    def whole(x):
        weight.grad = None
        (x * weight).sum().backward()
        return weight.grad * 1

    outside, inside, step = compile(lambda x: (x * weight).sum()), compile(watched), compile(whole)
    for _ in range(5):
        weight.grad = None
        outside(torch.ones(3)).backward()
        assert weight.grad.tolist() == [3, 3, 3]
        inside(torch.ones(3)).backward()
        assert step(torch.ones(3)).tolist() == [3, 3, 3]
    assert len(seen) == 5
    weight.register_hook(lambda g: g + 1)
    assert step(torch.ones(3)).tolist() == [4, 4, 4]


def test_hooks_that_a_function_puts_on_its_argument():
    def function(x):
        x.register_hook(lambda g: g * 2)
        return x * 3

    compiled = compile(function)
    for _ in range(5):
        leaf = torch.ones(2, requires_grad=True)
        x = leaf * 1
        (compiled(x) + x).sum().backward()
        assert leaf.grad.tolist() == [8, 8]


def test_a_module_that_is_used_several_times_in_one_graph():
    layer = nn.Linear(3, 3)
    compiled = compile(layer)
    for k in range(4):
        found = []
        for call in (layer, compiled):
            layer.zero_grad()
            x = torch.linspace(-1, 1, 3) * k
            for _ in range(3):
                x = call(x * 2 + x)
            x.sum().backward()
            found.append((x.tolist(), layer.weight.grad.tolist(), layer.bias.grad.tolist()))
        assert found[0] == found[1]
    assert programs(compiled) == 2


def test_functions_with_gradients_of_their_own_read_values():
    class Scaled(torch.autograd.Function):
        by = 2.0

        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            return grad * Scaled.by * LEVEL["of"]

    compiled = compile(lambda x: Scaled.apply(x).sum())
    for k in range(8):
        LEVEL["of"] = 1.0 + k // 4
        x = torch.ones(2, requires_grad=True)
        compiled(x).backward()
        assert x.grad.tolist() == [2.0 * LEVEL["of"]] * 2


LEVEL = {"of": 1.0}


def test_numbers_drawn_outside_of_the_streams():
    generator = numpy.random.default_rng(0)
    for draw in (random.random, numpy.random.rand, generator.random, time.perf_counter):
        compiled = compile(lambda x, draw=draw: x + float(draw()))
        zero = torch.zeros(1, dtype=torch.float64)
        assert len({compiled(zero).item() for _ in range(6)}) == 6


def test_second_derivatives_and_checkpoints():
    layer = nn.Linear(3, 3)

    def penalty(x, w):
        y = (x * w).sin().sum()
        [grad] = torch.autograd.grad(y, w, create_graph=True)
        return grad.square().sum()

    def saving(x, w):
        return torch.utils.checkpoint.checkpoint(layer, x * w, use_reentrant=False).sum()

    for function in (penalty, saving):
        compiled = compile(function)
        for k in range(5):
            x, w, v = torch.ones(2, 3) * k, *(torch.ones(3, requires_grad=True) for _ in range(2))
            function(x, w).backward(), compiled(x, v).backward()
            assert torch.equal(w.grad, v.grad)


def test_gradients_of_arguments_and_modes_that_stay():
    def taking(x):
        out = x.grad * 2 if x.grad is not None else x.detach() * 1
        x.grad = None
        return out

    compiled = compile(taking)
    for k in range(6):
        x = torch.ones(2, requires_grad=True)
        x.grad = torch.full((2,), float(k)) if k % 2 else None
        assert compiled(x).tolist() == ([2.0 * k] * 2 if k % 2 else [1.0, 1.0])
        assert x.grad is None

    compiled = compile(lambda x: (x * 2, torch.set_grad_enabled(False))[0])
    for _ in range(4):
        with torch.enable_grad():
            compiled(torch.ones(1))
            assert not torch.is_grad_enabled()


def test_what_is_computed_behind_a_backward_can_be_differentiated():
    found = []
    for wrap in (lambda f: f, compile):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            optimizer.zero_grad(set_to_none=False)  # noqa: B023
            loss = F.cross_entropy(model(x), y)  # noqa: B023
            loss.backward()
            optimizer.step()  # noqa: B023
            return model(x), loss  # noqa: B023

        step = wrap(step)
        for x, y in batches(8):
            step(x, y)[0].square().sum().backward()
            optimizer.step()
        found.append([p.tolist() for p in model.parameters()])
    assert found[0] == found[1] and programs(step)


def test_streams_that_are_seeded_or_set_split_a_function():
    generator = torch.Generator()
    state = generator.manual_seed(7).get_state()
    for start in (lambda: generator.manual_seed(3), lambda: generator.set_state(state)):

        def function(x, start=start):
            start()
            return x + torch.rand(2, generator=generator)

        compiled, x = torch.compile(function), torch.ones(2)
        wanted = function(x)
        assert all(torch.equal(compiled(x), wanted) for _ in range(5))
        assert "was called" in compiled.show("breaks")
