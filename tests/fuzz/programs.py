"""Random programs: views, writes in place, broadcasting, reductions, indices, draws, branches on
values, gradients, training, many dtypes, nothing at all.

A program's steps are instructions, each a kind and four numbers that choose among what is there;
what does not fit is skipped, so that every list is a program, and hypothesis may shorten it.
"""

import linecache
from typing import NamedTuple

import numpy
from hypothesis import strategies as st

import flambeau as torch

F = torch.nn.functional
UNARY = ("relu", "tanh", "exp", "neg", "abs", "sigmoid", "sin", "square", "floor", "sign", "erf",
         "log1p", "rsqrt", "reciprocal")  # fmt: skip
BINARY = ("add", "sub", "mul", "maximum", "div", "minimum", "fmod", "atan2")
COMPARE = ("lt", "ge", "eq", "ne")
WHOLE = ("add", "sub", "mul", "maximum", "minimum", "bitwise_and", "bitwise_xor")
FOLDS = ("sum", "mean", "amax", "prod", "logsumexp", "amin", "var")
WHOLE_FOLDS = ("sum", "amax", "any", "all", "count_nonzero")
CHAINS = ("softmax", "log_softmax", "cumsum", "cumprod", "layer_norm", "normalize")
VIEWS = ("transpose", "narrow", "unsqueeze", "expand", "flip", "reshape", "select", "diagonal",
         "unfold", "permute", "step", "real", "imag", "conj", "detach", "nothing",
         "squeeze")  # fmt: skip
INPLACE = ("add_", "mul_", "relu_", "zero_", "copy_", "clamp_", "sub_", "neg_", "fill_", "lerp_")
INDEXED = ("gather", "index_select", "take_along", "scatter_add", "index_copy", "roll", "masked")
DTYPES = ("float32", "float64", "int64", "float16", "bool", "bfloat16", "int32", "uint8")
KINDS = (("unary",) * 3 + ("binary",) * 4 + ("fold",) * 2 + ("chain", "cast", "matmul", "compare")
         + ("view",) * 4 + ("inplace",) * 3 + ("scalar", "where", "cat", "indexed", "whole",
         "arg", "new", "clone", "complex", "random", "several") * 2
         + ("unary", "binary", "assign", "assign", "layer", "layer", "branch"))  # fmt: skip
SHAPES = ((3, 4), (4,), (2, 3, 4), (1, 4), (4, 3), (3, 1), (), (1,), (5, 2, 3), (33, 65), (0, 4))
TYPES = ("float32",) * 5 + ("float64", "float16", "int64", "bool", "complex64", "bfloat16", "uint8")
LARGEST = 1 << 14  # elements
# What every program has: short, or enough rows, and long enough, for passes by rows.
BASES = (((3, 4), (4,), (2, 3, 4)),) * 2 + (((96, 80), (80,), (2, 48, 80)),)


MODES = ("run",) * 4 + ("differentiated",) * 3 + ("history", "trained")
OPTIMIZERS = (
    lambda leaves: torch.optim.SGD(leaves, lr=0.1, momentum=0.5),
    lambda leaves: torch.optim.AdamW(leaves, lr=0.1),
    lambda leaves: torch.optim.RMSprop(leaves, lr=0.01),
    lambda leaves: torch.optim.Adagrad(leaves, lr=0.1),
)


class Program(NamedTuple):
    """`given` are shapes and types of inputs. `mode` names what is done with the steps. Where it
    `grows`, some calls have other sizes; where inputs `overlap`, one more sees the first one's
    memory.
    """

    given: list
    steps: list
    mode: str = "run"
    grows: bool = False
    overlap: bool = False

    @property
    def cut(self):
        """Whether a value decides what comes next: the program is compiled in parts."""
        return any(kind == "branch" for kind, *_ in self.steps)

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
        for k, (shape, name) in enumerate(self.given):
            if self.parted and k < 3:
                name = "float64"
            values = rng.standard_normal([n + (larger and n > 1) for n in shape])
            if name in ("int64", "bool", "uint8"):
                values = rng.integers(0, 2 if name == "bool" else 9, values.shape)
            if name == "complex64":
                values = values + 1j * rng.standard_normal(values.shape)
            made.append(torch.tensor(numpy.asarray(values)).to(getattr(torch, name)))
        return [*made, made[0].mT[1:]] if self.overlap else made

    def functions(self):
        """The program as a function of its inputs, which gives what it made, and what its caller
        does with that function. A program that trains has memory: each function has its own.
        """
        return WORK[self.mode](self)


