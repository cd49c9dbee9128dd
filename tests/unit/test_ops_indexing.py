"""Indexing against NumPy, gathering and scattering against loops, and the error texts."""

import numpy as np
import pytest

import flambeau as ft

MASK = np.array([[True, False, True], [False, True, True]])
KEYS = [
    0,
    -1,
    slice(1, None),
    slice(0, 2, 2),
    None,
    Ellipsis,
    (0, 1),
    (slice(None), 1),
    (Ellipsis, 2),
    (0, Ellipsis, 1),
    (None, 0, None),
    (slice(None), slice(1, 3), slice(None, None, 3)),
    [1, 0, 1],
    ([0, 1], [2, 0]),
    (slice(None), [0, 2]),
    ([0], slice(None), [1, 2]),
    (slice(None), [[0], [1]], [1, 2]),
    MASK,
    (MASK, 1),
    (MASK, slice(1, 3)),
    (slice(None), np.array([True, False, True])),
    True,
    False,
    (True, 0),
    ([-1], Ellipsis),
    [],
    (np.int64(1), np.array([0, 1])),
    (Ellipsis, None, [1, 1]),
]


def as_tensors(key):
    if isinstance(key, tuple):
        return tuple(as_tensors(k) for k in key)
    return ft.tensor(key) if isinstance(key, np.ndarray) and key.ndim else key


def numpy_key(key):
    return np.zeros(0, np.int64) if isinstance(key, list) and not key else key


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_reads_like_numpy(key):
    x = np.arange(24.0).reshape(2, 3, 4)
    for form in (key, as_tensors(key)):
        np.testing.assert_array_equal(ft.from_numpy(x)[form].numpy(), x[numpy_key(key)])


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_writes_like_numpy(key):
    x = np.arange(24.0).reshape(2, 3, 4)
    mine = ft.from_numpy(x.copy())
    mine[as_tensors(key)] = -1.0
    x[numpy_key(key)] = -1.0
    np.testing.assert_array_equal(mine.numpy(), x)


def test_integers_are_taken_before_index_tensors():
    """NumPy counts an integer as an index array here; PyTorch takes it first."""
    assert ft.zeros(2, 3, 4)[0, :, [1, 2]].shape == (3, 2)


@pytest.mark.parametrize("key", [k for k in KEYS if not isinstance(k, bool)], ids=str)
def test_gradient_counts_reads(key):
    x = ft.zeros(2, 3, 4, dtype=ft.float64, requires_grad=True)
    x[as_tensors(key)].sum().backward()
    count = np.zeros((2, 3, 4))
    np.add.at(count, numpy_key(key), 1)
    np.testing.assert_array_equal(x.grad.numpy(), count)


def test_gradient_of_assignment():
    x = ft.ones(3, 2, requires_grad=True)
    v = ft.ones(2, requires_grad=True)
    y = x * 2
    y[1] = v * 3
    y[[0]] = v
    (y * ft.tensor([[1.0], [10.0], [100.0]])).sum().backward()
    assert x.grad.tolist() == [[0, 0], [0, 0], [200, 200]]
    assert v.grad.tolist() == [31, 31]


@pytest.mark.parametrize(
    ("act", "kind", "text"),
    [
        (lambda x: x[2], IndexError, "index 2 is out of bounds for dimension 0 with size 2"),
        (lambda x: x[0, 3], IndexError, "index 3 is out of bounds for dimension 1 with size 3"),
        (lambda x: x[0, 0, 0], IndexError, "too many indices for tensor of dimension 2"),
        (lambda x: x[0, 0][0], IndexError, "invalid index of a 0-dim tensor"),
        (lambda x: x[1.5], IndexError, "only integers, slices"),
        (lambda x: x[::-1], ValueError, "step must be greater than zero"),
        (
            lambda x: x[ft.tensor([5])],
            IndexError,
            "index 5 is out of bounds for dimension 0 with size 2",
        ),
        (
            lambda x: x[ft.tensor([1.0])],
            IndexError,
            "tensors used as indices must be long, int, byte or bool tensors",
        ),
        (
            lambda x: x[ft.tensor([True])],
            IndexError,
            r"The shape of the mask \[1\] at index 0 does not match",
        ),
        (
            lambda x: x[ft.tensor([0, 1]), ft.tensor([0, 1, 2])],
            IndexError,
            "indexing tensors could not be broadcast",
        ),
        (lambda x: x.__setitem__(0, "a"), TypeError, "can't assign a str to a torch.FloatTensor"),
        (
            lambda x: x.__setitem__([0, 1], ft.ones(2)),
            RuntimeError,
            r"value tensor of shape \[2\] cannot be broadcast",
        ),
        (
            lambda x: x.gather(0, ft.tensor([[5]])),
            RuntimeError,
            "index 5 is out of bounds for dimension 0 with size 2",
        ),
        (lambda x: x.index_select(0, ft.tensor([5])), IndexError, "index out of range in self"),
    ],
)
def test_errors(act, kind, text):
    with pytest.raises(kind, match=text):
        act(ft.zeros(2, 3))


