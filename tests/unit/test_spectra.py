"""Short-time spectra against sums written out, windows against SciPy's formulas, differences
against NumPy's.
"""

import numpy
import pytest

import flambeau as ft


def frames(x, size, hop):
    return numpy.stack([x[k : k + size] for k in range(0, len(x) - size + 1, hop)])


def test_stft_is_the_transform_of_each_window():
    x = numpy.random.default_rng(0).normal(size=50)
    window = numpy.hanning(6)
    got = ft.stft(
        ft.tensor(x), 8, 3, 6, window=ft.tensor(window), return_complex=True, normalized=True
    )
    padded = numpy.pad(x, 4, mode="reflect")
    want = numpy.fft.rfft(frames(padded, 8, 3) * numpy.pad(window, 1), norm="ortho").T
    numpy.testing.assert_allclose(got.numpy(), want, atol=1e-14)
    pairs = ft.stft(ft.tensor(x), 8, window=ft.ones(8), center=False, return_complex=False)
    assert pairs.shape == (5, 22, 2)


@pytest.mark.parametrize("onesided", [True, False])
@pytest.mark.parametrize("length", [None, 60, 100])
def test_istft_inverts(onesided, length):
    x = ft.randn(2, 100, dtype=ft.float64)
    window = ft.hann_window(16, dtype=ft.float64)
    spectrum = ft.stft(x, 16, window=window, onesided=onesided, return_complex=True)
    back = ft.istft(spectrum, 16, window=window, onesided=onesided, length=length)
    assert back.shape == (2, length or 100)
    numpy.testing.assert_allclose(back, x[:, : back.shape[1]], atol=1e-12)


def test_gradients_of_spectra():
    x = ft.randn(30, dtype=ft.float64, requires_grad=True)
    window = ft.hamming_window(8, dtype=ft.float64)

    def there(x):
        return ft.stft(x, 8, window=window, return_complex=True)

    assert ft.autograd.gradcheck(there, (x,))
    spectrum = there(x).detach().requires_grad_()
    assert ft.autograd.gradcheck(lambda s: ft.istft(s, 8, window=window), (spectrum,))


def test_what_spectra_refuse():
    x = ft.randn(20)
    with pytest.raises(RuntimeError, match="requires the return_complex parameter"):
        ft.stft(x, 8)
    with pytest.raises(RuntimeError, match="expected hop_length > 0, but got hop_length=0"):
        ft.stft(x, 8, 0, return_complex=True)
    with pytest.raises(RuntimeError, match="window overlap add min: 0"):
        ft.istft(ft.randn(5, 3, dtype=ft.complex64), 8, window=ft.zeros(8))
    with pytest.raises(RuntimeError, match="complex-valued input"):
        ft.istft(ft.randn(5, 3), 8)


@pytest.mark.parametrize(
    "name, numpys",
    [
        ("hann_window", numpy.hanning), ("hamming_window", numpy.hamming),
        ("blackman_window", numpy.blackman), ("bartlett_window", numpy.bartlett),
        ("kaiser_window", lambda n: numpy.kaiser(n, 12.0)),
    ],
)  # fmt: skip
def test_windows(name, numpys):
    make = getattr(ft, name)
    for n in (1, 2, 7, 16):
        window = make(n, periodic=False, dtype=ft.float64)
        numpy.testing.assert_allclose(window, numpys(n), atol=1e-14)
        periodic = numpys(n + 1)[:-1] if n > 1 else [1.0]
        numpy.testing.assert_allclose(make(n, dtype=ft.float64), periodic, atol=1e-14)
    assert make(0).shape == (0,) and make(3).dtype is ft.float32
    with pytest.raises(RuntimeError, match="requires non-negative window_length"):
        make(-1)


