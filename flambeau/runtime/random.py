"""Random streams: the numbers that PyTorch's CPU generator gives for the same seed.

A `Stream` is a Mersenne Twister (Matsumoto and Nishimura, ACM TOMACS 8(1), 1998, `mt19937`) and one
spare normal number, kept in the bytes of PyTorch's state. Native code turns the crank; everything
else is arithmetic on whole arrays. What a distribution draws, and in which order, is part of its
contract: a program that mixes kinds of calls sees PyTorch's numbers in every one of them, bit for
bit where both call the same C library.
"""

from __future__ import annotations

import ctypes
import functools
import math
import operator
import os
import struct
from types import SimpleNamespace

from flambeau._base import numpy
from flambeau.types import Device

from . import jit
from .draws import (
    BLOCK,
    C_NAMES,
    DIGITS,
    FLOAT32,
    FLOAT64,
    INT64,
    INT64_MAX,
    INT64_MIN,
    SCALAR_NAMES,
    array_and_view,
    as_integers,
    check_bernoulli,
    check_bounds,
    check_exponential,
    check_uniform,
    check_weights,
    fused,
    nearest_inside,
    not_implemented,
    number,
    rounded,
)
from .native import FUNCTIONS, SAMPLERS, STAGES, TWISTER, translate

RECORD_BYTES = 5056
_WORDS = 624
_SPARE, _HAS_SPARE = 5024, 5040  # where a record has the spare normal, and whether there is one
_NATIVE = {
    "start": (ctypes.c_void_p, ctypes.c_uint64),
    "draw": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64),
    "permute": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64),
} | {f"apply_{name}": (ctypes.c_void_p, ctypes.c_int64) for name in FUNCTIONS}


_SAMPLERS = {
    "draw_gamma": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64),
    "draw_poisson": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64),
    "draw_binomial": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64),
}


def _compiled(source: str, functions: dict, stages: tuple[str, ...] = ()) -> SimpleNamespace:
    """Functions of a unit in words, and addresses of its `stages`. They keep the interpreter's
    lock, so that threads may share a stream.
    """
    names = [*functions, *stages]
    found = jit.compile(source, names, translate=lambda text: translate(text, names), optimize=True)
    places = dict(zip(names, found, strict=True))
    made = {
        name: ctypes.PYFUNCTYPE(None, *kinds)(places[name]) for name, kinds in functions.items()
    }
    return SimpleNamespace(**made, stages=places)


def draw_stage(name: str) -> int:
    """The address of a stage of `native.twister`, for launchers."""
    return _native().stages[name]


@functools.cache
def _native() -> SimpleNamespace:
    return _compiled(TWISTER, _NATIVE, STAGES)


@functools.cache
def _samplers() -> SimpleNamespace:
    return _compiled(SAMPLERS, _SAMPLERS)


def applied(name, values):
    """`values` (contiguous float64), each replaced by that function of the C library of it."""
    getattr(_native(), f"apply_{name}")(values.ctypes.data, values.size)
    return values


def box_muller(radius_uniform, angle_uniform, logarithm):
    """Two standard normals from each two uniforms in [0, 1) (Box and Muller, Ann. Math. Stat. 29,
    1958). `logarithm` says how log(1 - u) is made: "log" or "log1p".
    """
    inner = 1.0 - radius_uniform if logarithm == "log" else -radius_uniform
    radius = numpy.sqrt(-2.0 * applied(logarithm, inner))
    angle = (2.0 * math.pi) * angle_uniform
    return radius * applied("cos", angle.copy()), radius * applied("sin", angle)


_CHUNK = 1 << 15  # elements worked on at a time: a few arrays of them fit the L2 cache
_DEFAULT_SEED = 67280421310721
_LONG_DRAW_FROM = 1 << 28  # integer ranges from here on take two words per number


