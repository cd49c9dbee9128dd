"""Rows of a table by index."""

from flambeau import ir
from flambeau.types import by_name

from .extremes import aminmax
from .facts import type_name
from .family import chain, indexed, pointwise
from .family.chain import viewed
from .indexing import placed
from .op import composite, find
from .promotion import compute_type

INT64 = by_name("int64")


def _refuse(*args):
    return IndexError("index out of range in self")


def _check(weight, indices, *rest):
    if weight.layout.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    if indices.layout.dtype.name not in ("int64", "int32"):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got torch.{type_name(indices.layout.dtype)}Tensor instead (while "
            "checking arguments for embedding)"
        )


def _read(steps, weight, indices, padding_idx, scale_grad_by_freq, sparse):
    view, places, _ = placed(weight, [indices])
    out = steps.result(view.layout.shape, weight.dtype)
    steps.indexed(lambda value: (value,), [out], [view], [p._replace(wraps=False) for p in places])


def _backward(grad, weight_layout, indices, padding_idx, scale_grad_by_freq):
    if scale_grad_by_freq:
        flat = indices.reshape(-1)
        counts = find("bincount").door(flat, minlength=weight_layout.shape[0])
        counts = counts.index_select(0, flat).reshape(indices.layout.shape)
        grad = grad / counts.reshape((*indices.layout.shape, *(1,) * (weight_layout.ndim - 1)))
    return embedding_backward(grad, indices, weight_layout.shape[0], padding_idx)


def _add_rows(steps, grad, indices, rows, padding_idx):
    rank = indices.layout.ndim
    shape, wide = (rows, *grad.layout.shape[rank:]), compute_type(grad.dtype)
    out = table = steps.result(shape, grad.dtype)
    if wide is not grad.dtype:
        table = steps.scratch(shape, wide)
    steps.indexed(lambda: (ir.const(0, wide),), [table], [], [])
    view, [place], order = placed(table, [indices])

    def add(old, new, index):
        kept = ir.select(index.differs(padding_idx), ir.cast(new, wide), ir.const(0, wide))
        return (old + (kept if padding_idx >= 0 else ir.cast(new, wide)),)

    place = place._replace(wraps=False)
    steps.indexed(add, [view], [view, grad, place.by], [place], order)
    if out is not table:
        steps.copy(out, table)


embedding_backward = indexed(
    "aten::embedding_dense_backward(Tensor grad_output, Tensor indices, int num_weights, "
    "int padding_idx) -> Tensor",
    """The rows of `grad_output` added, in order, to those rows of a table of zeros [num_weights, …]
    that `indices` name; not to row `padding_idx`.
    """,
    build=_add_rows,
    refuse=_refuse,
    method=False,
    function=False,
    grad=dict(
        grad_output=lambda grad, indices, padding_idx: embedding(
            grad if padding_idx < 0 else grad.index_fill(0, indices.new_full((1,), padding_idx), 0),
            indices,
        )
    ),
)

embedding = indexed(
    "aten::embedding(Tensor weight, Tensor indices, int padding_idx=-1, bool "
    "scale_grad_by_freq=False, bool sparse=False) -> Tensor",
    """The rows of `weight` [rows, …] that `indices` name: [*indices, …]. `padding_idx` gets no
    gradient.
    """,
    build=_read,
    check=_check,
    refuse=_refuse,
    method=False,
    grad=dict(weight=_backward),
)


def _build_one_hot(steps, self, num_classes):
    shape = (*self.layout.shape, num_classes)
    class_of = viewed(self, (*self.layout.shape, 1), (*self.layout.strides, 0))
    along = [0] * self.layout.ndim + [1]
    made = [steps.result(shape, INT64)]
    steps.pointwise(lambda k: k.equals(ir.position), [class_of], made, counter=(along, 0))


_one_hot = chain(
    "aten::_one_hot(Tensor self, int num_classes) -> Tensor",
    """Whether each element names a class (1 or 0), along a new last dimension.""",
    build=_build_one_hot,
    method=False,
    function=False,
)


def _no_class(self, num_classes):
    if aminmax(self)[0].item() < 0:
        return RuntimeError("Class values must be non-negative.")
    return RuntimeError("Class values must be smaller than num_classes.")


_class_below = pointwise(
    "nn::_class_below(Tensor self, int num_classes) -> Tensor",
    """The same numbers, which must lie in [0, num_classes).""",
    scalar=lambda self, num_classes: self,
    refuses=lambda self, num_classes: ~((self >= 0) & (self < num_classes)),
    refusal=_no_class,
    function=False,
)


@composite("nn::one_hot(Tensor self, int num_classes=-1) -> Tensor")
def one_hot(self, num_classes):
    """1 at the class that each element names, 0 elsewhere, along a new last dimension (int64)."""
    if self.layout.dtype.name != "int64":
        raise RuntimeError(
            "one_hot is only applicable to index tensor of type LongTensor, but got "
            f"{self.dtype.name}"
        )
    if not self.layout.numel:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return self.new_zeros((*self.layout.shape, num_classes))
    if num_classes == -1:
        num_classes = max(aminmax(self)[1].item() + 1, 1)
    return _one_hot(_class_below(self, num_classes), num_classes)
