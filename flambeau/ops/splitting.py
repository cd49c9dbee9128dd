"""Splitting a tensor into several views at once."""

import itertools

from flambeau import runtime

from .family.reduction import wrap_dim
from .family.view import register
from .joining import cat, stack
from .modes import state
from .op import Op, composite
from .tape import Node, Output, next_order
from .views import slice_


class ManyViews(Node):
    """The node of views that were made together; `meaning` is (their layouts, the function that
    brings their gradients together).
    """

    __slots__ = ("count", "label", "meaning")
    results = property(lambda self: self.count)
    made_together = True  # PyTorch forbids writing one of them where they have a history

    def __init__(self, tensor, label, layouts, join):
        self.order = next_order()
        self.extra = self.shapes = None
        self.edges, self.saved = (tensor._node,), ()
        self.count, self.label, self.meaning = len(layouts), label, (layouts, join)

    def name(self):
        return self.label

    def run(self, grad, keep):
        """The gradient of the tensor that was split: zeros stand for views whose gradient is not
        wanted.
        """
        layouts, join = self.meaning
        grads = [grad] if self.count == 1 else grad
        some = next(g for g in grads if g is not None)
        parts = [
            some.new_zeros(x.shape, dtype=x.dtype) if g is None else g
            for g, x in zip(grads, layouts, strict=True)
        ]
        return (join(parts),)


class Views(Op):
    """`parts(layout, *args)` gives (layout, offset from the base's) of each view; `join(args)` the
    function that brings a list of gradients together.
    """

    family = "views"

    def __init__(self, schema, doc, parts, join, **options):
        super().__init__(schema, doc, None, **options)
        self.parts, self.join = parts, join

    def plan(self, args):
        source = args[0].layout
        parts = self.parts(source, *args[1:])
        layouts = [made for made, _ in parts]
        differentiable = source.dtype.kind in "fc" and layouts
        join = self.join(*args[1:])
        label = self.name.title().replace("_", "") + "Backward0"
        alias = runtime.alias

        def split(tensor, *_):
            start = tensor._offset
            views = tuple([alias(tensor, made, start + delta) for made, delta in parts])
            if state.grad:
                if tensor._node is not None and differentiable:
                    node = ManyViews(tensor, label, layouts, join)
                    for i, v in enumerate(views):
                        v._node = Output(node, i)
                for v in views:
                    register(v)
            return views

        return split


def _along(source, dim, sizes):
    """Consecutive pieces of these sizes along a dimension."""
    stride, start, parts = source.strides[dim], 0, []
    for n in sizes:
        made = source.reshaped((*source.shape[:dim], n, *source.shape[dim + 1 :]), source.strides)
        parts.append((made, start * stride))
        start += n
    return parts


def _dim_of(source, dim, name):
    if not source.ndim:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")
    return wrap_dim(dim, source.ndim)


