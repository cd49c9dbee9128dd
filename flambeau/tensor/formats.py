"""Memory formats: named orders in which the dimensions of a tensor lie in memory."""

from flambeau.types import Layout, looks_channels_last, row_major


class MemoryFormat:
    """`order` lists the dimensions from the outermost to the innermost; None is row-major or, with
    `preserves`, the order of the tensor that is copied.
    """

    __slots__ = ("is_row_major", "name", "order", "preserves")

    def __init__(self, name, order=None, preserves=False):
        self.name, self.order, self.preserves = name, order, preserves
        self.is_row_major = order is None and not preserves

    def __repr__(self):
        return f"torch.{self.name}"

    def __reduce__(self):
        return _by_name, (self.name,)

    def strides(self, shape):
        """Strides of a gap-free block of `shape` in this order."""
        if self.order is None:
            return row_major(shape)
        if len(shape) != len(self.order):
            raise RuntimeError(f"required rank {len(self.order)} tensor to use {self.name} format")
        strides, step = [0] * len(shape), 1
        for d in reversed(self.order):
            strides[d] = step
            step *= max(shape[d], 1)
        return tuple(strides)

    def fits(self, layout: Layout) -> bool:
        """Whether a tensor of `layout` lies in this order without gaps."""
        if self.order is None:
            return layout.contiguous
        if layout.ndim != len(self.order):
            return False
        want = self.strides(layout.shape)
        return layout.numel == 0 or all(
            n == 1 or have == stride
            for n, have, stride in zip(layout.shape, layout.strides, want, strict=True)
        )

    def is_meant(self, layout: Layout) -> bool:
        """Whether the strides look like this order, gaps or not: what `to` leaves as it is."""
        if self.order is None:
            return not looks_channels_last(layout)
        return layout.ndim == len(self.order) and looks_channels_last(layout)


contiguous_format = MemoryFormat("contiguous_format")
preserve_format = MemoryFormat("preserve_format", preserves=True)
channels_last = MemoryFormat("channels_last", (0, 2, 3, 1))
channels_last_3d = MemoryFormat("channels_last_3d", (0, 2, 3, 4, 1))
FORMATS = (contiguous_format, preserve_format, channels_last, channels_last_3d)


def _by_name(name):
    return next(x for x in FORMATS if x.name == name)


class MemoryLayout:
    """What PyTorch calls a layout: dense (`strided`) here always; the sparse names exist to be
    compared with.
    """

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"torch.{self.name}"

    def __eq__(self, other):
        # Where a program compares ``tensor.layout``, which here says more, with one of these.
        return self is other or (self.name == "strided" and isinstance(other, Layout))

    def __hash__(self):
        return hash(self.name)

    def __reduce__(self):
        return _layout_by_name, (self.name,)


strided, sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc, jagged = LAYOUTS = tuple(
    map(
        MemoryLayout,
        ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged"),
    )
)


def _layout_by_name(name):
    return next(x for x in LAYOUTS if x.name == name)
