"""Random programs: views, writes in place, broadcasting, reductions, indices, draws, branches on
values, gradients, training, many dtypes, nothing at all.

A program's steps are instructions, each a kind and four numbers that choose among what is there;
what does not fit is skipped, so that every list is a program, and hypothesis may shorten it.
"""

import linecache
from typing import NamedTuple

import numpy
from hypothesis import strategies as st
from steps import CUTS, KINDS, WORLDLY, WRAPPED_CUTS, Steps, World

import flambeau as torch

SHAPES = ((3, 4), (4,), (2, 3, 4), (1, 4), (4, 3), (3, 1), (), (1,), (5, 2, 3), (33, 65), (0, 4))
TYPES = ("float32",) * 5 + ("float64", "float16", "int64", "bool", "complex64", "bfloat16", "uint8")
LIES = ("plain",) * 4 + (
    "behind",
    "behind",
    "turned",
    "stepped",
)  # how the elements of an input lie in memory
LARGEST = 1 << 14  # elements
# What every program has: short, or enough rows, and long enough, for passes by rows.
BASES = (((3, 4), (4,), (2, 3, 4)),) * 2 + (((96, 80), (80,), (2, 48, 80)),)


MODES = ("run",) * 4 + ("differentiated",) * 3 + ("history", "trained", "twice")
OPTIMIZERS = (
    lambda leaves: torch.optim.SGD(leaves, lr=0.1, momentum=0.5),
    lambda leaves: torch.optim.AdamW(leaves, lr=0.1),
    lambda leaves: torch.optim.RMSprop(leaves, lr=0.01),
    lambda leaves: torch.optim.Adagrad(leaves, lr=0.1),
)


class Program(NamedTuple):
    """`given` are inputs: shapes, types, how they lie. `mode` names what is done with the steps.
    Where it `grows`, some calls have other sizes; where inputs `overlap`, one more sees the first
    one's memory. The last `kept` values are results, or all for 0.
    """

    given: list
    steps: list
    mode: str = "run"
    grows: bool = False
    overlap: bool = False
    kept: int = 0

    @property
    def cut(self):
        """Whether the program is compiled in parts: what cuts it are values that decide what comes
        next, Python values that are changed, and things of autograd's.
        """
        return any(kind in CUTS or (kind == "wrapped" and c % 7 in WRAPPED_CUTS)
                   for kind, _, _, c, _ in self.steps)  # fmt: skip

    @property
    def turns(self):
        """Whether one more call may differ from those before."""
        return any(kind in (*CUTS, *WORLDLY) for kind, *_ in self.steps)

    @property
    def parted(self):
        """Whether backward is another program than forward, or several: gradients are added in
        another order then.
        """
        return self.mode == "history" or (self.cut and self.mode != "run")

    def inputs(self, seed, larger=False):
        """Tensors of these shapes and types; with `larger`, sizes above 1 are one more. Where
        gradients are rounded otherwise, what they are taken in is of double precision.
        """
        rng = numpy.random.default_rng(seed)
        made = []
        for k, (shape, name, lies) in enumerate(self.given):
            if self.parted and k < 3:
                name = "float64"
            values = rng.standard_normal([n + (larger and n > 1) for n in shape])
            if name in ("int64", "bool", "uint8"):
                values = rng.integers(0, 2 if name == "bool" else 9, values.shape)
            if name == "complex64":
                values = values + 1j * rng.standard_normal(values.shape)
            one = torch.tensor(numpy.asarray(values)).to(getattr(torch, name))
            if lies == "behind":  # others, of which there are more or fewer in each call
                room = torch.zeros(one.numel() + seed % 4, dtype=one.dtype)
                one = room[seed % 4 :].view(one.shape).copy_(one)
            if lies == "turned" and one.ndim > 1:
                one = one.mT.contiguous().mT
            if lies == "stepped" and one.ndim:
                one = one.repeat_interleave(2, -1)[..., ::2]
            made.append(one)
        return [*made, made[0].mT[1:]] if self.overlap else made

    def arguments(self, seed, larger=False):
        """The inputs in the order in which a compiled function numbers them: named ones first."""
        *made, last = self.inputs(seed, larger)
        return [last, *made] if self.mode == "run" else [*made, last]

    def functions(self):
        """The program as a function of its inputs, which gives what it made, and what its caller
        does with that function. A program that trains has memory: each function has its own.
        """
        world = World(any(kind == "module" for kind, *_ in self.steps))
        function, call = WORK[self.mode](self, world)

        def turned(function, given):
            world.turn()
            return call(function, given)

        return function, turned

    def values(self, given, world):
        """The results."""
        values = list(given)
        for step in self.steps:
            follow(step, values, world)
        return values[-self.kept :]


