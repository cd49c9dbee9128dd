"""Remainders, powers by known exponents, running extremes, joining, ranges: against NumPy."""

import numpy as np
import pytest

import flambeau as torch

HARD = [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, 1e-38, 5, 3, 2**23,
        2**24 + 2, 0.1, 7.5, -7.5, 1e30]  # fmt: skip


def same(have, want):
    have = have.numpy()
    equal = (have == want) & (np.signbit(have) == np.signbit(want))
    return (equal | (np.isnan(have) & np.isnan(want))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_remainders_are_exact(dtype):
    rng = np.random.default_rng(3)
    a, b = (x.ravel().astype(dtype) for x in np.meshgrid(HARD, HARD))
    spread = [(rng.standard_normal(9000) * np.exp(10 * rng.standard_normal(9000))) for _ in "ab"]
    whole = (spread[1] * rng.integers(0, 2**22, 9000)).astype(dtype)  # quotients that are whole
    a = np.concatenate([a, spread[0], whole]).astype(dtype)
    b = np.concatenate([b, spread[1], spread[1]]).astype(dtype)
    x, y = torch.tensor(a), torch.tensor(b)
    with np.errstate(all="ignore"):
        rest = np.fmod(a, b)
        assert same(torch.fmod(x, y), rest)
        assert same(
            torch.remainder(x, y), np.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest)
        )
        down = torch.floor_divide(x, y).numpy()
        assert np.array_equal(down, np.floor_divide(a, b), equal_nan=True)


@pytest.mark.parametrize("exponent", [-2, -1, -0.5, 0.5, 1, 2, 3, 2.0, 4, 1.75, 0])
def test_powers(exponent):
    x = np.concatenate([HARD, np.random.default_rng(0).standard_normal(500) * 3]).astype("float32")
    with np.errstate(all="ignore"):
        # C's pow, where zeros and infinities have no sign under a broken exponent.
        want = np.array([np.float64(v) ** np.float64(exponent) for v in x]).astype("float32")
    for dtype in ("float32", "float64"):
        have = (torch.tensor(x).to(getattr(torch, dtype)) ** exponent).float().numpy()
        finite = np.isfinite(want) & (abs(want) > 1e-37)
        assert np.allclose(have[finite], want[finite], rtol=4e-7)
        assert np.array_equal(np.isnan(have), np.isnan(want))
    assert (torch.tensor([2, -3]) ** 3).tolist() == [8, -27]
    assert (torch.tensor([1 + 2j]) ** 2).tolist() == pytest.approx([-3 + 4j])


def test_running_extremes_keep_the_latest_and_nan():
    nan = float("nan")
    values, places = torch.tensor([3, 1, nan, 2, nan, 5.0]).cummax(0)
    assert np.array_equal(values.numpy(), [3, 3, nan, nan, nan, nan], equal_nan=True)
    assert places.tolist() == [0, 0, 2, 2, 4, 4]
    assert torch.tensor([-1.0, -2, -2, 0]).cummin(0).indices.tolist() == [0, 1, 2, 2]
    assert torch.full((3,), -float("inf")).cummax(0).indices.tolist() == [0, 1, 2]
    x = np.random.default_rng(1).integers(0, 50, (200, 70))
    assert np.array_equal(torch.tensor(x).cummax(1).values.numpy(), np.maximum.accumulate(x, 1))


@pytest.mark.parametrize("many", [2, 40])
def test_joining(many):
    rng = np.random.default_rng(5)
    parts = [rng.random((3, 4)).astype("float32") for _ in range(many)]
    given = [torch.tensor(p.T.copy()).t() for p in parts]
    assert np.array_equal(torch.cat(given, 1).numpy(), np.concatenate(parts, 1))
    for axis in (0, 1, -1):
        assert np.array_equal(torch.stack(given, axis).numpy(), np.stack(parts, axis))
    leaves = [x.double().requires_grad_() for x in given[:2]]
    assert torch.autograd.gradcheck(lambda *xs: torch.stack(xs, 1), leaves)
    mixed = torch.stack([torch.tensor([1 + 1j]).conj(), torch.tensor([2.0])])
    assert mixed.tolist() == [[1 - 1j], [2 + 0j]]


def test_numbers_in_and_out():
    assert torch.tensor([1e39, 1.0]).tolist() == [float("inf"), 1.0]
    with pytest.raises(ValueError, match="Overflow"):
        torch.tensor([2**63])
    for value, dtype in ((3.5, "float16"), (3.5, "bfloat16"), (-7, "int8"), (True, "bool")):
        found = torch.tensor([0, value], dtype=getattr(torch, dtype))[1].item()
        assert found == value and type(found) is type(value)
    assert torch.tensor(1 + 2j).conj().imag.item() == -2


def test_masked_assignment_casts_like_fill():
    x = torch.tensor([1, 2, 3])
    x[x > 1] = 2.7
    assert x.tolist() == [1, 2, 2]
    with pytest.raises(RuntimeError, match="without overflow"):
        x[x > 1] = 1j


def test_equality_of_wholes():
    nan = torch.tensor([float("nan")])
    assert torch.equal(torch.tensor([1.0, 2]), torch.tensor([1, 2]))
    assert not torch.equal(nan, nan) and torch.equal(nan[:0], nan[:0])
    assert torch.equal(torch.tensor(1j), torch.tensor(1j).conj().conj())
    assert not torch.equal(torch.zeros(3, 4), torch.zeros(4, 3))


def test_composites_views_are_their_own():
    x = torch.ones(2, 3)
    assert x.flatten()._base is x
    made = torch.cat([x, x]).flatten()
    assert torch.dot(made, made)._base is None
