"""Reductions, scans, statistics, order, softmax and normalisations against NumPy and finite
differences."""

import warnings

import numpy
import pytest

import flambeau as torch

RNG = numpy.random.default_rng(7)
X = RNG.standard_normal((3, 4, 5))
NAN = X.copy()
NAN[0, 1, 2] = NAN[2, :, 0] = numpy.nan


def t(array, dtype=None):
    out = torch.tensor(numpy.array(array))
    return out if dtype is None else out.to(dtype)


def numeric_gradient(f, x, weights, step=1e-6):
    """Central differences of sum(f(x) * weights)."""
    out = numpy.zeros_like(x)
    for i in numpy.ndindex(x.shape):
        high, low = x.copy(), x.copy()
        high[i] += step
        low[i] -= step
        out[i] = ((f(t(high)).numpy() - f(t(low)).numpy()) * weights).sum() / (2 * step)
    return out


def weights_for(result):
    return numpy.random.default_rng(3).standard_normal(tuple(result.shape))


REDUCTIONS = {
    "sum": numpy.sum, "mean": numpy.mean, "prod": numpy.prod, "amax": numpy.max, "amin": numpy.min,
    "nansum": numpy.nansum, "nanmean": numpy.nanmean,
}  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("dim", [0, -1, 1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_reduction(name, dim, keepdim):
    got = getattr(torch, name)(t(X), dim, keepdim)
    numpy.testing.assert_allclose(
        got.numpy(), REDUCTIONS[name](X, axis=dim, keepdims=keepdim), rtol=1e-12
    )


@pytest.mark.parametrize("name", ["nansum", "nanmean"])
def test_nan_counts_for_nothing(name):
    got = getattr(torch, name)(t(NAN), 2).numpy()
    numpy.testing.assert_allclose(got, REDUCTIONS[name](NAN, axis=2), rtol=1e-12)


def test_small_integers_add_up_in_int64():
    array = numpy.array([[1, 0], [3, 4]], "uint8")
    assert t(array).sum().dtype is torch.int64
    assert t(array * 60).sum().item() == 480
    assert t(array).any().dtype is torch.uint8 and t(array).all(1).tolist() == [0, 1]
    assert t(array).count_nonzero(dim=0).tolist() == [2, 1]


def test_float32_sum_is_accurate():
    x = numpy.full(1_000_000, 0.1, numpy.float32)
    assert t(x).sum().item() == numpy.float32(x.astype(numpy.float64).sum())


def test_mean_of_integers_is_refused():
    with pytest.raises(RuntimeError, match="could not infer output dtype"):
        t([1, 2]).mean()


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_product_gradient_beside_zeros(zeros):
    x = numpy.array([2.0, 3.0, -1.5, 4.0])
    x[:zeros] = 0
    a = t(x).requires_grad_()
    (g,) = torch.autograd.grad(a.prod(), a, create_graph=True)
    want = [numpy.prod(numpy.delete(x, i)) for i in range(4)]
    numpy.testing.assert_allclose(g.detach().numpy(), want)
    (second,) = torch.autograd.grad(g.select(0, 0), a)
    want = [0.0] + [numpy.prod(numpy.delete(x, [0, i])) for i in range(1, 4)]
    numpy.testing.assert_allclose(second.numpy(), want)


# Extremes.


def test_extremes_and_places():
    x = numpy.array([[1.0, 5.0, 5.0], [numpy.nan, 2.0, numpy.nan]])
    values, places = t(x).max(1)
    numpy.testing.assert_array_equal(values.numpy(), [5, numpy.nan])
    assert places.tolist() == [1, 0] and t(x).argmax().item() == 3
    assert t(x).cummax(1).indices.tolist() == [[0, 1, 2], [0, 0, 2]]
    low, high = torch.aminmax(t(X))
    assert (low.item(), high.item()) == (X.min(), X.max())


def test_equal_extremes_share_the_gradient():
    a = t([3.0, 1.0, 3.0]).requires_grad_()
    a.amax().backward()
    assert a.grad.tolist() == [0.5, 0, 0.5]
    a.grad = None
    a.max(0).values.backward()
    assert a.grad.tolist() == [1, 0, 0]


def test_extremes_of_nothing():
    with pytest.raises(RuntimeError, match="Expected reduction dim to be specified"):
        torch.zeros(0).max()
    with pytest.raises(IndexError, match="to have non-zero size"):
        torch.zeros(0, 2).amax(0)


@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin"])
def test_elementwise_extremes(name):
    x, y = (
        numpy.array([1.0, numpy.nan, 2.0, numpy.nan]),
        numpy.array([3.0, 1.0, numpy.nan, numpy.nan]),
    )
    numpy.testing.assert_array_equal(
        getattr(torch, name)(t(x), t(y)).numpy(), getattr(numpy, name)(x, y)
    )


# Scans.


def test_running_sums_and_products():
    numpy.testing.assert_allclose(t(X).cumsum(1).numpy(), X.cumsum(1))
    numpy.testing.assert_allclose(t(X).cumprod(-1).numpy(), X.cumprod(-1))
    got = torch.logcumsumexp(t(X * 300), 0).numpy()
    numpy.testing.assert_allclose(got, numpy.logaddexp.accumulate(X * 300, 0), rtol=1e-12)
    assert t([1, 4, 9]).diff().tolist() == [3, 5]
    assert torch.trapezoid(t([1.0, 2.0, 4.0]), t([0.0, 1.0, 3.0])).item() == 7.5


# Gradients, first and second.

FUNCTIONS = {
    "cumprod": lambda x: x.cumprod(1),
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "var": lambda x: x.var((0, 2)),
    "std": lambda x: torch.std(x, 1, correction=0),
    "norm3": lambda x: torch.norm(x, 3, 1),
    "norm_half": lambda x: torch.norm(x, 0.5, 1),
    "norm_inf": lambda x: torch.norm(x, float("inf"), 1),
    "logsumexp": lambda x: x.logsumexp((0, 2)),
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "layer_norm": lambda x: torch.layer_norm(x, (4, 5), None, None),
    "rms_norm": lambda x: torch.rms_norm(x, (5,)),
    "group_norm": lambda x: torch.group_norm(x, 2),
    "sort": lambda x: x.sort(1).values,
    "quantile": lambda x: x.quantile(0.3, 1),
    "corrcoef": lambda x: x.reshape(3, 20).corrcoef(),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name):
    f = FUNCTIONS[name]
    a = t(X).requires_grad_()
    out = f(a)
    w = weights_for(out)
    (first,) = torch.autograd.grad((out * t(w)).sum(), a, create_graph=True)
    numpy.testing.assert_allclose(
        first.detach().numpy(), numeric_gradient(f, X, w), rtol=1e-5, atol=1e-7
    )
    if not first.requires_grad:
        return
    direction = t(weights_for(first))
    (second,) = torch.autograd.grad((first * direction).sum(), a, allow_unused=True)
    if second is None:
        return

    def slope(x):
        b = x.requires_grad_()
        return torch.autograd.grad((f(b) * t(w)).sum(), b)[0]

    numpy.testing.assert_allclose(
        second.numpy(), numeric_gradient(slope, X, direction.numpy()), rtol=1e-4, atol=1e-6
    )


# Statistics and order.


def test_variance_of_a_large_offset():
    x = (RNG.standard_normal(1000) + 1e4).astype(numpy.float32)
    numpy.testing.assert_allclose(t(x).var().item(), x.astype(float).var(ddof=1), rtol=1e-6)
    y = RNG.standard_normal(1000) + 1e8
    numpy.testing.assert_allclose(t(y).var().item(), y.var(ddof=1), rtol=1e-6)
    assert t(y).var(False).item() == pytest.approx(y.var(), rel=1e-6)


def test_counting():
    numpy.testing.assert_array_equal(
        torch.histc(t(X), 6, -2, 2).numpy(), numpy.histogram(X, 6, (-2, 2))[0]
    )
    assert torch.bincount(t([0, 2, 2])).tolist() == [1, 0, 2]
    counts, edges = torch.histogram(t(X), 4, range=(-1.0, 1.0))
    want = numpy.histogram(X, 4, (-1, 1))
    numpy.testing.assert_array_equal(counts.numpy(), want[0])
    numpy.testing.assert_allclose(edges.numpy(), want[1])


def test_covariance():
    m = X.reshape(3, 20)
    numpy.testing.assert_allclose(torch.cov(t(m)).numpy(), numpy.cov(m))
    numpy.testing.assert_allclose(torch.corrcoef(t(m)).numpy(), numpy.corrcoef(m))


def test_order():
    values, places = t(X).sort(1, descending=True)
    numpy.testing.assert_array_equal(values.numpy(), -numpy.sort(-X, 1))
    numpy.testing.assert_array_equal(numpy.take_along_axis(X, places.numpy(), 1), values.numpy())
    wide = RNG.standard_normal((2, 500))
    numpy.testing.assert_array_equal(t(wide).topk(7).values.numpy(), -numpy.sort(-wide, 1)[:, :7])
    assert t([2.0, numpy.nan, 1.0]).sort(descending=True).indices.tolist() == [1, 0, 2]
    assert (
        t([4.0, 1.0, 3.0, 2.0]).median().item() == 2
        and t([3, 1, 1, 3, 3]).mode().values.item() == 3
    )
    assert t([4.0, 1.0, 3.0]).kthvalue(2).values.item() == 3
    assert (
        numpy.isnan(t([1.0, numpy.nan]).median().item())
        and t([1.0, numpy.nan]).nanmedian().item() == 1
    )


@pytest.mark.parametrize("rule", ["linear", "lower", "higher", "nearest", "midpoint"])
def test_quantiles(rule):
    q = numpy.array([0.0, 0.3, 0.77, 1.0])
    got = torch.quantile(t(X), t(q), 1, interpolation=rule).numpy()
    numpy.testing.assert_allclose(got, numpy.quantile(X, q, axis=1, method=rule), rtol=1e-12)
    got = torch.nanquantile(t(NAN), 0.4, 2, interpolation=rule).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about lines of nan only
        numpy.testing.assert_allclose(
            got, numpy.nanquantile(NAN, 0.4, axis=2, method=rule), rtol=1e-12
        )


# Softmax and normalisations.


def test_softmax_at_the_limits():
    x = t([[1000.0, 0.0], [-1e300, -1e300], [float("-inf"), 0.0]])
    assert x.softmax(1).tolist() == [[1, 0], [0.5, 0.5], [0, 1]]
    assert numpy.isnan(t([[float("-inf")] * 2]).softmax(1).numpy()).all()
    assert t([[1.0, 2.0]], torch.float32).softmax(1, dtype=torch.float64).dtype is torch.float64
    assert t([float("inf"), 1.0]).logsumexp(0).item() == float("inf")
    assert t([float("-inf")] * 2).logsumexp(0).item() == float("-inf")
    with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
        t([1, 2]).softmax(0)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 0.5, float("inf"), float("-inf")])
