"""Pooling and its gradients against loops over windows."""

import itertools

import numpy
import pytest

import flambeau as torch
from flambeau.nn import functional

CASES = [
    # size, kernel, stride, padding, dilation, ceil
    ((11,), (2,), (2,), (0,), (1,), False),
    ((9,), (3,), (2,), (1,), (2,), True),
    ((8, 6), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((7, 9), (3, 3), (2, 2), (1, 1), (1, 1), True),
    ((7, 9), (3, 2), (1, 3), (1, 0), (1, 2), False),
    ((5, 40), (5, 1), (5, 1), (0, 0), (1, 1), False),
    ((4, 6, 5), (2, 3, 2), (2, 1, 2), (1, 0, 1), (1, 1, 1), True),
]


def windows(case):
    """For each place of the result, the elements of its window that there are."""
    size, kernel, stride, padding, dilation, ceil = case
    counts = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        reach = n + 2 * p - d * (k - 1) - 1
        count = -(-reach // s) + 1 if ceil else reach // s + 1
        counts.append(count - 1 if ceil and (count - 1) * s >= n + p else count)
    found = {}
    for place in itertools.product(*map(range, counts)):
        lines = [
            [i * s - p + t * d for t in range(k) if 0 <= i * s - p + t * d < n]
            for i, n, k, s, p, d in zip(place, size, kernel, stride, padding, dilation, strict=True)
        ]
        found[place] = list(itertools.product(*lines))
    return counts, found


def draw(*shape, seed=0):
    return numpy.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_maxima_their_places_and_gradient(case):
    size, kernel, stride, padding, dilation, ceil = case
    counts, found = windows(case)
    x, slope = draw(2, 3, *size), draw(2, 3, *counts, seed=1)
    values, places = numpy.empty(slope.shape), numpy.empty(slope.shape, int)
    gradient = numpy.zeros(x.shape)
    for lead in itertools.product(range(2), range(3)):
        for place, elements in found.items():
            best = max(elements, key=lambda e: x[lead + e])
            values[lead + place] = x[lead + best]
            places[lead + place] = numpy.ravel_multi_index(best, size)
            gradient[lead + best] += slope[lead + place]
    pool = getattr(functional, f"max_pool{len(size)}d")
    a = torch.from_numpy(x).requires_grad_()
    options = dict(stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil)
    y, indices = pool(a, kernel, **options, return_indices=True)
    (back,) = torch.autograd.grad(y, a, torch.from_numpy(slope))
    assert (y.detach().numpy() == values).all() and (indices.numpy() == places).all()
    assert numpy.allclose(back.numpy(), gradient, rtol=1e-13, atol=1e-13)
    assert (pool(a, kernel, **options).detach().numpy() == values).all()


@pytest.mark.parametrize("case", [c for c in CASES if set(c[4]) == {1}], ids=str)
def test_means_and_their_gradient(case):
    size, kernel, stride, padding, _, ceil = case
    counts, found = windows(case)
    x, slope = draw(2, 3, *size), draw(2, 3, *counts, seed=1)
    values, gradient = numpy.empty(slope.shape), numpy.zeros(x.shape)
    for place, elements in found.items():
        at = (slice(None), slice(None))
        values[at + place] = sum(x[at + e] for e in elements) / len(elements)
        for e in elements:
            gradient[at + e] += slope[at + place] / len(elements)
    pool = getattr(functional, f"avg_pool{len(size)}d")
    a = torch.from_numpy(x).requires_grad_()
    y = pool(a, kernel, stride, padding, ceil, False)
    (back,) = torch.autograd.grad(y, a, torch.from_numpy(slope))
    assert numpy.allclose(y.detach().numpy(), values, rtol=1e-13)
    assert numpy.allclose(back.numpy(), gradient, rtol=1e-12, atol=1e-13)


def test_second_derivatives():
    x = torch.from_numpy(draw(2, 2, 6, 6)).requires_grad_()
    for pool in (
        lambda x: functional.max_pool2d(x, 3, 2, 1) ** 2,
        lambda x: functional.avg_pool2d(x, 2) ** 2,
        lambda x: functional.avg_pool2d(x, 3, 2, 1) ** 2,
    ):
        assert torch.autograd.gradcheck(pool, (x,))
        assert torch.autograd.gradgradcheck(pool, (x,))


def test_large_windows_and_nan():
    x = torch.zeros(1, 1, 1030, 1030)
    x[0, 0, 1029, 1025] = 2
    _, place = functional.max_pool2d(x, 1030, return_indices=True)
    assert place.item() == 1029 * 1030 + 1025
    x[0, 0, 3, 4] = float("nan")
    _, place = functional.max_pool2d(x, 1030, return_indices=True)
    assert place.item() == 3 * 1030 + 4
