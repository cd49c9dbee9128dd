"""Tensors' memory as NumPy sees it, for ops that write into tensors without a kernel."""

from __future__ import annotations

from flambeau._base import numpy

from . import door
from .family.arrays import ndarray
from .modes import check_unversioned, state


def memory(tensor) -> numpy.ndarray:
    """The raw memory: as `ndarray`, but conj and neg bit are not applied, so that writes reach the
    tensor.
    """
    layout = tensor.layout
    if layout.conj or layout.neg:
        layout = layout.reshaped(layout.shape, layout.strides)
        size = layout.itemsize
        if layout.numel == 0:
            return numpy.empty(layout.shape, layout.dtype.numpy)
        return numpy.ndarray(
            layout.shape,
            layout.dtype.numpy,
            tensor._storage,
            tensor._offset * size,
            [s * size for s in layout.strides],
        )
    return ndarray(tensor)


def raw(values, layout):
    """What must lie in memory for a tensor of `layout` to have these values."""
    if layout.conj:
        values = numpy.conj(values)
    return numpy.negative(values) if layout.neg else values


def store(tensor, values) -> None:
    """Writes an array (broadcast) over the tensor's elements."""
    check_unversioned(tensor)
    if tensor.layout.numel:
        memory(tensor)[...] = raw(values, tensor.layout)
    tensor._storage.version += 1


def begin_write(tensor) -> None:
    """Raises where the tensor may not be written: leaves that require grad, memory that several
    elements share.
    """
    if state.grad:
        door.scope["check_writable"](tensor)
    check_unversioned(tensor)
    door.check_places(tensor.layout)


def forget(tensor) -> None:
    """The history of a tensor whose old values are gone altogether."""
    if state.grad and tensor._node is not None:
        door.scope["rebase"](tensor, None)
