"""Opaque ops: NumPy, BLAS or LAPACK on the storages, where no kernel of our own does it (yet)."""

from __future__ import annotations

from flambeau import runtime
from flambeau._base import numpy
from flambeau.types import from_numpy, is_dense, layout, meta, row_major

from ..facts import TOLD, no_memory, tell
from ..modes import interpreters, state, tell_read
from ..op import Op, is_tensor


def ndarray(tensor) -> numpy.ndarray:
    """The tensor's memory as a NumPy array, without a copy; conj and neg bit must be resolved."""
    layout = tensor.layout
    if layout.device is meta:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    if interpreters and state.stack:
        tell_read(tensor)
    if layout.numel == 0:
        return numpy.empty(layout.shape, layout.dtype.numpy)
    size = layout.itemsize
    array = numpy.ndarray(
        layout.shape,
        layout.dtype.numpy,
        tensor._storage,
        tensor._offset * size,
        [s * size for s in layout.strides],
    )
    if layout.conj:
        array = array.conj()
    return -array if layout.neg else array


def adopt(array: numpy.ndarray):
    """A tensor on the array's memory, which it keeps alive; copied only where that has gaps,
    overlaps or may not be written.
    """
    dtype = from_numpy(array.dtype)
    if dtype is None:
        raise TypeError(f"no dtype for NumPy's {array.dtype}")
    strides = tuple(s // array.itemsize for s in array.strides)
    if array.flags.c_contiguous:
        strides = row_major(array.shape)
    elif not is_dense(array.shape, strides):
        array, strides = numpy.array(array, order="C"), row_major(array.shape)
    if not array.flags.writeable:
        array = array.copy(order="K")
    storage = runtime.foreign(array.__array_interface__["data"][0], array.nbytes, array)
    return runtime.wrap(storage, layout(array.shape, strides, dtype), 0)


class Opaque(Op):
    """`run(*args)` gets arrays in place of tensors and returns an array or a tuple of them; new
    memory each. `real`, where given, is the name in the error that refuses complex numbers.
    `columns` numbers the results whose matrices are made column by column, as LAPACK does.
    """

    family = "opaque"

    def __init__(self, schema, doc, run, gradients, real=None, columns=(), **options):
        super().__init__(schema, doc, gradients, **options)
        self.run, self.real, self.columns = run, real, columns

    def plan(self, args):
        if any(is_tensor(a) and a.layout.device is meta for a in args):
            raise NotImplementedError(f"{self.name} is not available on the meta device")
        if self.real and any(is_tensor(a) and a.layout.dtype.kind == "c" for a in args):
            raise NotImplementedError(f"\"{self.real}\" not implemented for 'ComplexDouble'")
        record = self.recorder(args) if self.gradients else None
        tensors = [i for i, a in enumerate(args) if is_tensor(a)]
        lists = [i for i, a in enumerate(self.schema.arguments) if a.is_tensor and a.list]
        run, normalise, columns = self.run, self.schema.normalise, self.columns

        def opaque(*raw):
            args = normalise(raw)
            arrays = list(args)
            for i in tensors:
                arrays[i] = ndarray(args[i])
            for i in lists:
                arrays[i] = [ndarray(t) for t in args[i] or ()]
            try:
                result = run(*arrays)
            except MemoryError as error:
                raise no_memory(error) from None
            except tuple(TOLD) as error:
                raise tell(self, args, error) from None
            if isinstance(result, tuple):
                result = tuple(_adopt(r, i in columns) for i, r in enumerate(result))
            else:
                result = _adopt(result, 0 in columns)
            if record is not None and state.grad:
                inputs = [args[i] for i in tensors] + [t for i in lists for t in args[i] or ()]
                if any(t._node is not None for t in inputs):
                    record(result, *args)
            return result

        return opaque


def _adopt(array, columns=False):
    array = numpy.asarray(array)
    if not columns:
        return adopt(array)
    turned = adopt(numpy.ascontiguousarray(array.swapaxes(-1, -2)))
    *outer, column, row = turned.layout.strides
    made = turned.layout.reshaped(array.shape, (*outer, row, column))
    return runtime.wrap(turned._storage, made, 0)


def opaque(schema, doc, *, run, grad=None, **options) -> Opaque:
    """Declares an opaque op: see `Opaque`."""
    return Opaque(schema, doc, run, grad, **options)
