"""Convolutions by tiles against sums in float64."""

import threading

import numpy
import pytest

import flambeau as torch
from flambeau.ops import convolution, winograd

pytestmark = pytest.mark.machine_code("convolutions go by tiles")
EPS = numpy.finfo(numpy.float32).eps


@pytest.fixture(autouse=True)
def preferred(monkeypatch):
    """Every convolution that can goes by tiles, however small."""
    monkeypatch.setattr(winograd, "DIRECT", 1e9)
    forget()
    yield
    forget()


def forget():
    """Makes the next convolutions be planned anew."""
    for op in (convolution.convolution, convolution.weight_sums):
        op.plans.clear()


def sums(x, w, padding=(0, 0)):
    """The convolution as sums of shifted products."""
    x = numpy.pad(x.astype("d"), ((0, 0), (0, 0), *((p, p) for p in padding)))
    height, width = x.shape[2] - 2, x.shape[3] - 2
    return sum(
        numpy.einsum("nchw,oc->nohw", x[:, :, i : i + height, j : j + width], w[:, :, i, j])
        for i in range(3)
        for j in range(3)
    )


def draw(*shape, seed=0):
    return numpy.random.default_rng(seed).standard_normal(shape).astype("f")


def close(found, expected, channels, factor=8.0):
    """Whether errors are below what sums of so many channels may have in float32, a few times."""
    scale = numpy.abs(expected).max() + 1e-30
    assert found.shape == expected.shape
    assert numpy.abs(found - expected).max() <= factor * EPS * channels**0.5 * scale


def tiled(monkeypatch, run, name="filtered"):
    """The result of `run`, which must go by tiles."""
    calls = []
    real = getattr(winograd, name)
    monkeypatch.setattr(winograd, name, lambda *a: calls.append(a) or real(*a))
    result = run()
    assert calls
    return result


SHAPES = [
    # images, channels, height, width, outputs, padding
    (1, 16, 4, 4, 16, (1, 1)),
    (2, 16, 1, 1, 16, (1, 1)),
    (1, 16, 3, 3, 16, (0, 0)),
    (3, 32, 7, 9, 48, (1, 1)),
    (1, 48, 17, 33, 32, (2, 2)),
    (2, 16, 6, 40, 16, (0, 2)),
    (37, 16, 8, 8, 16, (1, 0)),
    (1, 80, 5, 170, 16, (4, 3)),
    (2, 256, 14, 14, 64, (1, 1)),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_results_are_sums(shape, monkeypatch):
    images, channels, height, width, outputs, padding = shape
    x, w = draw(images, channels, height, width), draw(outputs, channels, 3, 3, seed=1)
    b = draw(outputs, seed=2)
    a = [torch.from_numpy(y) for y in (x, w, b)]
    found = tiled(monkeypatch, lambda: torch.conv2d(*a, padding=padding))
    close(found.numpy(), sums(x, w, padding) + b[:, None, None], channels)


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 1)])
def test_gradient_for_the_input(padding, monkeypatch):
    w, x = draw(32, 16, 3, 3), torch.zeros(2, 16, 10, 13, requires_grad=True)
    y = torch.conv2d(x, torch.from_numpy(w), padding=padding)
    slope = draw(*y.shape, seed=1)
    (found,) = tiled(
        monkeypatch, lambda: torch.autograd.grad(y, x, torch.from_numpy(slope), retain_graph=True)
    )
    turned = w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    close(found.numpy(), sums(slope, turned, [2 - p for p in padding]), 32)


def weight_gradient(x, slope, padding):
    w = torch.zeros(slope.shape[1], x.shape[1], 3, 3, requires_grad=True)
    (found,) = torch.autograd.grad(torch.conv2d(x, w, padding=padding), w, slope)
    return found


