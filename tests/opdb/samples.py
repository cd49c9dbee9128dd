"""Sample arguments for every declared op.

A line of `SAMPLES` reads ``names: call; call``: each call gives the arguments of each of these ops
(``name.overload``, ``namespace.name``). Ops whose arguments are tensors of one shape and defaults
need no line: `derived` makes theirs. Tensors come from the makers below, in whatever floating type
a test asks for. All values are distinct and away from zero, so that no sample is a kink or a tie.
"""

import re
import zlib
from typing import NamedTuple

import numpy

import flambeau as torch
from flambeau.ops import registry


class Call(NamedTuple):
    """Arguments of an op."""

    args: tuple
    kwargs: dict


class Makers:
    """Tensors for one call, the same each time."""

    def __init__(self, key, dtype):
        self.source = numpy.random.default_rng(zlib.crc32(key.encode()))
        self.dtype = dtype
        self.made = 0

    def _float(self, values):
        return torch.tensor(numpy.asarray(values)).to(self.dtype)

    def P(self, *shape):
        """Positive numbers in [0.2, 1.3)."""
        n = max(int(numpy.prod(shape)), 1)
        self.made += 1
        return self._float(0.2 + 0.0137 * self.made + self.source.permutation(n).reshape(shape) / n)

    def X(self, *shape):
        """Numbers of either sign in (-1.3, 1.3), also in the imaginary part."""
        values = self.P(*shape) * self._float(self.source.choice([-1.0, 1.0], shape))
        if self.dtype.is_complex:
            values = values + 1j * self._float(self.source.uniform(-1, 1, shape))
        return values

    def U(self, *shape):
        """Numbers in (0, 1)."""
        return self.P(*shape) * 0.7 + 0.05

    def V(self, *shape):
        """Numbers in (-1, 1)."""
        return self.X(*shape) * 0.7

    def W(self, *shape):
        """Square matrices far from singular."""
        return self.X(*shape, shape[-1]) * 0.3 + torch.eye(shape[-1], dtype=self.dtype) * 2

    def S(self, *shape):
        """Symmetric (Hermitian), positive definite matrices of distinct eigenvalues."""
        m = self.X(*shape, shape[-1]) * 0.3
        grades = torch.arange(1, shape[-1] + 1, dtype=torch.float64).to(self.dtype)
        return m @ m.mH + torch.diag(grades)

    def L(self, *shape):
        """Lower triangular matrices far from singular."""
        return torch.tril(self.W(*shape))

    def I(self, bound, *shape):  # noqa: E743
        """Integers in [0, bound)."""
        return torch.tensor(self.source.integers(0, bound, shape))

    def B(self, *shape):
        """Truth values, of both kinds."""
        return torch.tensor(self.source.permutation(int(numpy.prod(shape))).reshape(shape) % 2 == 0)

    def N(self, *values):
        """These integers."""
        return torch.tensor(values)