def test_rows_do_not_grow_the_plan_cache():
    x = ft.zeros(500, 2)
    plans = len(ft.ops.find("select").plans)
    for i in range(500):
        x[i]
    assert len(ft.ops.find("select").plans) <= plans + 1


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64"])
def test_repeated_places_add_up(dtype):
    dtype = getattr(ft, dtype)
    index = ft.tensor([2, 0, 2, 2, 0])
    rows = ft.arange(10).reshape(5, 2).to(dtype)
    expected = [[10.0, 12.0], [0.0, 0.0], [10.0, 13.0]]
    assert ft.zeros(3, 2, dtype=dtype).index_add(0, index, rows).tolist() == expected
    assert (
        ft.zeros(3, 2, dtype=dtype).index_put_((index,), rows, accumulate=True).tolist() == expected
    )
    spread = index.unsqueeze(1).expand(5, 2)
    assert ft.zeros(3, 2, dtype=dtype).scatter_add(0, spread, rows).tolist() == expected


def test_scatter_of_a_number_in_place():
    index = ft.tensor([[1], [0]])
    assert ft.zeros(2, 2).scatter_(1, index, 1.0).tolist() == [[0, 1], [1, 0]]  # one-hot
    assert ft.zeros(2, 2).scatter_(1, index, value=2).tolist() == [[0, 2], [2, 0]]
    assert ft.ones(2, 2).scatter_(1, index, ft.full((2, 1), 3.0)).tolist() == [[1, 3], [3, 1]]
    assert ft.ones(2, 2).scatter_(1, index, 3, reduce="add").tolist() == [[1, 4], [4, 1]]
    x = ft.ones(2, 2, requires_grad=True)
    (x * 2).scatter_(1, index, 5.0).sum().backward()
    assert x.grad.tolist() == [[2, 0], [0, 2]]


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce_against_a_loop(reduce, include_self):
    rng = np.random.default_rng(0)
    base, src, index = rng.normal(size=4), rng.normal(size=6), np.array([0, 1, 1, 3, 3, 3])
    fold = {"sum": np.sum, "prod": np.prod, "mean": np.mean, "amax": np.max, "amin": np.min}[reduce]
    expected = base.copy()
    for i in set(index.tolist()):
        expected[i] = fold([*([base[i]] if include_self else []), *src[index == i]])
    made = ft.tensor(base).scatter_reduce(
        0, ft.tensor(index), ft.tensor(src), reduce, include_self=include_self
    )
    np.testing.assert_allclose(made.numpy(), expected)


def test_masks():
    x, mask = ft.arange(4.0), ft.tensor([True, False, True, False])
    assert x.masked_fill(mask, 9).tolist() == [9, 1, 9, 3]
    assert x.masked_select(mask).tolist() == [0, 2]
    assert x.masked_scatter(mask, ft.tensor([7.0, 8.0])).tolist() == [7, 1, 8, 3]
    assert ft.where(mask, x, 5).tolist() == [0, 5, 2, 5]
    assert ft.where(mask)[0].tolist() == [0, 2] == ft.nonzero(mask).squeeze(1).tolist()


def test_searching():
    sorted_ = ft.tensor([1.0, 3.0, 3.0, 7.0])
    values = ft.tensor([0.0, 3.0, 9.0])
    assert ft.searchsorted(sorted_, values).tolist() == [0, 1, 4]
    assert ft.bucketize(values, sorted_, right=True).tolist() == [0, 3, 4]
    assert ft.isin(values, sorted_).tolist() == [False, True, False]
    made = ft.unique(ft.tensor([3, 1, 3]), return_inverse=True, return_counts=True)
    assert [m.tolist() for m in made] == [[1, 3], [1, 0, 1], [1, 2]]
    assert ft.unique_consecutive(ft.tensor([1, 1, 2, 1])).tolist() == [1, 2, 1]
