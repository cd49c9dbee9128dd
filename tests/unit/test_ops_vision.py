"""Resizing, sampling, windows, unusual pooling, distances, bags and CTC against formulas and brute
force.
"""

import itertools
import math

import numpy
import pytest

import flambeau
from flambeau.nn import functional

GENERATOR = numpy.random.default_rng(5)


def tensor(*shape, grad=False):
    return flambeau.tensor(GENERATOR.standard_normal(shape), requires_grad=grad)


def numeric_gradient(function, x, weights, step=1e-6):
    """Central differences of sum(weights * function(x)) in every element of x."""
    found = numpy.empty(x.shape)
    for place in numpy.ndindex(*x.shape):
        values = []
        for sign in (1, -1):
            moved = x.copy()
            moved[place] += sign * step
            values.append(float((function(flambeau.tensor(moved)).numpy() * weights).sum()))
        found[place] = (values[0] - values[1]) / (2 * step)
    return found


def check_gradient(function, x):
    source = flambeau.tensor(x, requires_grad=True)
    out = function(source)
    weights = GENERATOR.standard_normal(tuple(out.shape))
    out.backward(flambeau.tensor(weights))
    numpy.testing.assert_allclose(
        source.grad.numpy(), numeric_gradient(function, x, weights), rtol=1e-5, atol=1e-7
    )


RESIZINGS = [
    dict(size=(5, 3), mode="nearest"),
    dict(size=(8, 6), mode="nearest"),
    dict(size=(5, 7), mode="nearest-exact"),
    dict(size=(7, 2), mode="bilinear"),
    dict(size=(7, 5), mode="bilinear", align_corners=True),
    dict(size=(3, 9), mode="bicubic"),
    dict(size=(2, 2), mode="bilinear", antialias=True),
    dict(size=(3, 2), mode="bicubic", antialias=True),
    dict(scale_factor=(0.6, 1.7), mode="bilinear"),
]


@pytest.mark.parametrize("options", RESIZINGS, ids=str)
def test_resizing_keeps_constants_and_has_its_transpose_as_gradient(options):
    ones = functional.interpolate(flambeau.ones(1, 2, 4, 3, dtype=flambeau.float64), **options)
    numpy.testing.assert_allclose(ones.numpy(), 1, rtol=1e-12)
    check_gradient(
        lambda x: functional.interpolate(x, **options), GENERATOR.standard_normal((1, 2, 4, 3))
    )


def test_linear_resizing_reproduces_a_line():
    line = flambeau.arange(5, dtype=flambeau.float64).reshape(1, 1, 5)
    out = functional.interpolate(line, size=9, mode="linear", align_corners=True)
    numpy.testing.assert_allclose(out.numpy().ravel(), numpy.arange(9) / 2)


def test_resizing_spreads_nan_only_to_its_neighbours():
    image = flambeau.zeros(1, 1, 8, 8)
    image[0, 0, 3, 3] = math.nan
    out = functional.interpolate(image, scale_factor=2, mode="bilinear")
    assert int(out.isnan().sum()) == 16


def test_resizing_refuses_integers_and_empty_sizes():
    with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
        functional.interpolate(
            flambeau.zeros(1, 1, 2, 2, dtype=flambeau.int64), size=(3, 3), mode="bilinear"
        )
    with pytest.raises(RuntimeError, match="Input and output sizes should be greater than 0"):
        functional.interpolate(flambeau.zeros(1, 1, 2, 2), size=(0, 3))


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_sampling_on_the_pixel_grid_gives_the_image(mode, padding):
    image = tensor(2, 3, 4, 5)
    eye = flambeau.tensor([[[1.0, 0, 0], [0, 1, 0]]], dtype=flambeau.float64).expand(2, 2, 3)
    grid = functional.affine_grid(eye, (2, 3, 4, 5), align_corners=False)
    out = functional.grid_sample(image, grid, mode=mode, padding_mode=padding, align_corners=False)
    numpy.testing.assert_allclose(out.numpy(), image.numpy(), atol=1e-12)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_sampling_gradients(mode, padding):
    image, grid = (
        GENERATOR.standard_normal((1, 2, 3, 4)),
        GENERATOR.uniform(-1.7, 1.7, (1, 2, 3, 2)),
    )
    options = dict(mode=mode, padding_mode=padding, align_corners=True)
    check_gradient(lambda x: functional.grid_sample(x, flambeau.tensor(grid), **options), image)
    check_gradient(lambda g: functional.grid_sample(flambeau.tensor(image), g, **options), grid)


