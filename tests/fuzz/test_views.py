"""Random chains of views, then an op on what they see, against NumPy on the same view.

What a view does not see must stay as it was: every storage is compared whole, byte for byte.
"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as ft

DTYPES = {
    "float32": np.float32,
    "float64": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int64": np.int64,
    "int32": np.int32,
    "int8": np.int8,
    "uint8": np.uint8,
    "bool": np.bool_,
    "complex64": np.complex64,
}
FUZZ = settings(max_examples=60, derandomize=True, deadline=None, database=None)
as_strided = np.lib.stride_tricks.as_strided


class Pair:
    """A tensor and a NumPy array that see like memories in the same way; each has its own."""

    def __init__(self, tensor, array, base, memory):
        self.tensor, self.array, self.base, self.memory = tensor, array, base, memory

    def seen(self, tensor, array):
        return Pair(tensor, array, self.base, self.memory)

    def agree(self, close=False):
        """The whole memories are equal (close: up to rounding)."""
        have, want = values(self.base), self.memory
        if close:
            np.testing.assert_allclose(
                wide(have), wide(want), rtol=tolerance(want.dtype), atol=1e-5
            )
        else:
            assert have.tobytes() == want.tobytes()


def values(tensor):
    """The elements as a NumPy array with ml_dtypes' bfloat16."""
    return np.array(
        tensor.detach().numpy()
        if tensor.dtype is not ft.bfloat16
        else tensor.contiguous().view(ft.int16).numpy().view(ml_dtypes.bfloat16)
    )


def tolerance(dtype):
    return {"float16": 2e-3, "bfloat16": 2e-2, "float64": 1e-12}.get(np.dtype(dtype).name, 2e-5)


def wide(array):
    """In a type that NumPy computes well in."""
    name = array.dtype.name
    if name in ("float16", "bfloat16", "float32"):
        return array.astype(np.float64)
    return array.astype(np.complex128) if array.dtype.kind == "c" else array


def fresh(draw, dtype, shape):
    """A pair on memory of its own with small random values."""
    size = int(np.prod(shape))
    seed = draw(st.integers(0, 2**32 - 1))
    drawn = np.random.default_rng(seed).integers(-8, 9, size)
    kind = DTYPES[dtype]
    memory = (drawn % 2 if dtype == "bool" else abs(drawn) if dtype == "uint8" else drawn).astype(
        kind
    )
    if dtype == "complex64":
        memory = (memory + 1j * np.roll(memory, 1)).astype(kind)
    copy = memory.copy()
    if dtype == "bfloat16":
        base = ft.from_numpy(copy.view(np.int16)).view(ft.bfloat16)
    else:
        base = ft.from_numpy(copy)
    return Pair(base.view(shape), memory.reshape(shape), base, memory)


def step(draw, pair):
    """One more view."""
    t, a = pair.tensor, pair.array
    kind = draw(
        st.sampled_from(
            (
                "slice",
                "select",
                "transpose",
                "expand",
                "strided",
                "unfold",
                "diagonal",
                "permute",
                "unsqueeze",
                "squeeze",
                "narrow",
            )
        )
    )
    if kind == "unsqueeze" and a.ndim < 5:
        d = draw(st.integers(0, a.ndim))
        return pair.seen(t.unsqueeze(d), np.expand_dims(a, d))
    if not a.ndim:
        return pair
    d = draw(st.integers(0, a.ndim - 1))
    n = a.shape[d]
    if kind == "slice":
        start, stop, by = (
            draw(st.integers(-n - 1, n + 1)),
            draw(st.integers(-n - 1, n + 1)),
            draw(st.integers(1, 3)),
        )
        index = (slice(None),) * d + (slice(start, stop, by),)
        return pair.seen(t[index], a[index])
    if kind == "select" and n:
        i = draw(st.integers(-n, n - 1))
        return pair.seen(t.select(d, i), a[(slice(None),) * d + (i,)])
    if kind == "transpose":
        e = draw(st.integers(0, a.ndim - 1))
        return pair.seen(t.transpose(d, e), np.swapaxes(a, d, e))
    if kind == "permute":
        order = draw(st.permutations(range(a.ndim)))
        return pair.seen(t.permute(order), a.transpose(order))
    if kind == "expand" and a.ndim < 5 and a.size <= 400:
        times = draw(st.integers(0, 3))
        return pair.seen(
            t.expand(times, *a.shape), as_strided(a, (times, *a.shape), (0, *a.strides))
        )
    if kind == "strided":
        return strided(draw, pair)
    if kind == "unfold" and n and a.ndim < 5:
        size, by = draw(st.integers(1, n)), draw(st.integers(1, 3))
        windows = np.lib.stride_tricks.sliding_window_view(a, size, d, writeable=True)
        return pair.seen(
            t.unfold(d, size, by), windows[(slice(None),) * d + (slice(None, None, by),)]
        )
    if kind == "diagonal" and a.ndim > 1:
        e, offset = draw(st.integers(0, a.ndim - 1)), draw(st.integers(-2, 2))
        if d != e:
            seen = np.diagonal(a, offset, d, e)
            seen.flags.writeable = True
            return pair.seen(t.diagonal(offset, d, e), seen)
    if kind == "squeeze" and n == 1:
        return pair.seen(t.squeeze(d), a.squeeze(d))
    if kind == "narrow":
        start = draw(st.integers(0, n))
        length = draw(st.integers(0, n - start))
        return pair.seen(
            t.narrow(d, start, length), a[(slice(None),) * d + (slice(start, start + length),)]
        )
    return pair


