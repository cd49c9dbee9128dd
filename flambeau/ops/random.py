"""Random numbers: fills in place, and what draws by given weights. The streams are the
runtime's.
"""

import math

from flambeau import runtime
from flambeau._base import numpy
from flambeau.runtime import random as streams
from flambeau.types import by_name, contiguous, from_numpy

from .family import opaque
from .family.arrays import adopt, ndarray
from .filling import (
    BELOW,
    BERNOULLI,
    BETWEEN,
    EXPONENTIAL,
    NORMAL,
    RECORD,
    UNIFORM,
    launcher,
    shuffler,
)
from .memory import begin_write, forget, raw
from .memory import memory as memory_of
from .normals import fill_blocks
from .op import Op, composite
from .ranges import rounded

FLOAT32, FLOAT64, INT64 = map(by_name, ("float32", "float64", "int64"))


def stream_of(generator):
    """The stream of a generator, or of the default one."""
    return (generator if generator is not None else streams.default_generator).stream


def memory_order(layout):
    """The dimensions, those of the longest strides first."""
    return sorted(range(layout.ndim), key=lambda d: -layout.strides[d])


class Fill(Op):
    """`draw(stream, layout, *args)` gives new values for all elements, in the order in which they
    lie in memory."""

    family = "random"

    def __init__(self, schema, doc, draw, kernel):
        super().__init__(
            f"aten::{schema}, *, Generator? generator=None) -> Tensor", doc, function=False
        )
        self.draw, self.kernel = draw, kernel
        self.unkeyed = frozenset(a.name for a in self.schema.arguments[1:])

    def plan(self, args):
        normalise, layout = self.schema.normaliser(), args[0].layout
        if layout.device.type == "meta":
            return lambda tensor, *_: begin_write(tensor) or tensor
        kernel, plain = self.kernel, self._by_arrays(layout)
        launch = None if kernel is None else launcher(kernel, layout)
        if launch is None:
            return plain
        dtype = layout.dtype

        def fill(*raw_args):
            tensor, *values, generator = normalise(*raw_args)
            numbers = kernel.numbers(dtype, *values)
            if numbers is None:
                return plain(*raw_args)
            begin_write(tensor)
            launch(tensor, record_of(generator), *numbers)
            forget(tensor)
            return tensor

        return fill

    def _by_arrays(self, layout):
        normalise, draw = self.schema.normaliser(), self.draw

        def fill(*raw_args):
            tensor, *values, generator = normalise(*raw_args)
            begin_write(tensor)
            if layout.contiguous and not layout.conj and not layout.neg:
                target = memory_of(tensor)
                made = draw(stream_of(generator), target, layout, *values)
                if made is not target and layout.numel:
                    target[...] = made
            else:
                order = memory_order(layout)
                target = numpy.empty([layout.shape[d] for d in order], layout.dtype.numpy)
                made = draw(stream_of(generator), target, layout, *values)
                if layout.numel:
                    memory_of(tensor).transpose(order)[...] = raw(made, layout)
            tensor._storage.version += 1
            forget(tensor)
            return tensor

        return fill


def record_of(generator=None):
    """The record of a generator, or of the default one, as a tensor, for launchers."""
    return stream_of(generator).tensor(_record)


def _record(address, nbytes, owner):
    memory = runtime.foreign(address, nbytes, owner)
    memory.version = 0  # also where it is made in inference mode: it belongs to all modes
    return runtime.wrap(memory, RECORD, 0)


def fill(schema, doc, draw, kernel=None):
    """Declares an in-place random fill: see `Fill`. `kernel` is the launch that replaces `draw`
    where it can."""
    return Fill(schema, doc, draw, kernel)


fill(
    "uniform_(Tensor self, float from=0, float to=1",
    """Uniform numbers in [from, to).""",
    lambda stream, out, layout, low, high: stream.uniform(out.shape, low=low, high=high, out=out),
    UNIFORM,
)


def _normal(stream, out, layout, mean, std):
    """PyTorch draws fewer than 16 numbers, and strided ones, one after the other."""
    mean, std = float(mean), float(std)
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if layout.dtype.kind not in "fc":
        raise streams.not_implemented("normal_kernel_cpu", out.dtype)
    flat = out.reshape(-1)
    if layout.dtype.kind == "c":
        flat, std = flat.view(layout.dtype.to_real().numpy), std / math.sqrt(2.0)
    if flat.size < 16 or not layout.contiguous:
        stream.normal(out=flat, mean=mean, std=std)
    elif flat.dtype == numpy.float64:
        stream.normal_blocks(flat, mean, std)
    elif flat.dtype == numpy.float32:
        fill_blocks(stream, flat, mean, std)
    else:
        single = numpy.empty(flat.size, numpy.float32)
        fill_blocks(stream, single, mean, std, redraw=False)
        flat[...] = single
    return out


