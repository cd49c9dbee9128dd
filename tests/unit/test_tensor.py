"""What every tensor can do, for all dtypes: creation, conversion, iteration, copies, borders."""

import copy
import io
import pickle

import ml_dtypes
import numpy as np
import pytest

import flambeau as ft

NAMES = (
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
)


PYTHON = {"b": bool, "u": int, "i": int, "f": float, "c": complex}


def reference(name):
    return ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name)


@pytest.fixture(params=NAMES)
def dtype(request):
    return getattr(ft, request.param)


def test_creation(dtype):
    zeros, ones = ft.zeros(2, 3, dtype=dtype), ft.ones((2, 3), dtype=dtype)
    assert zeros.tolist() == np.zeros((2, 3), reference(dtype.name)).tolist()
    assert ones.tolist() == np.ones((2, 3), reference(dtype.name)).tolist()
    assert ft.full((2,), 1, dtype=dtype).tolist() == ones[0, :2].tolist()
    assert ft.tensor([[1, 0]], dtype=dtype).tolist() == [[1, 0]]
    assert ft.empty(0, 3, dtype=dtype).shape == (0, 3) and ft.empty(0, dtype=dtype).tolist() == []
    for like in (
        ft.zeros_like(ones),
        ones.new_zeros(2, 3),
        ft.full_like(ones, 0),
        ones.new_tensor([[0] * 3] * 2),
    ):
        assert like.dtype is dtype and like.tolist() == zeros.tolist()
    assert ft.eye(2, dtype=dtype).tolist() == [[1, 0], [0, 1]]


def test_metadata(dtype):
    x = ft.zeros(2, 3, 4, dtype=dtype)
    assert (x.ndim, x.dim(), x.numel(), x.nelement(), len(x)) == (3, 3, 24, 24, 2)
    assert x.size() == ft.Size([2, 3, 4]) and x.size(-1) == 4 and x.stride() == (12, 4, 1)
    assert x.itemsize == np.dtype(reference(dtype.name)).itemsize and x.nbytes == 24 * x.itemsize
    assert x.is_contiguous() and not x.transpose(0, 2).is_contiguous() and x.storage_offset() == 0
    assert x[1].storage_offset() == 12 and x[1].data_ptr() == x.data_ptr() + 12 * x.itemsize


def test_numbers(dtype):
    one = ft.tensor(1, dtype=dtype)
    assert bool(one) is True and bool(ft.tensor(0, dtype=dtype)) is False
    assert (
        complex(one) == 1
        and one.item() == 1
        and type(one.item()) is PYTHON.get(np.dtype(reference(dtype.name)).kind, float)
    )
    if not dtype.is_complex:
        assert float(one) == 1.0 and type(float(one)) is float
        assert int(one) == 1 and type(int(one)) is int
    if dtype.is_floating_point or dtype.is_complex:
        with pytest.raises(
            TypeError, match="only integer tensors of a single element can be converted to an index"
        ):
            [0, 1][one]
    else:
        assert [0, 7][one] == 7 and list(range(one)) == [0]


def test_iteration(dtype):
    x = ft.tensor([[1, 0], [0, 1]], dtype=dtype)
    rows = list(x)
    assert [r.tolist() for r in rows] == x.tolist() and all(
        r.data_ptr() >= x.data_ptr() for r in rows
    )
    (a, b), (c, d) = x
    assert (a.item(), b.item(), c.item(), d.item()) == (1, 0, 0, 1)
    assert 1 in x and 5 not in x
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        iter(a)
    with pytest.raises(TypeError, match=r"len\(\) of a 0-d tensor"):
        len(a)


def test_printing(dtype):
    for x in (
        ft.ones(2, 3, dtype=dtype),
        ft.ones((), dtype=dtype),
        ft.ones(0, 2, dtype=dtype),
        ft.ones(50, 50, dtype=dtype),
        ft.ones(2, 3, dtype=dtype).t(),
        ft.ones(2, 3, dtype=dtype, device="meta"),
    ):
        text = repr(x)
        assert (
            text.startswith("tensor(")
            and text.endswith(")")
            and str(x) == text
            and f"{x}" == (text if x.ndim or x.device.type == "meta" else format(x.item(), ""))
        )
        assert ("dtype=torch." in text) == (
            dtype.name not in ("float32", "int64", "bool", "complex64")
            or (0 in x.shape and dtype.name != "float32")
            or (x.device.type == "meta" and dtype.name != "float32")
        )


