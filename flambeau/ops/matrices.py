"""What the ops of linear algebra share: their error, checks of arguments, batches of matrices in
NumPy.
"""

from flambeau._base import numpy

from .contraction import adjoint
from .family.pointwise import type_name
from .modes import state
from .op import find

LOW = ("float16", "bfloat16")


class LinAlgError(RuntimeError):
    """A matrix that a routine of linear algebra cannot handle, such as a singular one."""


LinAlgError.__module__ = "torch.linalg"


def check_matrix(name, a, argument="A"):
    """Raises unless the tensor is a matrix or a batch of them."""
    if a.layout.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {argument} must have at least 2 dimensions.")


def check_input(name, a):
    """As `check_matrix`, in the words of the older ops."""
    if a.layout.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")


def check_float(name, a):
    """Raises unless LAPACK has the tensor's dtype."""
    dtype = a.layout.dtype
    if dtype.kind not in "fc":
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {type_name(dtype)}"
        )
    if dtype.name in LOW:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {type_name(dtype)}")


def check_square(name, a, argument="A"):
    """Raises unless the tensor is a square matrix, or a batch of them, of a dtype that LAPACK
    has.
    """
    check_matrix(name, a, argument)
    check_float(name, a)
    rows, columns = a.layout.shape[-2:]
    if rows != columns:
        raise RuntimeError(
            f"{name}: {argument} must be batches of square matrices, but they are {rows} by "
            f"{columns} matrices"
        )


def failed(name, info, message):
    """The error for the first matrix whose `info` is not 0; `message` may hold {info}."""
    flat = info.reshape(-1)
    first = int(numpy.flatnonzero(flat)[0])
    batch = f"(Batch element {first}): " if info.ndim else ""
    return LinAlgError(f"{name}: {batch}{message.format(info=flat[first])}")


def each(function, *arrays):
    """function(*matrices) -> (matrix, …, info) for every matrix of the batches; the results
    stacked.
    """
    lead = arrays[0].shape[:-2]
    made = [function(*(a[index] for a in arrays)) for index in numpy.ndindex(*lead)]
    if not made:  # an empty batch: the shapes are those of zeros
        empty = function(*(numpy.zeros(a.shape[-2:], a.dtype) for a in arrays))
        return tuple(numpy.zeros((*lead, *numpy.shape(x)), _dtype(x)) for x in empty)
    return tuple(
        numpy.array(xs, dtype=_dtype(xs[0])).reshape((*lead, *numpy.shape(xs[0])))
        for xs in zip(*made, strict=True)
    )


def _dtype(x):
    return x.dtype if isinstance(x, numpy.ndarray) else numpy.int32


def identity(like, n):
    """The unit matrix in the dtype and on the device of `like`."""
    return find("eye").door(n, n, dtype=like.layout.dtype, device=like.layout.device)


def recorded(*tensors):
    """Whether results of these are recorded for backward."""
    return state.grad and any(t._node is not None for t in tensors)


__all__ = [
    "LinAlgError",
    "adjoint",
    "check_float",
    "check_input",
    "check_matrix",
    "check_square",
    "each",
    "failed",
    "identity",
    "recorded",
]
