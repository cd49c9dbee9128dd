"""Views: the same memory under another layout, and the copies that fall back from them."""

import math

from flambeau import runtime
from flambeau.types import Layout, by_name, layout, looks_channels_last, meta, row_major

from .family import View, fixed, view
from .family.launch import expand as expand_layout
from .family.reduction import wrap_dim
from .op import composite, find

BOOL = by_name("bool")


def _sizes(layout: Layout, size) -> tuple[int, ...]:
    """`size` with its -1 worked out for a tensor of `layout`."""
    known, unknown = 1, None
    for i, n in enumerate(size):
        if n == -1:
            if unknown is not None:
                raise RuntimeError("only one dimension can be inferred")
            unknown = i
        elif n < 0:
            raise RuntimeError(f"invalid shape dimension {n} at index {i} of shape {list(size)}")
        else:
            known *= n
    if unknown is None and known == layout.numel:
        return tuple(size)
    if unknown is not None and known and layout.numel % known == 0:
        return (*size[:unknown], layout.numel // known, *size[unknown + 1 :])
    if unknown is not None and known == 0 and layout.numel == 0:
        raise RuntimeError(
            f"cannot reshape tensor of 0 elements into shape {list(size)} because the unspecified "
            "dimension size -1 can be any value and is ambiguous"
        )
    raise RuntimeError(f"shape '{list(size)}' is invalid for input of size {layout.numel}")


def view_strides(source: Layout, shape) -> tuple[int, ...] | None:
    """Strides under which `source`'s memory has `shape`, or None where only a copy could.

    Walks both shapes from the right: each run of source dimensions that lies without gaps must be a
    product of consecutive sizes of the new shape.
    """
    if source.contiguous or source.numel == 0:
        return row_major(shape)
    strides: list[int] = []
    new = list(shape)
    have = [(n, s) for n, s in zip(source.shape, source.strides, strict=True) if n != 1]
    place = len(have) - 1
    while place >= 0:
        run, step = have[place]
        place_next = place - 1
        while place_next >= 0 and have[place_next][1] == run * step:
            run *= have[place_next][0]
            place_next -= 1
        place = place_next
        while run > 1 or (new and new[-1] == 1):
            if not new:
                return None
            n = new.pop()
            if n > run or (n and run % n):
                return None
            strides.append(step)
            step *= n
            run //= n
    while new:
        if new.pop() != 1:
            return None
        strides.append(strides[-1] if strides else 1)
    return tuple(reversed(strides))


def _view(source, size):
    shape = _sizes(source, size)
    strides = view_strides(source, shape)
    if strides is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    return source.reshaped(shape, strides), 0


view_ = view(
    "aten::view(Tensor self, int[] size) -> Tensor",
    """The same elements in the same order under another shape; an error where that needs a
    copy.
    """,
    layout=_view,
    function=False,
    grad=dict(self=lambda grad, self_layout: grad.reshape(self_layout.shape)),
)


@fixed("aten::reshape(Tensor self, int[] shape) -> Tensor")
def reshape(self, shape):
    """The elements in row-major order under another shape: a view where possible, else a copy."""
    source = self.layout
    shape = _sizes(source, shape)
    if view_strides(source, shape) is None:
        self = self.clone(memory_format=None).contiguous()
    return view_(self, *shape) if shape else view_(self, ())


def _expand(source, size, implicit=False):
    lead = len(size) - source.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand(torch.FloatTensor{{{list(source.shape)}}}, size={list(size)}): the number of "
            f"sizes provided ({len(size)}) must be greater or equal to the number of dimensions in "
            f"the tensor ({source.ndim})"
        )
    shape = []
    for d, n in enumerate(size):
        have = source.shape[d - lead] if d >= lead else None
        if n == -1:
            if have is None:
                raise RuntimeError(
                    "The expanded size of the tensor (-1) isn't allowed in a leading, "
                    f"non-existing dimension {d}"
                )
            n = have
        elif have is not None and have != n and have != 1:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                f"non-singleton dimension {d}.  Target sizes: {list(size)}.  Tensor sizes: "
                f"{list(source.shape)}"
            )
        elif n < 0:
            raise RuntimeError(f"numel: integer multiplication overflow: a size of {n}")
        shape.append(n)
    return expand_layout(source, tuple(shape)), 0


