"""Chains that run by blocks of rows: attention by tiles, soft-max, gradients of normalisations."""

import numpy
import pytest

import flambeau as torch
from flambeau import runtime

RNG = numpy.random.default_rng(11)
functional = torch.nn.functional


def tensor(*shape, dtype="float32", grad=False):
    return torch.tensor(RNG.standard_normal(shape).astype(dtype), requires_grad=grad)


def soft_max(x, axis=-1):
    raised = numpy.exp(x - x.max(axis, keepdims=True))
    return raised / raised.sum(axis, keepdims=True)


def attention(q, k, v, scale, causal):
    """The definition, in double precision."""
    q, k, v = (x.detach().numpy().astype(float) for x in (q, k, v))
    scores = q @ k.swapaxes(-2, -1) * scale
    if causal:
        scores = numpy.where(numpy.tri(*scores.shape[-2:], dtype=bool), scores, -numpy.inf)
    return soft_max(scores) @ v


# One tile, several tiles, no whole number of them, tiles behind all keys, tall tiles.
SIZES = [(5, 7, 4, 3), (64, 64, 64, 64), (200, 130, 16, 8), (130, 200, 1, 1), (1, 9, 5, 4)]
SIZES += [(1100, 70, 8, 8)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("factor", [None, 0.7, -0.4, 0.0])
@pytest.mark.parametrize("sizes", SIZES)
def test_attention(sizes, factor, causal):
    queries, keys, depth, width = sizes
    scale = None if factor is None else factor * depth**-0.5
    for dtype, limit in (("float32", 4e-6), ("float64", 1e-14)):
        q, k, v = (
            tensor(2, 3, n, d, dtype=dtype)
            for n, d in ((queries, depth), (keys, depth), (keys, width))
        )
        wanted = attention(q, k, v, depth**-0.5 if scale is None else scale, causal)
        heads_between = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
        for operands in ((q, k, v), heads_between):
            got = functional.scaled_dot_product_attention(*operands, is_causal=causal, scale=scale)
            assert numpy.abs(got.numpy() - wanted).max() < limit


def test_heads_of_a_result_lie_between_each_other():
    got = functional.scaled_dot_product_attention(*(tensor(2, 3, 5, 4) for _ in range(3)))
    assert got.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_of_attention(causal):
    def run(*operands):
        return functional.scaled_dot_product_attention(*operands, is_causal=causal, scale=0.9)

    def operands(queries, keys, depth, width):
        sizes = (queries, depth), (keys, depth), (keys, width)
        return [tensor(1, 2, n, d, dtype="float64", grad=True) for n, d in sizes]

    small = operands(4, 5, 3, 2)
    assert torch.autograd.gradcheck(run, small)
    assert torch.autograd.gradgradcheck(run, small)
    assert torch.autograd.gradcheck(run, operands(67, 66, 1, 1))
    q, k, v = operands(3, 4, 2, 2)
    assert torch.autograd.gradcheck(lambda v: run(q.detach(), k.detach(), v), [v])


def test_results_do_not_depend_on_the_threads():
    operands = [tensor(2, 4, 150, 16, grad=True) for _ in range(3)]
    x, weight, bias = tensor(192, 80, grad=True), tensor(80, grad=True), tensor(80, grad=True)
    before, found = runtime.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out = functional.scaled_dot_product_attention(*operands, is_causal=True)
            normal = functional.layer_norm(x, (80,), weight, bias)
            total = out.square().sum() + normal.exp().sum() + x.softmax(1).square().sum()
            grads = torch.autograd.grad(total, [*operands, x, weight, bias])
            found.append([y.detach().numpy().tobytes() for y in (out, normal, *grads)])
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "shape, dim",
    [((300, 70), 1), ((8, 8, 9, 65), 3), ((40, 70, 3), 1), ((70, 40), 0), ((33, 5), 1)],
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_softmax_over_rows(shape, dim, dtype):
    x = tensor(*shape).to(getattr(torch, dtype))
    limit = {"float32": 3e-7, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
    for operand in (x, x.transpose(0, 1).contiguous().transpose(0, 1)):
        wanted = soft_max(operand.double().numpy(), dim)
        assert numpy.abs(operand.softmax(dim).double().numpy() - wanted).max() < limit
        got = operand.float().log_softmax(dim).numpy()
        numpy.testing.assert_allclose(got, numpy.log(wanted), atol=2e-6)


def layer_norm_gradients(x, weight, grad):
    x, weight, grad = (y.detach().double().numpy() for y in (x, weight, grad))
    scale = 1 / numpy.sqrt(x.var(-1, keepdims=True) + 1e-5)
    hat, inner = (x - x.mean(-1, keepdims=True)) * scale, grad * weight
    slope = (inner * hat).mean(-1, keepdims=True)
    through = scale * (inner - inner.mean(-1, keepdims=True) - hat * slope)
    rows = tuple(range(x.ndim - 1))
    return through, (grad * hat).sum(rows), grad.sum(rows)


# Rows that are cut into pieces, and rows that are not: too few, or a prime number of them.
@pytest.mark.parametrize("shape", [(64, 40), (8, 16, 96), (192, 3), (7, 5, 33), (331, 12)])
@pytest.mark.parametrize("wide", [True, False])
def test_gradients_of_layer_norm(shape, wide):
    for swapped in (False, True):
        x = tensor(*shape)
        if swapped:
            x = x.transpose(0, 1).contiguous().transpose(0, 1)
        x = x.to(torch.float32 if wide else torch.bfloat16).requires_grad_()
        weight, bias = (tensor(shape[-1], grad=True) for _ in range(2))
        grad = tensor(*shape).to(x.dtype)
        if not wide:
            weight, bias = (p.detach().to(x.dtype).requires_grad_() for p in (weight, bias))
        functional.layer_norm(x, shape[-1:], weight, bias).backward(grad)
        wanted = layer_norm_gradients(x, weight, grad)
        rows = x.detach().double().numpy()
        lost = max((abs(rows).max(-1) / rows.std(-1)).max() / 10, 1)  # digits, to x - mean
        for one, value in zip((x, weight, bias), wanted, strict=True):
            assert one.grad.dtype is one.dtype
            error = numpy.abs(one.grad.double().numpy() - value).max()
            assert error < (1e-6 if wide else 1e-2) * numpy.abs(value).max() * lost


def test_second_gradients_of_layer_norm_in_pieces():
    x, weight, bias = (tensor(*s, dtype="float64", grad=True) for s in ((32, 3), (3,), (3,)))

    def run(*operands):
        return functional.layer_norm(operands[0], (3,), *operands[1:])

    assert torch.autograd.gradcheck(run, (x, weight, bias))
    assert torch.autograd.gradgradcheck(run, (x, weight, bias))


def test_statistics_and_some_gradients_of_layer_norm():
    """Where only some gradients are wanted, or gradients come through the statistics too."""
    x, weight = (tensor(*s, dtype="float64", grad=True) for s in ((64, 3), (3,)))
    assert torch.autograd.gradcheck(lambda w: functional.layer_norm(x.detach(), (3,), w), [weight])
    assert torch.autograd.gradcheck(
        lambda x, w: torch.native_layer_norm(x, (3,), w, None, 1e-5), (x, weight)
    )


def same_for_any_threads(run):
    """What `run()` gives, on one thread; on more it must be the same, bit for bit."""
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append([r.detach().numpy() for r in run()])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            numpy.testing.assert_array_equal(a, b)
    return results[0]


@pytest.mark.parametrize("columns", [1000, 5000])  # sums in their own type, and in a wider one
def test_norms_whose_results_pass_the_cache(columns):
    rows = (9 << 20) // (4 * columns)
    x, g = tensor(rows, columns), tensor(rows, columns)
    x += 100  # what a difference of squares would lose
    weight, bias = tensor(columns), tensor(columns)

    def run():
        leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
        y = functional.layer_norm(leaves[0], (columns,), *leaves[1:])
        y.backward(g)
        return y, *(t.grad for t in leaves)

    wide, slope, w, b = (t.numpy().astype(float) for t in (x, g, weight, bias))
    off = wide - wide.mean(1, keepdims=True)
    scale = 1 / numpy.sqrt((off * off).mean(1, keepdims=True) + 1e-5)
    hat, inner = off * scale, slope * w
    level, tilt = (v.mean(1, keepdims=True) for v in (inner, inner * hat))
    wanted = hat * w + b, scale * (inner - level - hat * tilt), (slope * hat).sum(0), slope.sum(0)
    limits = 2e-4, 2e-4, 2e-3, 1e-4  # x has an error of 4e-6 itself
    for got, value, limit in zip(same_for_any_threads(run), wanted, limits, strict=True):
        assert numpy.abs(got - value).max() < limit


def test_soft_max_past_the_cache():
    x, g = tensor(2304, 1024), tensor(2304, 1024)

    def run():
        leaf = x.clone().requires_grad_()
        y = leaf.softmax(1)
        y.backward(g)
        return y, leaf.grad

    y, slope = same_for_any_threads(run)
    wanted = soft_max(x.numpy().astype(float))
    inner = (wanted * g.numpy()).sum(1, keepdims=True)
    numpy.testing.assert_allclose(y, wanted, rtol=2e-6)
    numpy.testing.assert_allclose(slope, wanted * (g.numpy() - inner), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 8, 13])
def test_columns_summed_several_rows_at_a_time(rows):
    for columns in (130, 1024, 1500):
        x = tensor(rows, columns)
        wanted = x.numpy().astype(float).sum(0).astype("float32")
        numpy.testing.assert_allclose(x.sum(0).numpy(), wanted, rtol=1e-7)
        numpy.testing.assert_allclose(x[:, ::2].sum(0).numpy(), wanted[::2], rtol=1e-7)


@pytest.mark.parametrize("length", [0, 1, 2047, 2048, 2049, 3071, 100_001])
@pytest.mark.parametrize("step", [1, 3])
def test_dot_of_any_length(length, step):
    a, b = tensor(length * step)[::step], tensor(length)
    [got] = same_for_any_threads(lambda: [torch.dot(a, b)])
    x, y = (t.numpy().astype(float) for t in (a, b))
    assert abs(got - x @ y) <= 3e-7 * (numpy.abs(x) @ numpy.abs(y))
