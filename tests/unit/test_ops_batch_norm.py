"""Batch and instance normalisation against their formulas in float64."""

import numpy
import pytest

import flambeau as torch
from flambeau.nn import functional

SHAPES = [(6, 5), (4, 3, 7), (3, 5, 4, 6), (2, 3, 2, 3, 5), (1, 2, 1, 3)]


def draw(*shape, seed=0):
    return numpy.random.default_rng(seed).standard_normal(shape)


def per_channel(p, ndim):
    return p.reshape((1, -1) + (1,) * (ndim - 2))


def tensors(dtype, *arrays):
    return [None if a is None else torch.from_numpy(a).to(dtype) for a in arrays]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("affine", ["neither", "weight", "bias", "both"])
def test_by_given_statistics(shape, affine):
    x, mean, variance = draw(*shape), draw(shape[1], seed=1), draw(shape[1], seed=2) ** 2
    weight = draw(shape[1], seed=3) if affine in ("weight", "both") else None
    bias = draw(shape[1], seed=4) if affine in ("bias", "both") else None
    expected = x - per_channel(mean, x.ndim)
    expected = expected / numpy.sqrt(per_channel(variance, x.ndim) + 1e-3)
    expected = expected if weight is None else expected * per_channel(weight, x.ndim)
    expected = expected if bias is None else expected + per_channel(bias, x.ndim)
    given = x, mean, variance, weight, bias
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5), (torch.half, 1e-2)):
        found = functional.batch_norm(*tensors(dtype, *given), eps=1e-3)
        assert found.dtype is dtype
        assert numpy.allclose(found.double().numpy(), expected, rtol=tolerance, atol=tolerance)
    last = torch.from_numpy(
        numpy.moveaxis(numpy.ascontiguousarray(numpy.moveaxis(x, 1, -1)), -1, 1)
    )
    found = functional.batch_norm(last, *tensors(torch.float64, *given[1:]), eps=1e-3)
    assert numpy.allclose(found.numpy(), expected, rtol=1e-13, atol=1e-13)


def test_mixed_types_and_nothing():
    x = torch.ones(2, 3, 4, dtype=torch.bfloat16)
    mean, variance = torch.full((3,), 0.5), torch.ones(3)
    found = functional.batch_norm(x, mean, variance)
    assert found.dtype is torch.bfloat16 and (found == 0.5).all()
    assert functional.batch_norm(torch.ones(0, 3, 4), mean, variance).shape == (0, 3, 4)
    found = torch.native_batch_norm(x, None, None, mean, variance, False, 0.1, 1e-5)
    assert [tuple(y.shape) for y in found] == [(2, 3, 4), (0,), (0,)]


@pytest.mark.parametrize("instance", [False, True])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_gradients(shape, instance):
    """Normalisation's adjoint is g - mean(g) - hat * mean(g * hat), times weight and scale."""
    axes = tuple(range(2, len(shape))) if instance else (0, *range(2, len(shape)))
    x, slope, weight, bias = draw(*shape), draw(*shape, seed=1), *draw(2, shape[1], seed=2)
    scale = 1 / numpy.sqrt(x.var(axes, keepdims=True) + 1e-5)
    hat = (x - x.mean(axes, keepdims=True)) * scale
    inner = slope * per_channel(weight, x.ndim)
    level, along = (y.mean(axes, keepdims=True) for y in (inner, inner * hat))
    others = (0, *range(2, len(shape)))
    expected = scale * (inner - level - hat * along), (slope * hat).sum(others), slope.sum(others)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-4)):
        a = [torch.from_numpy(y).to(dtype).requires_grad_() for y in (x, weight, bias)]
        if instance:
            y = functional.instance_norm(a[0], weight=a[1], bias=a[2])
        else:
            y = functional.batch_norm(a[0], None, None, a[1], a[2], training=True)
        found = torch.autograd.grad(y, a, torch.from_numpy(slope).to(dtype))
        for one, other in zip(found, expected, strict=True):
            assert numpy.allclose(one.numpy(), other, rtol=tolerance, atol=tolerance)


def test_second_derivatives():
    x = torch.from_numpy(draw(3, 2, 4)).requires_grad_()
    weight, bias = (torch.from_numpy(y).requires_grad_() for y in draw(2, 2, seed=1))
    mean, variance = torch.zeros(2).double(), torch.ones(2).double()

    def trained(*a):
        return functional.batch_norm(a[0], None, None, *a[1:], training=True)

    def given(*a):
        return functional.batch_norm(a[0], mean, variance, *a[1:])

    for run in (trained, given):
        assert torch.autograd.gradcheck(run, (x, weight, bias))
        assert torch.autograd.gradgradcheck(run, (x, weight, bias))