expand = view(
    "aten::expand(Tensor self, int[] size, *, bool implicit=False) -> Tensor",
    """The tensor repeated along dimensions of size 1 (and new leading ones), without a copy.""",
    layout=_expand,
    function=False,
    grad=dict(self=lambda grad, self_layout: grad.sum_to_size(self_layout.shape)),
)


def _permute(source, dims):
    if len(dims) != source.ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {source.ndim} is not "
            f"equal to len(dims) = {len(dims)}"
        )
    order = [wrap_dim(d, source.ndim) for d in dims]
    if len(set(order)) != len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return source.reshaped(
        tuple(source.shape[d] for d in order), tuple(source.strides[d] for d in order)
    ), 0


def _inverse(dims):
    rank = len(dims)
    inverse = [0] * rank
    for i, d in enumerate(dims):
        inverse[d % rank] = i
    return inverse


permute = view(
    "aten::permute(Tensor self, int[] dims) -> Tensor",
    """The dimensions in the order `dims`.""",
    layout=_permute,
    grad=dict(self=lambda grad, dims: grad.permute(_inverse(dims))),
)


def _transpose(source, dim0, dim1):
    a, b = wrap_dim(dim0, source.ndim), wrap_dim(dim1, source.ndim)
    if source.ndim == 0:
        return source, 0
    shape, strides = list(source.shape), list(source.strides)
    shape[a], shape[b] = shape[b], shape[a]
    strides[a], strides[b] = strides[b], strides[a]
    return source.reshaped(tuple(shape), tuple(strides)), 0


transpose = view(
    "aten::transpose(Tensor self, int dim0, int dim1) -> Tensor",
    """Two dimensions swapped.""",
    layout=_transpose,
    grad=dict(self=lambda grad, dim0, dim1: grad.transpose(dim0, dim1)),
)


def _t(source):
    if source.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {source.ndim}D")
    return _transpose(source, 0, 1) if source.ndim == 2 else (source, 0)


t = view(
    "aten::t(Tensor self) -> Tensor",
    """The transpose of a matrix; vectors and 0-dim tensors as they are.""",
    layout=_t,
    grad=dict(self=lambda grad: grad.t()),
)


class _Select(View):
    """One plan for all indices: the rows of a matrix share their layout, and only the offset
    differs.
    """

    unkeyed = frozenset(("index",))

    def plan(self, args):
        tensor, dim, _ = args
        source = tensor.layout
        if source.ndim == 0:
            raise IndexError("select() cannot be applied to a 0-dim tensor.")
        d = wrap_dim(dim, source.ndim)
        n, step = source.shape[d], source.strides[d]
        shape, strides = (
            source.shape[:d] + source.shape[d + 1 :],
            source.strides[:d] + source.strides[d + 1 :],
        )
        from_base = self.plan_with(args, source.reshaped(shape, strides))

        def plan(tensor, dim, index):
            if index.__class__ is not int:
                dim, index = self.schema.normalise((tensor, dim, index))[1:]
            if 0 <= index < n:
                return from_base(tensor, tensor._offset + index * step, dim, index)
            if not -n <= index < 0:
                raise IndexError(
                    f"select(): index {index} out of range for tensor of size {list(source.shape)} "
                    f"at dimension {d}"
                )
            return from_base(tensor, tensor._offset + (index + n) * step, dim, index)

        return plan


select = _Select(
    "aten::select(Tensor self, int dim, int index) -> Tensor",
    """The slice at `index` along `dim`, which disappears.""",
    None,
    dict(
        self=lambda grad, self_layout, dim, index: _scatter_back(
            self_layout, grad, lambda z: select(z, dim, index)
        )
    ),
)


