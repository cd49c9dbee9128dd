"""Joining, splitting, rearranging: against NumPy, and the rules for views."""

import itertools

import numpy as np
import pytest

import flambeau as ft


def grid(*shape, dtype=np.float32):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


@pytest.mark.parametrize(
    ("make", "expect"),
    [
        (lambda m, x: m.cat([x, x], 1), lambda x: np.concatenate([x, x], 1)),
        (lambda m, x: m.stack([x, x], -1), lambda x: np.stack([x, x], -1)),
        (lambda m, x: m.hstack([x, x]), lambda x: np.hstack([x, x])),
        (lambda m, x: m.vstack([x, x]), lambda x: np.vstack([x, x])),
        (lambda m, x: m.dstack([x, x]), lambda x: np.dstack([x, x])),
        (lambda m, x: x.repeat(2, 1, 3, 2), lambda x: np.tile(x, (2, 1, 3, 2))),
        (lambda m, x: m.tile(x, (2, 2)), lambda x: np.tile(x, (2, 2))),
        (lambda m, x: x.flip(0, 2), lambda x: np.flip(x, (0, 2))),
        (lambda m, x: m.roll(x, (1, -2), (0, 2)), lambda x: np.roll(x, (1, -2), (0, 2))),
        (lambda m, x: m.roll(x, 5), lambda x: np.roll(x, 5)),
        (lambda m, x: m.rot90(x, 3, (1, 2)), lambda x: np.rot90(x, 3, (1, 2))),
        (lambda m, x: x.movedim((0, 1), (2, 0)), lambda x: np.moveaxis(x, (0, 1), (2, 0))),
        (lambda m, x: m.repeat_interleave(x, 2, dim=1), lambda x: np.repeat(x, 2, 1)),
        (
            lambda m, x: m.repeat_interleave(x, m.tensor([2, 0, 1]), dim=1),
            lambda x: np.repeat(x, [2, 0, 1], 1),
        ),
        (lambda m, x: m.kron(x[0], x[1]), lambda x: np.kron(x[0], x[1])),
        (lambda m, x: m.tril(x, 1), lambda x: np.tril(x, 1)),
        (lambda m, x: x.diagonal(1, 1, 2), lambda x: np.diagonal(x, 1, 1, 2)),
        (lambda m, x: x.mT, lambda x: np.swapaxes(x, -1, -2)),
        (lambda m, x: m.trace(x[0]), lambda x: np.trace(x[0])),
        (
            lambda m, x: m.nn.functional.pad(x, (1, 2, 0, 1)),
            lambda x: np.pad(x, ((0, 0), (0, 1), (1, 2))),
        ),
        (
            lambda m, x: m.nn.functional.pad(x, (2, 3), mode="reflect"),
            lambda x: np.pad(x, ((0, 0), (0, 0), (2, 3)), "reflect"),
        ),
        (
            lambda m, x: m.nn.functional.pad(x, (2, 3), mode="circular"),
            lambda x: np.pad(x, ((0, 0), (0, 0), (2, 3)), "wrap"),
        ),
        (
            lambda m, x: m.nn.functional.pad(x, (2, 3), mode="replicate"),
            lambda x: np.pad(x, ((0, 0), (0, 0), (2, 3)), "edge"),
        ),
    ],
)
@pytest.mark.parametrize("strided", [False, True])
def test_against_numpy(make, expect, strided):
    x = grid(2, 3, 4)
    tensor = ft.from_numpy(np.ascontiguousarray(x.T).T if strided else x)
    np.testing.assert_array_equal(make(ft, tensor).numpy(), expect(x))


def test_cat_promotes_and_skips_legacy_empty():
    made = ft.cat([ft.ones(2, dtype=ft.int64), ft.ones(1), ft.zeros(0)])
    assert made.dtype is ft.float32 and made.shape == (3,)