class Stream:
    """The state of PyTorch's CPU generator, and the distributions drawn from it.

    Shapes are an int or a sequence of ints. A dtype is whatever `numpy.dtype` takes, and bfloat16
    is ml_dtypes'. `out`, where a method has it, is a C-contiguous array that is filled and
    returned; shape and dtype are then its own. Complex results are pairs of real draws.
    """

    __slots__ = ("__weakref__", "_address", "_record", "_seed", "_tensor")

    def __init__(self, seed: int = _DEFAULT_SEED):
        self._record = bytearray(RECORD_BYTES)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._record))
        self._tensor = None
        self.manual_seed(seed)

    # ---- seeds and state ----

    def manual_seed(self, seed: int) -> None:
        """Start anew from the low 32 bits of `seed`, an integer in [-2**63, 2**64)."""
        seed = int(seed)
        if not INT64_MIN <= seed < 1 << 64:
            raise ValueError("Overflow when unpacking long long")
        self._seed: int | None = seed % (1 << 64)  # None once the record starts from it
        if self._tensor is not None:  # programs may read the record without asking here
            self._started()

    def seed(self) -> int:
        """Start anew from 53 bits of the operating system's entropy, and return them."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little") >> 11)
        return self.initial_seed

    @property
    def initial_seed(self) -> int:
        """The seed that the stream started from, as an unsigned 64-bit number."""
        return int.from_bytes(self._record[:8], "little") if self._seed is None else self._seed

    def _started(self) -> int:
        """The address of the record, which is made from the seed by the first draw."""
        if self._seed is not None:
            self._spare = None
            _native().start(self._address, self._seed)
            self._seed = None
        return self._address

    def tensor(self, make):
        """What `make(address, bytes, owner)` gives for the record, made once and started."""
        if self._tensor is None:
            self._tensor = make(self._address, RECORD_BYTES, self._record)
        if self._seed is not None:
            self._started()
        return self._tensor

    @property
    def _spare(self) -> float | None:
        """The second normal of a pair of which one was drawn."""
        self._started()
        if not struct.unpack_from("<i", self._record, _HAS_SPARE)[0]:
            return None
        return struct.unpack_from("<d", self._record, _SPARE)[0]

    @_spare.setter
    def _spare(self, value: float | None) -> None:
        struct.pack_into("<d", self._record, _SPARE, value or 0.0)
        struct.pack_into("<i", self._record, _HAS_SPARE, value is not None)

    def get_state(self) -> numpy.ndarray:
        """The whole state as 5056 bytes, in the layout of ``torch.get_rng_state()``."""
        self._started()
        return numpy.frombuffer(bytes(self._record), numpy.uint8).copy()

    def set_state(self, state) -> None:
        """Continue from `state`, 5056 bytes from `get_state` or from ``torch.get_rng_state()``."""
        state = numpy.asarray(state)
        if state.dtype != numpy.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if state.size != RECORD_BYTES:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {RECORD_BYTES} but found the input "
                f"RNG state size to be {state.size}"
            )
        record = state.tobytes()
        left, seeded, position = struct.unpack_from("<iiq", record, 8)
        if seeded != 1 or not 0 < left <= _WORDS or not 0 <= position <= _WORDS:
            raise RuntimeError("Invalid mt19937 state")
        self._record[:] = record
        self._seed = None

    def __reduce__(self):
        return _stream_from_state, (self.get_state(),)

    # ---- words and uniforms ----

    def fill(self, address: int, count: int) -> None:
        """Write the next `count` words of the twister, 32 bits each, from `address` on."""
        _native().draw(self._started(), address, count)

    def words(self, count: int) -> numpy.ndarray:
        """The next `count` words of the twister, as uint32."""
        drawn = numpy.empty(count, numpy.uint32)
        self.fill(drawn.ctypes.data, count)
        return drawn

    def long_words(self, count: int) -> numpy.ndarray:
        """`count` 64-bit numbers of two words each, the first one the high half, as uint64."""
        pairs = self.words(2 * count).astype("<u4", copy=False).view("<u8")
        return (pairs << 32) | (pairs >> 32)

    def _uniform32(self, count):
        """`count` float32 uniforms in [0, 1): 24 bits of a word each."""
        words = self.words(count)
        words &= 0xFFFFFF
        values = words.view(numpy.int32).astype(FLOAT32)  # converts faster than unsigned words
        values *= numpy.float32(2.0**-24)
        return values

    def _uniform64(self, count):
        """`count` float64 uniforms in [0, 1): 53 bits of two words each."""
        words = self.long_words(count)
        words &= (1 << 53) - 1
        values = words.view(INT64).astype(FLOAT64)
        values *= 2.0**-53
        return values

    def _fill(self, target, draw):
        """Write ``draw(count)`` over the flat array `target`, one chunk at a time."""
        for start in range(0, target.size, _CHUNK):
            part = target[start : start + _CHUNK]
            part[...] = rounded(draw(part.size), target.dtype)

    def uniform(self, shape=(), dtype=FLOAT32, low=0.0, high=1.0, out=None) -> numpy.ndarray:
        """Uniform numbers in [`low`, `high`)."""
        result, target = array_and_view(shape, dtype, out)
        kind = target.dtype
        check_uniform(kind, low, high)
        if kind == FLOAT64:
            span = float(high) - float(low)
            self._fill(target, lambda count: fused(self._uniform64(count), span, float(low)))
            return result
        low32 = numpy.float32(low)
        span, start = float(numpy.float32(high) - low32), float(low32)
        if kind == FLOAT32:
            self._fill(target, lambda count: fused(self._uniform32(count), span, start))
            return result
        self._fill_half_uniform(target, span, start, low, high)
        return result

    def _fill_half_uniform(self, target, span, start, low, high):
        """float16 and bfloat16 round float32 uniforms; what rounds up to `high` becomes `low`."""
        ends = rounded(numpy.array([low, high], FLOAT64), target.dtype)

        def draw(count):
            values = rounded(fused(self._uniform32(count), span, start), target.dtype)
            values[values >= ends[1]] = ends[0]
            return values

        self._fill(target, draw)

    # ---- normals and their kin ----

    def _paired_normals(self, count):
        """`count` standard normals in float64, two per pair of uniforms; an odd one is kept for the
        next call.
        """
        values = numpy.empty(count, FLOAT64)
        done = 0
        if self._spare is not None and count:
            values[0], self._spare, done = self._spare, None, 1
        wanted = count - done
        if wanted == 0:
            return values
        uniforms = self._uniform64(wanted + wanted % 2)
        pairs = numpy.stack(box_muller(uniforms[1::2], uniforms[0::2], "log1p"), axis=1).reshape(-1)
        values[done:] = pairs[:wanted]
        if wanted % 2:
            self._spare = float(pairs[-1])
        return values

    def normal(self, shape=(), dtype=FLOAT32, mean=0.0, std=1.0, out=None) -> numpy.ndarray:
        """Normal numbers of that `mean` and standard deviation, one after the other: from pairs of
        float64 uniforms. PyTorch draws fewer than 16 so, and what is not contiguous.
        """
        result, target = array_and_view(shape, dtype, out)
        self._fill(
            target, lambda count: fused(self._paired_normals(count), float(std), float(mean))
        )
        return result

    def normal_blocks(self, target, mean=0.0, std=1.0) -> None:
        """Fill a flat float64 array of at least 16 elements with normal numbers, as PyTorch does.

        In each block of 16 uniforms the first eight give the radii and the last eight the angles,
        and cosines come first. Where blocks do not fit, the last 16 elements are drawn once more.
        """

        def draw(count):
            blocks = self._uniform64(count).reshape(-1, 2, BLOCK // 2)
            halves = box_muller(blocks[:, 0], blocks[:, 1], "log")
            return fused(numpy.stack(halves, axis=1).reshape(-1), float(std), float(mean))

        ragged = target.size % BLOCK
        self._fill(target[: target.size - ragged], draw)
        if ragged:
            self.words(2 * ragged)  # drawn, and overwritten
            target[-BLOCK:] = draw(BLOCK)

    def _real(self, kernel, shape, dtype, out, draw, integers=False):
        """A fill with float64 `draw`s rounded to the result's dtype, for the distributions that
        have no other way.
        """
        result, target = array_and_view(shape, dtype, out)
        kind = result.dtype
        if kind.name not in DIGITS and not (integers and kind.kind in "iu"):
            raise not_implemented(kernel, kind)
        self._fill(target, draw)
        return result

    def log_normal(self, shape=(), dtype=FLOAT32, mean=1.0, std=2.0, out=None) -> numpy.ndarray:
        """The exponential of normal numbers of that `mean` and `std`."""
        if not std > 0:
            raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={number(std)}")
        mean, std = float(mean), float(std)

        def draw(count):
            return applied("exp", fused(self._paired_normals(count), std, mean))

        return self._real("log_normal_cpu", shape, dtype, out, draw)

    def cauchy(self, shape=(), dtype=FLOAT32, median=0.0, sigma=1.0, out=None) -> numpy.ndarray:
        """Cauchy numbers: `median` + `sigma` tan(pi (u - 1/2))."""
        kind = numpy.dtype(dtype) if out is None else out.dtype
        if kind.name not in DIGITS:
            raise RuntimeError(
                "Cauchy distribution is a continuous probability distribution. dtype must be a "
                f"floating point but you specified {C_NAMES[kind.name]}"
            )
        if not sigma > 0:
            raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={number(sigma)}")
        median, sigma = float(median), float(sigma)

        def draw(count):
            tangents = applied("tan", math.pi * (self._uniform64(count) - 0.5))
            return fused(tangents, sigma, median)

        return self._real("cauchy_cpu", shape, dtype, out, draw)

    def exponential(self, shape=(), dtype=FLOAT32, rate=1.0, out=None) -> numpy.ndarray:
        """Exponential numbers of that `rate`: -log(1 - u) / rate."""
        check_exponential(numpy.dtype(dtype) if out is None else out.dtype, rate)
        factor = -1.0 / float(rate)

        def draw(count):
            values = self._uniform64(count)
            values = applied("log1p", numpy.negative(values, out=values))
            values *= factor
            return values

        return self._real("exponential_cpu", shape, dtype, out, draw)

    def geometric(self, p, shape=(), dtype=FLOAT32, out=None) -> numpy.ndarray:
        """How many trials of success probability `p` it takes to the first success: 1, 2, 3, ..."""
        if not 0 < p < 1:
            raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={number(p)}")
        scale = math.log(1.0 - p)

        def draw(count):
            with numpy.errstate(divide="ignore"):
                return numpy.ceil(applied("log", self._uniform64(count)) / scale)

        return self._real("geometric_cpu", shape, dtype, out, draw, integers=True)

    # ---- integers ----

    # ---- by rejection ----

    def gamma(self, shapes) -> numpy.ndarray:
        """Gamma numbers of these shapes (float32 or float64) and scale 1, as float64.

        As in PyTorch, what the sampler makes of a shape has the shape's precision.
        """
        flat = shapes.reshape(-1)
        third = numpy.float32(1) / numpy.float32(3)
        with numpy.errstate(divide="ignore"):
            powers = numpy.where(flat < 1, 1 / flat, 0).astype(FLOAT64)
        values = (numpy.where(flat < 1, flat + 1, flat) - third).astype(FLOAT64)
        _samplers().draw_gamma(self._started(), values.ctypes.data, powers.ctypes.data, values.size)
        return values.reshape(shapes.shape)

    def poisson(self, means) -> numpy.ndarray:
        """Poisson numbers of these means, as float64."""
        values = numpy.array(means, FLOAT64, order="C")
        _samplers().draw_poisson(self._started(), values.ctypes.data, values.size)
        return values

    def binomial(self, trials, probabilities) -> numpy.ndarray:
        """How many of so many trials succeed, as float64."""
        values, p = (
            numpy.array(v, FLOAT64, order="C")
            for v in numpy.broadcast_arrays(trials, probabilities)
        )
        _samplers().draw_binomial(self._started(), values.ctypes.data, p.ctypes.data, values.size)
        return values

    def random(self, shape=(), dtype=INT64) -> numpy.ndarray:
        """Integers from 0 to the largest of an integer `dtype`, or to 2**digits of a floating one,
        both included.
        """
        dtype = numpy.dtype(dtype)
        if dtype.name in DIGITS:
            modulus = (1 << DIGITS[dtype.name]) + 1
        elif dtype.kind == "b":
            modulus = 2
        elif dtype.kind == "i" or dtype.name == "uint8":
            modulus = int(numpy.iinfo(dtype).max) + 1
        else:
            raise not_implemented("random_kernel_cpu", dtype)
        long = dtype in (FLOAT64, INT64)

        def draw(count):
            words = self.long_words(count) if long else self.words(count)
            return as_integers(words % words.dtype.type(modulus), dtype)

        result, target = array_and_view(shape, dtype, None)
        self._fill_exact(target, draw)
        return result

    def _fill_exact(self, target, draw):
        for start in range(0, target.size, _CHUNK):
            part = target[start : start + _CHUNK]
            part[...] = draw(part.size)

    def integers(self, low, high, shape=(), dtype=INT64) -> numpy.ndarray:
        """Integers in [`low`, `high`); `high` None means up to the largest that `dtype` counts to,
        included.
        """
        dtype = numpy.dtype(dtype)
        low = operator.index(low)
        floating = dtype.name in DIGITS
        if not floating and dtype.kind not in "iub":
            raise RuntimeError(
                "check_random_bounds handles only integral, floating-point and boolean types"
            )
        if high is None and low == INT64_MIN:
            return self._full_range(shape, dtype)
        if high is None:
            low, high = self._open_range(low, dtype)
        else:
            high = operator.index(high)
            if low >= high:
                raise RuntimeError(
                    f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
                )
            if floating:
                low, high = nearest_inside(low, high, dtype)
            if low >= high:
                raise RuntimeError(
                    "random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, "
                    f"but got from={low} >= to={high}"
                )
        check_bounds(low, high - 1, dtype)
        span = high - low
        long = span >= _LONG_DRAW_FROM

        def draw(count):
            words = self.long_words(count) if long else self.words(count)
            words %= words.dtype.type(span)
            return as_integers(words.astype(numpy.uint64, copy=False), dtype, low)

        result, target = array_and_view(shape, dtype, None)
        self._fill_exact(target, draw)
        return result

    def _open_range(self, low, dtype):
        if dtype.name in DIGITS:
            last = min(1 << DIGITS[dtype.name], INT64_MAX)
            low = nearest_inside(low, low + 1, dtype)[0]
            if low >= last:
                raise RuntimeError(
                    "random_ expects 'from' casted to dtype to be less than or equal to 'to_inc' "
                    f"casted to dtype, but got from={low} > to_inc={last}"
                )
        else:
            last = 1 if dtype.kind == "b" else min(int(numpy.iinfo(dtype).max), INT64_MAX)
        return low, last + 1

    def _full_range(self, shape, dtype):
        if dtype.name in ("bool", "float16"):
            raise not_implemented("random_full_64_bits_range_kernel_cpu", dtype)
        if dtype.name not in ("int64", "float64", "float32", "bfloat16"):
            raise RuntimeError(
                "random_full_64_bits_range_kernel_cpu handles only int64, double, float and "
                "bfloat16"
            )
        result, target = array_and_view(shape, dtype, None)
        self._fill_exact(target, lambda count: as_integers(self.long_words(count), dtype))
        return result

    def permutation(self, n: int, dtype=INT64) -> numpy.ndarray:
        """The integers from 0 to `n` - 1 in random order, by n - 1 draws (Fisher and Yates;
        Durstenfeld 1964).
        """
        n, dtype = operator.index(n), numpy.dtype(dtype)
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
        if dtype.name not in DIGITS and dtype.kind not in "iu":
            raise not_implemented("randperm", dtype)
        if dtype.name in ("float16", "float32", "float64") and n > (1 << DIGITS[dtype.name]) + 1:
            raise RuntimeError(
                f"n cannot be greater than {(1 << DIGITS[dtype.name]) + 1} for "
                f"{SCALAR_NAMES[dtype.name]} type."
            )
        if dtype.kind in "iu" and n > int(numpy.iinfo(dtype).max):
            raise RuntimeError(f"value cannot be converted to type {dtype.name}_t without overflow")
        order = numpy.arange(n)
        _native().permute(self._started(), order.ctypes.data, n)
        return order if dtype == INT64 else as_integers(order.view(numpy.uint64), dtype)

    # ---- choices ----

    def bernoulli(self, p=0.5, shape=(), dtype="bool") -> numpy.ndarray:
        """Ones with probability `p`, else zeros; a 53-bit uniform each."""
        dtype = numpy.dtype(dtype)
        check_bernoulli(dtype, p)
        # u < p for u = k / 2**53 is k < ceil(2**53 p), which spares the conversion.
        below = math.ceil(math.ldexp(float(p), 53))

        def draw(count):
            words = self.long_words(count)
            words &= (1 << 53) - 1
            return words < below

        result, target = array_and_view(shape, dtype, None)
        self._fill_exact(target, draw)
        return result

    def bernoulli_like(self, probabilities, dtype=None) -> numpy.ndarray:
        """Ones with the probability that stands at their place, in `dtype` or the dtype of
        `probabilities`.

        float64 probabilities draw 53-bit uniforms, others 24-bit ones.
        """
        probabilities = numpy.asarray(probabilities)
        dtype = probabilities.dtype if dtype is None else numpy.dtype(dtype)
        if probabilities.dtype.name not in DIGITS:
            raise not_implemented("bernoulli_tensor_cpu_p_", probabilities.dtype)
        wide = (
            probabilities
            if probabilities.dtype == FLOAT64
            else probabilities.astype(FLOAT32, copy=False)
        )
        if not ((wide >= 0) & (wide <= 1)).all():
            raise RuntimeError(
                "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (a probability is "
                "not in [0, 1])"
            )
        uniforms = self._uniform64 if probabilities.dtype == FLOAT64 else self._uniform32
        result, target = array_and_view(probabilities.shape, dtype, None)
        flat = wide.reshape(-1)
        for start in range(0, target.size, _CHUNK):
            part = flat[start : start + _CHUNK]
            target[start : start + _CHUNK] = uniforms(part.size) < part
        return result

    def multinomial(self, weights, n: int, replacement=False) -> numpy.ndarray:
        """`n` indices (int64) drawn in proportion to `weights`, a vector or a matrix of one
        distribution per row.
        """
        weights = numpy.asarray(weights)
        n = operator.index(n)
        check_weights(weights, n, replacement)
        if replacement and n > 1:
            rows = weights.reshape(-1, weights.shape[-1])
            drawn = [self._with_replacement(row, n) for row in rows]
            return numpy.array(drawn, INT64).reshape(*weights.shape[:-1], n)
        # The largest n of w / Exp(1) are a sample without replacement (Efraimidis and Spirakis, IPL
        # 97, 2006).
        exponentials = self.exponential(weights.shape, weights.dtype)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            keys = weights / exponentials
        if n == 1:
            return keys.argmax(axis=-1, keepdims=True).astype(INT64)
        return numpy.argsort(-keys, axis=-1, kind="stable")[..., :n].astype(INT64)

    def _with_replacement(self, weights, n):
        wide = weights if weights.dtype == FLOAT64 else weights.astype(FLOAT32, copy=False)
        cumulative = numpy.cumsum(wide, dtype=wide.dtype)
        cumulative /= cumulative[-1]
        cumulative[-1] = 1
        return numpy.searchsorted(cumulative, self._uniform64(n))


def _stream_from_state(state):
    stream = Stream()
    stream.set_state(state)
    return stream


class Generator:
    """PyTorch's `Generator` over a `Stream`, which is its attribute `stream`. States are uint8
    arrays here.
    """

    __slots__ = ("__weakref__", "device", "stream")

    def __init__(self, device="cpu"):
        self.device = Device(device)
        if self.device.type != "cpu":
            raise RuntimeError(
                f"Device type {self.device.type} is not supported for torch.Generator() api."
            )
        self.stream = Stream()

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from `seed`, an integer in [-2**63, 2**64), and return the generator."""
        self.stream.manual_seed(seed)
        return self

    def seed(self) -> int:
        """Start anew from the operating system's entropy, and return the seed."""
        return self.stream.seed()

    def initial_seed(self) -> int:
        """The seed that the generator started from."""
        return self.stream.initial_seed

    def get_state(self) -> numpy.ndarray:
        """The state, 5056 bytes in PyTorch's layout."""
        return self.stream.get_state()

    def set_state(self, state) -> Generator:
        """Continue from a state of `get_state` or of PyTorch, and return the generator."""
        self.stream.set_state(state)
        return self

    def __repr__(self):
        return f"<Generator device={self.device} initial_seed={self.initial_seed()}>"


default_generator = Generator()
default_generator.seed()