@st.composite
def programs(draw):
    number = st.integers(0, 1000)
    given = st.lists(st.tuples(st.sampled_from(SHAPES), st.sampled_from(TYPES)), max_size=3)
    kinds = st.sampled_from(KINDS)
    count = draw(st.integers(2, 30))
    steps = [(draw(kinds), *(draw(number) for _ in range(4))) for _ in range(count)]
    base = [(shape, "float32") for shape in draw(st.sampled_from(BASES))]
    rare = st.sampled_from((False,) * 7 + (True,))
    return Program(base + draw(given), steps, draw(st.sampled_from(MODES)), draw(rare), draw(rare))


def called(function, given):
    return function(*given)


def run(program):
    """All values at the program's end. Each step is a statement of a function: a program that is
    cut is cut between them.
    """
    lines = ["def function(*given):", "    values = list(given)"]
    lines += [f"    follow({step}, values)" for step in program.steps]
    text = "\n".join([*lines, "    return tuple(values)", ""])
    name, scope = f"<{' '.join(step[0] for step in program.steps)}>", {"follow": follow}
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    exec(compile(text, name, "exec"), scope)
    return scope["function"], called


def follow(step, values):
    """Does one step, and adds what it makes to the values."""
    kind, a, b, c, d = step
    x, y = values[a % len(values)], values[b % len(values)]
    made = getattr(Steps, kind)(x, y, c, d, values)
    for one in made if isinstance(made, tuple | list) else (made,):
        if one is not None and one.numel() <= LARGEST and one.ndim <= 5:
            values.append(one)


def values_of(steps, given):
    values = list(given)
    for step in steps:
        follow(step, values)
    return tuple(values)


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


def differentiated(program):
    """The program's values, and gradients in the first three inputs."""

    def function(*given):
        leaves = [x.detach().clone().requires_grad_() for x in given[:3]]
        return gradients(values_of(program.steps, started(leaves, given)), leaves)

    return function, called


def history(program):
    """The same, but the gradients are taken outside of the function."""

    def outside(function, given):
        leaves = [x.detach().clone().requires_grad_() for x in given[:3]]
        return gradients(function(*(leaf * 1 for leaf in leaves), *given[3:]), leaves)

    return lambda *given: values_of(program.steps, given), outside


def trained(program):
    """A step of training: parameters stand for the first three inputs."""
    leaves = [x.requires_grad_() for x in program.inputs(0)[:3]]
    # By gradients that are nothing but rounding errors, only SGD makes small steps.
    optimizer = OPTIMIZERS[0 if program.parted else len(program.steps) % len(OPTIMIZERS)](leaves)

    def function(*given):
        optimizer.zero_grad()
        values = values_of(program.steps, started(leaves, given))
        loss = loss_of(values)
        if loss is not None:
            loss.backward()
            optimizer.step()
        made = [x.detach() for x in values]
        return (*made, *(leaf.detach().clone() for leaf in leaves))

    return function, called


WORK = {"run": run, "differentiated": differentiated, "history": history, "trained": trained}


def real(x):
    return x.is_floating_point()


def counts(x):
    """Whether it holds integers."""
    return not (real(x) or x.is_complex() or x.dtype is torch.bool)


def broadcasts(y, x):
    """Whether `y` may be broadcast to the shape of `x`."""
    if y.ndim > x.ndim:
        return False
    shape = x.shape[x.ndim - y.ndim :]
    return all(n in (1, m) for n, m in zip(y.shape, shape, strict=True))


def writable(x):
    """Whether each of its elements has a place of its own (by strides: sometimes it has, and this
    is False).
    """
    reach = 0
    for step, n in sorted(zip(x.stride(), x.shape, strict=True)):
        if n > 1 and step <= reach:
            return False
        reach += step * (n - 1)
    return True


