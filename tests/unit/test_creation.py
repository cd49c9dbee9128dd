"""New tensors, conversions and the borders to NumPy, pickle and DLPack."""

import copy
import pickle

import numpy as np
import pytest

import flambeau as ft


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1, "int64"), (1.5, "float32"), (True, "bool"), (1j, "complex64"), ([], "float32"),
        ([1, 2.5], "float32"),
        ([True, 2], "int64"), (np.float64(1), "float64"), ([np.float64(1)], "float64"),
        (np.ones(2, np.int16), "int16"),
        ([[1, 2], [3, 4]], "int64"), (range(3), "int64"), ((1, (2, 3))[1], "int64"),
    ],
)  # fmt: skip
def test_inferred_types(data, dtype):
    made = ft.tensor(data)
    assert made.dtype is getattr(ft, dtype)
    np.testing.assert_array_equal(made.numpy(), np.array(data))


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        ([[1, 2], [3]], ValueError, r"expected sequence of length 2 at dim 1 \(got 1\)"),
        ("a", TypeError, r"new\(\): invalid data type 'str'"),
        (["a"], ValueError, "too many dimensions 'str'"),
        (None, RuntimeError, "Could not infer dtype of NoneType"),
        ([2**63], ValueError, "Overflow when unpacking long long"),
        (np.array(["a"]), TypeError, "can't convert np.ndarray of type numpy.str_"),
    ],
)
def test_refused(data, kind, text):
    with pytest.raises(kind, match=text):
        ft.tensor(data)


def test_ranges():
    np.testing.assert_array_equal(ft.arange(1, 7, 2).numpy(), [1, 3, 5])
    np.testing.assert_allclose(ft.linspace(0, 1, 5).numpy(), np.linspace(0, 1, 5))
    np.testing.assert_allclose(ft.logspace(0, 2, 3).numpy(), [1, 10, 100])
    np.testing.assert_array_equal(ft.eye(2, 3).numpy(), np.eye(2, 3))
    np.testing.assert_array_equal(ft.tril_indices(3, 3).numpy(), np.tril_indices(3))


def test_the_stream_is_pytorchs():
    """The first numbers of torch.manual_seed(0), as PyTorch prints them."""
    ft.manual_seed(0)
    np.testing.assert_allclose(ft.rand(3).numpy(), [0.4963, 0.7682, 0.0885], atol=5e-5)
    ft.manual_seed(0)
    np.testing.assert_allclose(ft.randn(3).numpy(), [1.5410, -0.2934, -2.1788], atol=5e-5)
    state = ft.get_rng_state()
    first = ft.randint(0, 100, (5,)).tolist()
    ft.set_rng_state(state)
    assert ft.randint(100, (5,)).tolist() == first


def test_numpy_memory_is_shared():
    array = np.zeros((3, 2), np.float32)
    x = ft.from_numpy(array.T)
    x[0, 1] = 5
    assert array[1, 0] == 5 and x.stride() == (1, 2)
    array[2, 1] = 7
    assert x[1, 2].item() == 7


def test_operators_beside_numpy():
    x = ft.tensor([1.0, 2.0])
    assert (np.float32(2) * x).dtype is ft.float32
    assert (x * np.ones(2)).dtype is ft.float64
    assert x.__eq__(None) is NotImplemented and (x == "a") is False


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool", "complex64", "int8"])
def test_dlpack_round_trip_shares_memory(dtype):
    x = ft.ones(2, 3).to(getattr(ft, dtype)).t()
    y = ft.from_dlpack(x)
    assert y.data_ptr() == x.data_ptr() and y.dtype is x.dtype and y.stride() == x.stride()
    if dtype != "bfloat16":
        assert np.from_dlpack(x).__array_interface__["data"][0] == x.data_ptr()


def test_dlpack_refuses_bits_and_history():
    with pytest.raises(BufferError, match="conjugate bit"):
        ft.ones(2, dtype=ft.complex64).conj().__dlpack__()
    with pytest.raises(BufferError, match="negative bit"):
        ft.ones(2, dtype=ft.complex64).conj().imag.__dlpack__()
    with pytest.raises(BufferError, match="require gradient"):
        ft.ones(2, requires_grad=True).__dlpack__()


