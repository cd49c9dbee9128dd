"""Random functions with control flow, and with breaks at random places: in parts they do what they
did whole, also to lists, globals and closures, and with the same errors.
"""

import builtins
import linecache
import os
import random

import pytest

import flambeau as torch
from flambeau.graph import compile

COUNT = int(os.environ.get("FLAMBEAU_RANDOM_PROGRAMS", "60"))
FIRST = int(os.environ.get("FLAMBEAU_RANDOM_FIRST", "0"))
NAMES = "abcde"


class Writer:
    """Writes one function's statements."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lines = []

    def expression(self):
        a, b = self.random.choice(NAMES), self.random.choice(NAMES)
        return self.random.choice(
            [f"{a} * 0.5 + {b}", f"{a} - {b}", f"{a}.tanh()", f"layer({a})", f"({a} * {b}).relu()",
             f"{a}.sin() + state['k']", f"helper({a}, {b})", f"{a}[:2].sum() + {b}", "x * 1",
             f"sum({b} * k for k in range(2))", f"(lambda t: t * 2 + {a})({b})"]
        )  # fmt: skip

    def simple(self, depth, in_loop):
        name = self.random.choice(NAMES)
        kind = self.random.randrange(18)
        if kind < 9:
            return [f"{name} = {self.expression()}"]
        other = self.random.choice(NAMES)
        return {
            9: [f"seen.append(round(float({name}.sum()), 4))"],
            10: ["print(end='')"],
            11: [f"{name} = {name} + {other}.mean().item()"],
            12: ["state['k'] += 1"],
            13: [f"{name}, {other} = {other}, {name}"],
            14: [f"return {name}, {other}"] if depth else [f"{name} = {other}"],
            15: [f"del {name}", f"{name} = {other} * 0.5"],
            16: ["n += 1", f"{name} = {name} + n"],
            17: [self.random.choice(["break", "continue"])] if in_loop else ["pass"],
        }[kind]

    def block(self, depth, in_loop, size):
        out = []
        for _ in range(size):
            kind = self.random.randrange(10) if depth < 3 else 9
            name = self.random.choice(NAMES)

            def inside(loop=in_loop):
                made = self.block(depth + 1, loop, self.random.randrange(1, 4))
                return ["    " + line for line in made]

            if kind == 0:
                out += [f"if {name}.sum() > 0:", *inside(), "else:", *inside()]
            elif kind == 1:
                out += ["if n % 2 == 0:", *inside()]
            elif kind == 2:
                out += [f"for i in range({self.random.randrange(1, 4)}):", *inside(True)]
            elif kind == 3:
                out += ["with torch.no_grad():", *inside()]
            elif kind == 4:
                bad = self.random.choice(["pass", f"{name} @ x.new_ones(7, 7)", "missing"])
                out += ["try:", *inside(), f"    {bad}", "except (RuntimeError, NameError):"]
                out += [*inside(), "finally:", "    n += 1"]
            elif kind == 5 and self.random.random() < 0.4:
                out += [f"def inner(t): return t + {name}", f"{name} = inner({name})"]
            else:
                out += self.simple(depth, in_loop)
        return out

    def function(self):
        body = [
            "n = 0",
            *(f"{n} = x + {k}" for k, n in enumerate(NAMES[: self.random.choice((3, 5))])),
        ]
        body += self.block(0, False, 8)
        body.append("return a, b, n")
        return "def function(x, seen, state):\n" + "".join(f"    {line}\n" for line in body)


def made(seed):
    """The function of a seed, its source where tracebacks find it."""
    source = Writer(seed).function()
    name = f"<random program {seed}>"
    linecache.cache[name] = len(source), None, source.splitlines(True), name
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 3)
    scope = {"torch": torch, "layer": layer, "helper": lambda s, t: s.cos() - t,
             "__name__": "random_program"}  # fmt: skip
    exec(builtins.compile(source, name, "exec"), scope)
    return source, scope["function"], layer


def outcome(function, layer, x):
    """What a call gives and does, as plain values."""
    seen, state = [], {"k": 0}
    layer.zero_grad()
    try:
        result = function(x, seen, state)
    except Exception as error:
        return type(error).__name__, str(error).split("\n")[0][:60], seen, state
    parts = [t for t in result or () if torch.is_tensor(t)]
    wanted = [t.sum() for t in parts if t.requires_grad]
    if wanted:
        sum(wanted).backward()
    grads = [None if p.grad is None else p.grad.tolist() for p in layer.parameters()]
    return [t.tolist() if torch.is_tensor(t) else t for t in result or ()], grads, seen, state


def alike(a, b):
    """Whether two outcomes are the same: gradients may be added up in another order."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b) or abs(a - b) <= 1e-4 * abs(b) + 1e-4
    if isinstance(a, list | tuple | dict) and type(a) is type(b) and len(a) == len(b):
        pairs = (
            zip(a.values(), b.values(), strict=True)
            if isinstance(a, dict)
            else zip(a, b, strict=True)
        )
        return all(alike(x, y) for x, y in pairs)
    return a == b


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_random_functions(seed):
    source, function, layer = made(seed)
    compiled = compile(function)
    for k in range(6):
        x = torch.linspace(-1, 1, 3) * (k % 3 - 0.7)
        assert alike(outcome(compiled, layer, x), outcome(function, layer, x)), source


