"""Type promotion against a table written out by hand, and Python numbers beside tensors."""

import copy
import io
import itertools
import pickle

import ml_dtypes
import numpy as np
import pytest

import flambeau as ft

# The rows and columns are these types, each cell their common type: PyTorch's documented table.
SHORT = {
    "u8": ft.uint8,
    "i8": ft.int8,
    "i16": ft.int16,
    "i32": ft.int32,
    "i64": ft.int64,
    "f16": ft.float16,
    "f32": ft.float32,
    "f64": ft.float64,
    "c64": ft.complex64,
    "c128": ft.complex128,
    "b": ft.bool,
    "bf": ft.bfloat16,
}
TABLE = """
        u8   i8   i16  i32  i64  f16  f32  f64  c64  c128 b    bf
u8      u8   i16  i16  i32  i64  f16  f32  f64  c64  c128 u8   bf
i8      i16  i8   i16  i32  i64  f16  f32  f64  c64  c128 i8   bf
i16     i16  i16  i16  i32  i64  f16  f32  f64  c64  c128 i16  bf
i32     i32  i32  i32  i32  i64  f16  f32  f64  c64  c128 i32  bf
i64     i64  i64  i64  i64  i64  f16  f32  f64  c64  c128 i64  bf
f16     f16  f16  f16  f16  f16  f16  f32  f64  c64  c128 f16  f32
f32     f32  f32  f32  f32  f32  f32  f32  f64  c64  c128 f32  f32
f64     f64  f64  f64  f64  f64  f64  f64  f64  c128 c128 f64  f64
c64     c64  c64  c64  c64  c64  c64  c64  c128 c64  c128 c64  c64
c128    c128 c128 c128 c128 c128 c128 c128 c128 c128 c128 c128 c128
b       u8   i8   i16  i32  i64  f16  f32  f64  c64  c128 b    bf
bf      bf   bf   bf   bf   bf   f32  f32  f64  c64  c128 bf   bf
"""


def cells():
    head, *rows = [line.split() for line in TABLE.strip().splitlines()]
    for name, *row in rows:
        for other, common in zip(head, row, strict=True):
            yield name, other, common


@pytest.mark.parametrize(("left", "right", "common"), list(cells()))
def test_promotion(left, right, common):
    x, y = ft.ones(2, dtype=SHORT[left]), ft.ones(2, dtype=SHORT[right])
    assert ft.promote_types(x.dtype, y.dtype) is SHORT[common]
    assert ft.result_type(x, y) is SHORT[common]
    made = x * y
    assert made.dtype is SHORT[common] and made.to(ft.complex64).tolist() == [1, 1]


CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize(("number", "alone"), [(True, "b"), (2, "i64"), (2.5, "f32"), (1j, "c64")])
def test_numbers_beside_tensors(name, number, alone):
    """A number lifts the category at most; the size is the tensor's, or the default type's."""
    kind = "f" if name == "bf" else name[0]
    if CATEGORY[alone[0]] <= CATEGORY[kind]:
        want = name
    elif alone == "c64":
        want = "c128" if name == "f64" else "c64"
    else:
        want = alone
    assert ft.result_type(ft.ones(2, dtype=SHORT[name]), number) is SHORT[want]
    assert ft.result_type(number, ft.ones((), dtype=SHORT[name])) is SHORT[want]


def test_dimensions_outrank_0_dim_tensors():
    row, point = ft.ones(2, dtype=ft.float32), ft.tensor(2.0, dtype=ft.float64)
    assert (row * point).dtype is ft.float32 and (point * row).dtype is ft.float32
    assert (row.int() * point).dtype is ft.float64
    assert (ft.ones(2, dtype=ft.int8) * ft.tensor(300)).dtype is ft.int8
    assert (row.int() / row.int()).dtype is ft.float32
    assert (row > 0).dtype is ft.bool and row.bool().sum().dtype is ft.int64


@pytest.mark.parametrize("chosen", [ft.float64, ft.float16, ft.bfloat16])
def test_default_dtype(chosen):
    ft.set_default_dtype(chosen)
    try:
        assert ft.get_default_dtype() is chosen
        for made in (
            ft.zeros(2),
            ft.tensor(1.5),
            ft.tensor([1, 2.5]),
            ft.arange(3) / 2,
            ft.arange(0, 1, 0.5),
            ft.linspace(0, 1, 3),
            ft.full((2,), 1.5),
            ft.eye(2),
            ft.ones(2, dtype=ft.int64) * 1.5,
            ft.rand(2),
            ft.ones(2, dtype=ft.int64).exp(),
        ):
            assert made.dtype is chosen
        assert ft.tensor(1).dtype is ft.int64
        assert ft.tensor(1j).dtype is (ft.complex128 if chosen is ft.float64 else ft.complex64)
    finally:
        ft.set_default_dtype(ft.float32)
    with pytest.raises(
        TypeError, match="only floating-point types are supported as the default type"
    ):
        ft.set_default_dtype(ft.int64)
    assert ft.zeros(1).dtype is ft.float32