def strided(draw, pair):
    """as_strided anywhere inside the storage: overlapping, gapped, in any order."""
    size = pair.memory.size
    if not size:
        return pair
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    strides = draw(st.lists(st.integers(0, 7), min_size=len(shape), max_size=len(shape)))
    reach = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if 0 not in shape else 0
    if reach >= size:
        return pair
    offset = draw(st.integers(0, size - 1 - reach))
    item = pair.memory.itemsize
    array = as_strided(pair.memory.ravel()[offset:], shape, [s * item for s in strides])
    return pair.seen(pair.base.as_strided(shape, strides, offset), array)


@st.composite
def viewed(draw, dtypes=tuple(DTYPES), steps=5):
    """A pair after up to `steps` views."""
    pair = fresh(
        draw, draw(st.sampled_from(dtypes)), tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    )
    for _ in range(draw(st.integers(0, steps))):
        pair = step(draw, pair)
    assert tuple(pair.tensor.shape) == pair.array.shape
    return pair


def same(result, want, exact=True):
    """Result and reference are equal, or close."""
    have = values(result)
    assert have.shape == want.shape
    if exact:
        np.testing.assert_array_equal(wide(have), wide(want.astype(have.dtype)))
    else:
        np.testing.assert_allclose(
            wide(have), wide(want), rtol=tolerance(have.dtype), atol=tolerance(have.dtype)
        )


NUMERIC = tuple(d for d in DTYPES if d != "bool")
REAL = tuple(d for d in NUMERIC if d != "complex64")
FLOATS = ("float32", "float64", "float16", "bfloat16")


@FUZZ
@given(viewed())
def test_reading(pair):
    same(pair.tensor, pair.array)
    same(pair.tensor.clone(), pair.array)
    same(pair.tensor.contiguous(), pair.array)
    assert pair.tensor.contiguous().is_contiguous()
    same(pair.tensor.reshape(-1), pair.array.reshape(-1))
    if pair.array.ndim:
        same(pair.tensor.flip(0), pair.array[::-1])
        same(ft.cat([pair.tensor, pair.tensor], -1), np.concatenate([pair.array, pair.array], -1))
    same(ft.stack([pair.tensor, pair.tensor]), np.stack([pair.array, pair.array]))
    pair.agree()


@FUZZ
@given(viewed(NUMERIC))
def test_pointwise(pair):
    a = pair.array
    same(pair.tensor + pair.tensor, (wide(a) + wide(a)).astype(a.dtype))
    same(-pair.tensor, np.negative(a))
    same(pair.tensor * 3, (wide(a) * 3).astype(a.dtype))
    same(pair.tensor == 2, a == 2)
    same(ft.where(pair.tensor == 2, pair.tensor, 0), np.where(a == 2, a, np.zeros((), a.dtype)))
    same(pair.tensor.to(ft.complex64), a.astype(np.complex64))
    pair.agree()


@FUZZ
@given(viewed(FLOATS), st.sampled_from(("exp", "sin", "sigmoid", "tanh", "abs", "floor")))
def test_functions(pair, name):
    reference = {"sigmoid": lambda x: 1 / (1 + np.exp(-x))}.get(name) or getattr(np, name)
    same(getattr(pair.tensor, name)(), reference(wide(pair.array)), exact=False)
    pair.agree()


