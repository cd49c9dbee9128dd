"""Views by other names, repeating and rearranging, grids and products."""

import itertools
import math
import warnings

from flambeau import runtime
from flambeau._base import numpy
from flambeau.types import by_name, dense_like, layout, looks_channels_last

from . import splitting
from .contraction import plain_copy
from .family import fixed
from .family.chain import chain, viewed
from .family.launch import broadcast
from .family.reduction import wrap_dim
from .family.view import View
from .joining import alias_of, cat, checked, stack
from .op import composite, find, is_tensor, registry
from .promotion import result_type
from .views import expand, reshape, slice_

INT64 = by_name("int64")


# Views of one tensor.


@composite("aten::narrow(Tensor self, int dim, Any start, int length) -> Tensor")
def narrow(self, dim, start, length):
    """`length` slices along `dim` from `start` on: a view."""
    source = self.layout
    if not source.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    n = source.shape[wrap_dim(dim, source.ndim)]
    start = _whole(start)
    if not -n <= start <= n:
        raise IndexError(
            f"start out of range (expected to be in range of [{-n}, {n}], but got {start})"
        )
    start += n if start < 0 else 0
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_(self, dim, start, start + length, 1)


def _whole(start):
    if is_tensor(start):
        if start.layout.ndim or start.layout.dtype.kind not in "iu":
            raise RuntimeError("start must be an 0-dim integral Tensor.")
        return start.item()
    if not isinstance(start, int):
        raise TypeError(
            f"narrow(): argument 'start' (position 3) must be int, not {type(start).__name__}"
        )
    return start


@composite("aten::narrow_copy(Tensor self, int dim, Any start, int length) -> Tensor")
def narrow_copy(self, dim, start, length):
    """As `narrow`, copied."""
    if dim >= self.layout.ndim > 0:
        raise RuntimeError(f"Expected dim < self.dim(), but got {dim} and {self.layout.ndim}")
    if length < 0 and self.layout.ndim:
        raise RuntimeError(
            f"start ({start}) + length ({length}) exceeds dimension size "
            f"({self.layout.shape[dim]})."
        )
    return plain_copy(narrow(self, dim, start, length))


def _listed(dims):
    return (dims,) if isinstance(dims, int) else tuple(dims)