@pytest.mark.parametrize(
    "again", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
def test_copies_keep_shared_memory_shared(again):
    x = ft.arange(6.0).reshape(2, 3)
    base, row = again([x, x[1]])
    base[1, 0] = 9
    assert row.tolist() == [9, 4, 5] and x[1, 0].item() == 3


def test_deepcopy_of_leaves_only():
    x = ft.ones(2, requires_grad=True)
    x.sum().backward()
    made = copy.deepcopy(x)
    assert made.requires_grad and made.grad.tolist() == [1, 1] and made.grad is not x.grad
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(x * 2)


def test_storages():
    x = ft.tensor([1, 256], dtype=ft.int16)
    storage = x.untyped_storage()
    assert (
        storage.tolist() == [1, 0, 0, 1]
        and storage.nbytes() == 4
        and storage.data_ptr() == x.data_ptr()
    )
    assert x[1:].untyped_storage() is storage
    assert x[1:].storage().tolist() == [1, 256] and x.storage().data_ptr() == x.data_ptr()
    storage[0] = 3
    assert x.tolist() == [3, 256]


def test_resize_and_set():
    x = ft.arange(4.0)
    assert x.resize_(2, 3).reshape(-1)[:4].tolist() == [0, 1, 2, 3]
    y = ft.empty(0).set_(x.untyped_storage(), 1, (2,), (1,))
    assert y.tolist() == [1, 2] and y.storage_offset() == 1


def test_casts_and_type_names():
    x = ft.tensor([1.7])
    assert x.long().tolist() == [1] and x.type() == "torch.FloatTensor" and x.float() is x
    assert x.type("torch.DoubleTensor").dtype is ft.float64
    assert ft.LongTensor([1, 2]).dtype is ft.int64 and isinstance(x, ft.FloatTensor)
    assert not isinstance(x, ft.LongTensor) and ft.Tensor(2, 3).shape == (2, 3)


def test_storages_convert_copy_and_turn_bytes():
    x = ft.tensor([1.5, -2.0, 0.0])
    typed = x._typed_storage()
    assert typed.type() == "torch.FloatStorage" and len(typed) == 3 and typed[1] == -2
    assert typed.long().tolist() == [1, -2, 0] and typed.float() is typed
    assert typed.type(ft.bool).tolist() == [True, True, False]
    other = typed.clone()
    other.fill_(7)
    assert x.tolist() == [1.5, -2, 0]
    typed.copy_(other)
    assert x.tolist() == [7, 7, 7] and x._version == 1
    raw = ft.UntypedStorage.from_buffer(b"\0\1\0\2", "big", dtype=ft.int16)
    assert ft.empty(0, dtype=ft.int16).set_(raw).tolist() == [1, 2]
    assert raw.float().tolist() == [1, 0, 2, 0] and raw.byte() is raw and raw.untyped() is raw
    with pytest.raises(ValueError, match="byte order 'middle'"):
        ft.UntypedStorage.from_buffer(b"", "middle")
    assert typed.get_device() == -1 and not typed.is_pinned() and typed.to(device="cpu") is typed
    with pytest.raises(RuntimeError, match="not on cuda"):
        raw.to(device="cuda")
    half = ft.tensor([0.1], dtype=ft.bfloat16)._typed_storage()
    assert half[0] == ft.tensor(0.1, dtype=ft.bfloat16).item() and half.is_shared() is False
    assert half.share_memory_().is_shared()


def test_constructors_of_the_first_releases_know_one_device():
    for make in (ft.Tensor, ft.FloatTensor, ft.ones(1).new):
        assert make([1.0], device="cpu").tolist() == [1.0]
        with pytest.raises(RuntimeError, match="expects device type: cpu but device type: meta"):
            make([1.0], device="meta")


MAKERS = {
    "zeros": (2,), "ones": (2,), "empty": (2,), "rand": (2,), "randn": (2,), "full": ((2,), 3.0),
    "arange": (4,), "range": (0, 3), "linspace": (0, 1, 4), "logspace": (0, 1, 4), "eye": (3,),
    "randint": (5, (2,)), "randperm": (4,), "normal": (0.0, 1.0, (2,)),
    "empty_strided": ((2,), (1,)), "empty_permuted": ((2, 3), (1, 0)), "scalar_tensor": (2.0,),
    "tril_indices": (3, 3), "triu_indices": (3, 3), "hann_window": (4,), "hamming_window": (4,),
    "kaiser_window": (4,),
}  # fmt: skip
LIKES = {
    "zeros_like": (), "ones_like": (), "empty_like": (), "full_like": (2.0,), "rand_like": (),
    "randn_like": (), "randint_like": (5,), "new_zeros": (2,), "new_ones": (2,), "new_empty": (2,),
    "new_full": ((2,), 1.0), "new_empty_strided": ((2,), (1,)), "new_tensor": ([1.0],),
}  # fmt: skip


@pytest.mark.parametrize("name", [*MAKERS, *LIKES])
def test_layouts_and_devices_are_heeded(name):
    def make(**options):
        if name in MAKERS:
            return getattr(ft, name)(*MAKERS[name], **options)
        like = ft.ones(2)
        if name.startswith("new_"):
            return getattr(like, name)(*LIKES[name], **options)
        return getattr(ft, name)(like, *LIKES[name], **options)

    assert make(layout=ft.strided).device.type == "cpu"
    assert make(device="meta").device.type == "meta"
    with pytest.raises(NotImplementedError, match="no tensors of layout"):
        make(layout=ft.sparse_coo)
    with pytest.raises(TypeError, match="not int"):
        make(layout=5)


def test_what_to_takes():
    x, whole = ft.ones(2), ft.ones(2, dtype=ft.int64)
    for kind, dtype in ((float, ft.float64), (int, ft.int64), (bool, ft.bool)):
        assert x.to(kind).dtype is x.to(dtype=kind).dtype is x.to("cpu", kind).dtype is dtype
    assert ft.nn.Linear(2, 2).to(float).weight.dtype is ft.float64
    assert x.to(whole).dtype is x.to(tensor=whole).dtype is ft.int64
    assert x.to(None) is x.to("cpu", None, False) is x.to(ft.float32, True) is x.to(x) is x
    for copied in (x.to(ft.float32, False, True), x.to("cpu", None, False, True),
                   x.to(x, False, True), x.to("cpu", copy=True)):  # fmt: skip
        assert copied is not x and copied.data_ptr() != x.data_ptr()
    assert x.to(ft.float64, False, True).dtype is ft.float64
    for args in ((ft.float32, ft.float64), (ft.float64, "cpu"), (x, whole), ("cpu", 3.5), ([1],)):
        with pytest.raises(TypeError):
            x.to(*args)
    with pytest.raises(TypeError, match=r"got \(torch.dtype, torch.dtype\)"):
        x.to(ft.float64, dtype=ft.float32)