def _split(source, split_size, dim):
    dim = _dim_of(source, dim, "split")
    n = source.shape[dim]
    if split_size < 0:
        raise RuntimeError(
            f"split expects split_size be non-negative, but got split_size={split_size}"
        )
    if split_size == 0:
        if n:
            raise RuntimeError(
                f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}"
            )
        return _along(source, dim, [0])
    count = max((n + split_size - 1) // split_size, 1)
    return _along(source, dim, [min(split_size, n - i * split_size) for i in range(count)])


def _split_with_sizes(source, split_sizes, dim):
    dim = _dim_of(source, dim, "split")
    if sum(split_sizes) != source.shape[dim]:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {source.shape[dim]} (input "
            f"tensor's size at dimension {dim}), but got split_sizes={list(split_sizes)}"
        )
    if any(n < 0 for n in split_sizes):
        raise RuntimeError(
            "split_with_sizes expects split_sizes have only non-negative entries, but got "
            f"split_sizes={list(split_sizes)}"
        )
    return _along(source, dim, split_sizes)


def _unbind(source, dim):
    if not source.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    dim = wrap_dim(dim, source.ndim)
    shape = source.shape[:dim] + source.shape[dim + 1 :]
    made = source.reshaped(shape, source.strides[:dim] + source.strides[dim + 1 :])
    return [(made, i * source.strides[dim]) for i in range(source.shape[dim])]


split_pieces = Views(
    "aten::_split(Tensor self, int split_size, int dim=0) -> Tensor[]",
    """Pieces of `split_size` along `dim`, the last of which may be smaller.""",
    _split,
    lambda split_size, dim: lambda grads: cat(grads, dim),
    method=False,
    function=False,
)
split_with_sizes = Views(
    "aten::split_with_sizes(Tensor self, int[] split_sizes, int dim=0) -> Tensor[]",
    """Pieces of the given sizes along `dim`.""",
    _split_with_sizes,
    lambda split_sizes, dim: lambda grads: cat(grads, dim),
)
unbind = Views(
    "aten::unbind(Tensor self, int dim=0) -> Tensor[]",
    """The slices along `dim`, which they lose.""",
    _unbind,
    lambda dim: lambda grads: stack(grads, dim),
)


@composite(
    "aten::split(Tensor self, Any split_size=None, int dim=0, *, Any split_size_or_sections=None) "
    "-> Tensor[]"
)
def split(self, split_size, dim, split_size_or_sections):
    """Pieces along `dim`: all of one size (an int), or of the given sizes (a list)."""
    size = split_size if split_size is not None else split_size_or_sections
    return (
        split_with_sizes(self, size, dim)
        if isinstance(size, list | tuple)
        else split_pieces(self, size, dim)
    )


@composite("aten::chunk(Tensor self, int chunks, int dim=0) -> Tensor[]")
def chunk(self, chunks, dim):
    """At most `chunks` pieces of equal size along `dim`, the last of which may be smaller."""
    if not self.layout.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = self.layout.shape[wrap_dim(dim, self.layout.ndim)]
    size = -(-n // chunks)
    return split_with_sizes(self, [0] * chunks, dim) if n == 0 else split_pieces(self, size, dim)


@composite("aten::unsafe_chunk(Tensor self, int chunks, int dim=0) -> Tensor[]")
def unsafe_chunk(self, chunks, dim):
    """As `chunk`; each piece may be written in place, also under autograd."""
    return _one_by_one(self, chunk(self, chunks, dim), dim)


@composite("aten::unsafe_split(Tensor self, Any split_size, int dim=0) -> Tensor[]")
def unsafe_split(self, split_size, dim):
    """As `split`; each piece may be written in place, also under autograd."""
    return _one_by_one(self, split(self, split_size, dim), dim)


def _one_by_one(whole, pieces, dim):
    """The pieces as views that were not made together."""
    sizes = [piece.layout.shape[dim] for piece in pieces]
    starts = itertools.accumulate(sizes, initial=0)
    return tuple(whole.narrow(dim, start, size) for start, size in zip(starts, sizes, strict=False))


@composite(
    "aten::tensor_split(Tensor self, Any indices_or_sections=None, int dim=0, *, Any "
    "sections=None, Any indices=None) -> Tensor[]"
)
def tensor_split(self, indices_or_sections, dim, sections, indices):
    """`sections` pieces of nearly equal size along `dim`, or pieces that end at the given
    indices.
    """
    where = next((x for x in (indices_or_sections, sections, indices) if x is not None), None)
    if not self.layout.ndim:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    dim = wrap_dim(dim, self.layout.ndim)
    n = self.layout.shape[dim]
    if hasattr(where, "layout"):
        where = where.tolist()
    if isinstance(where, int):
        if where <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {where}")
        size, extra = divmod(n, where)
        return split_with_sizes(self, [size + (i < extra) for i in range(where)], dim)
    ends, start, pieces = [*where, n], 0, []
    for end in ends:
        pieces.append(slice_(self, dim, start, end, 1))
        start = end
    return tuple(pieces)


def _split_along(name, rank, dims):
    def body(self, indices_or_sections):
        n = self.layout.ndim
        if n < rank:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {rank} dimension, but got a tensor "
                f"with {n} dimensions!"
            )
        dim = dims(n)
        size = self.layout.shape[dim]
        if isinstance(indices_or_sections, int) and (
            indices_or_sections <= 0 or size % indices_or_sections
        ):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the "
                f"dimension {size} is not divisible by the split_size {indices_or_sections}!"
            )
        return tensor_split(self, indices_or_sections, dim)

    body.__doc__ = f"""`tensor_split` along dimension {dims(3)}."""
    return composite(f"aten::{name}(Tensor self, Any indices_or_sections) -> Tensor[]")(body)


hsplit = _split_along("hsplit", 1, lambda n: 0 if n == 1 else 1)
vsplit = _split_along("vsplit", 2, lambda n: 0)
dsplit = _split_along("dsplit", 3, lambda n: 2)
