"""Generated matrix products, called as the launcher calls them, against NumPy in float64."""

import ctypes

import numpy as np
import pytest

import flambeau as torch
from flambeau import ir
from flambeau.compiler import products
from flambeau.compiler.target import Target
from flambeau.types import by_name


def aligned(nbytes):
    raw = np.zeros(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def run(stage, arrays, pieces=1):
    signature = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2
    kernel = ctypes.CFUNCTYPE(ctypes.c_int64, *signature)(stage.address)
    data = (ctypes.c_void_p * len(arrays))(*[a if a is None else a.ctypes.data for a in arrays])
    dims = ctypes.create_string_buffer(stage.dims, len(stage.dims))
    for p in range(pieces):
        low, high = p * stage.total // pieces, (p + 1) * stage.total // pieces
        assert kernel(ctypes.addressof(data), ctypes.addressof(dims), None, low, high) == 0


def tolerance(name):
    return dict(rtol=1e-4, atol=1e-4) if name == "float32" else dict(rtol=1e-12, atol=1e-12)


SIZES = [(1, 1, 1), (5, 17, 3), (6, 64, 16), (33, 70, 37), (201, 130, 40), (7, 33, 0)]


@pytest.mark.parametrize("way", ["separate", "in tasks", "left packed", "rows"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize("m,n,k", SIZES)
def test_product_is_numpys(m, n, k, name, turned, way):
    rng, dtype = np.random.default_rng(0), by_name(name)
    a = rng.standard_normal((m, k)).astype(name)
    b = rng.standard_normal((n, k) if turned else (k, n)).astype(name)
    kernel = ir.Pointwise("plain", [dtype], [dtype], (ir.load(0, dtype),))
    form = products.form(kernel, n)
    packed, out = aligned(form.packed_bytes(k, n)), np.full((m, n + 3), 7, name)
    right, others = ((1, k, 0) if turned else (n, 1, 0)), ((1, n + 3, 1),)
    if way == "in tasks":
        run(products.multiply(form, (m, n, k), (k, 1), others, right=right), [packed, a, out, b], 3)
    else:
        run(products.pack(form, k, n, right), [packed, b], 2)
        left, strides = a, (k, 1)
        if way == "left packed":
            left, strides = aligned(form.left().packed_bytes(k, m)), None
            run(products.pack(form.left(), k, m, (1, k, 0)), [left, a])
        stage = products.multiply(form, (m, n, k), strides, others, rows_only=way == "rows")
        run(stage, [packed, left, out], 3)
    expected = a.astype("f8") @ (b.T if turned else b)
    np.testing.assert_allclose(out[:, 1 : n + 1], expected, **tolerance(name))
    assert (out[:, [0, n + 1, n + 2]] == 7).all()


@pytest.mark.parametrize("n", [5, 16, 70])
def test_epilogue_reads_and_writes_in_every_way(n):
    """tanh(x W0 + bias) * x W1 + scale of the row + a turned matrix, in place and turned."""
    rng, dtype, m, k = np.random.default_rng(1), by_name("float64"), 13, 6
    a, b = rng.standard_normal((m, k)), rng.standard_normal((2, k, n))
    bias, scale, turned = (rng.standard_normal(s) for s in [n, m, (n, m)])
    one, two, *rest = [ir.load(i, dtype) for i in range(5)]
    value = ir.math.tanh(one + rest[0]) * two + rest[1] + rest[2]
    kernel = ir.Pointwise("epilogue", [dtype] * 5, [dtype] * 2, (value, two))
    form = products.form(kernel, n, 2, "SUUZS")
    packed, other = aligned(form.packed_bytes(k, n)), np.zeros((m, n))
    expected = np.tanh(a @ b[0] + bias) * (a @ b[1]) + scale[:, None] + turned.T
    run(products.pack(form, k, n, (n, 1, k * n)), [packed, b])
    others = ((0, 1, m), (0, n, 1), (0, 0, 1), (0, 1, 0), (0, 1, m))
    stage = products.multiply(form, (m, n, k), (k, 1), others)
    run(stage, [packed, a, turned, other, bias, scale, turned], 2)
    np.testing.assert_allclose(turned.T, expected, rtol=1e-12)
    np.testing.assert_allclose(other, a @ b[1], rtol=1e-12)


@pytest.mark.parametrize("target", [Target(32, True, False), Target(16, False, False)])
@pytest.mark.parametrize("name", ["float32", "float64"])
def test_narrower_processors(name, target):
    rng, dtype, (m, n, k) = np.random.default_rng(2), by_name(name), (29, 23, 19)
    a, b = rng.standard_normal((m, k)).astype(name), rng.standard_normal((n, k)).astype(name)
    kernel = ir.Pointwise("plain", [dtype], [dtype], (ir.load(0, dtype),))
    form = products.form(kernel, n)._replace(target=target)
    packed, out = aligned(form.packed_bytes(k, n)), np.zeros((m, n), name)
    left = aligned(form.left().packed_bytes(k, m))
    run(products.pack(form.left(), k, m, (1, k, 0)), [left, a])
    stage = products.multiply(form, (m, n, k), None, ((0, n, 1),), right=(1, k, 0))
    run(stage, [packed, left, out, b])
    np.testing.assert_allclose(out, a.astype("f8") @ b.T, **tolerance(name))


def test_sums_without_left_matrix_are_zero():
    dtype = by_name("float32")
    kernel = ir.Pointwise("plain", [dtype], [dtype], (ir.load(0, dtype),))
    form, out = products.form(kernel, 20), np.ones((3, 20), "f4")
    packed = aligned(form.packed_bytes(4, 20))
    run(products.multiply(form, (3, 20, 4), (4, 1), ((0, 20, 1),)), [packed, None, out])
    assert not out.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m,k,n", [(200, 300, 100), (64, 384, 384), (97, 65, 1000), (700, 90, 70)])
def test_large_products_and_linear_layers(m, k, n, dtype):
    """Contiguous, turned and strided matrices; the number of threads does not change a bit."""
    torch.manual_seed(0)
    whole, b = torch.randn(m, k + 7, dtype=dtype), torch.randn(n, k, dtype=dtype)
    bias, a = torch.randn(n, dtype=dtype), whole[:, 3 : 3 + k]
    expected = a.double().numpy() @ b.double().numpy().T
    close = dict(rtol=0, atol=1e-3 if dtype is torch.float32 else 1e-10)
    np.testing.assert_allclose((a @ b.t()).numpy(), expected, **close)
    np.testing.assert_allclose((a @ b.t().contiguous()).numpy(), expected, **close)
    np.testing.assert_allclose((b @ a.t()).numpy(), expected.T, **close)
    np.testing.assert_allclose((a.t().contiguous().t() @ b.t()).numpy(), expected, **close)
    dense = a.contiguous()
    got = torch.nn.functional.linear(dense, b, bias)
    np.testing.assert_allclose(got.numpy(), expected + bias.numpy(), **close)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert torch.equal(got, torch.nn.functional.linear(dense, b, bias))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize("batch,m,k,n", [((7,), 20, 30, 40), ((3, 5), 64, 16, 70)])
def test_batches_with_turned_right_matrices(batch, m, k, n, name):
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((*batch, m, k)), rng.standard_normal((*batch, n, k))
    x, y = torch.tensor(a.astype(name)), torch.tensor(b.astype(name))
    np.testing.assert_allclose((x @ y.mT).numpy(), a @ b.swapaxes(-1, -2), **tolerance(name))
    turned = torch.tensor(a.swapaxes(-1, -2).astype(name).copy()).mT
    np.testing.assert_array_equal((turned @ y.mT).numpy(), (x @ y.mT).numpy())
    np.testing.assert_array_equal((x[1:] @ y[1:].mT).numpy(), (x @ y.mT).numpy()[1:])


@pytest.mark.parametrize("m", [16, 64, 96])
def test_few_rows_with_weights_of_a_layer(m):
    """The transpose is computed: the same sums as for one row more, not whole vectors."""
    rng, n, k = np.random.default_rng(5), 150, 70
    x, w, b = (rng.standard_normal(s).astype("f4") for s in [(m + 1, k), (n, k), (n,)])
    bias = torch.tensor(b)
    few = torch.nn.functional.linear(torch.tensor(x[:m]), torch.tensor(w), bias)
    more = torch.nn.functional.linear(torch.tensor(x), torch.tensor(w), bias)
    np.testing.assert_array_equal(few.numpy(), more.numpy()[:m])
    np.testing.assert_allclose(few.numpy(), x[:m].astype("f8") @ w.T + b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("m,k,n", [(96, 1100, 32), (50, 1030, 90), (70, 1024, 16)])
def test_gradients_of_weights_are_deep_sums_over_rows(m, k, n):
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((k, m)).astype("f4"), rng.standard_normal((k, n)).astype("f4")
    product = (torch.tensor(a).t() @ torch.tensor(b)).numpy()
    np.testing.assert_allclose(product, a.T.astype("f8") @ b, rtol=1e-4, atol=1e-3)
    plain = torch.tensor(a.T.copy()) @ torch.tensor(b)
    np.testing.assert_array_equal(product, plain.numpy())


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize("m,k,n", [(8, 8, 16), (32, 64, 64), (33, 31, 48), (17, 100, 160)])
@pytest.mark.parametrize("turned", [False, True])
def test_small_matrices_that_lie_in_others(turned, m, k, n, name):
    """They are read where they lie, which is no multiple of a vector, and nothing beside them."""
    rng, dtype = np.random.default_rng(3), getattr(torch, name)
    a = rng.standard_normal((k, m) if turned else (m, k)).astype(name)
    b = rng.standard_normal((k, n)).astype(name)
    around = [torch.full((rows + 2, columns + 3), float("nan"), dtype=dtype)
              for rows, columns in (a.shape, b.shape)]  # fmt: skip
    left, right = (x[1:-1, 1:-2] for x in around)
    left.copy_(torch.from_numpy(a))
    right.copy_(torch.from_numpy(b))
    left, a = (left.T, a.T) if turned else (left, a)
    product = left @ right
    np.testing.assert_allclose(product.numpy(), a.astype("f8") @ b, **tolerance(name))
    compiled = torch.compile(lambda x, y: torch.relu(x @ y) * 2)
    for _ in range(3):
        made = compiled(left, right)
    assert torch.equal(made, torch.relu(product) * 2)
