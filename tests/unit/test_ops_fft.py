"""Fourier transforms: against NumPy and against sums by definition; gradients against
differences.
"""

import numpy as np
import pytest

import flambeau as ft

REAL = np.random.default_rng(0).standard_normal((3, 4, 5))
COMPLEX = REAL + 1j * np.random.default_rng(1).standard_normal((3, 4, 5))


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("n", [None, 3, 8])
@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("fft", COMPLEX),
        ("ifft", COMPLEX),
        ("fft", REAL),
        ("rfft", REAL),
        ("irfft", COMPLEX),
        ("hfft", COMPLEX),
        ("ihfft", REAL),
    ],
)
def test_one_dimension_is_numpys(name, x, n, norm):
    got = getattr(ft.fft, name)(ft.tensor(x), n, 1, norm).resolve_conj().numpy()
    np.testing.assert_allclose(got, getattr(np.fft, name)(x, n, 1, norm), atol=1e-12)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize(
    ("name", "x"), [("fft", COMPLEX), ("ifft", REAL), ("rfft", REAL), ("irfft", COMPLEX)]
)
def test_several_dimensions_are_numpys(name, x, norm):
    many, two = getattr(ft.fft, name + "n"), getattr(ft.fft, name + "2")
    np.testing.assert_allclose(
        many(ft.tensor(x), norm=norm).numpy(), getattr(np.fft, name + "n")(x, norm=norm), atol=1e-12
    )
    np.testing.assert_allclose(
        two(ft.tensor(x), (3, 6), (0, 2), norm).numpy(),
        getattr(np.fft, name + "2")(x, (3, 6), (0, 2), norm),
        atol=1e-12,
    )


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
def test_hermitian_transforms_of_several_dimensions_invert_each_other(norm):
    x = ft.tensor(REAL)
    half = ft.fft.ihfftn(x, norm=norm)
    np.testing.assert_allclose(ft.fft.hfftn(half, REAL.shape, norm=norm).numpy(), REAL, atol=1e-12)
    whole = ft.fft.ifftn(x, norm=norm)[..., : half.shape[-1]]
    np.testing.assert_allclose(half.resolve_conj().numpy(), whole.numpy(), atol=1e-12)


def test_the_definition():
    k = np.arange(5)
    matrix = np.exp(-2j * np.pi * np.outer(k, k) / 5)
    np.testing.assert_allclose(ft.fft.fft(ft.tensor(COMPLEX)).numpy(), COMPLEX @ matrix, atol=1e-12)


@pytest.mark.parametrize(
    ("made", "expect"),
    [
        ("float32", "complex64"),
        ("float64", "complex128"),
        ("int64", "complex64"),
        ("complex64", "complex64"),
    ],
)
def test_precision_is_the_inputs(made, expect):
    assert ft.fft.fft(ft.ones(4, dtype=getattr(ft, made))).dtype is getattr(ft, expect)


@pytest.mark.parametrize(
    "name",
    ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft", "fft2", "rfftn", "irfft2", "hfft2", "ihfftn"],
)
def test_gradients(name):
    real = name in ("rfft", "ihfft", "rfftn", "ihfftn")
    x = ft.tensor((REAL if real else COMPLEX)[:2, :2, :4]).requires_grad_(True)
    assert ft.autograd.gradcheck(getattr(ft.fft, name), (x,))
    assert ft.autograd.gradgradcheck(getattr(ft.fft, name), (x,))


def test_frequencies_and_shifts():
    for n in (5, 6):
        np.testing.assert_allclose(
            ft.fft.fftfreq(n, 0.5, dtype=ft.float64).numpy(), np.fft.fftfreq(n, 0.5)
        )
        np.testing.assert_allclose(
            ft.fft.rfftfreq(n, 0.5, dtype=ft.float64).numpy(), np.fft.rfftfreq(n, 0.5)
        )
    x = ft.tensor(REAL)
    np.testing.assert_array_equal(ft.fft.fftshift(x).numpy(), np.fft.fftshift(REAL))
    np.testing.assert_array_equal(
        ft.fft.ifftshift(x, (0, 2)).numpy(), np.fft.ifftshift(REAL, (0, 2))
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ft.fft.fft(ft.ones(3), 0), r"Invalid number of data points \(0\) specified"),
        (lambda: ft.fft.fft(ft.ones(3), norm="x"), 'Invalid normalization mode: "x"'),
        (
            lambda: ft.fft.rfft(ft.ones(3, dtype=ft.complex64)),
            "rfft expects a real input tensor, but got ComplexFloat",
        ),
        (lambda: ft.fft.fftn(ft.ones(3, 3), dim=(0, 0)), "FFT dims must be unique"),
    ],
)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=message):
        call()
