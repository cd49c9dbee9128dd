"""Random fills that are launches: the twister writes words, a kernel makes numbers of them.

What is drawn, and in which order, is the contract of `runtime.random`, whose arrays do the same for
all other cases. Here are the ones that programs are full of, without a NumPy call on the way.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from flambeau import ir
from flambeau.runtime import random as streams
from flambeau.types import Layout, by_name, contiguous, cpu

from .family.chain import Buffer, Steps
from .family.launch import Slots
from .normals import BLOCK, normals_of, uniform_of

INT32, INT64, FLOAT32, FLOAT64 = map(by_name, ("int32", "int64", "float32", "float64"))
RECORD = contiguous((streams.RECORD_BYTES // 8,), INT64)
_PLAIN = 1e30  # bounds below this are in the range of every dtype that has a kernel
_SHORT_SPAN = 1 << 28  # integer ranges below this take one word for a number


class FillKernel(NamedTuple):
    """`numbers(dtype, *arguments)` checks the arguments of a fill and gives the run-time numbers of
    its kernel, or None where arrays do it; `build(drawing, *numbers)` adds the steps, and returns
    False where the layout has none.
    """

    numbers: Callable
    build: Callable
    kinds: tuple[type, ...]


class Drawing:
    """The steps of a fill of a dense tensor, which is argument 0; argument 1 is the generator's
    record.
    """

    def __init__(self, layout: Layout):
        self.steps, self.slots = Steps(layout.device), Slots()
        self.out = Buffer(contiguous((layout.numel,), layout.dtype), 0)
        self.slots.tensor(layout)
        self.slots.tensor(RECORD)
        self.record = Buffer(RECORD, 1)

    @property
    def dtype(self):
        return self.out.dtype

    @property
    def size(self) -> int:
        return self.out.layout.numel

    def as_words(self, dtype) -> Buffer:
        """The tensor's own memory, as words of the size of its elements."""
        return Buffer(contiguous((self.size,), dtype), 0)

    def draw(self, target: Buffer, count: int, start: int = 0) -> None:
        """Draws `count` words of 32 bits to `target`, from byte `start` on."""
        self.steps.call(
            streams.draw_stage("draw_words"), [self.record, target], (count, start), 1, 0.6 * count
        )

    def short(self) -> Buffer:
        """A word of 32 bits for each element: where the elements will be, if they are as long."""
        inside = self.dtype.itemsize == 4
        words = self.as_words(INT32) if inside else self.steps.scratch((self.size,), INT32)
        self.draw(words, self.size)
        return words

    def long(self) -> Buffer:
        """Two words for each element, the first one the low half."""
        inside = self.dtype.itemsize == 8
        words = self.as_words(INT64) if inside else self.steps.scratch((self.size,), INT64)
        self.draw(words, 2 * self.size)
        return words

    def each(self, body, words: Buffer) -> bool:
        """out = body(words)."""
        self.steps.pointwise(body, [words], [self.out])
        return True

    def apply(self, name: str, values: Buffer) -> None:
        """That function of the C library of float64 values, in place."""
        n = values.layout.numel
        self.steps.call(streams.draw_stage(f"each_{name}"), [values], (), n, 15.0 * n)


def launcher(kernel: FillKernel, layout: Layout):
    """run(tensor, record, *numbers), or None where the layout has no kernel."""
    if not layout.contiguous or layout.conj or layout.neg or not layout.numel:
        return None
    drawing = Drawing(layout)
    if not kernel.build(drawing, *[drawing.slots.number(k) for k in kernel.kinds]):
        return None
    # Threads share a stream, so that the interpreter's lock is kept.
    drawing.steps.releases = False
    letters = "mm" + "".join(drawing.slots.letters[2:])
    return drawing.steps.launch(letters, tuple(drawing.slots.itemsizes), None)


def shuffler(n: int):
    """run(record): the first `n` integers in random order."""
    steps = Steps(cpu)
    steps.releases = False
    order = steps.result((n,), INT64)
    stage = streams.draw_stage("shuffle")
    steps.call(stage, [Buffer(RECORD, 0), order], (n,), 1, 5.0 * n)
    return steps.launch("t", (RECORD.itemsize,), None)


def _mantissa(word):
    """The 53 bits that float64 uniforms are made of; the first word drawn is the high half."""
    return ((word << 32) | ((word >> 32) & 0xFFFFFFFF)) & ((1 << 53) - 1)


def long_uniform_of(word):
    """53 bits of two words as a number in [0, 1)."""
    return ir.cast(_mantissa(word), FLOAT64) * 2.0**-53


