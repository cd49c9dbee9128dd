"""Discrete Fourier transforms, by NumPy's pocketfft, in the precision of the input.

Three primitives: complex to complex, real to half of the complex coefficients, and back. The
adjoint of each is written with the three, so that gradients can be differentiated again.
"""

from flambeau._base import numpy

from .family import opaque
from .family.pointwise import type_name
from .family.reduction import wrap_dim
from .modes import defaults
from .op import composite, find

HALVES = ("float16", "bfloat16")
NONE, ROOT, WHOLE = 0, 1, 2  # a transform of n elements is divided by 1, sqrt(n), n
_FORWARD = {NONE: "backward", ROOT: "ortho", WHOLE: "forward"}
_INVERSE = {NONE: "forward", ROOT: "ortho", WHOLE: "backward"}


# The primitives.


def _complex_transform(x, dim, normalization, forward):
    if not x.size:
        return numpy.zeros(x.shape, x.dtype)
    run, names = (numpy.fft.fftn, _FORWARD) if forward else (numpy.fft.ifftn, _INVERSE)
    return run(x, axes=dim, norm=names[normalization]).astype(x.dtype, copy=False)


c2c = opaque(
    "aten::_fft_c2c(Tensor self, int[] dim, int normalization, bool forward) -> Tensor",
    """The transform of complex numbers over `dim`.""",
    run=_complex_transform,
    grad=dict(
        self=lambda grad, dim, normalization, forward: c2c(grad, dim, normalization, not forward)
    ),
    method=False,
)


def _real_transform(x, dim, normalization):
    result = numpy.result_type(x.dtype, numpy.complex64)
    shape = list(x.shape)
    shape[dim[-1]] = shape[dim[-1]] // 2 + 1
    if not x.size:
        return numpy.zeros(shape, result)
    return numpy.fft.rfftn(x, axes=dim, norm=_FORWARD[normalization]).astype(result, copy=False)


def _r2c_adjoint(grad, self_layout, dim, normalization):
    """The half that was not computed has no gradient; then the adjoint of the whole transform."""
    last = dim[-1]
    missing = self_layout.shape[last] - grad.layout.shape[last]
    pad = [0, 0] * (grad.layout.ndim - 1 - last) + [0, missing]
    whole = find("constant_pad_nd").door(grad, pad) if missing else grad
    return c2c(whole, dim, normalization, False).real


r2c = opaque(
    "aten::_fft_r2c(Tensor self, int[] dim, int normalization) -> Tensor",
    """The transform of real numbers over `dim`; of the last of them only the half that is not
    redundant.
    """,
    run=_real_transform,
    grad=dict(self=_r2c_adjoint),
    method=False,
)


def _back_to_real(x, dim, normalization, last_dim_size):
    result = numpy.float32 if x.dtype == numpy.complex64 else numpy.float64
    shape = list(x.shape)
    shape[dim[-1]] = last_dim_size
    if not x.size:
        return numpy.zeros(shape, result)
    if dim[:-1]:
        x = numpy.fft.ifftn(x, axes=dim[:-1], norm=_INVERSE[normalization])
    return numpy.fft.irfft(x, last_dim_size, dim[-1], _INVERSE[normalization]).astype(
        result, copy=False
    )


def _c2r_adjoint(grad, self_layout, dim, normalization):
    """Coefficients that stand for a pair count twice."""
    made = r2c(grad, dim, normalization)
    last = dim[-1]
    have = self_layout.shape[last]
    twice = numpy.ones(have)
    twice[1 : 1 + grad.layout.shape[last] - have] = 2
    weights = made.new_tensor(twice, dtype=made.layout.dtype.to_real())
    return made * weights.reshape((have,) + (1,) * (made.layout.ndim - 1 - last))


c2r = opaque(
    "aten::_fft_c2r(Tensor self, int[] dim, int normalization, int last_dim_size) -> Tensor",
    """The inverse of `_fft_r2c`: real numbers from half of the coefficients.""",
    run=_back_to_real,
    grad=dict(self=_c2r_adjoint),
    method=False,
)


# What all transforms check.


def _normalization(norm, forward):
    """How a transform in the mode `norm` is scaled."""
    if norm is None or norm == "backward":
        return NONE if forward else WHOLE
    if norm == "forward":
        return WHOLE if forward else NONE
    if norm == "ortho":
        return ROOT
    raise RuntimeError(f'Invalid normalization mode: "{norm}"')


def _promoted(x, to_complex):
    """The input in the type that is transformed: integers in the default dtype."""
    dtype = x.layout.dtype
    if dtype.name in HALVES:
        raise RuntimeError(f"Unsupported dtype {type_name(dtype)}")
    if dtype.kind not in "fc":
        dtype = defaults.dtype
    if to_complex:
        dtype = dtype.to_complex()
    return x if dtype is x.layout.dtype else x.to(dtype)