def slice_bounds(n, start, end):
    """Python's clamping of slice bounds to a dimension of size `n`."""
    start = 0 if start is None else start
    end = n if end is None else end
    start = max(start + n, 0) if start < 0 else min(start, n)
    end = max(end + n, 0) if end < 0 else min(end, n)
    return start, max(end, start)


class _Slice(View):
    """One plan for all bounds: what depends on them is the length, and there is one layout for each
    length.
    """

    unkeyed = frozenset(("start", "end"))

    def plan(self, args):
        tensor, dim, _, _, step = args
        source = tensor.layout
        if source.ndim == 0:
            raise RuntimeError("slice() cannot be applied to a 0-dim tensor.")
        if step <= 0:
            raise RuntimeError("slice step must be positive")
        d = wrap_dim(dim, source.ndim)
        n, stride = source.shape[d], source.strides[d]
        apart = stride * step
        if apart * source.itemsize >= 2**63:  # there is one element then, of which it says nothing
            apart = stride
        strides = (*source.strides[:d], apart, *source.strides[d + 1 :])
        of_length: dict = {}
        args = (
            runtime.wrap(runtime.foreign(0, 0, None), source, 0),
            *args[1:],
        )  # a plan keeps no tensor alive

        def plan(tensor, dim, start, end, step):
            if (start.__class__ is not int and start is not None) or (
                end.__class__ is not int and end is not None
            ):
                dim, start, end, step = self.schema.normalise((tensor, dim, start, end, step))[1:]
            start, end = slice_bounds(n, start, end)
            length = (end - start + step - 1) // step
            from_base = of_length.get(length)
            if from_base is None:
                made = source.reshaped((*source.shape[:d], length, *source.shape[d + 1 :]), strides)
                from_base = of_length[length] = self.plan_with(args, made)
            return from_base(tensor, tensor._offset + start * stride, dim, start, end, step)

        return plan


slice_ = _Slice(
    "aten::slice(Tensor self, int dim=0, int? start=None, int? end=None, int step=1) -> Tensor",
    """The elements ``start:end:step`` along `dim`.""",
    None,
    dict(
        self=lambda grad, self_layout, dim, start, end, step: _scatter_back(
            self_layout, grad, lambda z: slice_(z, dim, start, end, step)
        )
    ),
    method=False,
)


def _scatter_back(layout, grad, place):
    """Zeros of the shape of `layout`, with `grad` written where the view reads."""
    zeros = grad.new_zeros(layout.shape)
    place(zeros).copy_(grad)
    return zeros


def _squeeze_layout(source, dims):
    keep = [d for d in range(source.ndim) if not (d in dims and source.shape[d] == 1)]
    return source.reshaped(
        tuple(source.shape[d] for d in keep), tuple(source.strides[d] for d in keep)
    ), 0


def _squeeze(source, dim):
    if dim is None:
        return _squeeze_layout(source, range(source.ndim))
    dims = [wrap_dim(d, source.ndim) for d in dim]
    for d in dims:
        if dims.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return _squeeze_layout(source, dims)


squeeze = view(
    "aten::squeeze(Tensor self, int[]? dim=None) -> Tensor",
    """Without the dimensions of size 1 (among `dim`, if given).""",
    layout=_squeeze,
    grad=dict(self=lambda grad, self_layout: grad.reshape(self_layout.shape)),
)


def _unsqueeze(source, dim):
    d = wrap_dim(dim, source.ndim + 1)
    stride = source.shape[d] * source.strides[d] if d < source.ndim else 1
    shape = (*source.shape[:d], 1, *source.shape[d:])
    return source.reshaped(shape, (*source.strides[:d], stride, *source.strides[d:])), 0


unsqueeze = view(
    "aten::unsqueeze(Tensor self, int dim) -> Tensor",
    """With a new dimension of size 1 at `dim`.""",
    layout=_unsqueeze,
    grad=dict(self=lambda grad, dim: grad.squeeze(dim)),
)


