"""Convolutions and their gradients against sums written out over taps, and against themselves on
other numbers of threads."""

import itertools

import numpy
import pytest

import flambeau
from flambeau.nn import functional

# images, groups, channels and output channels of a group, size, kernel, stride, padding, dilation
CASES = [
    (2, 1, 3, 16, (32, 32), (3, 3), (1, 1), (1, 1), (1, 1)),
    (3, 1, 17, 9, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 1, 5, 13, (28, 29), (7, 7), (2, 2), (3, 3), (1, 1)),
    (2, 2, 3, 5, (11, 23), (3, 2), (2, 1), (0, 1), (1, 2)),
    (2, 1, 6, 8, (9, 40), (1, 1), (1, 1), (0, 0), (1, 1)),
    (2, 1, 6, 8, (9, 10), (1, 1), (2, 2), (0, 0), (1, 1)),
    (1, 1, 4, 3, (20, 20), (5, 5), (3, 4), (2, 2), (1, 1)),
    (2, 6, 1, 1, (19, 21), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 6, 1, 2, (19, 21), (3, 3), (2, 2), (1, 1), (1, 1)),
    (3, 4, 1, 1, (17, 23), (3, 3), (3, 3), (1, 1), (1, 1)),
    (9, 1, 150, 4, (5,), (5,), (1,), (2,), (1,)),
    (2, 3, 4, 1, (16, 1), (1, 1), (1, 1), (0, 0), (2, 2)),
    (2, 1, 3, 4, (50,), (4,), (3,), (1,), (2,)),
    (3, 2, 2, 3, (5, 4, 7), (3, 3, 2), (2, 1, 2), (1, 0, 1), (1, 1, 2)),
    (2, 3, 1, 1, (4, 6, 1), (2, 3, 1), (1, 1, 1), (2, 1, 0), (3, 1, 1)),
    (1, 1, 2, 3, (4, 5, 6), (2, 3, 2), (1, 2, 1), (1, 0, 1), (1, 1, 1)),
]
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}


def written_out(x, w, stride, padding, dilation, groups):
    """The convolution in float64, tap by tap."""
    rank = w.ndim - 2
    x = numpy.pad(x.astype(float), [(0, 0), (0, 0), *((p, p) for p in padding)])
    reach = [d * (k - 1) + 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    out = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True)]
    images, rows = x.shape[0], w.shape[0] // groups
    x = x.reshape(images, groups, -1, *x.shape[2:])
    w = w.astype(float).reshape(groups, rows, -1, *w.shape[2:])
    total = numpy.zeros((images, groups, rows, *out))
    for tap in itertools.product(*map(range, w.shape[3:])):
        window = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilation, out, stride, strict=True)
        )
        part = w[(slice(None),) * 3 + tap]
        total += numpy.einsum("goc,ngc...->ngo...", part, x[(slice(None),) * 3 + window])
    assert rank == len(out)
    return total.reshape(images, -1, *out)


def operands(case, dtype, seed=0):
    images, groups, channels, rows, size, kernel, *_ = case
    generator = numpy.random.default_rng(seed)
    shapes = (images, groups * channels, *size), (groups * rows, channels, *kernel)
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


def convolve(x, w, case, bias=None):
    groups, (*_, stride, padding, dilation) = case[1], case
    function = getattr(functional, f"conv{w.ndim - 2}d")
    return function(x, w, bias, stride, padding, dilation, groups)


