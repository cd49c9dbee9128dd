"""What the instructions of random programs do."""

import flambeau as torch
from flambeau.utils.checkpoint import checkpoint

F = torch.nn.functional
UNARY = ("relu", "tanh", "exp", "neg", "abs", "sigmoid", "sin", "square", "floor", "sign", "erf",
         "log1p", "rsqrt", "reciprocal")  # fmt: skip
BINARY = ("add", "sub", "mul", "maximum", "div", "minimum", "fmod", "atan2")
COMPARE = ("lt", "ge", "eq", "ne")
WHOLE = ("add", "sub", "mul", "maximum", "minimum", "bitwise_and", "bitwise_xor")
FOLDS = ("sum", "mean", "amax", "prod", "logsumexp", "amin", "var")
MIXED = ("add", "mul", "sub", "div", "floor_divide", "remainder", "eq")
WHOLE_FOLDS = ("sum", "amax", "any", "all", "count_nonzero")
CHAINS = ("softmax", "log_softmax", "cumsum", "cumprod", "layer_norm", "normalize")
VIEWS = ("transpose", "narrow", "unsqueeze", "expand", "flip", "reshape", "select", "diagonal",
         "unfold", "permute", "step", "real", "imag", "conj", "detach", "nothing",
         "squeeze")  # fmt: skip
INPLACE = ("add_", "mul_", "relu_", "zero_", "copy_", "clamp_", "sub_", "neg_", "fill_", "lerp_")
INDEXED = ("gather", "index_select", "take_along", "scatter_add", "index_copy", "roll", "masked")
DTYPES = ("float32", "float64", "int64", "float16", "bool", "bfloat16", "int32", "uint8")
POWERS = (2, 3, -1, 0.5, 0, -2, 1.5)
KINDS = (("unary",) * 3 + ("binary",) * 4 + ("fold",) * 2 + ("chain", "cast", "matmul", "compare")
         + ("view",) * 4 + ("inplace",) * 3 + ("scalar", "where", "cat", "indexed", "whole",
         "arg", "new", "clone", "complex", "random", "several") * 2
         + ("unary", "binary", "assign", "assign", "layer", "layer", "branch")
         + ("mixed", "power", "ordered", "shaped", "written", "network", "wrapped") * 2
         + ("outside", "module", "counted"))  # fmt: skip
WORLDLY = ("outside", "module", "counted")  # which see the world, not the other values
CUTS = ("branch", "counted")  # what no program contains
WRAPPED_CUTS = (2, 3, 6)  # recomputation, a function with its own derivative, a hook


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


class Thrice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 3

    @staticmethod
    def backward(ctx, grad):
        return grad * 3 + ctx.saved_tensors[0] * 0


MODULES = (
    lambda: torch.nn.Linear(4, 3),
    lambda: torch.nn.BatchNorm1d(4),
    lambda: torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.3), torch.nn.ReLU()),
    lambda: torch.nn.LSTM(4, 2),
    lambda: torch.nn.LayerNorm(4),
)


class World:
    """What a program finds outside of it. Between its calls, this turns."""

    def __init__(self, whole):
        self.rate, self.names, self.sizes, self.count = 1.5, {"scale": 0.5}, [1, 2], 0
        self.training, self.calls, self.modules = True, 0, []
        if whole:
            torch.manual_seed(3)
            self.modules = [make() for make in MODULES]

    def turn(self):
        self.calls += 1
        if self.calls == 4:
            self.rate, self.names["scale"], self.sizes[0] = 2.5, 1, 3
        if self.calls == 5:
            self.training = False
            for module in self.modules:
                module.eval()

    def parameters(self):
        return [p for module in self.modules for p in module.parameters()]


