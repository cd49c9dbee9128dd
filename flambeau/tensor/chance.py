"""Random tensors and the generators behind them."""

from flambeau._base import numpy
from flambeau.ops import adopt, find
from flambeau.runtime import random as streams
from flambeau.types import by_name

from .creation import as_device, as_dtype, empty, empty_like, finish, shape_of
from .tensor import Tensor

INT64 = by_name("int64")


class Generator(streams.Generator):
    """A stream of random numbers: ``Generator().manual_seed(0)``; its state is a tensor of 5056
    bytes.
    """

    __slots__ = ()

    def __init__(self, device="cpu"):
        super().__init__(as_device(device))

    def get_state(self):
        """The state, 5056 bytes in PyTorch's layout."""
        return adopt(numpy.array(super().get_state()))

    def set_state(self, new_state):
        """Continue from a state of `get_state` or of PyTorch, and return the generator."""
        if not isinstance(new_state, Tensor) or new_state.dtype.name != "uint8":
            raise TypeError("expected a torch.ByteTensor, but got " + type(new_state).__name__)
        return super().set_state(new_state.numpy())

    def clone_state(self):
        """A new generator that continues as this one does."""
        return Generator().set_state(self.get_state())

    def __reduce__(self):
        return _with_state, (super().get_state(),)


def _with_state(state):
    made = Generator()
    made.stream.set_state(state)
    return made


def _default():
    made = object.__new__(Generator)
    made.device, made.stream = streams.default_generator.device, streams.default_generator.stream
    return made


default_generator = _default()


def manual_seed(seed):
    """Starts the default generator anew from `seed`; returns the generator."""
    return default_generator.manual_seed(int(seed))


def seed():
    """Starts the default generator anew from the operating system's entropy; returns the seed."""
    return default_generator.seed()


def initial_seed():
    """The seed that the default generator started from."""
    return default_generator.initial_seed()


def get_rng_state():
    """The state of the default generator, a tensor of bytes."""
    return default_generator.get_state()


def set_rng_state(new_state):
    """Puts the default generator into a state of `get_rng_state`."""
    if not isinstance(new_state, Tensor) or new_state.dtype.name != "uint8":
        raise TypeError("RNG state must be a torch.ByteTensor")
    default_generator.set_state(new_state)


def rand(
    *args,
    size=None,
    generator=None,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Uniform numbers in [0, 1) in the shape `size`."""
    shape = shape_of("rand", args, size)
    made = empty(shape, out=out, dtype=dtype, layout=layout, device=device).uniform_(
        0, 1, generator=generator
    )
    return finish(made, None, requires_grad)


def randn(
    *args,
    size=None,
    generator=None,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Standard normal numbers in the shape `size`."""
    shape = shape_of("randn", args, size)
    made = empty(shape, out=out, dtype=dtype, layout=layout, device=device).normal_(
        0, 1, generator=generator
    )
    return finish(made, None, requires_grad)


def _bounds(name, args, named):
    """low, high and size from the positional and the named arguments of `randint`."""
    args = list(args)
    size = named.pop("size") if named.get("size") is not None else args.pop() if args else None
    high = named.pop("high", None)
    if high is None:
        if not args:
            raise TypeError(f'{name}() missing 1 required positional arguments: "high"')
        high = args.pop()
    low = named.pop("low", None)
    if low is None:
        low = args.pop() if args else 0
    return low, high, size


def randint(
    *args,
    low=None,
    high=None,
    size=None,
    generator=None,
    out=None,
    dtype=INT64,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Integers in [low, high): ``randint(high, size)`` or ``randint(low, high, size)``."""
    low, high, size = _bounds("randint", args, {"low": low, "high": high, "size": size})
    made = empty(shape_of("randint", (size,)), out=out, dtype=dtype, layout=layout, device=device)
    return finish(made.random_(int(low), int(high), generator=generator), None, requires_grad)


def randperm(
    n,
    *,
    generator=None,
    out=None,
    dtype=INT64,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """The integers from 0 to n - 1 in random order."""
    dtype = out.dtype if out is not None and dtype is INT64 else as_dtype(dtype)
    made = find("_randperm").door(n, generator=generator, dtype=dtype)
    return finish(made.to(as_device(device, layout)), out, requires_grad)


def rand_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False,
              memory_format=None, generator=None):  # fmt: skip
    """Uniform numbers in [0, 1) in the shape and dtype of `input`."""
    made = empty_like(input, dtype=dtype, layout=layout, device=device, memory_format=memory_format)
    return finish(made.uniform_(0, 1, generator=generator), None, requires_grad)


def randn_like(
    input,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
    memory_format=None,
    generator=None,
):
    """Standard normal numbers in the shape and dtype of `input`."""
    made = empty_like(input, dtype=dtype, layout=layout, device=device, memory_format=memory_format)
    return finish(made.normal_(0, 1, generator=generator), None, requires_grad)


def randint_like(
    input,
    low=0,
    high=None,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
    memory_format=None,
    generator=None,
):
    """Integers in [low, high) in the shape and dtype of `input`; with one bound, in [0, bound)."""
    low, high = (0, low) if high is None else (low, high)
    made = empty_like(input, dtype=dtype, layout=layout, device=device, memory_format=memory_format)
    return finish(made.random_(int(low), int(high), generator=generator), None, requires_grad)


def normal(
    mean=0.0,
    std=1.0,
    size=None,
    *,
    generator=None,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Normal numbers: `mean` and `std` are numbers (with `size`), or tensors that give each element
    its own.
    """
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        if size is None:
            raise TypeError('normal() missing 1 required positional arguments: "size"')
        made = empty(
            shape_of("normal", (size,)), out=out, dtype=dtype, layout=layout, device=device
        )
        return finish(made.normal_(mean, std, generator=generator), None, requires_grad)
    like = mean if isinstance(mean, Tensor) else std
    if not isinstance(std, Tensor):
        if std < 0:
            raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
        std = like.new_full((), std)
    if not isinstance(mean, Tensor):
        mean = like.new_full((), mean)
    find("broadcast_tensors").door((mean, std))  # PyTorch's error for shapes that do not fit
    return finish(find("_normal").door(mean, std, generator), out, False)


class fork_rng:
    """A context in which random numbers are drawn without a trace: the default generator's state is
    restored. There are no `devices` of `device_type` with generators of their own.
    """

    def __init__(
        self, devices=None, enabled=True, _caller="fork_rng", _devices_kw="devices",
        device_type="cuda",
    ):  # fmt: skip
        self._enabled = enabled

    def __enter__(self):
        self._state = default_generator.get_state() if self._enabled else None

    def __exit__(self, *exception):
        if self._enabled:
            default_generator.set_state(self._state)


PUBLIC = (
    "Generator",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "normal",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "seed",
    "set_rng_state",
)
__all__ = [*PUBLIC, "fork_rng"]
