"""Sorting, selecting and searching against NumPy's stable order, at the sizes where ways change."""

import math

import numpy as np
import pytest

import flambeau as ft

RNG = np.random.default_rng(0)
SIZES = [1, 2, 24, 25, 100, 2047, 2048, 5000]
DTYPES = ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"]


def values(n, dtype):
    """Values with repetitions, nan, infinities, both zeros, and the extremes of integers."""
    if dtype == "bool":
        return RNG.integers(0, 2, n).astype(bool)
    if dtype.startswith("float"):
        special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5], dtype)
        spread = RNG.standard_normal(n).astype(dtype)
        return np.where(RNG.random(n) < 0.4, RNG.choice(special, n), spread)
    info = np.iinfo(dtype)
    drawn = RNG.integers(info.min, info.max, n, dtype, endpoint=True)
    return np.where(
        RNG.random(n) < 0.3, RNG.choice(np.array([info.min, info.max, 7], dtype), n), drawn
    )


def stable_order(x, descending):
    if not descending:
        return np.argsort(x, kind="stable")
    n = len(x)
    return n - 1 - np.argsort(x[::-1], kind="stable")[::-1]


def bits(x):
    return np.ascontiguousarray(x).view(np.uint8).tolist()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_sort_is_stable_and_keeps_every_bit(n, dtype, descending):
    x = values(n, dtype)
    order = stable_order(x, descending)
    ranked, places = ft.from_numpy(x).sort(descending=descending, stable=True)
    assert places.tolist() == order.tolist()
    assert bits(ranked.numpy()) == bits(x[order])


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [0, 1, 10, 40])
def test_topk_is_the_front_of_the_order(k, dtype, largest):
    x = values(3000, dtype)
    order = stable_order(x, largest)[:k]
    assert ft.from_numpy(x).topk(k, largest=largest).indices.tolist() == order.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_kthvalue_takes_the_first_of_equals(n, dtype):
    x = values(n, dtype)
    order = stable_order(x, False)
    for k in {1, (n + 1) // 2, n}:
        assert ft.from_numpy(x).kthvalue(k).indices.item() == order[k - 1]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
@pytest.mark.parametrize("n", SIZES)
def test_median_and_nanmedian(n, dtype):
    x = values(n, dtype)
    good = np.sort(x[x == x])
    want = good[(len(good) - 1) // 2] if len(good) else math.nan
    got = ft.from_numpy(x).nanmedian().item()
    assert got == want or (got != got and want != want)
    middle = ft.from_numpy(x).median().item()
    assert middle != middle if len(good) < n else middle == want


@pytest.mark.parametrize("dtype", ["int32", "int64", "float64"])
def test_mode_is_the_smallest_of_the_most_frequent(dtype):
    x = np.array([[3, 1, 3, 1, 2], [5, 4, 3, 2, 1], [7, 7, 7, 0, 0]], dtype)
    found = ft.from_numpy(x).mode(1)
    assert found.values.tolist() == [1, 1, 7] and found.indices.tolist() == [3, 4, 2]


def test_lines_along_any_dimension_of_any_layout():
    x = RNG.standard_normal((4, 6, 5)).astype(np.float32)
    for t, a in ((ft.from_numpy(x), x), (ft.from_numpy(x).permute(2, 0, 1), x.transpose(2, 0, 1))):
        for dim in range(3):
            ranked, places = t.sort(dim)
            assert (places.numpy() == np.argsort(a, dim, kind="stable")).all()
            assert (ranked.numpy() == np.sort(a, dim)).all()
            assert (
                t.topk(2, dim).values.numpy() == np.flip(np.sort(a, dim), dim).take([0, 1], dim)
            ).all()


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 64, 1001])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_searchsorted(dtype, n, right):
    x = values(n, dtype)
    x = np.sort(x[x == x])
    wanted = values(101, dtype)
    wanted = wanted[wanted == wanted]
    got = ft.searchsorted(ft.from_numpy(x), ft.from_numpy(wanted), right=right)
    assert got.tolist() == np.searchsorted(x, wanted, "right" if right else "left").tolist()