SAMPLES = """
acosh: P(3, 4) + 1
acos asin atanh erfinv logit _logit_inside: U(3, 4)
log log2 log10 sqrt rsqrt lgamma digamma log1p special.entr special.erfcx: P(3, 4)
special.ndtri: U(3, 4)
special.xlog1py xlogy: X(3, 4), P(3, 4); X(4), P(3, 1)
pow float_power: P(3, 4), X(3, 4); P(3, 1), X(4)
scalar_log: X(3, 4), 0.5
atan2 hypot copysign logaddexp logaddexp2 maximum minimum fmax fmin add sub mul div rsub \
true_divide max.other min.other: X(3, 4), X(3, 4); X(3, 1), X(4)
eq ne lt le gt ge isclose floor_divide remainder fmod heaviside nextafter: X(3, 4), X(4)
bitwise_and bitwise_or bitwise_xor gcd lcm: I(20, 3, 4), I(20, 4)
bitwise_left_shift bitwise_right_shift: I(20, 3, 4), I(4, 4)
bitwise_not: I(20, 3, 4)
logical_and logical_or logical_xor: B(3, 4), B(4)
clamp: X(3, 4), X(4) - 0.7, X(3, 1) + 0.7
where: B(3, 4), X(3, 4), X(4)
masked_fill: X(3, 4), B(3, 4), X()
_masked: X(3, 4), B(3, 4)
fill: X(3, 4), X()
threshold: X(3, 4), 0.1, 2.0
complex polar: P(3, 4), P(4)
ldexp: X(3, 4), I(4, 4)
lerp: X(3, 4), X(4), U(3, 4)
polygamma _polygamma: 1, P(3, 4)
special.zeta: P(3, 4) + 2, P(3, 4)
special._zeta_slope: P(3, 4) + 2, P(3, 4), 1
special._erfcx_slope: X(3, 4), 1; P(3, 4) * 9, 2
special._iv_quotient special._ive_quotient special._jv_quotient: X(3, 4), 1.0
special._log_poisson: P(3, 4), P(3, 4); P(3, 4) * 30, P(3, 1) * 30
special._digamma_rest: P(3, 4) * 20
igamma igammac: P(3, 4), P(3, 4)
special._gammainc_slope: P(3, 4), P(3, 4), 1
special.gammaincinv special.gammainccinv: P(3, 4), U(3, 4)
special.betaln: P(3, 4), P(4)
special.betainc special.betaincinv: P(3, 4), P(4), U(3, 4)
special._betainc_slope: P(3), P(3), U(3), [1, 0, 0]
special.hyp2f1: X(3, 4), P(4), P(3, 4), V(3, 4)
special._hyp2f1_slope: X(3), P(3), P(3), V(3), [0, 1, 0, 0]
special.expi: P(3, 4)
special.jv special.yv special.iv special.ive special.kv special.kve special.struve: \
P(3, 4), P(3, 4) * 4
special._jv_slope special._yv_slope special._iv_slope special._ive_slope special._kv_slope \
special._kve_slope special._struve_slope: P(3), P(3) * 4, [1, 0]
special._betaln_slope: P(3), P(3), [1, 0]
special.expn: 2, P(3, 4)
special.ellipk special.ellipe: V(3, 4)
special.lambertw: P(3, 4); -P(3, 4) * 0.2, -1
special._gegenbauer special._laguerre: V(3, 4), 3, 1.5
special.bessel_y0 special.bessel_y1 special.modified_bessel_k0 special.modified_bessel_k1 \
special.scaled_modified_bessel_k0 special.scaled_modified_bessel_k1: P(3, 4)
stft: X(2, 12), 4, window=P(4), return_complex=True
istft: X(2, 3, 5).to(torch.complex128), 4, window=P(4)
nn._linear_cross_entropy: X(5, 3), X(4, 3), N(0, 3, 1, 2, 1), X(4), 2, P(4), -100, 0.1
mvlgamma: P(3, 4) + 2, 2
nn._elu_backward: X(3, 4), X(3, 4), 1.5, 1.0, 1.0
nn._huber: X(3, 4), X(3, 4), 0.3
nn._leaky: X(3, 4), X(3, 4), 0.1
nn._softplus_backward: X(3, 4), X(3, 4), 2.0, 20.0
_sigmoid_backward _tanh_backward: X(3, 4), U(3, 4)
_softmax_backward _log_softmax_backward: X(3, 4), U(3, 4), 1
prelu: X(3, 4), X(4)

all any: B(3, 4); B(3, 4), 1
sum mean nansum nanmean prod: X(3, 4); X(3, 4), 1; X(3, 4), 0, True
amax amin aminmax count_nonzero argmax argmin: X(3, 4); X(3, 4), dim=1
max.dim min.dim median.dim nanmedian.dim: X(3, 4), 1; X(3, 4), 0, True
_var: X(3, 4), (1,), 1.0, False
_std: X(3, 4), (1,), 1.0, False
var std var_mean std_mean: X(3, 4); X(3, 4), 1; X(3, 4), (0, 1), correction=0, keepdim=True
linalg._vector_norm: X(3, 4), 3.0, (1,), False
logsumexp _logsumexp special.logsumexp: X(3, 4), (1,); X(3, 4), (0,), True
quantile nanquantile: X(3, 4), U(2), 1; X(5), 0.3
norm: X(3, 4); X(3, 4), 3, 1
dist: X(3, 4), X(3, 4); X(3, 4), X(4), 3
renorm: X(3, 4), 2, 0, 0.5
diag: X(3); X(3, 4), 1
diag_embed: X(3); X(2, 3), 1
diagonal diagonal_copy: X(3, 4); X(2, 3, 4), 1
linalg.diagonal: X(2, 3, 4)
diagonal_scatter: X(3, 4), X(3)
pdist: X(4, 3)
cdist: X(3, 2), X(4, 2); X(3, 2), X(4, 2), 1.5
_distance: X(3, 4), X(3, 4), 3.0
trapezoid trapz cumulative_trapezoid: X(3, 4); X(3, 4), P(4)
multinomial: P(3, 4), 2
_median: X(3, 5), 1, False
_normalize: [X(3, 4), X(4), X(4)], True, (1,), 1e-5
_normalize_rows: X(3, 4), X(4), X(4), (1,), 1e-5
_normalize_rows_backward: X(64, 8), X(64, 8), X(64, 1), P(64, 1), X(8), 32
_normalize_even_backward: X(3, 4), X(3, 4), X(3, 1), P(3, 1), X(3, 1), (1,)
_rms_normalize: X(3, 4), X(4), (1,), 1e-5
_normalize_by: X(3, 4), X(4), P(4), X(4), X(4), 1e-5
_normalize_by_channel: X(3, 4), X(4), P(4), X(4), X(4), 1e-5
_normalize_backward: X(3, 4), X(3, 4), X(3, 1), P(3, 1), X(4), (1,)
_rms_normalize_backward: X(3, 4), X(3, 4), P(3, 1), X(4), (1,)
_normalize_weight_sums: X(3, 4), X(3, 4), X(3, 1), P(3, 1), (4,)

sort argsort msort mode: X(3, 5)
_sort: X(3, 5), 1, True
topk: X(3, 5), 2; X(3, 5), 2, 0, False
_topk: X(3, 5), 1, True, 2
kthvalue: X(3, 5), 2
_kthvalue: X(3, 5), 1, 2
_mode: X(3, 5), 1
unique unique_consecutive: I(4, 9)
_unique _unique_consecutive: I(4, 9), 0
_distinct: N(3, 1, 1, 2), True, True, True
_rows_where: X(3, 4), B(3, 4)
searchsorted: X(5).sort()[0], X(3, 4)
_searchsorted: X(5).sort()[0], X(3, 4), False, False, None
bucketize: X(3, 4), X(5).sort()[0]
isin _isin: I(9, 3, 4), I(9, 4)
bincount: I(4, 9); I(4, 9), X(9)
_tally: N(3, 1, 1, 2), 5
_histc: X(9), 4, -1.0, 1.5
histogram: X(9), 4
histogram.bins_tensor: X(9), X(5).sort()[0]
_histogram_edges: X(9), X(5).sort()[0], None, False
_histogram_bins: X(9), 4, None, None, False
histogramdd: X(9, 2), [2, 3]
_histogramdd_counts: X(9, 2), [2, 3], None, None, False
_histogramdd_edges: X(9, 2), [X(4).sort()[0], X(4).sort()[0]], None, False
nonzero argwhere _nonzero: B(3, 4)

index: X(3, 4), [I(3, 2), I(4, 2)]; X(3, 4), [None, I(4, 2)]; X(3, 4), [B(3)]
index_put: X(3, 4), [N(2, 0), N(1, 3)], X(2); X(3, 4), [N(2, 2), N(1, 1)], X(2), True
index_select: X(3, 4), 1, N(2, 0)
index_add index_copy: X(3, 4), 1, N(2, 0), X(3, 2)
index_fill: X(3, 4), 1, N(2, 0), X()
index_reduce: X(3, 4), 1, N(2, 0), X(3, 2), "prod"; X(3, 4), 0, N(2, 2), X(2, 4), "amax"
gather: X(3, 4), 1, I(4, 3, 2)
scatter.src scatter_add: X(3, 4), 1, N([0, 1], [2, 3], [3, 0]), X(3, 2)
scatter.value: X(3, 4), 1, N([0, 1], [2, 3], [3, 0]), 2.0
scatter.reduce: X(3, 4), 1, N([0, 1], [2, 2], [3, 0]), X(3, 2), reduce="multiply"
scatter.value_reduce: X(3, 4), 1, N([0, 1], [2, 3], [3, 0]), 2.0, reduce="multiply"
scatter_reduce: X(3, 4), 1, N([0, 1], [2, 2], [3, 0]), X(3, 2), "sum"; \
X(3, 4), 1, N([0, 1], [2, 2], [3, 0]), X(3, 2), "mean"
take: X(3, 4), N(1, 7, 3)
take_along_dim: X(3, 4), I(4, 3, 2), 1
put: X(3, 4), N(1, 7, 3), X(3)
masked_select: X(3, 4), B(3, 4)
masked_scatter: X(3, 4), B(3, 4), X(12)
repeat_interleave: X(3, 4), 2, 1; X(3), N(1, 0, 2)
_repeat_each: X(3, 4), 2, 1
_repeated: N(1, 0, 2), 3
_repeat_rows: N(1, 0, 2), 3
unravel_index: I(12, 5), (3, 4)
_resample: X(3, 4), 1, I(4, 2, 3), U(2, 3), I(3, 2, 4), U(2, 4)

as_strided as_strided_copy: X(12), (2, 3), (4, 1), 1
as_strided_scatter: X(12), X(2, 3), (2, 3), (4, 1), 1
broadcast_to expand expand_copy: X(3, 1), (2, 3, 4)
expand_as: X(3, 1), X(3, 4)
sum_to_size: X(3, 4), (3, 1)
select select_copy: X(3, 4), 1, 2
select_scatter: X(3, 4), X(3), 1, 2
slice slice_copy: X(3, 4), 1, 1, 4, 2
slice_scatter: X(3, 4), X(3, 2), 1, 0, 4, 2
narrow narrow_copy: X(3, 4), 1, 1, 2
permute permute_copy: X(2, 3, 4), (2, 0, 1)
transpose transpose_copy swapaxes swapdims: X(2, 3, 4), 0, 2
moveaxis movedim: X(2, 3, 4), (0,), (2,)
flip: X(3, 4), (0, 1)
roll: X(3, 4), (1,), (1,); X(3, 4), 5; X(3, 4), 1, 0
repeat tile: X(3, 4), (2, 1, 2)
reshape view view_copy: X(3, 4), (2, 6)
reshape_as view_as: X(3, 4), X(2, 6)
unflatten: X(3, 4), 1, (2, 2)
unfold unfold_copy: X(3, 5), 1, 3, 2
flatten: X(2, 3, 4), 1
squeeze squeeze_copy: X(3, 1, 4)
split split_copy unsafe_split: X(5, 4), 2
_split: X(5, 4), 2
chunk unsafe_chunk: X(5, 4), 3
tensor_split: X(5, 4), 3
split_with_sizes split_with_sizes_copy: X(5, 4), (2, 3)
hsplit: X(3, 4), 2
vsplit: X(4, 3), 2
dsplit: X(2, 3, 4), 2
cat concat concatenate: [X(3, 4), X(2, 4)]; [X(3, 2), X(3, 4)], 1
stack: [X(3, 4), X(3, 4)], 1
hstack column_stack: [X(3, 4), X(3, 2)]
vstack row_stack: [X(3, 4), X(2, 4)]
dstack: [X(3, 4), X(3, 4)]
block_diag: [X(2, 3), X(2, 2)]
broadcast_tensors: [X(3, 1), X(4)]
cartesian_prod meshgrid: [X(3), X(2)]
combinations: X(4)
kron: X(2, 3), X(2, 2)
vander linalg.vander: X(4)
diff: X(3, 4); X(3, 4), 2, 0
_zero_pad constant_pad_nd: X(3, 4), (1, 2), 0.5
nn.pad: X(2, 3, 4), (1, 2), "reflect"; X(2, 3, 4), (1, -1, 2, 0)
view_as_complex view_as_complex_copy: X(3, 2)
view_as_real view_as_real_copy imag: X(3, 4) * (1 + 1j)
_view_dtype: X(3, 4), torch.int32
cross linalg.cross: X(3, 3), X(3, 3)
channel_shuffle native_channel_shuffle: X(2, 4, 3, 2), 2
pixel_shuffle: X(2, 8, 2, 3), 2
pixel_unshuffle: X(2, 2, 4, 6), 2

mm: X(3, 4), X(4, 2)
_integer_mm: I(9, 3, 4), I(9, 4, 2)
bmm: X(2, 3, 4), X(2, 4, 2)
mv: X(3, 4), X(4)
_dot: X(5), X(5)
dot vdot: X(4), X(4)
outer: X(3), X(4)
inner: X(3, 4), X(2, 4)
matmul linalg.matmul: X(3, 4), X(4, 2); X(2, 3, 4), X(4); X(5, 1, 3, 4), X(2, 4, 2)
addmm: X(3, 2), X(3, 4), X(4, 2); X(2), X(3, 4), X(4, 2), beta=2, alpha=3
addmv: X(3), X(3, 4), X(4)
addr: X(3, 4), X(3), X(4)
addbmm: X(3, 2), X(2, 3, 4), X(2, 4, 2)
baddbmm: X(2, 3, 2), X(2, 3, 4), X(2, 4, 2)
bilinear: X(3, 2), X(3, 4), X(5, 2, 4), X(5)
einsum: "ij,jk->ik", [X(3, 4), X(4, 2)]; "bii->b", [X(2, 3, 3)]
tensordot: X(2, 3, 4), X(3, 4, 2)
nn.linear: X(3, 4), X(2, 4), X(2); X(4), X(2, 4)
linalg.multi_dot: [X(2, 3), X(3, 4), X(4, 2)]
linalg.vecdot: X(3, 4), X(3, 4)

matrix_power linalg.matrix_power: W(3), 3
cholesky linalg.cholesky linalg.cholesky_ex: S(3)
cholesky_inverse: L(3)
cholesky_solve: X(3, 2), L(3)
linalg._cholesky: S(3), False, "cholesky", True
linalg.eigh linalg.eigvalsh: S(3)
linalg._eigh linalg._eigvalsh: S(3), "L"
linalg._inv: W(3), "inv", True
linalg._ldl: S(3), False
linalg._eig: W(3), "eig"
linalg.ldl_factor linalg.ldl_factor_ex: S(3)
linalg.ldl_solve: *torch.linalg.ldl_factor(S(3)), X(3, 2)
linalg._ldl_solve: *torch.linalg.ldl_factor(S(3)), X(3, 2), False
linalg._lstsq: X(4, 2), X(4, 3), 1e-10
linalg.lstsq: X(4, 2), X(4, 3)
linalg._pinv: X(4, 2), torch.tensor(0.0, dtype=torch.float64), \
torch.tensor(1e-10, dtype=torch.float64), False
linalg.pinv pinverse linalg.matrix_rank linalg.svdvals linalg._svdvals: X(4, 2)
linalg._qr: X(4, 3), "reduced"
linalg.qr qr geqrf _geqrf: X(4, 3)
linalg._solve: W(3), X(3, 2), "solve", True
linalg.solve linalg.solve_ex: W(3), X(3, 2)
linalg._solve_triangular: L(3), X(3, 2), False, True, False
linalg.solve_triangular: L(3), X(3, 2), upper=False
triangular_solve: X(3, 2), torch.triu(W(3))
linalg._svd: X(4, 3), False
linalg.svd: X(4, 3), False
svd: X(4, 3)
lu_solve: X(3, 2), *torch.linalg.lu_factor(W(3))
linalg.lu_solve: *torch.linalg.lu_factor(W(3)), X(3, 2)
lu_unpack: *torch.linalg.lu_factor(W(3)),
_permutation: N(3, 2, 3), 3
orgqr linalg.householder_product: X(4, 3), X(3)
ormqr: X(4, 3), X(3), X(4, 2)
linalg.tensorinv: W(6).reshape(2, 3, 6)
linalg.tensorsolve: W(6).reshape(2, 3, 6), X(2, 3)
matrix_exp lu det logdet slogdet inverse: W(3)

conv1d: X(2, 3, 6), X(4, 3, 3), X(4); X(2, 4, 6), X(4, 2, 3), None, 2, 1, 1, 2
conv2d: X(2, 3, 5, 6), X(4, 3, 3, 3), X(4); X(2, 3, 5, 6), X(4, 3, 3, 2), None, 2, 1, 2; \
X(1, 2, 5, 4), X(4, 1, 3, 3), None, 1, "same", 1, 2
conv3d: X(1, 2, 4, 3, 4), X(3, 2, 2, 2, 2), X(3)
conv_tbc: X(5, 2, 3), X(3, 3, 4), X(4); X(5, 2, 3), X(2, 3, 4), X(4), 1
conv_transpose1d: X(2, 3, 5), X(3, 4, 3), X(4), 2, 1, 1
conv_transpose2d: X(2, 3, 4, 3), X(3, 2, 3, 2), X(2), 2, 1
conv_transpose3d: X(1, 2, 3, 2, 3), X(2, 2, 2, 2, 2)
_convolution_weight: X(2, 3, 5, 6), X(2, 4, 5, 6), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1
convolution: X(2, 3, 5, 6), X(4, 3, 3, 3), None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1
nn.avg_pool1d max_pool1d nn.max_pool1d_with_indices: X(2, 3, 6), 2; X(2, 3, 7), 3, 2, 1
nn.avg_pool2d max_pool2d nn.max_pool2d_with_indices: X(2, 3, 4, 6), 2; X(3, 5, 6), 3, 2, 1
nn.avg_pool3d max_pool3d nn.max_pool3d_with_indices: X(2, 1, 4, 4, 2), 2
_window_places: N(1, 0, 1), (6,), (2,), (2,), (0,), (1,)
_max_pool: X(2, 4, 6), (2,), (2,), (0,), (1,), False
_sum_pool: X(2, 4, 6), (2,), (2,), (0,), False
nn.adaptive_avg_pool1d nn.adaptive_max_pool1d: X(2, 3, 7), 3
nn.adaptive_avg_pool2d nn.adaptive_max_pool2d: X(2, 3, 5, 6), (2, 3)
nn.adaptive_avg_pool3d nn.adaptive_max_pool3d: X(1, 2, 4, 3, 5), (2, 2, 2)
nn.fractional_max_pool2d: X(2, 3, 6, 7), 2, (3, 3), U(2, 3, 2)
nn.fractional_max_pool3d: X(1, 2, 5, 5, 5), 2, (2, 2, 2), U(1, 2, 3)
_random_windows: U(2, 3, 2), (6, 7), (3, 3), (2, 2)
nn.max_unpool2d: X(1, 1, 2, 2), N(0, 3, 8, 11).reshape(1, 1, 2, 2), (4, 4)
nn.max_unpool3d: X(1, 1, 1, 2, 2), N(0, 3, 8, 11).reshape(1, 1, 1, 2, 2), (2, 4, 4), (2, 2, 2), \
(0, 0, 0)
nn.im2col: X(2, 3, 5, 4), (2, 2), (1, 1), (1, 1), (1, 2)
nn.col2im: X(2, 12, 6), (4, 3), (2, 2), (1, 1), (0, 0), (1, 1)
nn.upsample_nearest1d nn._upsample_nearest_exact1d: X(2, 3, 4), (6,)
nn.upsample_nearest2d nn._upsample_nearest_exact2d: X(2, 3, 4, 3), (6, 5)
nn.upsample_nearest3d nn._upsample_nearest_exact3d: X(1, 2, 2, 3, 2), (3, 4, 5)
nn.upsample_linear1d: X(2, 3, 4), (6,), False
nn.upsample_bilinear2d nn.upsample_bicubic2d nn._upsample_bilinear2d_aa nn._upsample_bicubic2d_aa \
nn._upsample_lanczos2d_aa: X(1, 2, 4, 3), (6, 2), False
nn.upsample_trilinear3d: X(1, 2, 2, 3, 2), (3, 4, 5), True
affine_grid_generator: X(2, 2, 3), (2, 3, 4, 5), False
grid_sampler: X(2, 3, 4, 5), V(2, 3, 2, 2), 0, 0, False; X(2, 3, 4, 5), V(2, 3, 2, 2), 2, 1, True
grid_sampler_2d: X(2, 3, 4, 5), V(2, 3, 2, 2), 1, 0, False
grid_sampler_3d: X(1, 2, 3, 4, 3), V(1, 2, 2, 2, 3), 0, 0, False
_sample_nearest: X(2, 3, 4, 5), V(2, 3, 2, 2), 0, False

batch_norm: X(3, 4, 2), X(4), X(4), X(4), P(4), False, 0.1, 1e-5, True; \
X(3, 4, 2), X(4), X(4), None, None, True, 0.1, 1e-5, True
native_batch_norm: X(3, 4, 2), X(4), X(4), X(4), P(4), False, 0.1, 1e-5
instance_norm: X(2, 3, 4), X(3), X(3), None, None, True, 0.1, 1e-5, True
group_norm: X(2, 4, 3), 2, X(4), X(4)
native_group_norm: X(2, 4, 3), X(4), X(4), 2, 4, 3, 2, 1e-5
layer_norm: X(2, 3, 4), (4,), X(4), X(4); X(2, 3, 4), (3, 4)
native_layer_norm: X(2, 3, 4), (4,), X(4), X(4), 1e-5
rms_norm: X(2, 3, 4), (4,), X(4)
embedding: X(5, 3), I(5, 2, 4)
embedding_dense_backward: X(2, 4, 3), I(5, 2, 4), 5, 1
embedding_renorm_: X(5, 3), I(5, 4), 0.7, 2.0
embedding_bag: X(5, 3), I(5, 6), N(0, 2, 5); X(5, 3), I(5, 6), N(0, 2, 5), False, 1
_window_spread: X(2, 3, 4), I(2, 2, 3, 4), [8], [2], [2], [0]; \
X(2, 3, 3), I(3, 2, 3, 3), [7], [3], [2], [0]
_bags: N(0, 2, 5), 6, False
_bag_largest: X(6, 3), I(6, 5), N(0, 0, 1, 1, 2), B(5) | True, 3
_gathered_sum: X(6, 3), I(6, 5), N(0, 0, 1, 1, 2), X(5), B(5), 3
nn.one_hot _one_hot nn._class_below: I(4, 5), 4
nn._probability: U(3, 4)
nn.scaled_dot_product_attention: X(2, 3, 4), X(2, 5, 4), X(2, 5, 4); \
X(2, 2, 3, 4), X(2, 2, 3, 4), X(2, 2, 3, 4), is_causal=True; \
X(2, 3, 4), X(2, 5, 4), X(2, 5, 4), X(3, 5)
_attention: [X(2, 2, 3, 4), X(2, 2, 3, 4), X(2, 2, 3, 4)], True, 0.5
_attention_tiles: X(2, 2, 3, 4), X(2, 2, 5, 4), X(2, 2, 5, 4), False, 0.5
_attention_tiles_backward: X(2, 2, 3, 4), *(t := [X(2, 2, 3, 4) for _ in range(3)]), \
*op("_attention_tiles")(*t, True, 0.5), True, 0.5
dropout alpha_dropout feature_dropout feature_alpha_dropout: X(3, 4), 0.3, False
gru_cell: X(2, 3), X(2, 4), X(12, 3), X(12, 4), X(12), X(12)
rnn_tanh_cell rnn_relu_cell: X(2, 3), X(2, 4), X(4, 3), X(4, 4), X(4), X(4)
lstm_cell: X(2, 3), [X(2, 4), X(2, 4)], X(16, 3), X(16, 4), X(16), X(16)
_lstm_layer: X(5, 3), X(2, 4), X(2, 4), X(16, 3), X(16, 4), X(16), X(16), None, (2, 2, 1), True, \
    False; \
    X(5, 3), X(2, 2), X(2, 4), X(16, 3), X(16, 2), None, None, X(2, 4), (2, 2, 1), False, False
_lstm_layer_back: X(5, 4), X(2, 4), X(2, 4), U(5, 16), X(5, 4), X(16, 4), None, (2, 2, 1), True, \
    False; \
    X(5, 2), X(2, 2), X(2, 4), U(5, 16), X(5, 4), X(16, 2), X(2, 4), (2, 2, 1), False, False
_recurrent_layer: "GRU", (2, 2, 1), True, False, X(5, 3), [X(2, 4)], \
    [X(12, 3), X(12, 4), X(12), X(12), None]
_gru_layer: X(5, 3), X(2, 4), X(12, 3), X(12, 4), X(12), X(12), (2, 2, 1), True, False
_gru_layer_back: X(5, 4), X(2, 4), U(5, 12), X(5, 4), X(5, 4), X(12, 4), (2, 2, 1), True, False
_rnn_layer: X(5, 3), X(2, 4), X(4, 3), X(4, 4), X(4), X(4), True, (2, 2, 1), True, False
_sum_over_rows: X(5, 4), X(5, 3), I(1, 0), X(1, 3)[:0], I(1, 0); \
    X(5, 4), (x := X(3, 3))[(i := I(3, 5))], i, x, N(3); X(5, 4), X(5, 3), I(1, 5), X(2, 3), N(3)
_rnn_layer_back: X(5, 4), X(2, 4), X(5, 4), X(4, 4), False, (2, 2, 1), False, False

nn._class_index: I(4, 3), 4, -100
_within: X(3, 4), -2.0, 2.0, "{}"; I(4, 3), 0, 3, ""
nn._log_loss: X(3, 4), I(4, 3), 1
nn.binary_cross_entropy: U(3, 4), U(3, 4)
nn.cross_entropy_loss: X(3, 4), I(4, 3); X(3, 4), U(3, 4); \
X(2, 4, 3), I(4, 2, 3), P(4), label_smoothing=0.1
nn.nll_loss_nd: X(3, 4), I(4, 3); X(2, 4, 3), I(4, 2, 3), P(4)
nn._nll_slope: X(3), I(4, 3), P(4), (3, 4), 0, -100
nn.multi_margin_loss: X(3, 4), I(4, 3)
nn.multilabel_margin_loss: X(3, 4), N([1, 2, -1, 0], [3, -1, 0, 0], [0, 1, 2, 3])
nn.cosine_embedding_loss: X(3, 4), X(3, 4), N(1, -1, 1); X(4), X(4), N(1)[0]
nn.margin_ranking_loss: X(4), X(4), N(1, -1, 1, 1)
nn.hinge_embedding_loss: X(4), N(1, -1, 1, 1)
nn.soft_margin_loss: X(4), N(1, -1, 1, 1) + 0 * X(4)
nn.kl_div: X(3, 4), U(3, 4)
nn.poisson_nll_loss: X(3, 4), P(3, 4), True, False, 1e-8, 1
ctc_loss.IntList: X(6, 2, 4).log_softmax(-1), N([1, 2, 3], [2, 2, 1]), [6, 5], [3, 2]
ctc_loss.Tensor: X(6, 2, 4).log_softmax(-1), N([1, 2, 3], [2, 2, 1]), N(6, 5), N(3, 2)
_ctc_loss: X(6, 2, 4).log_softmax(-1), N([1, 2, 3], [2, 2, 1]), [6, 5], [3, 2]

_ctc_loss_backward: X(2), (p := X(6, 2, 4).log_softmax(-1)), (t := N([1, 2, 3], [2, 2, 1])), \
*op("_ctc_loss")(p, t, [6, 5], [3, 2]), [6, 5], [3, 2], 0, False

fft.hfft fft.ihfft fft.irfft fft.rfft fft.fft fft.ifft: X(3, 4); X(3, 4), 5, 0, "ortho"
_fft_c2c: X(3, 4) + 0j, (1,), 0, True
_fft_c2r: X(3, 3) + 0j, (1,), 0, 5
_fft_r2c: X(3, 4), (1,), 0
_fftfreq: 5, 0.5, False
fft.fftfreq fft.rfftfreq: 5, 0.5

_to_copy: X(3, 4), torch.float64, True
arange: 1, 9, 2
_iota: 5, 2
_stepped: (5,), 2, 3, torch.int64
_spaced: (5,), 0.5, 2.5, 0.5, 5, torch.float32
_diagonal: (3, 4), torch.float32
empty: (3, 4)
empty_strided: (3, 4), (1, 3)
eye: 3, 4
full: (3, 4), 2.0
new_full: X(2), (3, 4), 2.0
new_empty new_ones new_zeros: X(2), (3, 4)
linspace: 0.5, 3, 5
logspace: 0, 2, 5, 10.0
tril_indices triu_indices: 3, 4, 0
_randperm: 5
bernoulli _bernoulli poisson _standard_gamma _sample_dirichlet: U(3, 4)
binomial: N(3, 5, 9).to(P().dtype), U(3)
bernoulli.p: X(3, 4), 0.3
bernoulli_.Tensor: X(3, 4), U(3, 4)
geometric_: X(3, 4), 0.3
random_.from: X(3, 4), 2, 9
random_.to: X(3, 4), 9
_normal: X(3, 4), P(3, 4)
_leaks: X(3, 4), 0.1, 0.3
_box_muller: torch.zeros(4, 8), torch.zeros(4, 8), 0.0, 1.0

_sgd_: X(3, 4), X(3, 4), X(3, 4), 0.1, 0.9, 0.0, 0.01, True
_rmsprop_: X(3, 4), X(3, 4), P(3, 4), None, X(3, 4), 0.1, 0.9, 1e-8, 0.01, 0.9
_adagrad_: X(3, 4), X(3, 4), P(3, 4), 0.1, 1e-8, 0.01
_adadelta_: X(3, 4), X(3, 4), P(3, 4), P(3, 4), 0.1, 0.9, 1e-6, 0.01
_adamax_: X(3, 4), X(3, 4), X(3, 4), P(3, 4), 0.1, 0.9, 0.99, 1e-8, 0.01
_nadam_: X(3, 4), X(3, 4), X(3, 4), P(3, 4), 0.9, 0.99, 1e-8, 0.01, 1.0, 0.1, 0.1, 0.1
_radam_: X(3, 4), X(3, 4), X(3, 4), P(3, 4), 0.9, 0.99, 1e-8, 0.01, 1.0, 0.1, 1.0
_asgd_: X(3, 4), X(3, 4), X(3, 4), 0.1, 0.9, 0.5, 0.01
_rprop_: X(3, 4), X(3, 4), X(3, 4), P(3, 4), 0.5, 1.2, 1e-6, 50.0
_descend_: X(3, 4), X(3, 4), 0.9, 0.1
_blend_: X(3, 4), X(3, 4), 0.3
_adam_: X(3, 4), X(3, 4), X(3, 4), P(3, 4), None, 0.9, 0.99, 0.0, 1.0, 0.1, 1e-8
"""


