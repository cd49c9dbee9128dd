"""Functions that take any number of tensors, and those whose forms no one schema covers."""

from flambeau.ops import at_least, can_write, find

from .tensor import Tensor


def _listed(tensors):
    """The tensors that were given one by one, or as one list."""
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        return list(tensors[0])
    return list(tensors)


def _variadic(name):
    def function(*tensors):
        return find(name).door(_listed(tensors))

    function.__name__ = function.__qualname__ = name
    function.__doc__, function.__module__ = find(name).doc, "torch"
    return function


broadcast_tensors, cartesian_prod, block_diag = map(
    _variadic, ("broadcast_tensors", "cartesian_prod", "block_diag")
)


def meshgrid(*tensors, indexing="ij"):
    """Coordinates of a grid: each vector along its own dimension, expanded over the others."""
    return find("meshgrid").door(_listed(tensors), indexing=indexing)


def einsum(equation, *operands):
    """Products summed over named dimensions: ``einsum("ij,jk", a, b)``, or ``einsum(a, [0, 1], b,
    [1, 2], [0, 2])``.
    """
    if isinstance(equation, str):
        return find("einsum").door(equation, _listed(operands))
    given = (equation, *operands)
    lists, result = given[1::2], given[-1] if len(given) % 2 else None
    text = ",".join(map(_subscripts, lists[: len(given) // 2]))
    if result is not None:
        text += "->" + _subscripts(result)
    return find("einsum").door(text, list(given[: len(given) - len(given) % 2 : 2]))


def _subscripts(numbers):
    """Subscripts that are given as numbers, as letters."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    text = ""
    for n in numbers:
        if n is not Ellipsis and not 0 <= n < len(letters):
            raise ValueError(f"einsum(): subscript {n} is not within the valid range [0, 52)")
        text += "..." if n is Ellipsis else letters[n]
    return text


def chain_matmul(*matrices, out=None):
    """The product of a chain of matrices, in the order that needs the fewest operations."""
    given = _listed(matrices)
    return given[0] if len(given) == 1 else find("linalg.multi_dot").door(given, out=out)


def broadcast_shapes(*shapes):
    """The common shape of `shapes` by the broadcasting rule."""
    from_empty = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    rank = max(map(len, from_empty), default=0)
    result = [1] * rank
    for shape in from_empty:
        for d, n in enumerate(shape, rank - len(shape)):
            if n < 0:
                raise RuntimeError(f"Trying to create tensor with negative dimension ({n}): ({n})")
            if n != 1 and n != result[d]:
                if result[d] != 1:
                    raise RuntimeError(
                        "Shape mismatch: objects cannot be broadcast to a single shape: "
                        + ", ".join(str(s) for s in from_empty)
                    )
                result[d] = n
    return type(Tensor.shape.fget(find("empty").door(())))(result)


def _at_least(rank):
    def function(*tensors):
        given = _listed(tensors)
        for i, t in enumerate(given):
            if not isinstance(t, Tensor):
                raise TypeError(
                    f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}"
                )
        made = tuple(at_least(t, rank) for t in given)
        return made[0] if len(tensors) == 1 and not isinstance(tensors[0], list | tuple) else made

    function.__name__ = function.__qualname__ = f"atleast_{rank}d"
    function.__doc__ = (
        f"""The tensors with dimensions of size 1 added, so that they have at least {rank}."""
    )
    function.__module__ = "torch"
    return function


atleast_1d, atleast_2d, atleast_3d = map(_at_least, (1, 2, 3))


def where(condition, input=None, other=None, *, out=None):
    """The element of `input` where `condition` holds, else that of `other`; with `condition` alone,
    the places where it holds, as one vector for each dimension.
    """
    if input is None and other is None:
        return find("nonzero").door(condition, as_tuple=True)
    return find("where").door(condition, input, other, out=out)


def _where_method(self, condition, other):
    """The elements of this tensor where `condition` holds, those of `other` elsewhere."""
    return find("where").door(condition, self, other)


def _polygamma_in_place(self, n):
    """`polygamma` of order n, written into this tensor."""
    made = find("polygamma").door(n, self)
    can_write(made.layout.dtype, self.layout.dtype)
    return self.copy_(made)


def install():
    """Puts the methods on the class."""
    Tensor.where = _where_method
    Tensor.polygamma = lambda self, n: find("polygamma").door(n, self)
    Tensor.polygamma_ = _polygamma_in_place


def flatten_dense_tensors(tensors):
    """All elements of tensors of one dtype, in one vector."""
    if len(tensors) == 1:
        return tensors[0].contiguous().view(-1)
    return find("cat").door([tensor.contiguous().view(-1) for tensor in tensors])


def unflatten_dense_tensors(flat, tensors):
    """Views of a vector, with the shapes of `tensors`, one behind the other."""
    parts = flat.split([tensor.numel() for tensor in tensors])
    return tuple(part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True))


PUBLIC = (
    "einsum",
    "chain_matmul",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "block_diag",
    "broadcast_shapes",
    "broadcast_tensors",
    "cartesian_prod",
    "meshgrid",
    "where",
)