def close(found, expected, dtype):
    scale = max(1.0, abs(expected).max())
    assert found.shape == expected.shape
    assert abs(found.astype(float) - expected).max() < TOLERANCE[dtype] * scale


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_is_the_sum_over_taps(case, dtype):
    x, w = operands(case, dtype)
    expected = written_out(x, w, *case[6:], case[1])
    bias = numpy.arange(len(w), dtype=dtype)
    plain = convolve(flambeau.tensor(x), flambeau.tensor(w), case, flambeau.tensor(bias))
    shape = (-1,) + (1,) * (w.ndim - 2)
    close(plain.numpy(), expected + bias.reshape(shape), dtype)
    # The same values in another memory order.
    last = flambeau.tensor(x.swapaxes(1, -1).copy()).transpose(1, -1)
    turned = flambeau.tensor(w.swapaxes(0, 1).copy()).transpose(0, 1)
    close(convolve(last, turned, case).numpy(), expected, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_are_the_adjoints(case, dtype):
    """<grad, conv(u, w)> = <dx, u> and <grad, conv(x, v)> = <dw, v> for any u and v, since a
    convolution is linear in both."""
    x, w = operands(case, dtype)
    u, v = operands(case, dtype, seed=1)
    more = (*case[6:], case[1])
    values = written_out(x, w, *more)
    grad = numpy.random.default_rng(2).standard_normal(values.shape).astype(dtype)
    inputs = [flambeau.tensor(a, requires_grad=True) for a in (x, w)]
    convolve(*inputs, case).backward(flambeau.tensor(grad))
    for leaf, other, moved in (
        (inputs[0], u, written_out(u, w, *more)),
        (inputs[1], v, written_out(x, v, *more)),
    ):
        found = (leaf.grad.numpy().astype(float) * other).sum()
        expected = (grad.astype(float) * moved).sum()
        assert abs(found - expected) < 10 * TOLERANCE[dtype] * max(1, values.size**0.5)


@pytest.mark.parametrize("case", [CASES[k] for k in (0, 1, 3, 8)], ids=str)
def test_any_number_of_threads_gives_the_same_bits(case):
    before, results = flambeau.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            flambeau.set_num_threads(threads)
            x, w = (flambeau.tensor(a, requires_grad=True) for a in operands(case, "float32"))
            out = convolve(x, w, case)
            out.backward(out.detach())
            results.append([t.detach().numpy().tobytes() for t in (out, x.grad, w.grad)])
    finally:
        flambeau.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_second_derivatives_of_both_forms():
    generator = numpy.random.default_rng(3)
    x, w = (
        flambeau.tensor(generator.standard_normal(shape), requires_grad=True)
        for shape in ((2, 4, 5, 5), (4, 2, 3, 3))
    )
    for function, more in (
        (functional.conv2d, dict(stride=2, padding=1, groups=2)),
        (functional.conv_transpose2d, dict(stride=2, padding=1, output_padding=1, groups=2)),
    ):
        run = lambda a, b, f=function, m=more: f(a, b, **m)  # noqa: E731
        assert flambeau.autograd.gradcheck(run, (x, w))
        assert flambeau.autograd.gradgradcheck(run, (x, w))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_round_once(dtype):
    x, w = (flambeau.tensor(a).to(getattr(flambeau, dtype)) for a in operands(CASES[0], "float32"))
    expected = written_out(x.float().numpy(), w.float().numpy(), *CASES[0][6:], 1)
    found = convolve(x, w, CASES[0])
    assert found.dtype is x.dtype
    epsilon = flambeau.finfo(x.dtype).eps
    assert (abs(found.float().numpy() - expected) <= epsilon * (abs(expected) + 1e-2)).all()


def test_neighbouring_memory_is_not_read():
    """Masked lanes must not let a nan beside the input into the sums."""
    frame = numpy.full((1, 3, 9, 20), numpy.nan, "float32")
    frame[:, :, 1:8, 1:19] = 1
    x = flambeau.tensor(frame)[:, :, 1:8, 1:19]
    w = flambeau.ones(8, 3, 3, 3)
    assert bool(functional.conv2d(x, w, padding=1).isfinite().all())
    grad = flambeau.tensor(numpy.full((1, 8, 7, 18), 1.0, "float32"))
    w.requires_grad_()
    functional.conv2d(x, w, padding=1).backward(grad)
    assert bool(w.grad.isfinite().all())


@pytest.mark.parametrize("transposed", [False, True])
def test_complex_gradients(transposed):
    x = flambeau.randn(2, 4, 5, 5, dtype=flambeau.complex128, requires_grad=True)
    w = flambeau.randn(4, 2, 3, 3, dtype=flambeau.complex128, requires_grad=True)
    function = functional.conv_transpose2d if transposed else functional.conv2d

    def convolve(x, w):
        return function(x, w, stride=2, padding=1, groups=2)

    assert flambeau.autograd.gradcheck(convolve, (x, w))
    assert flambeau.autograd.gradgradcheck(convolve, (x[:1, :, :3, :3], w))