fill(
    "normal_(Tensor self, float mean=0, float std=1",
    """Normal numbers of that mean and standard deviation.""",
    _normal,
    NORMAL,
)
fill(
    "log_normal_(Tensor self, float mean=1, float std=2",
    """Exponentials of normal numbers.""",
    lambda stream, out, layout, mean, std: stream.log_normal(
        out.shape, mean=mean, std=std, out=out
    ),
)
fill(
    "cauchy_(Tensor self, float median=0, float sigma=1",
    """Cauchy numbers.""",
    lambda stream, out, layout, median, sigma: stream.cauchy(
        out.shape, median=median, sigma=sigma, out=out
    ),
)
fill(
    "exponential_(Tensor self, float lambd=1",
    """Exponential numbers of rate `lambd`.""",
    lambda stream, out, layout, lambd: stream.exponential(out.shape, rate=lambd, out=out),
    EXPONENTIAL,
)
fill(
    "geometric_(Tensor self, float p",
    """Numbers of trials up to the first success, which has probability `p`.""",
    lambda stream, out, layout, p: stream.geometric(p, out.shape, out=out),
)
fill(
    "random_(Tensor self",
    """Integers from 0 to the largest that the dtype counts to exactly.""",
    lambda stream, out, layout: stream.random(out.shape, out.dtype),
)
fill(
    "random_.to(Tensor self, int to",
    """Integers in [0, to).""",
    lambda stream, out, layout, to: stream.integers(0, to, out.shape, out.dtype),
    BELOW,
)
fill(
    "random_.from(Tensor self, int from, int? to",
    """Integers in [from, to); `to` None means up to the largest.""",
    lambda stream, out, layout, low, high: stream.integers(low, high, out.shape, out.dtype),
    BETWEEN,
)


def _by_probabilities(stream, out, layout, p):
    p = ndarray(p.expand(layout.shape)).transpose(memory_order(layout))
    return stream.bernoulli_like(p.copy(), out.dtype)


fill(
    "bernoulli_.Tensor(Tensor self, Tensor p",
    """Ones with the probability that stands at their place in `p`.""",
    _by_probabilities,
)
fill(
    "bernoulli_(Tensor self, float p=0.5",
    """Ones with probability `p`, else zeros.""",
    lambda stream, out, layout, p: stream.bernoulli(p, out.shape, out.dtype),
    BERNOULLI,
)

bernoulli = opaque(
    "aten::_bernoulli(Tensor self, Generator? generator=None) -> Tensor",
    """Ones with the probability that stands at their place.""",
    run=lambda p, generator: stream_of(generator).bernoulli_like(p),
    grad=dict(self=lambda grad: grad * 0),
    function=False,
    method=False,
)


@composite("aten::bernoulli(Tensor self, *, Generator? generator=None) -> Tensor")
def bernoulli_(self, generator):
    """Ones with the probability that stands at their place in `self`, else zeros."""
    return bernoulli(self, generator)


@composite("aten::bernoulli.p(Tensor self, float p, *, Generator? generator=None) -> Tensor")
def bernoulli_p(self, p, generator):
    """Ones with probability `p`, in the shape of `self`."""
    return self.detach().new_empty(self.layout.shape).bernoulli_(p, generator=generator)


multinomial = opaque(
    "aten::multinomial(Tensor self, int num_samples, bool replacement=False, *, Generator? "
    "generator=None) -> Tensor",
    """Indices drawn in proportion to the weights in each row of `self`.""",
    run=lambda weights, n, replacement, generator: stream_of(generator).multinomial(
        weights, n, replacement
    ),
)
multinomial.exact_out = True


def _leaks(x, lower, upper, generator):
    """One number in double precision for each element that is not positive, in their order, as
    PyTorch draws them.
    """
    leaks, low = numpy.ones(x.shape, x.dtype), x <= 0
    leaks[low] = stream_of(generator).uniform(
        (int(low.sum()),), numpy.dtype(numpy.float64), lower, upper
    )
    return leaks


leaks_of = opaque(
    "aten::_leaks(Tensor self, float lower, float upper, Generator? generator=None) -> Tensor",
    """Factors for rrelu: 1 where an element is positive, elsewhere uniform in [lower, upper).""",
    run=_leaks,
    function=False,
    method=False,
)


def _normal_of(mean, std, generator):
    """Standard normals, scaled and shifted element by element."""
    if numpy.iscomplexobj(std) or (std < 0).any():
        raise RuntimeError("normal expects all elements of std >= 0.0")
    shape = numpy.broadcast_shapes(mean.shape, std.shape)
    made = contiguous(shape, from_numpy(mean.dtype))
    standard = numpy.empty(shape, mean.dtype)
    _normal(stream_of(generator), standard, made, 0.0, 1.0)
    return standard * std.astype(mean.dtype) + mean


normal_of = opaque(
    "aten::_normal(Tensor mean, Tensor std, Generator? generator=None) -> Tensor",
    """Normal numbers, each with its own mean and standard deviation.""",
    run=_normal_of,
    grad=dict(
        mean=lambda grad: grad * 0, std=lambda grad, std_layout: grad.new_zeros(std_layout.shape)
    ),
    function=False,
    method=False,
)


class Permutation(Op):
    """A random order of the first integers."""

    family = "random"

    def plan(self, args):
        n, _, dtype = args
        if n < 1 or dtype not in (None, INT64):
            kind = (dtype or INT64).numpy
            return lambda n, generator, _: adopt(stream_of(generator).permutation(n, kind))
        launch = shuffler(n)
        return lambda n, generator, _: launch(stream_of(generator).tensor(_record))


randperm = Permutation(
    "aten::_randperm(int n, *, Generator? generator=None, ScalarType? dtype=None) -> Tensor",
    """The integers from 0 to `n` - 1 in random order.""",
    function=False,
    method=False,
)

__all__ = ["bernoulli", "multinomial", "normal_of", "randperm", "rounded", "stream_of"]
