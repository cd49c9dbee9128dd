"""Linear algebra: defining equations and NumPy; gradients against differences; messages."""

import itertools

import numpy as np
import pytest

import flambeau as ft

RNG = np.random.default_rng(0)


def random(*shape, dtype="complex128"):
    x = RNG.standard_normal(shape)
    return x + 1j * RNG.standard_normal(shape) if dtype.startswith("complex") else x


def well(*batch, n=3, dtype="complex128"):
    """Matrices that are far from singular."""
    return random(*batch, n, n, dtype=dtype) + 3 * np.eye(n)


def positive(*batch, n=3, dtype="complex128"):
    x = random(*batch, n, n, dtype=dtype)
    return x @ x.conj().swapaxes(-1, -2) + np.eye(n)


def array(t):
    return t.detach().resolve_conj().resolve_neg().numpy() if isinstance(t, ft.Tensor) else t


def close(got, want, atol=1e-10):
    np.testing.assert_allclose(array(got), want, atol=atol)


both = pytest.mark.parametrize("dtype", ["float64", "complex128"])


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ii->i", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("...ij,...jk->...ik", [(5, 1, 2, 3), (4, 3, 2)]),
        ("i,j->ij", [(2,), (3,)]),
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("ij,ij->", [(2, 3), (2, 3)]),
        ("ij,jk,kl,lm->im", [(2, 3), (3, 4), (4, 5), (5, 6)]),
        ("ijk->kji", [(2, 3, 4)]),
        ("iij,jk->ik", [(3, 3, 2), (2, 4)]),
        ("bn,anm,bm->ba", [(2, 5), (3, 5, 4), (2, 4)]),
        ("...->...", [(2, 3)]),
        ("i...,i...->...", [(2, 3, 4), (2, 4)]),
        ("ij,k->", [(2, 3), (4,)]),
        ("ij,jk->ik", [(2, 0), (0, 4)]),
    ],
)
def test_einsum_is_numpys(equation, shapes):
    xs = [random(*s) for s in shapes]
    close(ft.einsum(equation, *map(ft.tensor, xs)), np.einsum(equation, *xs))


def test_einsum_by_numbers():
    a, b = random(2, 3), random(3, 4)
    close(ft.einsum(ft.tensor(a), [0, 1], ft.tensor(b), [1, 2], [2, 0]), (a @ b).T)
    close(ft.einsum(ft.tensor(a), [..., 1], ft.tensor(b), [1, 2]), a @ b)


def test_products():
    a, b, v = random(2, 3, 4), random(4, 3, 5), random(3)
    close(
        ft.tensordot(ft.tensor(a), ft.tensor(b), ([1, 2], [1, 0])),
        np.tensordot(a, b, ([1, 2], [1, 0])),
    )
    close(ft.inner(ft.tensor(a), ft.tensor(a[0])), np.inner(a, a[0]))
    close(ft.linalg.cross(ft.tensor(v.real), ft.tensor(v.imag)), np.cross(v.real, v.imag))
    close(ft.linalg.vecdot(ft.tensor(v), ft.tensor(2 * v)), np.vdot(v, 2 * v))
    chain = [random(*s) for s in itertools.pairwise((2, 7, 3, 6, 4))]
    close(ft.linalg.multi_dot(list(map(ft.tensor, chain))), np.linalg.multi_dot(chain))
    m = well(2)
    for n in (-2, 0, 5):
        close(ft.linalg.matrix_power(ft.tensor(m), n), np.linalg.matrix_power(m, n), 1e-8)


@both
@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 5, 3), (3, 5), (0, 3), (3, 0)])
def test_factors_multiply_to_the_matrix(shape, dtype):
    a = random(*shape, dtype=dtype)
    x = ft.tensor(a)
    q, r = ft.linalg.qr(x)
    close(q @ r, a)
    close(
        q.mH @ q, np.broadcast_to(np.eye(min(shape[-2:])), (*shape[:-2], *2 * (min(shape[-2:]),)))
    )
    u, s, vh = ft.linalg.svd(x, full_matrices=False)
    close((u * s.unsqueeze(-2)) @ vh, a)
    p, low, up = ft.linalg.lu(x)
    close(p @ low @ up, a)
    assert (low.triu(1) == 0).all() and (up.tril(-1) == 0).all()
    close(ft.linalg.pinv(x), np.linalg.pinv(a))