def _diagonal(source, offset, dim1, dim2):
    a, b = wrap_dim(dim1, source.ndim), wrap_dim(dim2, source.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rows, columns = source.shape[a], source.shape[b]
    if offset >= 0:
        n, start = max(min(rows, columns - offset), 0), offset * source.strides[b]
    else:
        n, start = max(min(rows + offset, columns), 0), -offset * source.strides[a]
    keep = [d for d in range(source.ndim) if d not in (a, b)]
    shape = (*(source.shape[d] for d in keep), n)
    strides = (*(source.strides[d] for d in keep), source.strides[a] + source.strides[b])
    return source.reshaped(shape, strides), start if n else 0


diagonal = view(
    "aten::diagonal(Tensor self, int offset=0, int dim1=0, int dim2=1) -> Tensor",
    """The diagonal of the matrices in `dim1` and `dim2`, as the last dimension.""",
    layout=_diagonal,
    grad=dict(
        self=lambda grad, self_layout, offset, dim1, dim2: _scatter_back(
            self_layout, grad, lambda z: diagonal(z, offset, dim1, dim2)
        )
    ),
)


def _unfold(source, dimension, size, step):
    d = wrap_dim(dimension, source.ndim)
    n = source.shape[d] if source.ndim else 1
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if size < 0 or step <= 0:
        raise RuntimeError(
            f"size is {size} but must be >= 0" if size < 0 else f"step is {step} but must be > 0"
        )
    if not source.ndim:
        return source.reshaped((size,), (1,)), 0
    shape, strides = list(source.shape), list(source.strides)
    shape[d], inner = (n - size) // step + 1, strides[d]
    strides[d] *= step
    return source.reshaped((*shape, size), (*strides, inner)), 0


unfold = view(
    "aten::unfold(Tensor self, int dimension, int size, int step) -> Tensor",
    """All windows of `size` along `dimension`, `step` apart, as a new last dimension.""",
    layout=_unfold,
    function=False,
    grad=dict(
        self=lambda grad, self_layout, dimension, step: unfold_backward(
            grad, self_layout.shape, dimension, step
        )
    ),
)


def _detach(source):
    return source, 0


detach = view(
    "aten::detach(Tensor self) -> Tensor", """The same memory without history.""", layout=_detach
)
alias = view(
    "aten::alias(Tensor self) -> Tensor",
    """A view of the whole tensor.""",
    layout=_detach,
    function=False,
    method=False,
    grad=dict(self=lambda grad: grad),
)


def _conj(source):
    if source.dtype.kind != "c":
        return None
    return layout(
        source.shape, source.strides, source.dtype, source.device, not source.conj, source.neg
    ), 0


conj = view(
    "aten::conj(Tensor self) -> Tensor",
    """The complex conjugate, in O(1): a bit of the layout is flipped. Real tensors are returned as
    they are.
    """,
    layout=_conj,
    grad=dict(self=lambda grad: grad.conj()),
)


def _neg_view(source):
    return layout(
        source.shape, source.strides, source.dtype, source.device, source.conj, not source.neg
    ), 0


neg_view = view(
    "aten::_neg_view(Tensor self) -> Tensor",
    """The negative, in O(1): a bit of the layout is flipped.""",
    layout=_neg_view,
    grad=dict(self=lambda grad: grad.neg()),
)


def _part(source, imaginary):
    strides = tuple(2 * s for s in source.strides)
    real = source.dtype.to_real()
    neg = source.neg != (imaginary and source.conj)
    return layout(source.shape, strides, real, source.device, False, neg)


class _PartOfComplex(View):
    """Real or imaginary part: offsets count in elements of half the size."""

    def plan(self, args):
        imaginary = self.name == "imag"
        source = args[0].layout
        if source.dtype.kind != "c":
            if imaginary:
                raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
            return lambda self: self
        return _offset_plan(self, args, _part(source, imaginary), lambda o: 2 * o + imaginary)


def _offset_plan(op, args, made, move):
    """A view whose offset is a function of the base's."""
    from_base = View.plan_with(op, args, made)
    return lambda self, *rest: from_base(self, move(self._offset), *rest)


real = _PartOfComplex(
    "aten::real(Tensor self) -> Tensor",
    """The real part: a view of complex tensors, real ones as they are.""",
    None,
    dict(self=lambda grad, self_layout: grad.to(self_layout.dtype)),
    method=False,
)
imag = _PartOfComplex(
    "aten::imag(Tensor self) -> Tensor",
    """The imaginary part of a complex tensor: a view.""",
    None,
    dict(self=lambda grad, self_layout: grad.to(self_layout.dtype) * 1j),
    method=False,
)


class _AsReal(View):
    def plan(self, args):
        source = args[0].layout
        if source.dtype.kind != "c":
            raise RuntimeError("view_as_real is only supported for complex tensors")
        if source.conj:
            raise RuntimeError(
                "view_as_real doesn't work on unresolved conjugated tensors.  To resolve the "
                "conjugate tensor so you can view it as real, use self.resolve_conj(); however, "
                "be warned that the resulting tensor will NOT alias the original."
            )
        part = _part(source, False)
        return _offset_plan(
            self, args, part.reshaped((*part.shape, 2), (*part.strides, 1)), lambda o: 2 * o
        )


view_as_real = _AsReal(
    "aten::view_as_real(Tensor self) -> Tensor",
    """A complex tensor as real, with a last dimension of real and imaginary part.""",
    None,
    dict(self=lambda grad: grad.contiguous().view_as_complex()),
)


class _AsComplex(View):
    def plan(self, args):
        source = args[0].layout
        if source.dtype.name not in ("float32", "float64"):
            raise RuntimeError(
                f"view_as_complex is only supported for half, float and double tensors, but got a "
                f"tensor of scalar type: {source.dtype.name}"
            )
        if not source.ndim or source.shape[-1] != 2:
            raise RuntimeError("Tensor must have a last dimension of size 2")
        if source.strides[-1] != 1:
            raise RuntimeError("Tensor must have a last dimension with stride 1")
        if any(s % 2 for s in source.strides[:-1]):
            raise RuntimeError(
                "Tensor must have a stride divisible by 2 for all but last dimension"
            )
        strides = tuple(s // 2 for s in source.strides[:-1])
        made = layout(
            source.shape[:-1], strides, source.dtype.to_complex(), source.device, False, source.neg
        )
        from_base = View.plan_with(self, args, made)

        def plan(tensor):
            if tensor._offset % 2:
                raise RuntimeError("Tensor must have a storage_offset divisible by 2")
            return from_base(tensor, tensor._offset // 2)

        return plan


view_as_complex = _AsComplex(
    "aten::view_as_complex(Tensor self) -> Tensor",
    """A real tensor whose last dimension is (real, imaginary) as complex.""",
    None,
    dict(self=lambda grad: grad.resolve_conj().view_as_real()),
)


class _AsStrided(View):
    def plan(self, args):
        source, size, stride = args[0].layout, args[1], args[2]
        if len(size) != len(stride):
            raise RuntimeError("mismatch in length of strides and shape")
        if any(n < 0 for n in size) or any(s < 0 for s in stride):
            raise RuntimeError(
                "as_strided: Negative strides are not supported at the moment, got strides: "
                f"{list(stride)}"
            )
        made = source.reshaped(tuple(size), tuple(stride))
        from_base = View.plan_with(self, args, made)

        def plan(tensor, size, stride, storage_offset=None):
            offset = tensor._offset if storage_offset is None else storage_offset
            end = (offset + made.span) * made.itemsize
            if offset < 0 or (end > tensor._storage.nbytes and made.device is not meta):
                raise RuntimeError(
                    f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset "
                    f"{offset}, and itemsize {made.itemsize} requiring a storage size of {end} are "
                    f"out of bounds for storage of size {tensor._storage.nbytes}"
                )
            return from_base(tensor, offset, size, stride, storage_offset)

        return plan


as_strided = _AsStrided(
    "aten::as_strided(Tensor self, int[] size, int[] stride, int? storage_offset=None) -> Tensor",
    """Any layout on the tensor's storage: `stride` and `storage_offset` in elements.""",
    None,
    dict(
        self=lambda grad, self_layout, self_offset, size, stride, storage_offset: (
            as_strided_backward(grad, self_layout, self_offset, size, stride, storage_offset)
        )
    ),
)


def as_strided_backward(grad, base, base_offset, size, stride, storage_offset):
    """Sums `grad` into the storage positions that the view reads, then reads them as the base
    lies.
    """
    offset = base_offset if storage_offset is None else storage_offset
    first = min(offset, base_offset)
    span = max(
        offset - first + grad.layout.reshaped(size, stride).span, base_offset - first + base.span
    )
    flat = grad.new_zeros((span,))
    index = flat.new_zeros(size, dtype=by_name("int64"))
    for d, (n, s) in enumerate(zip(size, stride, strict=True)):
        index = index + find("_iota").door(n, s).reshape((n,) + (1,) * (len(size) - 1 - d))
    index = index + (offset - first)
    flat = flat.index_add(0, index.reshape(-1), grad.reshape(-1))
    return flat.as_strided(base.shape, base.strides, base_offset - first)


@composite(
    "aten::as_strided_scatter(Tensor self, Tensor src, int[] size, int[] stride, int? "
    "storage_offset=None) -> Tensor"
)
def as_strided_scatter(self, src, size, stride, storage_offset):
    """`self` with `src` written where ``as_strided(size, stride, storage_offset)`` reads."""
    out = self.clone()
    out.as_strided(size, stride, storage_offset).copy_(src)
    return out


as_strided_scatter.gradients.update(
    self=lambda grad, self_layout, self_offset, size, stride, storage_offset: _erase(
        grad, self_layout, self_offset, size, stride, storage_offset
    ),
    src=lambda grad, self_layout, self_offset, size, stride, storage_offset: _in_place_of(
        grad, self_layout, self_offset, size, stride, storage_offset
    )[1].clone(),
)


def _in_place_of(grad, base, offset, size, stride, storage_offset):
    """A copy of `grad` that lies in memory as the base does, and the view of it at the given
    place.
    """
    block = grad.new_zeros(
        (max(offset + base.span, (storage_offset or 0) + base.reshaped(size, stride).span),)
    )
    whole = block.as_strided(base.shape, base.strides, offset)
    whole.copy_(grad)
    return whole, block.as_strided(
        size, stride, offset if storage_offset is None else storage_offset
    )


def _erase(grad, base, offset, size, stride, storage_offset):
    whole, part = _in_place_of(grad, base, offset, size, stride, storage_offset)
    part.zero_()
    return whole


def unfold_backward(grad, shape, dimension, step):
    """Adds overlapping windows back: one strided in-place addition for each place inside a
    window.
    """
    d = wrap_dim(dimension, len(shape))
    zeros = grad.new_zeros(shape)
    if not shape:
        return grad.sum()
    for k in range(grad.layout.shape[-1]):
        part = grad.select(-1, k)
        n = part.layout.shape[d]
        slice_(zeros, d, k, k + (n - 1) * step + 1 if n else k, step).add_(part)
    return zeros


# Whole families in terms of the above.


@fixed("aten::flatten(Tensor self, int start_dim=0, int end_dim=-1) -> Tensor")
def flatten(self, start_dim, end_dim):
    """Dimensions `start_dim` to `end_dim` merged into one."""
    shape = self.layout.shape
    if not shape:
        return self.reshape(1)
    start, end = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end:
        return self
    return self.reshape((*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def channels_behind(x):
    """[N, C, …] as [N, …, C], the way channels-last tensors lie."""
    return x.permute((0, *range(2, x.layout.ndim), 1))


def channels_before(x):
    """[N, …, C] as [N, C, …]."""
    return x.permute((0, x.layout.ndim - 1, *range(1, x.layout.ndim - 1)))


def channels_kept(made, source):
    """`made`, copied where its channels are not innermost and `source`'s are."""
    if not looks_channels_last(source.layout):
        return made
    return channels_before(channels_behind(made).contiguous())


__all__ = ["BOOL", "as_strided", "expand", "reshape", "select", "slice_", "view_strides"]