def _real_only(name, x):
    if x.layout.dtype.kind == "c":
        raise RuntimeError(
            f"{name} expects a real input tensor, but got {type_name(x.layout.dtype)}"
        )


def _resized(x, dims, sizes):
    """The input cut or filled with zeros to `sizes` along `dims`; None keeps a size."""
    for d, n in zip(dims, sizes, strict=True):
        have = x.layout.shape[d]
        if n is None or n == have:
            continue
        if n < have:
            x = x.narrow(d, 0, n)
        else:
            x = find("constant_pad_nd").door(x, [0, 0] * (x.layout.ndim - 1 - d) + [0, n - have])
    return x


def _points(n):
    if n is not None and n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")


def _axes(x, s, dim, half=False):
    """(dimensions, sizes) of a transform over several; with `half`, the last size is of the real
    side.
    """
    ndim, shape = x.layout.ndim, x.layout.shape
    if dim is not None:
        if not ndim and dim:
            raise IndexError(f"Dimension specified as {dim[0]} but tensor has no dimensions")
        dims = [wrap_dim(d, ndim) for d in dim]
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
        if s is not None and len(s) != len(dims):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
    elif s is not None:
        if len(s) > ndim:
            raise RuntimeError(
                f"Got shape with {len(s)} values but input tensor only has {ndim} dimensions."
            )
        dims = list(range(ndim - len(s), ndim))
    else:
        dims = list(range(ndim))
    sizes = [shape[d] if n == -1 else n for d, n in zip(dims, s or (-1,) * len(dims), strict=True)]
    if half and dims and (s is None or s[-1] == -1):
        sizes[-1] = 2 * (shape[dims[-1]] - 1)
    for n in sizes:
        _points(n)
    return dims, sizes


# One dimension.


def _one(name, doc, body):
    return composite(
        f"fft::{name}(Tensor self, int? n=None, int dim=-1, str? norm=None) -> Tensor"
    )(_with(body, doc))


def _with(body, doc):
    body.__doc__ = doc
    return body


def _line(x, n, dim):
    d = wrap_dim(dim, x.layout.ndim)
    if not x.layout.ndim:
        raise IndexError("Dimension specified as " + f"{dim} but tensor has no dimensions")
    n = x.layout.shape[d] if n is None else n
    _points(n)
    return d, n


def _plain(forward):
    def body(self, n, dim, norm):
        x = _promoted(self, True)
        d, n = _line(x, n, dim)
        return c2c(_resized(x, [d], [n]), (d,), _normalization(norm, forward), forward)

    return body


def _halved(name, forward):
    def body(self, n, dim, norm):
        _real_only(name, self)
        x = _promoted(self, False)
        d, n = _line(x, n, dim)
        out = r2c(_resized(x, [d], [n]), (d,), _normalization(norm, forward))
        return out if forward else out.conj()

    return body