@both
def test_eigenvalues(dtype):
    a, h = well(2, dtype=dtype), positive(2, dtype=dtype)
    values, vectors = ft.linalg.eig(ft.tensor(a))
    close(vectors * values.unsqueeze(-2), a @ array(vectors))
    values, vectors = ft.linalg.eigh(ft.tensor(h))
    close(vectors * values.unsqueeze(-2), h @ array(vectors))
    close(ft.linalg.eigvalsh(ft.tensor(h)), np.linalg.eigvalsh(h))


@both
def test_systems(dtype):
    a, b = well(2, 1, dtype=dtype), random(4, 3, 2, dtype=dtype)
    x, y = ft.tensor(a), ft.tensor(b)
    close(a @ array(ft.linalg.solve(x, y)), np.broadcast_to(b, (2, 4, 3, 2)))
    close(
        array(ft.linalg.solve(x, y.mT, left=False)) @ a,
        np.broadcast_to(b.swapaxes(-1, -2), (2, 4, 2, 3)),
    )
    packed, pivots = ft.linalg.lu_factor(x)
    close(ft.linalg.lu_solve(packed, pivots, y), np.linalg.solve(a, b))
    close(
        ft.linalg.lu_solve(packed, pivots, y, adjoint=True),
        np.linalg.solve(a.conj().swapaxes(-1, -2), b),
    )
    for upper, unit in itertools.product((False, True), repeat=2):
        triangle = np.triu(a) if upper else np.tril(a)
        triangle = triangle * (1 - np.eye(3)) + np.eye(3) if unit else triangle
        close(
            ft.linalg.solve_triangular(x, y, upper=upper, unitriangular=unit),
            np.linalg.solve(triangle, b),
        )
    h = positive(dtype=dtype)
    close(ft.cholesky_solve(ft.tensor(b), ft.linalg.cholesky(ft.tensor(h))), np.linalg.solve(h, b))
    packed, pivots = ft.linalg.ldl_factor(ft.tensor(h), hermitian=True)
    close(
        ft.linalg.ldl_solve(packed, pivots, ft.tensor(b[0]), hermitian=True),
        np.linalg.solve(h, b[0]),
    )


@pytest.mark.parametrize("driver", [None, "gels", "gelsd"])
def test_least_squares(driver):
    a, b = random(2, 5, 3), random(2, 5, 2)
    made = ft.linalg.lstsq(ft.tensor(a), ft.tensor(b), driver=driver)
    close(made.solution, np.linalg.pinv(a) @ b)
    if driver is not None:
        close(made.residuals, (np.abs(a @ array(made.solution) - b) ** 2).sum(-2))


@both
def test_numbers_of_a_matrix(dtype):
    a = well(2, dtype=dtype)
    x = ft.tensor(a)
    close(ft.det(x), np.linalg.det(a))
    sign, size = ft.linalg.slogdet(x)
    close(sign * size.exp(), np.linalg.det(a))
    for p in (None, -2, 1, np.inf, "fro", "nuc"):
        close(ft.linalg.cond(x, p), np.array([np.linalg.cond(m, p) for m in a]), 1e-8)
    low = random(4, 2, dtype=dtype) @ random(2, 4, dtype=dtype)
    assert ft.linalg.matrix_rank(ft.tensor(low)).item() == 2
    values, vectors = np.linalg.eig(a)
    close(ft.matrix_exp(x), vectors * np.exp(values)[..., None, :] @ np.linalg.inv(vectors), 1e-8)


def test_householder():
    a = random(2, 5, 3)
    packed, tau = ft.geqrf(ft.tensor(a))
    q = ft.linalg.householder_product(packed, tau)
    close(q @ packed[..., :3, :].triu(), a)
    other = random(2, 5, 4)
    whole = ft.linalg.qr(ft.tensor(a), mode="complete").Q
    close(
        ft.ormqr(packed, tau, ft.tensor(other), transpose=True), array(whole.mH @ ft.tensor(other))
    )