CASTS = [n for n in SHORT if n != "bf"]


@pytest.mark.parametrize(("start", "end"), list(itertools.product(CASTS, CASTS)))
def test_casts(start, end):
    """As NumPy's, on values that all types hold."""
    array = np.array([0, 1, 2, 100]).astype(SHORT[start].numpy)
    made = ft.from_numpy(array).to(SHORT[end])
    want = array.real.astype(SHORT[end].numpy) if end[0] != "c" else array.astype(SHORT[end].numpy)
    np.testing.assert_array_equal(made.numpy(), want)


def test_bfloat16_rounds_to_nearest_even():
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    x[:6] = [np.inf, -np.inf, np.nan, 0.0, -0.0, 3.4e38]
    have = ft.from_numpy(x).bfloat16().view(ft.int16).numpy().view(np.uint16)
    want = x.astype(ml_dtypes.bfloat16).view(np.uint16)
    np.testing.assert_array_equal(np.delete(have, 2), np.delete(want, 2))
    assert ft.from_numpy(x).bfloat16()[2].isnan()


@pytest.mark.parametrize("name", SHORT)
def test_properties_and_copies_of_dtypes(name):
    dtype = SHORT[name]
    assert pickle.loads(pickle.dumps(dtype)) is dtype and copy.deepcopy(dtype) is dtype
    assert dtype.is_floating_point == (name[0] == "f" or name == "bf") and dtype.is_complex == (
        name[0] == "c"
    )
    assert repr(dtype) == f"torch.{dtype.name}" and getattr(ft, dtype.name) is dtype
    assert ft.ones(1, dtype=dtype).element_size() == dtype.itemsize


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_finfo(name):
    info, want = ft.finfo(getattr(ft, name)), ml_dtypes.finfo(name)
    for field in ("eps", "max", "min", "tiny", "bits"):
        assert getattr(info, field) == float(getattr(want, field))


@pytest.mark.parametrize("name", ["uint8", "int8", "int16", "int32", "int64"])
def test_iinfo(name):
    info, want = ft.iinfo(getattr(ft, name)), np.iinfo(name)
    assert (info.min, info.max, info.bits) == (want.min, want.max, want.bits)


WIDE = ("uint16", "uint32", "uint64")


@pytest.mark.parametrize("name", WIDE)
def test_wide_unsigned_types_hold_and_convert_every_value(name):
    dtype, largest = getattr(ft, name), np.iinfo(name).max
    edges = np.array([0, 1, largest // 2, largest // 2 + 1, largest - 1, largest], name)
    x = ft.tensor(edges.tolist(), dtype=dtype)
    assert x.tolist() == edges.tolist() and x.numpy().dtype == edges.dtype
    assert ft.full((2,), largest, dtype=dtype).tolist() == [largest] * 2
    for other in ("bool", "uint8", "int16", "int32", "int64", "float32", "float64"):
        assert np.array_equal(x.to(getattr(ft, other)).numpy(), edges.astype(other)), other
        small = np.array([0, 1, 100]).astype(other)
        assert np.array_equal(ft.from_numpy(small).to(dtype).numpy(), small.astype(name)), other
    assert np.array_equal(ft.from_dlpack(x).numpy(), np.from_dlpack(x))
    assert (ft.iinfo(dtype).min, ft.iinfo(dtype).max) == (0, largest)


@pytest.mark.parametrize("name", WIDE)
def test_wide_unsigned_types_are_read_written_saved_and_shown(name):
    dtype, largest = getattr(ft, name), np.iinfo(name).max
    x = ft.tensor([5, largest, 7], dtype=dtype)
    assert " ".join(str(x).split()).endswith(f"5, {largest}, 7], dtype=torch.{name})")
    assert x.eq(x[1]).tolist() == [False, True, False] and x.equal(x.clone())
    x[0] = 9
    assert x[ft.tensor([0, 2])].tolist() == [9, 7] and x[x == 9].tolist() == [9]
    file = io.BytesIO()
    ft.save({"x": x, "tail": x[1:]}, file)
    file.seek(0)
    back = ft.load(file)
    assert back["tail"].tolist() == [largest, 7] and back["tail"].dtype is dtype
    assert back["tail"].untyped_storage().data_ptr() == back["x"].untyped_storage().data_ptr()


@pytest.mark.parametrize("name", WIDE)
def test_wide_unsigned_types_combine_with_floating_types_only(name):
    x = ft.tensor([1], dtype=getattr(ft, name))
    assert (x + 1.5).dtype is ft.float32 and ft.promote_types(x.dtype, ft.float16) is ft.float16
    for other in (ft.bool, ft.int64, ft.uint8, ft.complex64):
        with pytest.raises(RuntimeError, match="Promotion for uint16, uint32, uint64"):
            ft.promote_types(x.dtype, other)
    with pytest.raises(RuntimeError, match="Promotion"):
        x + ft.tensor([1])