def test_sampling_at_nan_and_far_outside_gives_zeros():
    grid = flambeau.tensor([[[[math.nan, 0.0], [math.inf, 0.0], [1e30, 1e30]]]])
    out = functional.grid_sample(
        flambeau.ones(1, 1, 4, 4), grid, mode="nearest", align_corners=False
    )
    assert out.tolist() == [[[[0.0, 0.0, 0.0]]]]


def test_columns_are_the_windows_and_fold_counts_them():
    x = tensor(2, 3, 6, 5)
    columns = functional.unfold(x, (2, 3), dilation=(2, 1), padding=(1, 0), stride=(1, 2)).numpy()
    padded = numpy.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (0, 0)))
    wanted = [
        padded[:, :, i : i + 3 : 2, j : j + 3].reshape(2, -1)
        for i, j in itertools.product(range(6), range(0, 3, 2))
    ]
    numpy.testing.assert_array_equal(columns, numpy.stack(wanted, -1))
    ones = functional.unfold(flambeau.ones(1, 1, 3, 3), 2)
    assert functional.fold(ones, (3, 3), 2).tolist() == [[[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]]


def test_unfold_gives_new_memory():
    x = flambeau.zeros(1, 2, 3, 4)
    functional.unfold(x, 1).add_(1)
    assert float(x.sum()) == 0


def test_pixel_shuffle_and_back():
    x = tensor(2, 8, 3, 5)
    shuffled = functional.pixel_shuffle(x, 2)
    assert shuffled.shape == (2, 2, 6, 10)
    assert float(shuffled[1, 1, 3, 4]) == float(x[1, 1 * 4 + 1 * 2 + 0, 1, 2])
    numpy.testing.assert_array_equal(functional.pixel_unshuffle(shuffled, 2).numpy(), x.numpy())
    channels = functional.channel_shuffle(flambeau.arange(6).reshape(1, 6, 1), 2)
    assert channels.flatten().tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 7), (9, 4)])
def test_adaptive_maxima(size):
    x = tensor(2, 3, 5, 7)
    values, indices = functional.adaptive_max_pool2d(x, size, return_indices=True)
    for i, j in numpy.ndindex(*size):
        rows = slice(i * 5 // size[0], -(-(i + 1) * 5 // size[0]))
        columns = slice(j * 7 // size[1], -(-(j + 1) * 7 // size[1]))
        numpy.testing.assert_array_equal(
            values[:, :, i, j].numpy(), x.numpy()[:, :, rows, columns].max((2, 3))
        )
    numpy.testing.assert_array_equal(
        x.flatten(2).gather(2, indices.flatten(2)).numpy(), values.flatten(2).numpy()
    )
    check_gradient(lambda t: functional.adaptive_max_pool2d(t, size), x.numpy())


def test_fractional_pooling_covers_both_ends():
    x = tensor(2, 2, 9, 8, grad=True)
    values, indices = functional.fractional_max_pool2d(
        x, 3, output_size=(4, 3), return_indices=True
    )
    numpy.testing.assert_array_equal(x.detach().flatten(2).gather(2, indices.flatten(2)).numpy(),
                                     values.detach().flatten(2).numpy())  # fmt: skip
    numpy.testing.assert_array_equal(
        values[:, :, 0, 0].detach().numpy(), x.detach().numpy()[:, :, :3, :3].max((2, 3))
    )
    numpy.testing.assert_array_equal(
        values[:, :, -1, -1].detach().numpy(), x.detach().numpy()[:, :, -3:, -3:].max((2, 3))
    )
    values.sum().backward()
    assert float(x.grad.sum()) == values.numel()


def test_unpooling_puts_maxima_back():
    x = tensor(1, 2, 4, 6)
    values, indices = functional.max_pool2d(x, 2, return_indices=True)
    back = functional.max_unpool2d(values, indices, 2)
    kept = back.numpy() != 0
    assert kept.sum() == values.numel()
    numpy.testing.assert_array_equal(back.numpy()[kept], x.numpy()[kept])
    with pytest.raises(RuntimeError, match="Found an invalid max index"):
        functional.max_unpool2d(values, indices + 100, 2)


@pytest.mark.parametrize("p", [0, 0.5, 1, 2, 3, math.inf])
def test_distances(p):
    a, b = tensor(2, 4, 3), tensor(1, 5, 3)
    gap = numpy.abs(a.numpy()[:, :, None] - b.numpy()[:, None])
    if p == 0:
        wanted = (gap != 0).sum(-1)
    else:
        wanted = gap.max(-1) if p == math.inf else (gap**p).sum(-1) ** (1 / p)
    numpy.testing.assert_allclose(flambeau.cdist(a, b, p).numpy(), wanted, rtol=1e-12)
    if p:
        check_gradient(lambda x: flambeau.cdist(x, b, p), a.numpy())
        check_gradient(lambda x: flambeau.pdist(x, p), a[0].numpy())


def test_distance_of_equal_rows_has_gradient_zero():
    a = tensor(3, 4, grad=True)
    flambeau.cdist(a, a.detach())[0, 0].backward()
    assert a.grad.abs().sum().item() == 0


def test_gradient_of_many_distances_agrees_with_that_of_few():
    a, b = tensor(300, 64, grad=True), tensor(260, 64, grad=True)
    flambeau.cdist(a, b).sum().backward()
    gap = a.detach().numpy()[:, None] - b.detach().numpy()[None]
    unit = gap / numpy.sqrt((gap**2).sum(-1, keepdims=True))
    numpy.testing.assert_allclose(a.grad.numpy(), unit.sum(1), rtol=1e-9, atol=1e-9)
    numpy.testing.assert_allclose(b.grad.numpy(), -unit.sum(0), rtol=1e-9, atol=1e-9)


def test_bilinear_form():
    left, right, weight = tensor(2, 5, 3), tensor(2, 5, 4), tensor(6, 3, 4)
    wanted = numpy.einsum("abi,oij,abj->abo", left.numpy(), weight.numpy(), right.numpy())
    numpy.testing.assert_allclose(
        functional.bilinear(left, right, weight).numpy(), wanted, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 2])
def test_bags(mode, padding):
    table, entries = GENERATOR.standard_normal((6, 3)), numpy.array([1, 2, 2, 5, 0, 2])
    starts = [0, 3, 3, 5, 6]
    wanted = numpy.zeros((4, 3))
    for bag, (start, stop) in enumerate(itertools.pairwise(starts)):
        rows = [table[e] for e in entries[start:stop] if e != padding]
        if rows:
            wanted[bag] = getattr(numpy, mode)(rows, axis=0)
    options = dict(mode=mode, padding_idx=padding)
    offsets = flambeau.tensor(starts[:-1])

    def bags(weight):
        return functional.embedding_bag(flambeau.tensor(entries), weight, offsets, **options)

    numpy.testing.assert_allclose(bags(flambeau.tensor(table)).numpy(), wanted, rtol=1e-12)
    check_gradient(bags, table)


def test_renorm_limits_named_rows():
    table = flambeau.tensor([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0]])
    functional.embedding(flambeau.tensor([0, 1, 0]), table, max_norm=1.0)
    numpy.testing.assert_allclose(table.numpy(), [[0.6, 0.8], [0.3, 0.4], [6.0, 8.0]], rtol=1e-6)


