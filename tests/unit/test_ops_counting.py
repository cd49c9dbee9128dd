"""Distinct elements, runs, counts, repetition, bags of rows: against NumPy."""

import numpy as np
import pytest

import flambeau as torch
from flambeau.nn import functional

rng = np.random.default_rng(7)
KINDS = {
    "bool": rng.random(3000) > 0.5,
    "uint8": rng.integers(0, 5, 3000).astype(np.uint8),
    "int64": rng.integers(-(2**62), 2**62, 1500).repeat(2),
    "float32": rng.integers(-3, 3, 3000).astype(np.float32),
    "float64": rng.integers(-3, 3, 3000) / 3,
}


@pytest.mark.parametrize("n", [1, 2, 25, 3000])
@pytest.mark.parametrize("kind", KINDS)
def test_distinct_elements_and_runs(kind, n):
    x = KINDS[kind][:n]
    for given in (torch.tensor(x), torch.tensor(x.repeat(2))[::2]):
        found = given.unique(return_inverse=True, return_counts=True)
        for have, want in zip(
            found, np.unique(x, return_inverse=True, return_counts=True), strict=True
        ):
            assert np.array_equal(have.numpy(), want)
        fresh = np.r_[True, x[1:] != x[:-1]]
        values, member, length = given.unique_consecutive(return_inverse=True, return_counts=True)
        assert np.array_equal(values.numpy(), x[fresh])
        assert np.array_equal(member.numpy(), fresh.cumsum() - 1)
        assert np.array_equal(length.numpy(), np.diff(np.r_[np.flatnonzero(fresh), n]))


def test_nan_equals_nothing_and_zeros_are_one():
    nan = float("nan")
    assert torch.tensor([nan, 1, nan, 0.0, -0.0]).unique().numel() == 4
    assert torch.tensor([nan, nan, 0.0, -0.0]).unique_consecutive().numel() == 3
    last = 2**63 - 1  # its word is where those of nan are
    assert torch.tensor([last, last]).unique().tolist() == [last]


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8"])
def test_counts_and_repetition(kind):
    k, w = rng.integers(0, 7, 900), rng.random(900)
    times = torch.tensor(k).to(getattr(torch, kind))
    assert np.array_equal(torch.bincount(times, minlength=9).numpy(), np.bincount(k, minlength=9))
    assert np.allclose(torch.bincount(times, torch.tensor(w)).numpy(), np.bincount(k, w))
    if kind != "uint8":
        repeated = torch.tensor(w).repeat_interleave(times)
        assert np.array_equal(repeated.numpy(), w.repeat(k))
    assert torch.bincount(times[:0], minlength=2).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_histogram(dtype):
    x = rng.standard_normal(4000).astype(dtype)
    x[:2] = np.nan, np.inf
    want = np.histogram(x[2:].astype(np.float64), 8, (-2, 2))[0]
    assert np.array_equal(torch.histc(torch.tensor(x), 8, -2, 2).numpy(), want.astype(dtype))


def test_equal_repetition_and_its_gradient():
    m = rng.random((3, 4))
    x = torch.tensor(m, requires_grad=True)
    assert np.array_equal(x.t().repeat_interleave(3, 0).detach().numpy(), m.T.repeat(3, 0))
    assert torch.autograd.gradcheck(lambda x: x.repeat_interleave(2, 1), x)
    assert torch.autograd.gradgradcheck(lambda x: x.repeat_interleave(2, 1), x)
    with pytest.raises(RuntimeError, match="Repeats must be non-negative"):
        x.repeat_interleave(-1)
    with pytest.raises(RuntimeError, match="repeats can not be negative"):
        x.repeat_interleave(torch.tensor([1, -1, 2]), 0)


def bags(rows, entries, starts, fold, padding):
    ends = [*starts[1:], len(entries)]
    kept = [[e for e in range(a, b) if entries[e] != padding] for a, b in zip(starts, ends)]
    return np.stack([fold(rows[e]) if len(e) else np.zeros(rows.shape[1]) for e in kept])


@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_rows(mode, padding):
    table, entries, starts = rng.standard_normal((7, 5)), rng.integers(0, 7, 11), [0, 3, 3, 8]
    fold = {"sum": lambda r: r.sum(0), "mean": lambda r: r.mean(0), "max": lambda r: r.max(0)}
    want = bags(table[entries], entries, starts, fold[mode], padding)
    weight = torch.tensor(table, requires_grad=True)

    def run(weight):
        return functional.embedding_bag(
            torch.tensor(entries), weight, torch.tensor(starts), mode=mode, padding_idx=padding
        )

    assert np.allclose(run(weight).detach().numpy(), want)
    assert torch.autograd.gradcheck(run, weight) and torch.autograd.gradgradcheck(run, weight)


def test_bags_of_weighted_rows_and_bad_offsets():
    table, entries = rng.standard_normal((7, 5)), torch.tensor([1, 1, 6, 2])
    weight, factor = torch.tensor(table, requires_grad=True), torch.rand(4, dtype=torch.float64)

    def run(weight, factor, starts=(0, 1, 4)):
        return functional.embedding_bag(
            entries, weight, torch.tensor(starts), mode="sum", per_sample_weights=factor,
            include_last_offset=True,
        )  # fmt: skip

    inputs = weight, factor.requires_grad_()
    assert torch.autograd.gradcheck(run, inputs) and torch.autograd.gradgradcheck(run, inputs)
    for starts, message in (((1, 4), "has to be 0"), ((0, 5), "greater than"), ((0, 3, 1), "dec")):
        with pytest.raises(RuntimeError, match=message):
            run(weight, factor, starts)
    with pytest.raises(IndexError, match="out of range"):
        functional.embedding_bag(torch.tensor([[9]]), weight)