def test_searchsorted_in_lines_and_with_a_sorter():
    lines, wanted = RNG.standard_normal((3, 9)), RNG.standard_normal((3, 5))
    order = np.argsort(lines, -1)
    want = [np.searchsorted(np.sort(a), b).tolist() for a, b in zip(lines, wanted, strict=True)]
    found = ft.searchsorted(
        *map(ft.from_numpy, (lines, wanted)), sorter=ft.from_numpy(order), out_int32=True
    )
    assert found.tolist() == want and found.dtype is ft.int32
    with pytest.raises(RuntimeError, match="sorter index out of range"):
        ft.searchsorted(*map(ft.from_numpy, (lines, wanted)), sorter=ft.from_numpy(order + 9))


@pytest.mark.parametrize("n", [0, 1, 9, 3000])
def test_unique_gives_inverse_and_counts(n):
    x = RNG.integers(0, 50, n)
    want = np.unique(x, return_inverse=True, return_counts=True)
    for got, expected in zip(
        ft.from_numpy(x).unique(return_inverse=True, return_counts=True), want, strict=True
    ):
        assert got.tolist() == expected.tolist()


@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (9,), (3, 17), (2, 3, 70), (0, 4), (4, 0)])
def test_nonzero_and_masked_select(shape):
    x = RNG.integers(-1, 2, shape)
    t = ft.tensor(x.tolist()).reshape(shape)
    assert t.nonzero().tolist() == [list(map(int, p)) for p in np.argwhere(x)]
    assert t.masked_select(t > 0).tolist() == x[x > 0].tolist()
    assert t[t != 0].tolist() == x[x != 0].tolist()


def test_masks_of_leading_dimensions_and_other_layouts():
    x = RNG.standard_normal((5, 6, 3))
    mask = RNG.random((6, 5)) > 0.5
    t = ft.from_numpy(x).permute(1, 0, 2)
    np.testing.assert_array_equal(t[ft.from_numpy(mask)].numpy(), x.transpose(1, 0, 2)[mask])
    t[ft.from_numpy(mask)] = 9.0
    np.testing.assert_array_equal(t.numpy(), np.where(mask[..., None], 9.0, x.transpose(1, 0, 2)))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_accumulation_has_the_same_bits_for_any_number_of_threads(threads):
    index, source = RNG.integers(0, 9, 4000), RNG.standard_normal((4000, 300)).astype(np.float32)
    want = np.zeros((9, 300), np.float32)
    for number, row in zip(index, source, strict=True):
        want[number] += row
    before = ft.get_num_threads()
    ft.set_num_threads(threads)
    try:
        index, source = ft.from_numpy(index), ft.from_numpy(source)
        added = ft.zeros(9, 300).index_add(0, index, source)
        put = ft.zeros(9, 300).index_put_((index,), source, accumulate=True)
        spread = index[:, None].expand(4000, 300)
        scattered = ft.zeros(9, 300).scatter_add(0, spread, source)
    finally:
        ft.set_num_threads(before)
    for made in (added, put, scattered):
        np.testing.assert_array_equal(made.numpy(), want)


@pytest.mark.parametrize("dtype", [ft.float16, ft.bfloat16])
def test_half_types_are_accumulated_in_float32(dtype):
    ones, index = ft.ones(4096, dtype=dtype), ft.zeros(4096, dtype=ft.int64)
    zero = ft.zeros(1, dtype=dtype)
    for made in (
        zero.index_add(0, index, ones),
        zero.clone().scatter_add_(0, index, ones),
        zero.index_put((index,), ones, accumulate=True),
        zero.put(index, ones, accumulate=True),
        zero.scatter_reduce(0, index, ones, "sum"),
    ):
        assert made.item() == 4096