def _uniform(drawing, low, high):
    dtype = drawing.dtype
    if dtype not in (FLOAT32, FLOAT64):
        return False
    low, high = ir.cast(low, dtype), ir.cast(high, dtype)
    span = high - low
    if dtype is FLOAT32:
        return drawing.each(lambda word: ir.fma(uniform_of(word), span, low), drawing.short())
    return drawing.each(lambda word: ir.fma(long_uniform_of(word), span, low), drawing.long())


def _uniform_numbers(dtype, low, high):
    if not -_PLAIN < low <= high < _PLAIN:
        streams.check_uniform(dtype, low, high)
    return float(low), float(high)


def _normal(drawing, mean, std):
    """Blocks of 16 words; where they do not fit, the last 16 are drawn once more."""
    n, dtype = drawing.size, drawing.dtype
    if dtype not in (FLOAT32, FLOAT64) or n < BLOCK:
        return False
    mean, std = ir.cast(mean, dtype), ir.cast(std, dtype)
    blocks = _blocks if dtype is FLOAT32 else _long_blocks
    words = drawing.short() if dtype is FLOAT32 else drawing.long()
    whole = n - n % BLOCK
    blocks(drawing, words, 0, whole // BLOCK, mean, std)
    if whole < n:
        drawing.draw(words, BLOCK * dtype.itemsize // 4, (n - BLOCK) * dtype.itemsize)
        blocks(drawing, words, n - BLOCK, 1, mean, std)
    return True


def _halves(buffer, start, count):
    """The first and second halves of `count` blocks from element `start` on."""
    made = buffer.layout.reshaped((count, BLOCK // 2), (BLOCK, 1))
    return [Buffer(made, buffer.source, start + first) for first in (0, BLOCK // 2)]


def _blocks(drawing, words, start, count, mean, std):
    operands, results = (_halves(b, start, count) for b in (words, drawing.out))
    drawing.steps.pointwise(lambda *pair: normals_of(*pair, mean, std), operands, results)


def _long_blocks(drawing, words, start, count, mean, std):
    """In double precision, logarithm, cosine and sine are the C library's."""
    steps, results = drawing.steps, _halves(drawing.out, start, count)
    parts = [steps.scratch((count, BLOCK // 2), FLOAT64) for _ in range(3)]

    def prepared(radius, angle):
        turn = long_uniform_of(angle) * (2 * math.pi)
        return 1.0 - long_uniform_of(radius), turn, turn

    steps.pointwise(prepared, _halves(words, start, count), parts)
    for name, part in zip(("log", "cos", "sin"), parts, strict=True):
        drawing.apply(name, part)

    def normals(logarithm, *waves):
        radius = ir.sqrt(logarithm * -2.0)
        return tuple(ir.fma(radius * wave, std, mean) for wave in waves)

    steps.pointwise(normals, parts, results)


def _normal_numbers(dtype, mean, std):
    mean, std = float(mean), float(std)
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    return mean, std


def _integers(drawing, low, span):
    if drawing.dtype is not INT64:
        return False
    drawing.draw(words := drawing.steps.scratch((drawing.size,), INT32), drawing.size)
    low, span = ir.cast(low, INT64), ir.cast(span, INT64)
    unsigned = 0xFFFFFFFF
    return drawing.each(lambda w: ir.rem(ir.cast(w, INT64) & unsigned, span) + low, words)


def _integer_numbers(dtype, low, high):
    if dtype is not INT64 or high is None or not 0 < high - low < _SHORT_SPAN:
        return None
    return low, high - low


def _bernoulli(drawing, below):
    words = drawing.long()
    return drawing.each(lambda word: ir.cast(_mantissa(word) < below, drawing.dtype), words)


def _bernoulli_numbers(dtype, p):
    streams.check_bernoulli(dtype, p)
    # u < p for u = k / 2**53 is k < ceil(2**53 p), which spares the conversion.
    return (math.ceil(math.ldexp(float(p), 53)),)


def _exponential(drawing, factor):
    if drawing.dtype not in (FLOAT32, FLOAT64):
        return False
    uniforms = drawing.steps.scratch((drawing.size,), FLOAT64)
    drawing.steps.pointwise(lambda word: -long_uniform_of(word), [drawing.long()], [uniforms])
    drawing.apply("log1p", uniforms)
    return drawing.each(lambda value: value * factor, uniforms)


def _exponential_numbers(dtype, rate):
    streams.check_exponential(dtype, rate)
    return (-1.0 / float(rate),)


UNIFORM = FillKernel(_uniform_numbers, _uniform, (float, float))
NORMAL = FillKernel(_normal_numbers, _normal, (float, float))
BELOW = FillKernel(lambda dtype, high: _integer_numbers(dtype, 0, high), _integers, (int, int))
BETWEEN = FillKernel(_integer_numbers, _integers, (int, int))
BERNOULLI = FillKernel(_bernoulli_numbers, _bernoulli, (int,))
EXPONENTIAL = FillKernel(_exponential_numbers, _exponential, (float,))