@fixed("aten::movedim(Tensor self, int[] source, int[] destination) -> Tensor")
def movedim(self, source, destination):
    """The dimensions `source` moved to the places `destination`; the others keep their order."""
    n = self.layout.ndim
    if len(source) != len(destination):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(source)} dims) should "
            f"contain the same number of dims as destination ({list(destination)} dims)"
        )
    start, end = [wrap_dim(d, n) for d in source], [wrap_dim(d, n) for d in destination]
    for name, dims in (("source", start), ("destination", end)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(
                f"movedim: repeated dim in `{name}` "
                f"({list(source if name == 'source' else destination)})"
            )
    if not n:
        return self.permute(())
    order: list = [None] * n
    for s, d in zip(start, end, strict=True):
        order[d] = s
    rest = iter([d for d in range(n) if d not in start])
    return self.permute([next(rest) if d is None else d for d in order])


moveaxis = alias_of("moveaxis", movedim)


@composite("aten::swapaxes(Tensor self, int axis0, int axis1) -> Tensor")
def swapaxes(self, axis0, axis1):
    """Two dimensions swapped."""
    return self.transpose(axis0, axis1)


@composite("aten::swapdims(Tensor self, int dim0, int dim1) -> Tensor")
def swapdims(self, dim0, dim1):
    """Two dimensions swapped."""
    return self.transpose(dim0, dim1)


def conjugate_of_scalar(self, name):
    """What PyTorch gives for the conjugate transpose of a 0-dim tensor."""
    message = f"{name} is deprecated on 0-D tensors. Consider using x.conj()."
    warnings.warn(message, UserWarning, stacklevel=4)
    return self.conj()


@composite("aten::adjoint(Tensor self) -> Tensor")
def adjoint(self):
    """The conjugate transpose of the last two dimensions."""
    if not self.layout.ndim:
        return conjugate_of_scalar(self, "adjoint()")
    if self.layout.ndim < 2:
        raise RuntimeError(
            "tensor.adjoint() is only supported on matrices or batches of matrices. Got "
            f"{self.layout.ndim}-D tensor."
        )
    made = self.transpose(-2, -1) if self.layout.ndim else self
    return made.conj() if made.layout.dtype.kind == "c" else made


@fixed("aten::ravel(Tensor self) -> Tensor")
def ravel(self):
    """All elements in row-major order as a vector: a view where possible."""
    return self.contiguous().reshape(-1)


@fixed("aten::unflatten(Tensor self, int dim, int[] sizes) -> Tensor")
def unflatten(self, dim, sizes):
    """One dimension split into several of the given sizes, one of which may be -1."""
    n = self.layout.ndim
    dim = wrap_dim(dim, n)
    have = self.layout.shape[dim] if n else 1
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    known = math.prod(s for s in sizes if s != -1)
    if sizes.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    fits = known == have if -1 not in sizes else (have % known == 0 if known else have == 0)
    if not fits:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} "
            f"({have}) in the input tensor"
        )
    sizes = [have // known if s == -1 and known else s for s in sizes]
    shape = self.layout.shape
    return self.view((*shape[:dim], *sizes, *shape[dim + 1 :]))


@composite("aten::view_as(Tensor self, Tensor other) -> Tensor", function=False)
def view_as(self, other):
    """``self.view(other.size())``."""
    return self.view(other.layout.shape)


@composite("aten::reshape_as(Tensor self, Tensor other) -> Tensor", function=False)
def reshape_as(self, other):
    """``self.reshape(other.size())``."""
    return self.reshape(other.layout.shape)


@composite("aten::expand_as(Tensor self, Tensor other) -> Tensor", function=False)
def expand_as(self, other):
    """``self.expand(other.size())``."""
    return expand(self, other.layout.shape)


@composite("aten::broadcast_to(Tensor self, int[] size) -> Tensor")
def broadcast_to(self, size):
    """``self.expand(size)``."""
    return expand(self, size)


@composite("aten::broadcast_tensors(Tensor[] tensors) -> Tensor[]", method=False)
def broadcast_tensors(tensors):
    """The tensors expanded to their common shape."""
    shape = broadcast([t.layout.shape for t in tensors])
    return tuple(t if t.layout.shape == shape else expand(t, shape) for t in tensors)


def _view_dtype(source, dtype):
    """The same bytes as another type: sizes of elements may differ in the last dimension."""
    for bit, name in (
        (source.conj, "conjugate view tensors"),
        (source.neg, "tensors with negative bit set"),
    ):
        if bit and dtype is not source.dtype:
            raise RuntimeError(
                f"torch.Tensor.view is not supported for {name} when converting to a different "
                "dtype."
            )
    if dtype.itemsize == source.itemsize:
        return (
            layout(source.shape, source.strides, dtype, source.device, source.conj, source.neg),
            1,
            1,
        )
    names = {"float32": "Float", "float64": "Double"}
    old, new = (names.get(d.name, d.name.capitalize()) for d in (source.dtype, dtype))
    text = f"to view {old} as {new} (different element sizes), "
    if not source.ndim:
        raise RuntimeError(f"self.dim() cannot be 0 {text.rstrip(', ')}")
    if source.strides[-1] != 1 and source.shape[-1] != 1:
        raise RuntimeError(f"self.stride(-1) must be 1 {text}but got {source.strides[-1]}")
    if dtype.itemsize < source.itemsize:
        times = source.itemsize // dtype.itemsize
        strides = (*(s * times for s in source.strides[:-1]), 1)
        return (
            layout((*source.shape[:-1], source.shape[-1] * times), strides, dtype, source.device),
            times,
            1,
        )
    times = dtype.itemsize // source.itemsize
    if source.shape[-1] % times:
        raise RuntimeError(
            f"self.size(-1) must be divisible by {times} {text}but got {source.shape[-1]}"
        )
    for d, s in enumerate(source.strides[:-1]):
        if s % times:
            raise RuntimeError(f"self.stride({d}) must be divisible by {times} {text}but got {s}")
    strides = (*(s // times for s in source.strides[:-1]), 1)
    return (
        layout((*source.shape[:-1], source.shape[-1] // times), strides, dtype, source.device),
        1,
        times,
    )


class _ViewDtype(View):
    def plan(self, args):
        made, up, down = _view_dtype(args[0].layout, args[1])

        def plan(tensor, dtype):
            if tensor._offset % down:
                raise RuntimeError(
                    f"self.storage_offset() must be divisible by {down} to view with larger "
                    "elements"
                )
            return runtime.wrap(tensor._storage, made, tensor._offset * up // down)

        return plan


view_dtype = _ViewDtype(
    "aten::_view_dtype(Tensor self, ScalarType dtype) -> Tensor",
    """The same bytes as elements of another type; not differentiable, and no view for backward.""",
    None,
    None,
    method=False,
    function=False,
)


def _resolve(name, bit):
    def body(self):
        return self.clone() if getattr(self.layout, bit) else self

    body.__doc__ = f"""The tensor itself, or a copy without {bit} bit where it has one."""
    return composite(f"aten::{name}(Tensor self) -> Tensor")(body)


resolve_conj, resolve_neg = _resolve("resolve_conj", "conj"), _resolve("resolve_neg", "neg")


@composite("aten::conj_physical(Tensor self) -> Tensor")
def conj_physical(self):
    """The complex conjugate, written out; real tensors are returned as they are."""
    return self.conj().clone() if self.layout.dtype.kind == "c" else self


conj_physical.inplace_form = True


def _copied(name, source):
    """The op ``NAME_copy`` of a view: its result in memory of its own."""
    _, _, rest = source.text.partition("(")

    def body(*args):
        made = source.door(*_positional(source, args), **_keyword(source, args))
        if isinstance(made, tuple):
            return tuple(plain_copy(m) for m in made)
        return plain_copy(made)

    body.__doc__ = f"""As `{name}`, in memory of its own."""
    return composite(f"aten::{name}_copy({rest}", method=False)(body)


def _positional(op, args):
    return [v for a, v in zip(op.schema.arguments, args, strict=True) if not a.keyword]


def _keyword(op, args):
    return {a.name: v for a, v in zip(op.schema.arguments, args, strict=True) if a.keyword}


for _name in (
    "alias",
    "as_strided",
    "detach",
    "diagonal",
    "expand",
    "permute",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "t",
    "transpose",
    "unbind",
    "unfold",
    "unsqueeze",
    "view_as_complex",
    "view_as_real",
):
    _copied(_name, registry[_name][0])
_copied("view", reshape)


# Repeating and rearranging.


@fixed("aten::repeat(Tensor self, int[] repeats) -> Tensor", function=False)
def repeat(self, repeats):
    """The tensor laid out `repeats` times along each dimension."""
    shape = self.layout.shape
    lead = len(repeats) - len(shape)
    if lead < 0:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor"
        )
    sizes = [r * n for r, n in zip(repeats, (1,) * lead + shape, strict=True)]
    if any(n < 0 for n in sizes) or any(r < 0 for r in repeats):
        bad = next(n for n in (*sizes, *repeats) if n < 0)
        raise RuntimeError(f"Trying to create tensor with negative dimension {bad}: {sizes}")
    paired = self.reshape([k for n in (1,) * lead + shape for k in (1, n)])
    paired = expand(
        paired, [k for r, n in zip(repeats, (1,) * lead + shape, strict=True) for k in (r, n)]
    )
    return plain_copy(paired).reshape(sizes)


@fixed("aten::tile(Tensor self, int[] dims) -> Tensor")
def tile(self, dims):
    """As `repeat`; missing leading counts are 1."""
    return repeat(self, (1,) * (self.layout.ndim - len(dims)) + tuple(dims))


def _flip(steps, self, dims):
    shape, strides = self.layout.shape, self.layout.strides
    seen = {wrap_dim(d, len(shape)) for d in dims}
    if len(seen) < len(dims):
        twice = next(d for d in seen if [wrap_dim(e, len(shape)) for e in dims].count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    back = [d for d in range(len(shape)) if d in seen]
    start = sum(strides[d] * (shape[d] - 1) for d in back)
    source = viewed(self, shape, [-s if d in back else s for d, s in enumerate(strides)], start)
    kept = layout(shape, dense_like(shape, strides), self.dtype, self.layout.device)
    out = viewed(steps.result(shape, self.dtype, kept), shape, kept.strides)
    steps.copy(out, source)


flip = chain(
    "aten::flip(Tensor self, int[] dims) -> Tensor",
    """The elements in reverse order along `dims`.""",
    build=_flip,
    grad=dict(self=lambda grad, dims: grad.flip(dims)),
)


def _flip_along(name, rank, dim):
    def body(self):
        if self.layout.ndim < rank:
            raise RuntimeError(f"Input must be >= {rank}-d.")
        return flip(self, (dim,))

    body.__doc__ = f"""The elements in reverse order along dimension {dim}."""
    return composite(f"aten::{name}(Tensor self) -> Tensor")(body)


fliplr, flipud = _flip_along("fliplr", 2, 1), _flip_along("flipud", 1, 0)


def _roll(steps, self, shifts, dims):
    if not shifts:
        raise RuntimeError("`shifts` required")
    if dims and looks_channels_last(self.layout):
        out = steps.result_like(self.layout, self.dtype)
    else:
        out = steps.result(self.layout.shape, self.dtype)
    if not dims and len(shifts) == 1:
        flat = (self.layout.numel,), (1,)
        self, out, dims = viewed(steps.dense(self), *flat), viewed(out, *flat), (0,)
    if len(shifts) != len(dims):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
        )
    if dims and not self.layout.ndim:
        raise IndexError(f"Dimension specified as {dims[0]} but tensor has no dimensions")
    cuts = [0] * self.layout.ndim
    for shift, dim in zip(shifts, dims, strict=True):
        d = wrap_dim(dim, self.layout.ndim)
        if self.layout.numel and self.layout.ndim:
            cuts[d] = (cuts[d] - shift) % self.layout.shape[d]
    # Each dimension falls into what lies behind its cut, which comes first, and what lies before.
    halves = [
        [(cut, n, 0), (0, cut, n - cut)] if cut else [(0, n, 0)]
        for n, cut in zip(self.layout.shape, cuts, strict=True)
    ]
    for part in itertools.product(*halves):
        shape = [stop - start for start, stop, _ in part]
        target, source = (
            viewed(
                b, shape, b.layout.strides, sum(p[k] * s for p, s in zip(part, b.layout.strides))
            )
            for k, b in ((2, out), (0, self))
        )
        steps.copy(target, source)


roll = chain(
    "aten::roll(Tensor self, int[] shifts, int[]? dims=None) -> Tensor",
    """The elements shifted along `dims` (of the flat tensor without `dims`); what falls off comes
    in again.
    """,
    build=_roll,
    grad=dict(self=lambda grad, shifts, dims: grad.roll([-s for s in _listed(shifts)], dims)),
)


@fixed("aten::rot90(Tensor self, int k=1, int[] dims=[0, 1]) -> Tensor")
def rot90(self, k, dims):
    """A rotation by `k` quarter turns in the plane of two dimensions."""
    n = self.layout.ndim
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if n < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {n}")
    if dims[0] == dims[1] or abs(dims[0] - dims[1]) == n:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    for i in (0, 1):
        if not -n <= dims[i] < n:
            raise RuntimeError(f"Rotation dim{i} out of range, dim{i} = {dims[i]}")
    k %= 4
    if k == 1:
        return flip(self, (dims[1],)).transpose(*dims)
    if k == 2:
        return flip(self, dims)
    return flip(self, (dims[0],)).transpose(*dims) if k == 3 else self.clone()


def _grid(tensors, indexing):
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    for t in tensors:
        if t.layout.ndim > 1:
            raise RuntimeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {t}"
            )
        if t.layout.dtype is not tensors[0].layout.dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(tensors) >= 2
    tensors = [tensors[1], tensors[0], *tensors[2:]] if swap else list(tensors)
    n = len(tensors)
    shape = tuple(t.layout.numel for t in tensors)
    grids = [
        expand(t.reshape((1,) * i + (-1,) + (1,) * (n - 1 - i)), shape)
        for i, t in enumerate(tensors)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@composite('aten::meshgrid(Tensor[] tensors, *, str indexing="ij") -> Tensor[]', method=False)
def meshgrid(tensors, indexing):
    """Coordinates of a grid: each vector along its own dimension, expanded over the others."""
    return _grid(tensors, indexing)


@fixed("aten::cartesian_prod(Tensor[] tensors) -> Tensor", method=False)
def cartesian_prod(tensors):
    """All combinations of one element from each vector, as rows."""
    for t in tensors:
        if t.layout.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.layout.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([g.reshape(-1) for g in _grid(tensors, "ij")], 1)


@fixed("aten::block_diag(Tensor[] tensors) -> Tensor", method=False)
def block_diag(tensors):
    """The matrices along the diagonal, zeros elsewhere."""
    blocks = []
    for i, t in enumerate(tensors):
        n = t.layout.ndim
        if n > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has "
                f"{n} dimensions"
            )
        blocks.append(t.reshape(1, -1) if n < 2 else t)
    dtype = result_type([b.layout for b in blocks])
    width = sum(b.layout.shape[1] for b in blocks)
    rows, left = [], 0
    for b in blocks:
        height, n = b.layout.shape
        before, after = (b.new_zeros((height, k), dtype=dtype) for k in (left, width - left - n))
        rows.append(cat([before, b.to(dtype), after], 1))
        left += n
    return cat(rows, 0) if rows else find("empty").door((1, 0))


@fixed("aten::combinations(Tensor self, int r=2, bool with_replacement=False) -> Tensor")
def combinations(self, r, with_replacement):
    """All choices of `r` elements of a vector, as rows."""
    if self.layout.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(self.layout.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return self.new_empty((0,))
    n = self.layout.shape[0]
    if with_replacement:
        count, rows = math.comb(n + r - 1, r), itertools.combinations_with_replacement(range(n), r)
    else:
        count, rows = math.comb(n, r), itertools.combinations(range(n), r)
    self.new_empty((count, r), dtype=INT64)  # refuses what memory cannot hold
    places = numpy.fromiter(itertools.chain.from_iterable(rows), numpy.int64, count * r)
    return self.index_select(0, self.new_tensor(places, dtype=INT64)).reshape((count, r))


@fixed("aten::kron(Tensor self, Tensor other) -> Tensor")
def kron(self, other):
    """The Kronecker product."""
    n = max(self.layout.ndim, other.layout.ndim)
    a, b = ((1,) * (n - x.layout.ndim) + x.layout.shape for x in (self, other))
    left = self.reshape([k for s in a for k in (s, 1)])
    right = other.reshape([k for s in b for k in (1, s)])
    return (left * right).reshape([x * y for x, y in zip(a, b, strict=True)])


__all__ = ["cat", "checked", "narrow", "splitting", "stack"]