def test_norms(order):
    want = numpy.linalg.norm(X.reshape(3, 20), order, axis=1)
    numpy.testing.assert_allclose(torch.norm(t(X), order, (1, 2)).numpy(), want, rtol=1e-12)


def test_renorm_limits_each_row():
    got = torch.renorm(t(X), 2, 0, 1.5).numpy().reshape(3, -1)
    want = numpy.minimum(numpy.linalg.norm(X.reshape(3, -1), axis=1), 1.5)
    numpy.testing.assert_allclose(numpy.linalg.norm(got, axis=1), want, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_layer_norm_and_its_parameters(dtype):
    w, b = RNG.standard_normal(5), RNG.standard_normal(5)
    x, weight, bias = (t(v, dtype).requires_grad_() for v in (X, w, b))
    out = torch.layer_norm(x, (5,), weight, bias, 1e-3)
    hat = (X - X.mean(-1, keepdims=True)) / numpy.sqrt(X.var(-1, keepdims=True) + 1e-3)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-2}[dtype]
    assert out.dtype is dtype
    got = out.detach().to(torch.float64).numpy()
    numpy.testing.assert_allclose(got, hat * w + b, rtol=tolerance, atol=tolerance)
    g = weights_for(out)
    out.backward(t(g, dtype))
    for grad, want in ((weight.grad, (g * hat).sum((0, 1))), (bias.grad, g.sum((0, 1)))):
        numpy.testing.assert_allclose(
            grad.to(torch.float64).numpy(), want, rtol=5 * tolerance, atol=5 * tolerance
        )