@both
@pytest.mark.parametrize(
    "function",
    [
        ft.linalg.inv,
        ft.linalg.pinv,
        ft.linalg.det,
        ft.linalg.qr,
        ft.matrix_exp,
        ft.linalg.lu_factor_ex,
        lambda x: ft.linalg.slogdet(x)[1],
        lambda x: ft.linalg.cholesky(x @ x.mH),
        ft.linalg.svdvals,
        lambda x: ft.linalg.eigvalsh(x + x.mH),
        lambda x: ft.linalg.eig(x).eigenvalues,
        lambda x: ft.linalg.solve(x, x[0]),
        lambda x: ft.linalg.eigh(x + x.mH)[1].abs(),
        lambda x: ft.linalg.svd(x)[0].abs(),
        lambda x: ft.linalg.solve_triangular(x, x.mT, upper=True, left=False),
        lambda x: ft.linalg.matrix_power(x, -2),
        lambda x: ft.einsum("ij,jk,ki->", x, x, x),
    ],
)
def test_gradients(function, dtype):
    x = ft.tensor(well(dtype=dtype)).requires_grad_(True)

    def floating(x):
        made = function(x)
        return (
            made
            if isinstance(made, ft.Tensor)
            else tuple(t for t in made if t.is_floating_point() or t.is_complex())
        )

    assert ft.autograd.gradcheck(floating, (x,))


@pytest.mark.parametrize("shape", [(4, 2), (2, 4)])
@pytest.mark.parametrize(
    "function", [ft.linalg.qr, ft.linalg.pinv, ft.linalg.svdvals, lambda x: ft.linalg.lu(x)[1:]]
)
def test_gradients_of_rectangles(function, shape):
    x = ft.tensor(random(*shape, dtype="float64")).requires_grad_(True)
    assert ft.autograd.gradcheck(function, (x,))


@pytest.mark.parametrize(
    "function", [ft.linalg.inv, ft.linalg.det, ft.linalg.cholesky, ft.linalg.pinv, ft.matrix_exp]
)
def test_second_derivatives(function):
    x = ft.tensor(positive(n=2, dtype="float64")).requires_grad_(True)
    assert ft.autograd.gradgradcheck(lambda x: function((x + x.mT) / 2), (x,))


def test_determinant_of_a_singular_matrix_has_a_gradient():
    x = ft.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=ft.float64).requires_grad_(True)
    ft.det(x).backward()
    close(x.grad, np.array([[4.0, -2.0], [-2.0, 1.0]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ft.linalg.inv(ft.zeros(2, 2)),
            "linalg.inv: The diagonal element 1 is zero, the inversion could not be",
        ),
        (
            lambda: ft.linalg.inv(ft.zeros(2, 2, 2)),
            r"linalg.inv: \(Batch element 0\): The diagonal element 1 is zero",
        ),
        (
            lambda: ft.linalg.solve(ft.ones(2, 2), ft.ones(2)),
            "torch.linalg.solve: The solver failed because the input",
        ),
        (
            lambda: ft.linalg.cholesky(-ft.eye(2)),
            r"linalg.cholesky: The factorization .*\(the leading minor of order 1",
        ),
        (
            lambda: ft.linalg.svd(ft.full((2, 2), ft.nan)),
            "linalg.svd: The algorithm failed to converge",
        ),
    ],
)
def test_matrices_that_fail(call, message):
    with pytest.raises(ft.linalg.LinAlgError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ft.linalg.inv(ft.ones(2, 3)),
            "linalg.inv: A must be batches of square matrices, but they are 2 by 3",
        ),
        (
            lambda: ft.linalg.inv(ft.ones(2, 2, dtype=ft.int32)),
            "Expected a floating point or complex tensor as input. Got Int",
        ),
        (
            lambda: ft.einsum("ij,jk->ik", ft.ones(2, 3)),
            "fewer operands were provided than specified",
        ),
        (
            lambda: ft.einsum("ij,jk->ik", ft.ones(2, 3), ft.ones(4, 2)),
            "subscript j has size 4 for operand 1 which does not",
        ),
        (
            lambda: ft.linalg.solve(ft.eye(2), ft.ones(3, 2)),
            "Incompatible shapes of A and B for the equation AX = B",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=message):
        call()


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_solve_of_broadcast_batches(upper):
    def solved(b, a):
        return ft.cholesky_solve(b, ft.linalg.cholesky(a @ a.mT + ft.eye(3), upper=upper), upper)

    source = ft.Generator().manual_seed(0)
    for batch, others in (((4, 1), (2,)), ((), (2,)), ((2,), ())):
        b = ft.randn(*others, 3, 2, dtype=ft.float64, generator=source).requires_grad_(True)
        a = ft.randn(*batch, 3, 3, dtype=ft.float64, generator=source).requires_grad_(True)
        assert ft.autograd.gradcheck(solved, (b, a))