@st.composite
def programs(draw):
    number = st.integers(0, 1000)
    inputs = st.tuples(*(st.sampled_from(choices) for choices in (SHAPES, TYPES, LIES)))
    given = st.lists(inputs, max_size=3)
    kinds = st.sampled_from(KINDS)
    count = draw(st.integers(2, 30))
    steps = [(draw(kinds), *(draw(number) for _ in range(4))) for _ in range(count)]
    lies = draw(st.sampled_from(("plain", "plain", "behind")))
    base = [(shape, "float32", lies) for shape in draw(st.sampled_from(BASES))]
    rare = st.sampled_from((False,) * 7 + (True,))
    mode, kept = draw(st.sampled_from(MODES)), draw(st.sampled_from((0, 0, 1, 3)))
    return Program(base + draw(given), steps, mode, draw(rare), draw(rare), kept)


def called(function, given):
    return function(*given)


def run(program, world):
    """The values as lists in a dictionary. Each step is a statement of a function: a program that
    is cut is cut between them.
    """
    lines = ["def function(*given, last):", "    values = [*given, last]"]
    lines += [f"    follow({step}, values, world)" for step in program.steps]
    lines += [f'    return {{"made": values[-{program.kept}:], "count": len(values)}}', ""]
    text = "\n".join(lines)
    name = f"<{' '.join(step[0] for step in program.steps)}>"
    scope = {"follow": follow, "world": world}
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    exec(compile(text, name, "exec"), scope)

    def named(function, given):
        results = function(*given[:-1], last=given[-1])
        assert results["count"] >= len(results["made"])
        return tuple(results["made"])

    return scope["function"], named


def follow(step, values, world):
    """Does one step, and adds what it makes to the values."""
    kind, a, b, c, d = step
    x, y = values[a % len(values)], values[b % len(values)]
    made = getattr(Steps, kind)(x, y, c, d, world if kind in WORLDLY else values)
    for one in made if isinstance(made, tuple | list) else (made,):
        if one is not None and one.numel() <= LARGEST and one.ndim <= 5:
            values.append(one)


def loss_of(values):
    """A sum of what has a history; None if nothing has."""
    tracked = [x for x in values if x.requires_grad]
    parts = [torch.view_as_real(x.resolve_conj()) if x.is_complex() else x for x in tracked]
    sums = [torch.tanh(x.float().nan_to_num(0, 1, -1) * 0.1).sum() for x in parts]
    return sum(sums) if sums else None


def gradients(values, leaves):
    loss = loss_of(values)
    grads = torch.autograd.grad(loss, leaves, allow_unused=True) if loss is not None else ()
    return tuple(x.detach() for x in values) + tuple(g for g in grads if g is not None)


def started(leaves, given):
    """What a program may write to, for leaves in place of the first inputs."""
    return [*(leaf * 1 for leaf in leaves), *(x.clone() for x in given[3:])]


def differentiated(program, world):
    """The program's values, and gradients in the first three inputs."""

    def function(*given):
        leaves = [x.detach().clone().requires_grad_() for x in given[:3]]
        return gradients(program.values(started(leaves, given), world), leaves)

    return function, called


def twice(program, world):
    """Gradients, and gradients of their squares."""

    def function(*given):
        leaves = [x.detach().clone().requires_grad_() for x in given[:3]]
        loss = loss_of(program.values(started(leaves, given), world))
        if loss is None:
            return ()
        first = torch.autograd.grad(loss, leaves, allow_unused=True, create_graph=True)
        return gradients([g * g for g in first if g is not None], leaves)

    return function, called


def history(program, world):
    """The same as `differentiated`, but the gradients are taken outside of the function."""

    def outside(function, given):
        leaves = [x.detach().clone().requires_grad_() for x in given[:3]]
        return gradients(function(*(leaf * 1 for leaf in leaves), *given[3:]), leaves)

    return lambda *given: tuple(program.values(given, world)), outside


def trained(program, world):
    """A step of training: parameters stand for the first three inputs. The learning rate may change
    with the world.
    """
    leaves = [x.requires_grad_() for x in program.inputs(0)[:3]]
    # By gradients that are nothing but rounding errors, only SGD makes small steps.
    count, parameters = len(program.steps), [*leaves, *world.parameters()]
    optimizer = OPTIMIZERS[0 if program.parted else count % len(OPTIMIZERS)](parameters)
    rate = optimizer.param_groups[0]["lr"] / world.rate

    def scheduled(function, given):
        optimizer.param_groups[0]["lr"] = rate * world.rate
        return function(*given)

    def function(*given):
        optimizer.zero_grad(set_to_none=count % 3 > 0)
        values = program.values(started(leaves, given), world)
        loss = loss_of(values)
        if loss is not None:
            loss.backward()
            if count % 5 == 0:
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        made = [x.detach() for x in values]
        return (*made, *(leaf.detach().clone() for leaf in leaves))

    return function, scheduled


WORK = {work.__name__: work for work in (run, differentiated, twice, history, trained)}