def contracted(x, slope, padding):
    """The gradient for the weight as sums over images and places, in float64."""
    x = numpy.pad(x.astype("d"), ((0, 0), (0, 0), *((p, p) for p in padding)))
    height, width = slope.shape[2:]
    parts = [
        numpy.einsum("nchw,nohw->oc", x[:, :, i : i + height, j : j + width], slope)
        for i in range(3)
        for j in range(3)
    ]
    return numpy.stack(parts, -1).reshape(slope.shape[1], x.shape[1], 3, 3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_for_the_weight(shape, monkeypatch):
    images, channels, height, width, outputs, padding = shape
    size = [n + 2 * p - 2 for n, p in zip((height, width), padding, strict=True)]
    x, slope = draw(images, channels, height, width), draw(images, outputs, *size, seed=1)
    found = tiled(
        monkeypatch,
        lambda: weight_gradient(torch.from_numpy(x), torch.from_numpy(slope), padding),
        "filtered_sums",
    )
    close(found.numpy(), contracted(x, slope, padding), images * size[0] * size[1])


def test_gradient_for_the_weight_of_a_transposed_convolution():
    x, w = draw(2, 16, 7, 9), torch.zeros(16, 32, 3, 3, requires_grad=True)
    y = torch.nn.functional.conv_transpose2d(torch.from_numpy(x), w, padding=1)
    slope = draw(*y.shape, seed=1)
    (found,) = torch.autograd.grad(y, w, torch.from_numpy(slope))
    close(found.numpy(), contracted(slope, x, (1, 1)), 2 * 63)


def test_a_slope_that_is_not_finite_stays_at_its_channel():
    x, slope = draw(2, 16, 12, 12), draw(2, 16, 12, 12, seed=1)
    expected = contracted(x, slope, (1, 1))
    slope[1, 3, 5, 6] = numpy.inf
    found = weight_gradient(torch.from_numpy(x), torch.from_numpy(slope), (1, 1)).numpy()
    assert not numpy.isfinite(found[3]).any()
    others = numpy.arange(16) != 3
    assert numpy.allclose(found[others], expected[others], atol=1e-3)


def test_operands_that_are_not_dense(monkeypatch):
    x, w = draw(2, 32, 9, 12), draw(16, 16, 3, 6, seed=1)
    a = torch.from_numpy(x)[:, ::2, 1:, 3:], torch.from_numpy(w)[..., ::2]
    found = tiled(monkeypatch, lambda: torch.conv2d(*a))
    close(found.numpy(), sums(x[:, ::2, 1:, 3:], w[..., ::2]), 16)
    one = torch.from_numpy(x[:1, :16]).expand(3, -1, -1, -1)
    found = torch.conv2d(one, a[1]).numpy()
    close(found, sums(numpy.repeat(x[:1, :16], 3, 0), w[..., ::2]), 16)


def test_half_types_are_computed_in_float32(monkeypatch):
    x, w = (torch.from_numpy(draw(*s)).half() for s in ((1, 16, 8, 8), (16, 16, 3, 3)))
    found = tiled(monkeypatch, lambda: torch.conv2d(x, w))
    assert found.dtype is torch.float16
    expected = sums(*(y.float().numpy() for y in (x, w)))
    close(found.float().numpy(), expected, 16, factor=1e4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_what_is_not_finite_stays_in_its_windows(value):
    x, w = draw(2, 16, 12, 12), draw(16, 16, 3, 3, seed=1)
    x[1, 3, 5, 6] = value
    w[:, 3, 0, 0] = 0.125
    found = torch.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=1).numpy()
    reached = numpy.zeros((2, 12, 12), bool)
    reached[1, 4:7, 5:8] = True
    outside = ~reached[:, None].repeat(16, 1)
    x[1, 3, 5, 6] = 0
    expected = sums(x, w, (1, 1))
    assert numpy.isfinite(found[outside]).all()
    assert numpy.allclose(found[outside], expected[outside], atol=1e-4)
    if numpy.isfinite(value):
        assert numpy.allclose(found[1, :, 6, 7], 0.125 * value)
    else:
        assert not numpy.isfinite(found[1, :, 4:7, 5:8]).any()


def test_threads_do_not_matter():
    x, w = torch.from_numpy(draw(5, 32, 20, 20)), torch.from_numpy(draw(32, 32, 3, 3))
    before = torch.get_num_threads()
    runs = (lambda: torch.conv2d(x, w, padding=1), lambda: weight_gradient(x, x, (1, 1)))
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            forget()
            found.append([run().numpy() for run in runs])
    finally:
        torch.set_num_threads(before)
    for results in zip(*found, strict=True):
        assert all((y == results[0]).all() for y in results)


def test_the_error_is_near_that_of_float32_sums():
    for channels in (16, 64, 256):
        x, w = draw(1, channels, 16, 16), draw(32, channels, 3, 3, seed=1)
        exact = sums(x, w)
        found = torch.conv2d(torch.from_numpy(x), torch.from_numpy(w)).numpy()
        plain = numpy.zeros_like(found)
        for c in range(channels):
            for i in range(3):
                for j in range(3):
                    plain += x[:, c, None, i : i + 14, j : j + 14] * w[:, c, i, j, None, None]
        error, usual = (numpy.sqrt(((y - exact) ** 2).mean()) for y in (found, plain))
        assert error < 3 * usual


def test_what_has_no_tiles():
    x, w = torch.ones(1, 16, 8, 8), torch.ones(16, 16, 3, 3)
    assert torch.conv2d(x, w, stride=2).shape == (1, 16, 3, 3)
    assert torch.conv2d(x, w, dilation=2).sum() == 16 * 16 * 144
    assert torch.conv2d(x, torch.ones(16, 8, 3, 3), groups=2).sum() == 36 * 16 * 72
    assert torch.conv2d(x.double(), w.double()).sum() == 36 * 16 * 144


def test_threads_with_small_stacks():
    before = threading.stack_size(64 << 10)
    try:
        x = torch.randn(2, 64, 12, 12, requires_grad=True)
        w = torch.randn(64, 64, 3, 3, requires_grad=True)
        found = []

        def run():
            for stride in (1, 2):  # by tiles, and by the direct kernels
                torch.nn.functional.conv2d(x, w, stride=stride, padding=1).sum().backward()
            found.append(w.grad)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert found and found[0].isfinite().all()