class Steps:
    """What the kinds of instructions do: on two values, with two numbers; None where they do not
    fit.
    """

    def unary(x, y, c, d, values):
        return getattr(x, UNARY[c % len(UNARY)])() if real(x) else None

    def binary(x, y, c, d, values):
        if not (real(x) and real(y) and broadcasts(y, x)):
            return None
        name = BINARY[c % len(BINARY)]
        return getattr(x, name)(y) if d % 3 else getattr(y, name)(x)

    def whole(x, y, c, d, values):
        if counts(x) and counts(y) and broadcasts(y, x):
            return getattr(x, WHOLE[c % len(WHOLE)])(y)
        return None

    def compare(x, y, c, d, values):
        ordered = not (x.is_complex() or y.is_complex())
        name = COMPARE[c % len(COMPARE)] if ordered else "ne"
        return getattr(x, name)(y) if broadcasts(y, x) else None

    def complex(x, y, c, d, values):
        if x.is_complex():
            if y.is_complex() and broadcasts(y, x):
                return (x * y, x + y, x - y.conj())[d % 3]
            return (x.abs(), x.exp(), x * 1j, x.tanh())[c % 4]
        if x.dtype is torch.float32:
            return torch.complex(x, x * 2) if c % 2 else x * 1j
        return None

    def random(x, y, c, d, values):
        if not real(x):
            return None
        if c % 4 == 0:
            return torch.rand_like(x)
        return F.dropout(x, 0.3, training=bool(c % 3)) if c % 4 < 3 else torch.randn_like(x)

    def several(x, y, c, d, values):
        if not x.ndim or not x.numel() or x.is_complex():
            return None
        dim = d % x.ndim
        if c % 4 == 0:
            return x.chunk(1 + d // 8 % 3, dim)
        if c % 4 == 1 and x.dtype is not torch.bool:
            return tuple(x.sort(dim, stable=True))
        return x.unbind(dim)[:4] if c % 4 == 2 else x.split(1 + d // 8 % 3, dim)[:4]

    def scalar(x, y, c, d, values):
        if x.dtype is torch.bool:
            return ~x
        number = (2, -1, 3, 0.5)[c % (4 if real(x) else 3)]
        return (x + number, x * number, number - x)[d % 3]

    def where(x, y, c, d, values):
        masks = [v for v in values if v.dtype is torch.bool and broadcasts(v, x)]
        if not masks or x.dtype is not y.dtype or not broadcasts(y, x):
            return None
        return torch.where(masks[c % len(masks)], x, y)

    def fold(x, y, c, d, values):
        if not x.ndim or not x.numel():
            return None
        names = FOLDS if real(x) else ("sum", "prod", "mean") if x.is_complex() else WHOLE_FOLDS
        name, dim, keep = names[c % len(names)], d % x.ndim, bool(d // 8 % 2)
        if name == "count_nonzero":
            return x.count_nonzero(dim)
        if name in ("sum", "mean", "logsumexp", "amax", "amin") and d // 16 % 3 == 0 and x.ndim > 1:
            return getattr(x, name)((dim, (dim + 1) % x.ndim), keepdim=keep)
        return getattr(x, name)(dim, keepdim=keep)

    def arg(x, y, c, d, values):
        if not x.ndim or not x.numel() or not (real(x) or counts(x)):
            return None
        return (x.argmax if c % 2 else x.argmin)(d % x.ndim)

    def chain(x, y, c, d, values):
        if not real(x) or not x.ndim or not x.numel():
            return None
        name, dim = CHAINS[c % len(CHAINS)], d % x.ndim
        if name == "layer_norm":
            return F.layer_norm(x, x.shape[-1:])
        return F.normalize(x, dim=dim) if name == "normalize" else getattr(x, name)(dim)

    def cast(x, y, c, d, values):
        kind = getattr(torch, DTYPES[c % len(DTYPES)])
        if x.is_complex():
            return x.to(torch.complex128 if c % 2 else torch.complex64)
        if real(x) and kind is not torch.bool and not kind.is_floating_point:
            x = x.nan_to_num(0, 100, 0).clamp(0, 100)  # beyond, the result is nobody's business
        return x.to(kind)

    def matmul(x, y, c, d, values):
        if not real(x) or x.dtype.itemsize < 4 or x.ndim < 2 or x.shape[-2] > 512:
            return None
        if c % 2 and y.dtype is x.dtype and y.ndim == 2 and y.shape[1] == x.shape[-1]:
            return F.linear(x, y)
        return x @ x.transpose(-1, -2)

    def view(x, y, c, d, values):
        return viewed(x, VIEWS[c % len(VIEWS)], d, c // len(VIEWS) + d // 3)

    def inplace(x, y, c, d, values):
        if not x.numel() or not writable(x):
            return None
        name = INPLACE[c % len(INPLACE)]
        if name in ("add_", "sub_", "mul_", "copy_", "lerp_"):
            apart = y._storage is not x._storage
            fits = (real(x) and real(y)) or (x.is_complex() and not counts(y) and name != "lerp_")
            fits = fits or (name != "lerp_" and counts(x) and counts(y))
            fits = fits and (name != "lerp_" or x.dtype is y.dtype)
            if apart and fits and broadcasts(y, x):
                getattr(x, name)(*((y, 0.25) if name == "lerp_" else (y,)))
        elif name == "fill_":
            x.fill_(c % 2)
        elif x.is_complex():
            x.neg_() if name != "zero_" else x.zero_()
        elif x.dtype is not torch.bool:
            x.clamp_(-1, 1) if name == "clamp_" and x.dtype is not torch.uint8 else (
                None if name == "clamp_" else getattr(x, name)()
            )
        return None

    def cat(x, y, c, d, values):
        if x.ndim and y.ndim == x.ndim and x.dtype is y.dtype:
            dim = d % x.ndim
            if all(a == b for k, (a, b) in enumerate(zip(x.shape, y.shape)) if k != dim):
                return torch.cat((x, y, x)[: 2 + c % 2], dim)
        return torch.stack((x, x), d % (x.ndim + 1)) if x.ndim < 4 else None

    def indexed(x, y, c, d, values):
        if not x.ndim or not x.numel():
            return None
        return by_index(x, INDEXED[c % len(INDEXED)], d)

    def assign(x, y, c, d, values):
        """``x[places] = value``, where no place is named twice."""
        if not x.ndim or not x.numel() or not writable(x):
            return
        size, places = x.shape[0], torch.arange(x.shape[0])
        if c % 6 == 5:
            x[(places + d) % 2 == 0] = c % 2
            return
        at = (
            d % size,
            slice(d % size, None, 1 + d % 2),
            places.flip(0),
            (..., d % x.shape[-1]),
            (None, -1 - d % size),
        )[c % 6]
        seen = x[at]
        if y._storage is not x._storage and y.dtype is x.dtype and broadcasts(y, seen):
            x[at] = y
        elif c % 4 < 2 and (real(x) or counts(x)):
            x[at] += 1
        else:
            x[at] = c % 2

    def layer(x, y, c, d, values):
        """What networks are made of, with operands that are views."""
        if x.dtype is not torch.float32 or x.ndim < 2 or not x.numel():
            return None
        if c % 3 == 0:
            rows = x.reshape(1, -1, x.shape[-1])[:, :64]
            return F.scaled_dot_product_attention(rows, rows * 0.5, rows, is_causal=bool(d % 2))
        if c % 3 == 1:
            lines = x.reshape(1, -1, x.shape[-1])[:, :8]
            weight = lines[:, :, :1].reshape(1, -1, 1).expand(3, -1, 1)
            return F.conv1d(lines, weight, padding=d % 2)
        classes = torch.arange(x.numel() // x.shape[-1]) % x.shape[-1]
        return F.cross_entropy(x.reshape(-1, x.shape[-1]), classes)

    def branch(x, y, c, d, values):
        """Python decides by a value."""
        if not real(x) or not x.numel():
            return None
        if c % 3 == 0:
            return x + float(x.flatten()[d % x.numel()].nan_to_num(0, 1, -1).clamp(-9, 9).item())
        return x * 2 if x.nan_to_num().sum() > 0 else x - 1

    def new(x, y, c, d, values):
        made = (torch.zeros_like, torch.ones_like, torch.empty_like)[c % 3](x)
        return made.fill_(0) if c % 3 == 2 else made

    def clone(x, y, c, d, values):
        return x.clone() if c % 2 else x.contiguous()


def viewed(x, name, a, b):
    """A view of `x`, or `x`."""
    n = x.ndim
    if name == "unsqueeze":
        return x.unsqueeze(a % (n + 1)) if n < 4 else x
    if name == "detach":
        return x.detach()
    if name in ("real", "imag", "conj"):
        return getattr(x, name)() if name == "conj" else getattr(x, name) if x.is_complex() else x
    if name == "squeeze":
        return x.squeeze()
    if not n or not x.numel():
        return x.transpose(a % n, b % n) if n else x
    d = a % n
    size = x.shape[d]
    if name == "transpose":
        return x.transpose(d, b % n)
    if name == "nothing":
        return x.narrow(d, b % size, 0)
    if name == "narrow":
        start = b % size
        return x.narrow(d, start, 1 + b // 7 % (size - start))
    if name == "expand":
        return x.unsqueeze(0).expand(1 + b % 3, *x.shape) if n < 3 else x
    if name == "flip":
        return x.flip(d)
    if name == "reshape":
        return x.reshape(-1) if b % 2 else x.reshape(size, -1)
    if name == "select":
        return x.select(d, b % size)
    if name == "unfold":
        return x.unfold(d, 1 + b % size, 1 + a % 2) if n < 3 else x
    if name == "permute":
        return x.permute(*[(k + 1 + b) % n for k in range(n)])
    if name == "step":
        return x[(slice(None),) * d + (slice(b % size, None, 2),)]
    return x.diagonal() if n == 2 else x


def by_index(x, name, d):
    """Elements that indices name; places that they name, written."""
    dim = d % x.ndim
    size = x.shape[dim]
    numbers = torch.arange(size)
    some = (numbers * (1 + d % 3) + d) % size
    if name == "index_select":
        return x.index_select(dim, some[: 1 + d % size])
    if name == "roll":
        return x.roll(1 + d % 3, dim)
    if name == "masked":
        return x.masked_fill((numbers % 2 == 0).reshape(-1, *[1] * (x.ndim - dim - 1)), 1)
    if name == "index_copy":
        return x.clone().index_copy_(dim, numbers.flip(0), x)
    places = some.reshape(-1, *[1] * (x.ndim - dim - 1)).expand(x.shape)
    if name == "scatter_add":
        return x.scatter_add(dim, places, x) if x.dtype is not torch.bool else None
    return x.gather(dim, places)