@pytest.mark.parametrize("sizes", [2, [1, 3, 1]])
def test_split_gives_views_and_their_gradients_meet(sizes):
    x = ft.arange(5.0, requires_grad=True)
    parts = x.split(sizes)
    assert parts[0].data_ptr() == x.data_ptr()
    (parts[0] * 2).sum().backward()
    expected = np.zeros(5)
    expected[: parts[0].shape[0]] = 2
    np.testing.assert_array_equal(x.grad.numpy(), expected)


def test_views_made_together_may_not_be_written():
    x = ft.ones(4, requires_grad=True) * 1
    with pytest.raises(RuntimeError, match="is a view and is being modified inplace"):
        x.chunk(2)[0].add_(1)
    ft.ones(4).chunk(2)[0].add_(1)


def test_tensor_split_equals_numpy():
    x = grid(7)
    for cut in (3, [1, 4, 9]):
        for mine, theirs in zip(
            ft.tensor_split(ft.from_numpy(x), cut), np.array_split(x, cut), strict=True
        ):
            np.testing.assert_array_equal(mine.numpy(), theirs)


def test_view_as_another_type():
    x = ft.tensor([1.0, 2.0])
    np.testing.assert_array_equal(
        x.view(ft.int32).numpy(), np.array([1.0, 2.0], np.float32).view(np.int32)
    )
    assert x.view(ft.int16).shape == (4,) and x.view(ft.float64).shape == (1,)
    with pytest.raises(RuntimeError, match="must be divisible by 2"):
        ft.ones(3).view(ft.float64)


def test_meshgrid_and_products():
    a, b = ft.tensor([1, 2]), ft.tensor([3, 4, 5])
    for indexing in ("ij", "xy"):
        for mine, theirs in zip(
            ft.meshgrid(a, b, indexing=indexing),
            np.meshgrid([1, 2], [3, 4, 5], indexing=indexing),
            strict=True,
        ):
            np.testing.assert_array_equal(mine.numpy(), theirs)
    assert ft.cartesian_prod(a, b).tolist() == [[i, j] for i in (1, 2) for j in (3, 4, 5)]
    assert ft.combinations(b, 2).tolist() == [[3, 4], [3, 5], [4, 5]]


def test_fill_diagonal_wraps_like_numpy():
    x, expected = ft.zeros(7, 3), np.zeros((7, 3))
    np.fill_diagonal(expected, 5, wrap=True)
    np.testing.assert_array_equal(x.fill_diagonal_(5, wrap=True).numpy(), expected)


def test_in_place_views():
    x = ft.zeros(2, 1, 3)
    assert (
        x.squeeze_(1).shape == (2, 3)
        and x.t_().shape == (3, 2)
        and x.unsqueeze_(0).shape == (1, 3, 2)
    )


def test_channels_last():
    x = ft.from_numpy(grid(2, 3, 4, 5)).contiguous(memory_format=ft.channels_last)
    assert x.stride() == (60, 1, 15, 3) and x.is_contiguous(memory_format=ft.channels_last)
    np.testing.assert_array_equal(x.numpy(), grid(2, 3, 4, 5))


def test_bounds_beyond_every_tensor():
    x = ft.arange(1.0, 10).view(3, 3)
    far = 2**63
    assert x.triu(-far).equal(x) and x.tril(far - 1).equal(x)
    assert not x.triu(far - 1).any() and not x.tril(-far).any()
    assert ft.arange(4)[:: 2**62].tolist() == [0]


@pytest.mark.parametrize("replace", [False, True])
def test_combinations_of_many_elements(replace):
    choose = itertools.combinations_with_replacement if replace else itertools.combinations
    for n, r in [(5, 2), (4, 3), (2, 3), (0, 2), (40, 3)]:
        found = ft.combinations(ft.arange(n), r, replace)
        wanted = list(choose(range(n), r))
        assert found.shape == (len(wanted), r) and found.tolist() == [list(w) for w in wanted]