@pytest.mark.parametrize(
    "name, options, scipys",
    [
        ("bartlett", {}, "bartlett"),
        ("blackman", {}, "blackman"),
        ("cosine", {}, "cosine"),
        ("exponential", {"tau": 2.5}, ("exponential", None, 2.5)),
        ("gaussian", {"std": 1.5}, ("gaussian", 1.5)),
        ("general_cosine", {"a": [0.3, 0.5, 0.2]}, ("general_cosine", [0.3, 0.5, 0.2])),
        ("general_hamming", {"alpha": 0.6}, ("general_hamming", 0.6)),
        ("hamming", {}, "hamming"),
        ("hann", {}, "hann"),
        ("kaiser", {"beta": 5.0}, ("kaiser", 5.0)),
        ("nuttall", {}, "nuttall"),
    ],
)
def test_windows_of_signals(name, options, scipys):
    signal = pytest.importorskip("scipy.signal")
    make = getattr(ft.signal.windows, name)
    for n in (0, 1, 2, 7, 16):
        for sym in (True, False):
            expected = signal.get_window(scipys, n, fftbins=not sym) if n else []
            found = make(n, sym=sym, dtype=ft.float64, **options)
            numpy.testing.assert_allclose(found, expected, atol=1e-13)
    assert make(3, requires_grad=True, **options).requires_grad
    with pytest.raises(ValueError, match=f"{name} expects float32 or float64 dtypes"):
        make(3, dtype=ft.int64, **options)
    with pytest.raises(ValueError, match="requires non-negative window length, got M=-1"):
        make(-1, **options)


@pytest.mark.parametrize("order", [1, 2])
def test_gradient(order):
    x = numpy.random.default_rng(1).normal(size=(5, 6))
    places = numpy.array([0.0, 1.0, 1.5, 4.0, 5.0])
    got = ft.gradient(ft.tensor(x), spacing=[ft.tensor(places), 2.0], edge_order=order)
    for a, b in zip(got, numpy.gradient(x, places, 2.0, edge_order=order), strict=True):
        numpy.testing.assert_allclose(a, b, atol=1e-13)
    [rows] = ft.gradient(ft.tensor(x), dim=-1, edge_order=order)
    numpy.testing.assert_allclose(rows, numpy.gradient(x, axis=1, edge_order=order), atol=1e-13)
    with pytest.raises(RuntimeError, match="at least edge_order\\+1"):
        ft.gradient(ft.ones(order), edge_order=order)
    with pytest.raises(IndexError, match="Dimension out of range"):
        ft.gradient(ft.ones(5), dim=3)


def test_ops_by_their_names_in_aten():
    x = ft.tensor([[1.0, -float("inf")], [-float("inf")] * 2])
    assert ft.ops.aten._safe_softmax.default(x, 1).tolist() == [[1, 0], [0, 0]]
    assert ft.ops.aten.add.Tensor(x, x) is not x and ft.torch is ft
    assert ft.ops.aten.max.dim(x, 1).values.tolist() == [1, -float("inf")]
    y = ft.tensor([-1.0, 2.0])
    assert ft.ops.aten.relu_(y) is y and y.tolist() == [0, 2]
    assert "dim" in ft.ops.aten.max.overloads()
    with pytest.raises(AttributeError, match="no op 'nothing'"):
        _ = ft.ops.aten.nothing
    with pytest.raises(AttributeError, match="no overload"):
        _ = ft.ops.aten.add.nothing


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("soft", [False, True])
def test_linear_cross_entropy_in_chunks(reduction, soft):
    functional = ft.nn.functional
    x, w = ft.randn(7, 3, dtype=ft.float64), ft.randn(5, 3, dtype=ft.float64)
    b, weight = ft.randn(5, dtype=ft.float64), ft.rand(5, dtype=ft.float64)
    target = ft.rand(7, 5, dtype=ft.float64) if soft else ft.tensor([0, 4, 2, -100, 1, 1, 3])
    for leaf in (x, w, b):
        leaf.requires_grad_()
    settings = dict(weight=weight, reduction=reduction, label_smoothing=0.1)
    want = functional.cross_entropy(functional.linear(x, w, b), target, **settings)
    options = ft.nn.LinearCrossEntropyOptions(batch_chunk_size=3)
    got = functional.linear_cross_entropy(x, w, target, linear_bias=b, options=options, **settings)
    numpy.testing.assert_allclose(got.detach(), want.detach(), rtol=1e-12)
    slopes = [ft.autograd.grad(loss.sum(), (x, w, b)) for loss in (got, want)]
    for a, b in zip(*slopes, strict=True):
        numpy.testing.assert_allclose(a, b, atol=1e-12)