def running(rows, d):
    """Batch norm, with statistics that it writes."""
    mean, var = torch.zeros(rows.shape[1]), torch.ones(rows.shape[1])
    made = F.batch_norm(rows, mean, var, training=bool(d % 3), momentum=0.3)
    return made, mean, var


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

    def mixed(x, y, c, d, values):
        """Operands of any two types."""
        if not broadcasts(y, x):
            return None
        name = MIXED[c % len(MIXED)]
        if name == "sub" and torch.bool in (x.dtype, y.dtype):
            return None
        if name in ("floor_divide", "remainder"):
            if x.is_complex() or y.is_complex() or torch.bool in (x.dtype, y.dtype):
                return None
            y = y.clamp(1, 9) if real(y) else (y % 7) + 1
        return getattr(x, name)(y) if d % 3 else getattr(torch, name)(x, other=y)

    def power(x, y, c, d, values):
        if real(x):
            least = y.mean() if y.dtype is x.dtype else None
            power = POWERS[d % len(POWERS)]
            return (x**power, 2.0**x, x % 3, x // 2, x.clamp(least, 3), x.pow(2).add(1).sqrt())[
                c % 6
            ]
        if counts(x):
            return (x**2, x % 5, x // 3, x << 1, x >> 1, -x, x / 4, ~x)[c % 8]
        return x ^ True if x.dtype is torch.bool else x**2

    def ordered(x, y, c, d, values):
        if not x.ndim or not x.numel() or not (real(x) or counts(x)):
            return None
        dim, n = d % x.ndim, x.shape[d % x.ndim]
        if c % 8 == 7:
            edges = torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64).to(x.dtype)
            return torch.bucketize(x, edges, right=bool(d % 2))
        return (
            lambda: tuple(x.topk(1 + d % n, dim)),
            lambda: tuple(x.max(dim)),
            lambda: tuple(x.min(dim, keepdim=True)),
            lambda: tuple(x.cummax(dim)),
            lambda: x.argsort(dim, stable=True),
            lambda: tuple(x.kthvalue(1 + d % n, dim)),
            lambda: tuple(x.sort(dim, descending=True, stable=True)),
        )[c % 8]()

    def shaped(x, y, c, d, values):
        """Copies in another form, and views with numbers of their own."""
        n, size = x.ndim, x.numel()
        if not n or not size:
            return x.repeat(2, 1) if n == 1 else None
        last = x.shape[-1]
        return (
            lambda: F.pad(x, (d % 3, 1), value=2),
            lambda: F.pad(x, (-1, d % 2)) if last > 1 else None,
            lambda: x.tril(d % 3 - 1) if n > 1 else None,
            lambda: x.triu(d % 3 - 1) if n > 1 else None,
            lambda: x.repeat(*[1 + (d + k) % 2 for k in range(n)]),
            lambda: x.diff(dim=d % n) if x.dtype is not torch.bool else None,
            lambda: x.movedim(0, -1),
            lambda: x.repeat_interleave(2, d % n),
            lambda: x.unflatten(-1, (2, last // 2)) if last % 2 == 0 and n < 4 else None,
            lambda: torch.einsum("...i,...j->...ij", x, x) if n < 3 and real(x) else None,
            lambda: x.as_strided((last,), (1,)) if x.is_contiguous() else None,
            lambda: x.view(torch.int32) if x.dtype is torch.float32 else None,
            lambda: x.unfold(-1, last, 1).swapaxes(0, -1),
            lambda: x.flatten()[: size - 1],
        )[c % 14]()

    def written(x, y, c, d, values):
        """Places in place."""
        if not x.ndim or not x.numel() or not writable(x) or x.dtype is torch.bool:
            return None
        dim = d % x.ndim
        size = x.shape[dim]
        places = torch.arange(size)
        if c % 9 == 0:
            x.masked_fill_((places % 2 == 0).reshape(-1, *[1] * (x.ndim - dim - 1)), 1)
        elif c % 9 == 1:
            x.index_fill_(dim, places[: 1 + d % size], 2)
        elif c % 9 == 2:
            x.index_add_(dim, places.flip(0), torch.ones_like(x))
        elif c % 9 == 3:
            x.index_put_((places * 0,) if dim == 0 else (None,) * dim + (places * 0,),
                         torch.ones((), dtype=x.dtype), accumulate=True)  # fmt: skip
        elif c % 9 == 4 and real(x):
            (x.sigmoid_, x.exp_, x.sqrt_, x.tanh_, x.abs_)[d % 5]()
        elif c % 9 == 5 and y._storage is not x._storage and broadcasts(y, x):
            if real(x) and not y.is_complex():
                x += y
        elif c % 9 == 6 and y._storage is not x._storage and broadcasts(y, x):
            if real(x) and y.dtype is torch.bool:
                x *= y
        elif c % 9 == 7 and not x.requires_grad:
            return torch.add(x.detach(), 1, out=torch.empty_like(x))
        elif c % 9 == 8:
            x.scatter_(dim, places.flip(0).reshape(-1, *[1] * (x.ndim - dim - 1)).expand(x.shape),
                       x.clone())  # fmt: skip
        return None

    def network(x, y, c, d, values):
        """More of what networks are made of."""
        if x.dtype is not torch.float32 or x.ndim < 2 or not x.numel():
            return None
        rows = x.reshape(-1, x.shape[-1])
        n, width = rows.shape
        planes = x.reshape(1, -1, n, width) if n * width > 3 else None
        classes = torch.arange(n) * (1 + d) % width
        return (
            lambda: F.gelu(rows, approximate=("none", "tanh")[d % 2]),
            lambda: (F.silu, F.softplus, F.mish, F.elu, F.hardswish)[d % 5](rows),
            lambda: running(rows, d) if n > 1 else None,
            lambda: F.max_pool2d(planes, 2) if min(n, width) > 1 else None,
            lambda: F.avg_pool2d(planes, 2, padding=d % 2) if min(n, width) > 1 else None,
            lambda: F.embedding(classes % n, rows, padding_idx=0 if d % 2 else None),
            lambda: torch.addmm(rows[0] * 0.5, rows[:64], rows[:64].t() @ rows[:64]),
            lambda: torch.bmm(rows[None, :64], rows[None, :64].mT).relu(),
            lambda: F.binary_cross_entropy_with_logits(rows, (rows > 0).float()),
            lambda: F.nll_loss(rows.log_softmax(-1), classes, torch.arange(width) + 1.0),
            lambda: F.conv2d(planes, rows[:1, :1].reshape(1, 1, 1, 1)) if n * width > 3 else None,
            lambda: F.interpolate(planes, scale_factor=2) if planes is not None else None,
            lambda: F.rms_norm(rows, (width,)) * rows[0],
            lambda: F.glu(rows) if width % 2 == 0 else F.smooth_l1_loss(rows, rows.detach() * 0.5),
            lambda: F.group_norm(planes, 1) if planes is not None else None,
        )[c % 15]()

    def wrapped(x, y, c, d, values):
        """Ops under modes, transforms and functions with a derivative of their own."""
        if x.dtype is not torch.float32 or not x.numel():
            return None
        if c % 7 == 0:
            with torch.no_grad():
                return torch.tanh(x) * 2
        if c % 7 == 1:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return x @ x.mT if x.ndim == 2 and len(x) < 99 else F.layer_norm(x, x.shape)
        if c % 7 == 2:
            return checkpoint(lambda v: (v * 2).sin(), x, use_reentrant=False)
        if c % 7 == 3:
            return Thrice.apply(x)
        if c % 7 == 4:
            return torch.func.jvp(lambda v: v.sum() * v, (x,), (x * 2,))
        if c % 7 == 5:
            return torch.func.grad(lambda v: v.sin().sum())(x)
        if x.requires_grad and d % 2:
            x = x * 1
            x.register_hook(lambda g: g * 2)
        return x.detach() * x

    def outside(x, y, c, d, world):
        """Python values that are somewhere else, and that change between the calls."""
        if not real(x):
            return x if len(world.names) > c % 3 and not x.ndim else None
        if c % 4 == 0:
            return x * world.rate
        if c % 4 == 1:
            return x + world.names["scale"]
        if c % 4 == 2:
            return x - world.sizes[d % len(world.sizes)]
        return x * 2 if world.training else x / 3

    def counted(x, y, c, d, world):
        """The program changes such values."""
        if c % 2:
            world.sizes.append(x.ndim)
            return x * len(world.sizes) if real(x) else None
        world.count += 1
        return x + world.count if real(x) else None

    def module(x, y, c, d, world):
        """A module with parameters, buffers, and two ways to behave."""
        if x.dtype is not torch.float32 or not x.numel():
            return None
        rows = F.pad(x.reshape(-1, x.shape[-1] if x.ndim else 1)[:64], (0, 4))[:, :4]
        made = world.modules[c % len(MODULES)](rows) if len(rows) > 1 else None
        return (made[0], *made[1]) if isinstance(made, tuple) else made  # an LSTM's

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