def test_batch_norm_tracks_statistics():
    mean, var = t(numpy.zeros(4)), t(numpy.ones(4))
    out = torch.batch_norm(t(X), None, None, mean, var, True, 0.1, 0.0, True)
    numpy.testing.assert_allclose(out.numpy().std((0, 2)), 1)
    numpy.testing.assert_allclose(mean.numpy(), 0.1 * X.mean((0, 2)))
    numpy.testing.assert_allclose(var.numpy(), 0.9 + 0.1 * X.var((0, 2), ddof=1))
    again = torch.batch_norm(t(X), None, None, mean, var, False, 0.1, 0.0, True).numpy()
    want = (X - mean.numpy()[:, None]) / numpy.sqrt(var.numpy()[:, None])
    numpy.testing.assert_allclose(again, want)


@pytest.mark.parametrize("name", ["max", "min", "median", "nanmedian", "aminmax", "sum", "argmax"])
def test_numpys_names_of_arguments(name):
    x = torch.tensor(X)
    for call in (getattr(torch, name), lambda x, **named: getattr(x, name)(**named)):
        want, got = call(x, dim=1, keepdim=True), call(x, axis=1, keepdims=True)
        pairs = zip(want, got, strict=True) if isinstance(want, tuple) else [(want, got)]
        assert all([torch.equal(a, b) for a, b in pairs])
