"""Rows of a table by index."""

from flambeau.types import by_name

from .facts import type_name
from .op import composite, find


def _backward(grad, layout, indices, padding_idx, scale_grad_by_freq):
    rows = layout.shape[0]
    flat = indices.reshape(-1)
    grad = grad.reshape((-1, *layout.shape[1:]))
    if padding_idx >= 0:
        grad = grad * flat.ne(padding_idx).reshape((-1,) + (1,) * (layout.ndim - 1))
    if scale_grad_by_freq:
        counts = find("bincount").door(flat, minlength=rows)
        grad = grad / counts.index_select(0, flat).reshape((-1,) + (1,) * (layout.ndim - 1))
    return grad.new_zeros(layout.shape).index_add(0, flat, grad)


@composite(
    "aten::embedding(Tensor weight, Tensor indices, int padding_idx=-1, bool "
    "scale_grad_by_freq=False, "
    "bool sparse=False) -> Tensor",
    method=False,
    grad=dict(
        weight=lambda grad, weight_layout, indices, padding_idx, scale_grad_by_freq: _backward(
            grad, weight_layout, indices, padding_idx, scale_grad_by_freq
        )
    ),
)
def embedding(weight, indices, padding_idx, scale_grad_by_freq, sparse):
    """The rows of `weight` [rows, …] that `indices` name: [*indices, …]. `padding_idx` gets no
    gradient.
    """
    if weight.layout.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    if indices.layout.dtype.name not in ("int64", "int32"):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got torch.{type_name(indices.layout.dtype)}Tensor instead (while "
            "checking arguments for embedding)"
        )
    rows = weight.index_select(0, indices.reshape(-1))
    return rows.reshape((*indices.layout.shape, *weight.layout.shape[1:]))


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
    if int(self.min()) < 0:
        raise RuntimeError("Class values must be non-negative.")
    largest = int(self.max())
    if num_classes == -1:
        num_classes = largest + 1
    elif largest >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return self.unsqueeze(-1).eq(find("_iota").door(num_classes)).to(by_name("int64"))