def brute_force_ctc(log_probs, labels, blank=0):
    """-log of the probability of all paths that collapse to `labels`."""
    steps, classes = log_probs.shape
    total = -math.inf
    for path in itertools.product(range(classes), repeat=steps):
        if [k for k, _ in itertools.groupby(path) if k != blank] == list(labels):
            total = numpy.logaddexp(total, sum(log_probs[t, k] for t, k in enumerate(path)))
    return -total


def test_ctc_counts_all_alignments():
    scores = GENERATOR.standard_normal((5, 3, 3))
    labels, lengths, sizes = [[1, 2], [1, 1], [2, 0]], (5, 4, 3), (2, 2, 1)

    def loss(x):
        log_probs, targets = functional.log_softmax(x, 2), flambeau.tensor(labels)
        return functional.ctc_loss(log_probs, targets, lengths, sizes, reduction="none")

    log_probs = functional.log_softmax(flambeau.tensor(scores), 2).numpy()
    wanted = [brute_force_ctc(log_probs[: lengths[n], n], labels[n][: sizes[n]]) for n in range(3)]
    numpy.testing.assert_allclose(loss(flambeau.tensor(scores)).numpy(), wanted, rtol=1e-10)
    check_gradient(loss, scores)


def test_ctc_of_impossible_targets():
    x = tensor(2, 1, 3, grad=True)
    arguments = (functional.log_softmax(x, 2), flambeau.tensor([[1, 1]]), (2,), (2,))
    assert functional.ctc_loss(*arguments, reduction="sum").item() == math.inf
    functional.ctc_loss(*arguments, reduction="sum", zero_infinity=True).backward()
    assert x.grad.abs().sum().item() == 0


def test_rrelu_draws_only_for_what_is_not_positive():
    x = flambeau.tensor([1.0, -1.0, 2.0, -1.0, 0.0])
    flambeau.manual_seed(3)
    out = functional.rrelu(x, 0.25, 0.5, training=True)
    flambeau.manual_seed(3)
    drawn = flambeau.empty(3, dtype=flambeau.float64).uniform_(0.25, 0.5)
    numpy.testing.assert_allclose(
        out.numpy(), [1, -float(drawn[0]), 2, -float(drawn[1]), 0], rtol=1e-6
    )