@pytest.mark.parametrize(
    "again", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy, lambda x: saved(x)]
)
def test_copies(dtype, again):
    x = ft.tensor([[1, 0, 1], [0, 0, 1]], dtype=dtype)
    for view in (x, x.t(), x[:, 1], x[0, 0], x[:0]):
        y = again(view)
        assert y.dtype is dtype and y.tolist() == view.tolist() and y.stride() == view.stride()
        if view.numel():
            y.zero_()
            assert x.sum() == 3
    if dtype.is_floating_point:
        y = again(x.requires_grad_())
        assert y.requires_grad and y.is_leaf


def saved(x):
    file = io.BytesIO()
    ft.save(x, file)
    file.seek(0)
    return ft.load(file)


def test_copies_keep_what_is_shared():
    x = ft.zeros(4)
    a, b = copy.deepcopy((x, x[1:]))
    a[1] = 5
    assert b[0] == 5 and x[1] == 0
    a, b = pickle.loads(pickle.dumps((x, x[1:])))
    a[1] = 5
    assert b[0] == 5


def test_numpy_round_trip_shares_memory(dtype):
    if dtype is ft.bfloat16:
        with pytest.raises(TypeError, match="Got unsupported ScalarType BFloat16"):
            ft.ones(2, dtype=dtype).numpy()
        return
    array = np.arange(6).reshape(2, 3).astype(reference(dtype.name))
    for seen in (array, array.T, array[:, ::2], array[1, 1:], array[:0]):
        x = ft.from_numpy(seen)
        back = x.numpy()
        assert (x.shape == seen.shape and back.strides == seen.strides) or not seen.size
        assert x.data_ptr() == seen.ctypes.data or not seen.size
        assert back.ctypes.data == seen.ctypes.data or not seen.size
        np.testing.assert_array_equal(back, seen)
    ft.from_numpy(array).zero_()
    assert not array.any()
    assert ft.as_tensor(array).data_ptr() == array.ctypes.data != ft.tensor(array).data_ptr()


def test_arrays_made_of_a_tensor_are_copies():
    x = ft.ones(2)
    np.array(x)[0] = 5
    np.array(x, dtype=np.float32, copy=True)[0] = 5
    assert x.tolist() == [1.0, 1.0]
    np.asarray(x)[0] = 5
    assert x.tolist() == [5.0, 1.0]
    with pytest.raises(ValueError, match="Unable to avoid copy"):
        np.asarray(x, dtype=np.float64, copy=False)


def test_python_types_and_positions_in_to():
    x = ft.ones(2)
    assert x.to(float).dtype is x.to("cpu", float).dtype is x.to(dtype=float).dtype is ft.float64
    assert (x.to(int).dtype, x.to(bool).dtype) == (ft.int64, ft.bool)
    assert x.to(ft.float32, True) is x and x.to(ft.float32, False, True) is not x
    for wrong in ([1], ft.dtype):
        with pytest.raises(TypeError):
            x.to(wrong)


def test_dlpack_round_trip_shares_memory(dtype):
    x = ft.tensor([[1, 0, 1], [0, 0, 1]], dtype=dtype)
    for view in (x, x.t(), x[1:, ::2]):
        y = ft.from_dlpack(view)
        assert (
            y.data_ptr() == view.data_ptr()
            and y.tolist() == view.tolist()
            and y.stride() == view.stride()
        )
    y = ft.from_dlpack(x.__dlpack__())
    del x
    assert y.tolist() == [[1, 0, 1], [0, 0, 1]]


def test_memory_outlives_its_other_owner():
    kept = ft.ones(1000).numpy()
    seen = ft.from_numpy(np.full(1000, 2.0))
    for _ in range(20):
        ft.zeros(1000), np.zeros(1000)
    assert (kept == 1).all() and (seen == 2).all()


def test_readonly_and_foreign_arrays():
    array = np.arange(3.0)
    array.flags.writeable = False
    with pytest.warns(UserWarning, match="not writable"):
        ft.from_numpy(array)
    with pytest.raises(ValueError, match="stride in the given numpy array is negative"):
        ft.from_numpy(np.arange(3.0)[::-1])
    with pytest.raises(ValueError, match="byte order"):
        ft.from_numpy(np.arange(3, dtype=">f8" if np.little_endian else "<f8"))


def test_attributes():
    x = ft.zeros(2, 3)
    x.note = "mine"
    assert x.note == "mine" and not hasattr(x, "other")
    with pytest.raises(AttributeError):
        x.shape = 3
    with pytest.raises(
        TypeError, match="assigned grad expected to be a Tensor or None but got grad of type"
    ):
        x.grad = 3
    assert hash(x) == hash(x) and {x: 1}[x] == 1 and x is not x.view(2, 3)