def key_of(op):
    """How `SAMPLES` names an op."""
    name = op.name + (f".{op.overload}" if op.overload else "")
    return name if op.namespace in ("", "aten") else f"{op.namespace}.{name}"


OPS = {key_of(op): op for declared in registry.values() for op in declared}


def _lines():
    table = {}
    for line in SAMPLES.replace("\\\n", "").splitlines():
        names, colon, calls = line.partition(":")
        for name in names.split():
            assert colon and name not in table, f"a second line for {name}"
            table[name] = [call.strip() for call in re.split(r";\s", calls)]
    return table


LINES = _lines()
_DIMENSIONS = {"int": "1", "int[]": "(1,)"}


def derived(op):
    """A call of tensors of one shape; None where the schema wants more than that."""
    made = []
    for argument in op.schema.arguments:
        if argument.has_default or (argument.optional and argument.is_tensor):
            continue
        if argument.is_tensor and not argument.list:
            made.append("W(3)" if op.namespace == "linalg" else "X(3, 4)")
        elif argument.name == "dim":
            made.append(_DIMENSIONS["int[]" if argument.list else "int"])
        else:
            return None
    return ", ".join(made)


def calls(key):
    """The calls of an op, as text."""
    if key in LINES:
        return LINES[key]
    text = derived(OPS[key])
    return [] if text is None else [text]


def make(key, text, dtype=torch.float64):
    """The arguments that `text` describes."""
    makers = Makers(key + text, dtype)
    names = {name: getattr(makers, name) for name in "PXUVWSLIBN"}
    names |= {"torch": torch, "op": lambda name: OPS[name].door}
    names["call"] = lambda *args, **kwargs: Call(args, kwargs)
    return eval(f"call({text})", names)
