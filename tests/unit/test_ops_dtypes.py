"""What ops do with the dtypes that few programs use: half types, small integers, bool, complex."""

import numpy as np
import pytest

import flambeau as ft

F = ft.nn.functional
HALVES = [ft.float16, ft.bfloat16]


def noise(*shape, dtype=ft.float32):
    values = np.random.default_rng(sum(shape)).standard_normal(shape)
    return ft.from_numpy(values.astype("f4")).to(dtype)


ROUND_ONCE = {
    "addmm": lambda d: ft.addmm(noise(4, 5, dtype=d), noise(4, 64, dtype=d), noise(64, 5, dtype=d)),
    "addbmm": lambda d: ft.addbmm(
        noise(4, 5, dtype=d), noise(9, 4, 8, dtype=d), noise(9, 8, 5, dtype=d), beta=0.3, alpha=0.7
    ),
    "addr": lambda d: ft.addr(noise(4, 5, dtype=d), noise(4, dtype=d), noise(5, dtype=d), alpha=3),
    "conv2d": lambda d: F.conv2d(
        noise(1, 8, 6, 6, dtype=d), noise(4, 8, 3, 3, dtype=d), noise(4, dtype=d)
    ),
    "conv_transpose2d": lambda d: F.conv_transpose2d(
        noise(1, 8, 6, 6, dtype=d), noise(8, 4, 3, 3, dtype=d), noise(4, dtype=d)
    ),
    "attention": lambda d: F.scaled_dot_product_attention(
        *(noise(2, 7, 16, dtype=d).roll(k, -1) for k in range(3)), is_causal=True
    ),
    "embedding_bag": lambda d: F.embedding_bag(
        ft.arange(12).reshape(2, 6), noise(12, 3, dtype=d), mode="mean"
    ),
    "matrix_exp": lambda d: ft.matrix_exp(noise(3, 3, dtype=d)),
}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", ROUND_ONCE)
def test_half_types_round_once(name, dtype, monkeypatch):
    made = ROUND_ONCE[name](dtype)
    rounded = noise

    def widened(*shape, dtype):
        return rounded(*shape, dtype=dtype).float()

    monkeypatch.setitem(globals(), "noise", widened)
    assert made.dtype is dtype
    assert made.equal(ROUND_ONCE[name](dtype).to(dtype))


def test_gradients_of_half_types_keep_their_dtype():
    a, b, c = (noise(3, 3, dtype=ft.float16).requires_grad_() for _ in range(3))
    ft.addmm(a, b, c).sum().backward()
    assert [x.grad.dtype for x in (a, b, c)] == [ft.float16] * 3


def test_fractions_of_beta_and_alpha_are_dropped_beside_integers():
    a, b = ft.full((2, 2), 10), ft.ones(2, 2, dtype=ft.int64)
    assert ft.addmm(a, b, b, beta=2.9, alpha=3.9).equal(ft.full((2, 2), 26))
    small = ft.ones(1, 2, 2, dtype=ft.uint8)
    assert ft.addbmm(small[0], small, small).dtype is ft.uint8
    true = ft.tensor([True, False])
    assert ft.addr(ft.zeros(2, 2, dtype=ft.bool), true, true, alpha=2).dtype is ft.bool


def test_integer_ranges_step_between_whole_numbers():
    assert ft.linspace(4.3, -3, 8, dtype=ft.int64).tolist() == [4, 3, 2, 1, 0, -1, -2, -3]
    assert ft.logspace(0, 1.2, 2, dtype=ft.int64).tolist() == [1, 10]
    assert ft.arange(-0.9, 2.1, 2.0, dtype=ft.uint8).tolist() == [0, 2]
    assert ft.arange(2.1, -2.9, -1.0, dtype=ft.int8).tolist() == [2, 1, 0, -1, -2]


def test_sums_of_small_integers_are_int64():
    assert ft.tensor([True, False]).square().dtype is ft.int64
    assert ft.tensor(True).sum_to_size([]).dtype is ft.int64
    small = ft.ones(2, 3, dtype=ft.uint8)
    assert ft.einsum("ik,j->ij", small, small[0]).dtype is ft.int64
    assert ft.einsum("ik,jk->ij", small, small).dtype is ft.uint8


def test_unravel_index():
    places = ft.tensor([0, 5, 23], dtype=ft.uint8)
    made = ft.unravel_index(places, (2, 3, 4))
    want = np.unravel_index([0, 5, 23], (2, 3, 4))
    assert [m.tolist() for m in made] == [w.tolist() for w in want]
    assert made[0].dtype is ft.int64
    with pytest.raises(TypeError, match="integer dtype"):
        ft.unravel_index(ft.ones(2), (2, 2))


def test_ops_on_nothing():
    nothing = ft.zeros(0, 3)
    assert ft.searchsorted(ft.zeros(0, 0), ft.zeros(0, 0)).shape == (0, 0)
    assert [ft.linalg.norm(nothing, p).item() for p in (float("inf"), 1, 2, "nuc")] == [0.0] * 4
    with pytest.raises(IndexError, match="non-zero size"):
        ft.linalg.norm(nothing, -float("inf"))
    assert ft.ones(2).diff(0, prepend=ft.ones(3)).tolist() == [1.0, 1.0]


def complex_noise(*shape):
    return ft.complex(noise(*shape).double(), noise(*shape, 1).double().squeeze(-1))


def test_logsumexp_of_complex_numbers():
    z = complex_noise(4, 5)
    want = np.log(np.exp(z.numpy()).sum(1))
    assert np.allclose(z.logsumexp(1).numpy(), want)
    assert np.allclose((z + 800).logsumexp(1, True).numpy()[:, 0], want + 800)
    running = z.logcumsumexp(1).exp().numpy()
    assert np.allclose(running, np.cumsum(np.exp(z.numpy()), 1))
    z.requires_grad_()
    assert ft.autograd.gradcheck(lambda z: z.logsumexp(0), (z,))
    assert ft.autograd.gradcheck(lambda z: z.logcumsumexp(0), (z,))


def test_a_view_of_what_an_op_made_is_nobodys_view():
    x = ft.arange(6.0).reshape(2, 3).t().requires_grad_()
    for made in (x.reshape(-1), x.repeat(2, 1), x.roll(1), ft.kron(x, x), x.median(0).values):
        assert not made._is_view() and made._base is None
        assert made.requires_grad
    y = x.reshape(-1)
    y.mul_(2).sum().backward()
    assert x.grad.equal(ft.full((3, 2), 2.0)) and x[0, 1].item() == 3.0


def test_gradient_of_roll_by_one_number():
    x = noise(3, 3).requires_grad_()
    for _ in range(2):  # the second call comes from the cache of plans
        weights = noise(3, 3)
        (made,) = ft.autograd.grad((x.roll(1, 0) * weights).sum(), x)
        assert made.equal(weights.roll(-1, 0))


def test_a_number_is_searched():
    assert ft.searchsorted(ft.tensor([1.0, 2.0, 3.0]), 2.5).item() == 2
    assert ft.bucketize(2.5, ft.tensor([1.0, 2.0, 3.0])).item() == 2