@FUZZ
@given(viewed(REAL), st.data())
def test_reductions(pair, data):
    a, x = wide(pair.array), pair.tensor
    axes = (
        data.draw(
            st.none() | st.lists(st.integers(0, a.ndim - 1), unique=True, min_size=1).map(tuple)
        )
        if a.ndim
        else None
    )
    keep = data.draw(st.booleans())
    same(x.sum(axes, keep), np.asarray(np.sum(a, axes, keepdims=keep)), exact=False)
    if a.size:
        same(x.amax(axes or (), keep), np.asarray(np.max(a, axes, keepdims=keep)))
        same(x.argmax(), np.asarray(a.argmax()))
    if a.ndim:
        axis = data.draw(st.integers(0, a.ndim - 1))
        same(x.cumsum(axis), np.cumsum(a, axis), exact=False)
        same(x.sort(axis)[0], np.sort(a, axis))
    pair.agree()


def overlaps(array):
    """Whether two elements of the view share memory (checked by counting)."""
    seen = np.lib.array_utils.byte_bounds(array) if array.size else (0, 0)
    if not array.size:
        return False
    places = np.zeros(array.shape, np.int64)
    for d, (n, s) in enumerate(zip(array.shape, array.strides, strict=True)):
        places += (np.arange(n) * s).reshape([-1 if e == d else 1 for e in range(array.ndim)])
    return len(np.unique(places)) != places.size or seen[1] <= seen[0]


@FUZZ
@given(
    viewed(NUMERIC),
    st.sampled_from(("add", "mul", "fill", "zero", "copy", "neg", "masked", "set")),
    st.data(),
)
def test_in_place(pair, kind, data):
    x, a = pair.tensor, pair.array
    if overlaps(a):  # writing there is undefined, or refused; either way nothing else may move
        before = pair.memory.copy()
        try:
            x.add_(1)
        except RuntimeError:
            assert values(pair.base).tobytes() == before.tobytes()
        return
    other = fresh(data.draw, x.dtype.name, a.shape)
    if kind == "add":
        x.add_(other.tensor)
        a[...] = (wide(a) + wide(other.array)).astype(a.dtype)
    elif kind == "mul":
        x.mul_(2)
        a[...] = (wide(a) * 2).astype(a.dtype)
    elif kind == "fill":
        x.fill_(3)
        a[...] = 3
    elif kind == "zero":
        x.zero_()
        a[...] = 0
    elif kind == "copy":
        x.copy_(other.tensor)
        a[...] = other.array
    elif kind == "neg":
        x.neg_()
        a[...] = np.negative(a)
    elif kind == "masked":
        x.masked_fill_(other.tensor == 1, 5)
        a[other.array == 1] = 5
    elif a.ndim and a.shape[0]:
        i = data.draw(st.integers(-a.shape[0], a.shape[0] - 1))
        x[i] = 7
        a[i] = 7
    pair.agree()


@FUZZ
@given(viewed(NUMERIC), st.data())
def test_indexing(pair, data):
    x, a = pair.tensor, pair.array
    if not a.ndim or not a.shape[0]:
        return
    d = data.draw(st.integers(0, a.ndim - 1))
    n = a.shape[d]
    picks = data.draw(st.lists(st.integers(0, n - 1), max_size=5)) if n else []
    chosen = ft.tensor(picks, dtype=ft.int64)
    same(x.index_select(d, chosen), np.take(a, np.array(picks, np.int64), d))
    same(x[(slice(None),) * d + (chosen,)], np.take(a, np.array(picks, np.int64), d))
    same(x[x == 2], a[a == 2])
    if n:
        where = np.random.default_rng(1).integers(0, n, a.shape)
        same(x.gather(d, ft.from_numpy(where)), np.take_along_axis(a, where, d))
        same(
            ft.zeros(a.shape, dtype=x.dtype).scatter(d, ft.from_numpy(np.argsort(where, d)), x),
            put(a, where, d),
        )
    with pytest.raises(IndexError):
        x.index_select(d, ft.tensor([n]))
    pair.agree()


def put(a, where, d):
    out = np.zeros(a.shape, a.dtype)
    np.put_along_axis(out, np.argsort(where, d), a, d)
    return out


@FUZZ
@given(viewed(("float32", "float64", "int64", "complex64", "bfloat16")), viewed(("float32",)))
def test_products(left, right):
    """Matrix products of views of any strides."""
    for x, a in ((left.tensor, left.array), (right.tensor, right.array)):
        if a.ndim < 2:
            return
        want = wide(a) @ np.swapaxes(wide(a), -1, -2)
        same(x @ x.transpose(-1, -2), want, exact=False)
    if (
        left.array.dtype == np.float32
        and left.array.shape[-1] == right.array.shape[-1]
        and right.array.ndim == 2
    ):
        want = wide(left.array) @ wide(right.array).T
        same(ft.nn.functional.linear(left.tensor, right.tensor), want, exact=False)
    left.agree()
    right.agree()