BREAKS = (
    "print(end='')", "log.append(round(loss.item(), 4))", "log.append(len(log))",
    "if loss.item() > 1: log.append('large')",
)  # fmt: skip
OPTIMIZERS = ("SGD(p, lr=0.05, momentum=0.9)", "Adam(p, lr=0.01)", "RMSprop(p, lr=0.01)",
              "NAdam(p, lr=0.01)", "SGD(p, lr=0.05)")  # fmt: skip


def training_step(seed):
    """The source of a step with breaks at random places, and an optimizer."""
    draw = random.Random(seed)
    lines = ["loss = x.sum() * 0"]

    def perhaps(line, chance):
        if draw.random() < chance:
            lines.append(line)

    def may_break():
        perhaps(draw.choice(BREAKS), 0.35)

    for _ in range(draw.choice((1, 1, 2))):
        perhaps(f"opt.zero_grad(set_to_none={draw.random() < 0.7})", 0.8), may_break()
        lines.append("h = first(x)"), may_break()
        perhaps("h = drop(h)", 0.4), perhaps("if h.sum() > 0: h = h * 0.5", 0.3)
        lines.append("out = second(h)"), may_break()
        perhaps("out = norm(out)", 0.3)
        lines.append("loss = (out - y).square().mean()"), may_break()
        perhaps("loss = loss + 0.01 * sum((q * q).sum() for q in first.parameters())", 0.3)
        lines.append("loss.backward()"), may_break()
        perhaps("torch.nn.utils.clip_grad_norm_(first.parameters(), 0.5)", 0.3)
        perhaps("opt.step()", 0.9), may_break()
        perhaps("opt.zero_grad()", 0.3)
    lines.append(draw.choice(["return loss", "return loss.item()", "return first(x), out", "pass"]))
    body = "".join(f"    {line}\n" for line in lines)
    return f"def step(x, y, log):\n{body}", draw.choice(OPTIMIZERS)


def trained(source, optimizer, name, wrap):
    """What nine steps of the source give and do, as plain values."""
    linecache.cache[name] = len(source), None, source.splitlines(True), name
    torch.manual_seed(0)
    nn = torch.nn
    first, second = nn.Sequential(nn.Linear(4, 5), nn.Tanh()), nn.Linear(5, 3)
    norm = nn.BatchNorm1d(3)
    p = [*first.parameters(), *second.parameters(), *norm.parameters()]
    scope = {"torch": torch, "first": first, "second": second, "norm": norm, "p": p,
             "drop": nn.Dropout(0.3), "__name__": "random_program"}  # fmt: skip
    scope["opt"] = eval(f"torch.optim.{optimizer}", scope)
    exec(builtins.compile(source, name, "exec"), scope)
    step, log, given = wrap(scope["step"]), [], []
    for k in range(9):
        x = torch.randn(2 if k == 6 else 6, 4)
        result = step(x, torch.randn(x.shape[0], 3), log)
        parts = result if isinstance(result, tuple) else (result,)
        given.append([t.tolist() if torch.is_tensor(t) else t for t in parts])
        given.append([torch.is_tensor(t) and t.requires_grad for t in parts])
    return given, log, [q.tolist() for q in p], norm.running_var.tolist(), torch.rand(2).tolist()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT // 2))
def test_random_training_steps(seed):
    source, optimizer = training_step(seed)
    eager = trained(source, optimizer, f"<random step {seed}>", lambda f: f)
    compiled = trained(source, optimizer, f"<random step {seed}, compiled>", compile)
    assert alike(compiled, eager), source