def _restored(forward):
    def body(self, n, dim, norm):
        x = _promoted(self, True)
        d, _ = _line(x, 1, dim)
        n = 2 * (x.layout.shape[d] - 1) if n is None else n
        _points(n)
        x = _resized(x, [d], [n // 2 + 1])
        return c2r(x.conj() if forward else x, (d,), _normalization(norm, forward), n)

    return body


fft = _one(
    "fft",
    """The discrete Fourier transform along `dim`, of `n` points (cut, or filled with zeros).""",
    _plain(True),
)
ifft = _one("ifft", """The inverse discrete Fourier transform along `dim`.""", _plain(False))
rfft = _one(
    "rfft",
    """The transform of real numbers: the half that is not redundant.""",
    _halved("rfft", True),
)
irfft = _one("irfft", """The inverse of `rfft`: `n` real numbers.""", _restored(False))
hfft = _one(
    "hfft",
    """The transform of a Hermitian signal, given by half: `n` real numbers.""",
    _restored(True),
)
ihfft = _one(
    "ihfft", """The inverse of `hfft`: half of a Hermitian signal.""", _halved("ihfft", False)
)


# Several dimensions.


def _several(name, doc, body):
    """The op for any dimensions, and the one whose default is the last two."""
    made = composite(
        f"fft::{name}n(Tensor self, int[]? s=None, int[]? dim=None, str? norm=None) -> Tensor"
    )(_with(body, doc))

    def planar(self, s, dim, norm):
        return body(self, s, dim, norm)

    two = composite(
        f"fft::{name}2(Tensor self, int[]? s=None, int[] dim=[-2, -1], str? norm=None) -> Tensor"
    )(_with(planar, doc.replace("`dim`", "two dimensions")))
    return made, two


def _plain_n(forward):
    def body(self, s, dim, norm):
        x = _promoted(self, True)
        dims, sizes = _axes(x, s, dim)
        x = _resized(x, dims, sizes)
        return c2c(x, tuple(dims), _normalization(norm, forward), forward) if dims else x.clone()

    return body


def _halved_n(name, forward):
    def body(self, s, dim, norm):
        _real_only(name, self)
        x = _promoted(self, False)
        dims, sizes = _axes(x, s, dim)
        if not dims:
            raise RuntimeError(f"{name} must transform at least one axis")
        scale = _normalization(norm, forward)
        x = _resized(x, dims, sizes)
        if forward:
            return r2c(x, tuple(dims), scale)
        half = r2c(x, (dims[-1],), scale).conj()
        return c2c(half, tuple(dims[:-1]), scale, False) if dims[:-1] else half

    return body


def _restored_n(name, forward):
    def body(self, s, dim, norm):
        x = _promoted(self, True)
        dims, sizes = _axes(x, s, dim, half=True)
        if not dims:
            raise RuntimeError(f"{name} must transform at least one axis")
        scale = _normalization(norm, forward)
        x = _resized(x, dims, [*sizes[:-1], sizes[-1] // 2 + 1])
        if not forward:
            return c2r(x, tuple(dims), scale, sizes[-1])
        x = c2c(x, tuple(dims[:-1]), scale, True) if dims[:-1] else x
        return c2r(x.conj(), (dims[-1],), scale, sizes[-1])

    return body


fftn, fft2 = _several(
    "fft", """The discrete Fourier transform over `dim`, with sizes `s`.""", _plain_n(True)
)
ifftn, ifft2 = _several(
    "ifft", """The inverse discrete Fourier transform over `dim`.""", _plain_n(False)
)
rfftn, rfft2 = _several(
    "rfft",
    """The transform of real numbers over `dim`; half of the last one.""",
    _halved_n("rfftn", True),
)
irfftn, irfft2 = _several(
    "irfft",
    """Real numbers from the result of a real transform over `dim`.""",
    _restored_n("irfftn", False),
)
hfftn, hfft2 = _several(
    "hfft",
    """The transform over `dim` of a signal that is Hermitian in them.""",
    _restored_n("hfftn", True),
)
ihfftn, ihfft2 = _several(
    "ihfft", """The inverse of `hfftn` over `dim`.""", _halved_n("ihfftn", False)
)


# Frequencies, and their order.

_FREQUENCIES = (
    "(int n, float d=1.0, *, ScalarType? dtype=None, Any layout=None, Device? device=None, bool "
    "requires_grad=False) -> Tensor"
)


def _frequencies(values, dtype, layout, device, requires_grad):
    if layout is not None and str(layout) != "torch.strided":
        raise NotImplementedError(f"flambeau has no tensors of layout {layout}")
    out = values.to(dtype or defaults.dtype)
    out = out if device is None else out.to(device)
    return out.requires_grad_(True) if requires_grad else out


@composite(f"fft::fftfreq{_FREQUENCIES}")
def fftfreq(n, d, dtype, layout, device, requires_grad):
    """The frequencies of a transform of `n` points that are `d` apart: 0, positive ones, negative
    ones.
    """
    values = find("_fftfreq").door(n, d, False)
    return _frequencies(values, dtype, layout, device, requires_grad)


@composite(f"fft::rfftfreq{_FREQUENCIES}")
def rfftfreq(n, d, dtype, layout, device, requires_grad):
    """The frequencies of a real transform of `n` points that are `d` apart."""
    values = find("_fftfreq").door(n, d, True)
    return _frequencies(values, dtype, layout, device, requires_grad)


opaque(
    "aten::_fftfreq(int n, float d, bool half) -> Tensor",
    """Frequencies in float64.""",
    run=lambda n, d, half: numpy.fft.rfftfreq(n, d) if half else numpy.fft.fftfreq(n, d),
    method=False,
    function=False,
)


def _rolled(x, dim, share):
    dims = (
        tuple(range(x.layout.ndim))
        if dim is None
        else tuple(wrap_dim(d, x.layout.ndim) for d in dim)
    )
    if not dims or not x.layout.ndim:
        return x.clone()
    return x.roll([share(x.layout.shape[d]) for d in dims], list(dims))


@composite("fft::fftshift(Tensor self, int[1]? dim=None) -> Tensor")
def fftshift(self, dim):
    """Frequencies with 0 in the middle of `dim` (all dimensions by default)."""
    return _rolled(self, dim, lambda n: n // 2)


@composite("fft::ifftshift(Tensor self, int[1]? dim=None) -> Tensor")
def ifftshift(self, dim):
    """The inverse of `fftshift`."""
    return _rolled(self, dim, lambda n: (n + 1) // 2)


__all__ = ["c2c", "c2r", "r2c"]
