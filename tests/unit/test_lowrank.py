"""Factors of low rank, principal components, and a few eigenpairs: against dense factorisations."""

import numpy as np
import pytest
import scipy.linalg

import flambeau as torch


def falling(rows, columns, rank, seed=0, complex_=False):
    """A matrix of that rank, whose singular values fall to a tenth."""
    rng = np.random.default_rng(seed)
    left, right = (rng.normal(size=(n, rank)) for n in (rows, columns))
    if complex_:
        left, right = (
            left + 1j * rng.normal(size=left.shape),
            right + 1j * rng.normal(size=right.shape),
        )
    left, right = np.linalg.qr(left)[0], np.linalg.qr(right)[0]
    return left * np.geomspace(1, 0.1, rank) @ right.conj().T


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (1, 5)])
@pytest.mark.parametrize("complex_", [False, True])
def test_a_matrix_of_low_rank_is_found_again(shape, complex_):
    matrix = falling(*shape, rank=min(4, *shape), complex_=complex_)
    U, S, V = torch.svd_lowrank(torch.tensor(matrix), q=min(6, *shape), niter=1)
    assert np.allclose((U * S @ V.mH).numpy(), matrix, atol=1e-13)
    assert np.allclose(S.numpy()[:4], np.linalg.svd(matrix)[1][:4])
    for factor in (U, V):
        assert np.allclose((factor.mH @ factor).numpy(), np.eye(len(S)), atol=1e-12)


def test_a_batch_without_its_mean():
    batch = np.stack([falling(12, 9, 3, seed) for seed in range(4)]) + 5
    mean = torch.tensor(batch.mean(1, keepdims=True))
    U, S, V = torch.svd_lowrank(torch.tensor(batch), q=5, M=mean)
    assert np.allclose((U * S.unsqueeze(-2) @ V.mH).numpy(), batch - mean.numpy(), atol=1e-13)
    for ours, theirs in zip(torch.pca_lowrank(torch.tensor(batch), q=5), (U, S, V), strict=True):
        assert np.allclose(np.abs(ours[..., :3].numpy()), np.abs(theirs[..., :3].numpy()))


def test_components_of_points():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(200, 3)) @ np.diag([5, 1, 0.1]) + [1, 2, 3]
    _, S, V = torch.pca_lowrank(torch.tensor(points), q=2, niter=8)
    expected = np.linalg.svd(points - points.mean(0), full_matrices=False)
    assert np.allclose(S.numpy(), expected[1][:2])
    assert np.allclose(np.abs(V.numpy()), np.abs(expected[2][:2].T))
    with pytest.raises(ValueError, match="not greater than min"):
        torch.pca_lowrank(torch.ones(3, 4), q=4)


def test_gradients_of_low_rank():
    matrix = torch.tensor(falling(6, 5, 3)).requires_grad_()

    def norm_of_part(a):
        torch.manual_seed(0)
        U, S, V = torch.svd_lowrank(a, q=2)
        return (U * S @ V.mH).square().sum() + S.sum()

    assert torch.autograd.gradcheck(norm_of_part, (matrix,))


def hermitian(n, seed=0, complex_=False, positive=False):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, n)) + (1j * rng.normal(size=(n, n)) if complex_ else 0)
    return a @ a.conj().T / n + np.eye(n) if positive else a + a.conj().T


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("method", ["basic", "ortho"])
def test_eigenpairs(largest, complex_, general, method):
    a = hermitian(40, complex_=complex_)
    b = hermitian(40, 1, complex_, positive=True) if general else None
    E, X = torch.lobpcg(
        torch.tensor(a),
        3,
        None if b is None else torch.tensor(b),
        largest=largest,
        method=method,
        tol=1e-11,
    )
    expected = scipy.linalg.eigh(a, b)[0]
    assert np.allclose(E.numpy(), expected[::-1][:3] if largest else expected[:3])
    b = np.eye(40) if b is None else b
    assert np.allclose(a @ X.numpy(), b @ X.numpy() * E.numpy(), atol=1e-7)
    assert np.allclose(X.numpy().conj().T @ b @ X.numpy(), np.eye(3), atol=1e-12)


def test_eigenpairs_of_a_batch_from_guesses():
    a = np.stack([hermitian(15, seed) for seed in range(4)]).reshape(2, 2, 15, 15)
    guesses = torch.tensor(np.random.default_rng(0).normal(size=(2, 2, 15, 4)))
    E, X = torch.lobpcg(torch.tensor(a), k=2, X=guesses)
    assert E.shape == (2, 2, 2) and X.shape == (2, 2, 15, 2)
    assert np.allclose(E.numpy(), np.linalg.eigvalsh(a)[..., :-3:-1])


def test_a_preconditioner_saves_steps():
    spread = np.diag(np.geomspace(1, 1e6, 200)) + 0.1 * hermitian(200) / 40
    steps = {}
    for name, inverse in (("plain", None), ("preconditioned", np.diag(1 / np.diag(spread)))):
        states = []
        torch.manual_seed(0)
        E, _ = torch.lobpcg(
            torch.tensor(spread), 2, iK=None if inverse is None else torch.tensor(inverse),
            largest=False, tracker=states.append, niter=300, tol=1e-14,
        )  # fmt: skip
        steps[name] = len(states)
        assert states[-1].ivars["istep"] == len(states) - 1
    assert np.allclose(E.numpy(), np.linalg.eigvalsh(spread)[:2], rtol=1e-6)
    assert steps["preconditioned"] < steps["plain"] / 2


def test_the_tracker_ends_the_search():
    def stop(state):
        state.bvars["force_stop"] = state.ivars["istep"] == 2

    seen = []
    torch.lobpcg(
        torch.tensor(hermitian(30)), 1, tracker=lambda s: (stop(s), seen.append(s.ivars["istep"]))
    )
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("general", [False, True])
def test_gradients_of_eigenpairs(complex_, general):
    a = torch.tensor(hermitian(7, complex_=complex_)).requires_grad_()
    b = torch.tensor(hermitian(7, 1, complex_, positive=True)).requires_grad_() if general else None

    def pairs(a, b=None):
        torch.manual_seed(0)
        a = (a + a.mH) / 2
        b = None if b is None else (b + b.mH) / 2
        E, X = torch.lobpcg(a, 2, b, tol=1e-15, niter=60)
        return E, X.abs()  # the phase is free

    given = (a, b) if general else (a,)
    assert torch.autograd.gradcheck(pairs, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(pairs, given, fast_mode=True)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"number of A rows \(=5\) is smaller than 3 x"):
        torch.lobpcg(torch.eye(5), 2)
    with pytest.raises(ValueError, match="floating point"):
        torch.lobpcg(torch.ones(6, 6, dtype=torch.int64))
