"""Sums of products over named dimensions: einsum, tensordot, and the products written with them."""

import math

from .arithmetic import conj_of
from .contraction import bmm, matmul, mm
from .facts import type_name
from .family import fixed
from .family.reduction import wrap_dim
from .op import composite, find
from .promotion import result_type
from .views import diagonal

ELLIPSIS = "..."


# The equation.


def _labels(text, place):
    """The labels of one term; an ellipsis is one label. `place` says in errors which term it is."""
    labels, i = [], 0
    while i < len(text):
        c = text[i]
        if c == " ":
            i += 1
        elif c == ".":
            if ELLIPSIS in labels:
                raise RuntimeError(
                    f"einsum(): found '.' for {place} for which an ellipsis was already found"
                )
            if text[i : i + 3] != ELLIPSIS:
                raise RuntimeError(
                    f"einsum(): found '.' for {place} that is not part of any ellipsis"
                )
            labels.append(ELLIPSIS)
            i += 3
        elif c.isascii() and c.isalpha():
            labels.append(c)
            i += 1
        else:
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {i} in the equation string, "
                "subscripts must be in [a-zA-Z]"
            )
    return labels


def _opened(labels, ndim, index):
    """The labels of an operand of `ndim` dimensions; those of an ellipsis are numbers that count
    from its end.
    """
    named = len(labels) - (ELLIPSIS in labels)
    if ELLIPSIS not in labels:
        if named != ndim:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({named}) does not match the "
                f"number of dimensions ({ndim}) for operand {index} and no ellipsis was given"
            )
        return labels
    if named > ndim:
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({named}) is more than the number "
            f"of dimensions ({ndim}) for operand {index}"
        )
    at = labels.index(ELLIPSIS)
    return [*labels[:at], *range(ndim - named - 1, -1, -1), *labels[at + 1 :]]


def _wanted(arrow, text, terms):
    """The labels of the result: as written, or those that occur once, in order."""
    flat = [label for term in terms for label in term]
    rest = range(max((n for n in flat if isinstance(n, int)), default=-1), -1, -1)
    if not arrow:
        return [
            *rest,
            *sorted(x for x in set(flat) if not isinstance(x, int) and flat.count(x) == 1),
        ]
    wanted = []
    for label in _labels(text, "the output"):
        if label in wanted:
            raise RuntimeError(
                f"einsum(): output subscript {label} appears more than once in the output"
            )
        if label != ELLIPSIS and label not in flat:
            raise RuntimeError(
                f"einsum(): output subscript {label} does not appear in the equation for any input "
                "operand"
            )
        wanted += rest if label == ELLIPSIS else [label]
    return wanted


# The contraction.


def _single(tensor, labels, index):
    """The operand with each label once: repeated labels are a diagonal."""
    labels = list(labels)
    for label in list(dict.fromkeys(labels)):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            a, b = tensor.layout.shape[first], tensor.layout.shape[second]
            if a != b:
                raise RuntimeError(
                    f"einsum(): subscript {label} is repeated for operand {index} but the sizes "
                    f"don't match, {b} != {a}"
                )
            tensor = diagonal(tensor, 0, first, second)
            labels = [x for d, x in enumerate(labels) if d not in (first, second)] + [label]
    return tensor, labels


def _sizes(operands):
    """The size of each label, where 1 gives way to others."""
    sizes: dict = {}
    for index, (tensor, labels) in enumerate(operands):
        for label, n in zip(labels, tensor.layout.shape, strict=True):
            have = sizes.get(label, 1)
            if n != 1 and have not in (1, n):
                name = "of the ellipsis" if isinstance(label, int) else label
                raise RuntimeError(
                    f"einsum(): subscript {name} has size {n} for operand {index} which does not "
                    f"broadcast with previously seen size {have}"
                )
            sizes[label] = have if n == 1 else n
    return sizes


def _without(tensor, labels, gone):
    """The sum over the labels in `gone`."""
    dims = tuple(d for d, x in enumerate(labels) if x in gone)
    if not dims:
        return tensor, labels
    return tensor.sum(dims), [x for x in labels if x not in gone]


def _arranged(tensor, labels, groups):
    """The tensor as one dimension for each group of labels."""
    order = [label for group in groups for label in group]
    moved = tensor.permute([labels.index(x) for x in order]) if order != labels else tensor
    sizes = dict(zip(labels, tensor.layout.shape, strict=True))
    return moved.reshape([math.prod(sizes[x] for x in group) for group in groups])


def _pair(left, right, kept):
    """The product of two operands, summed over labels that neither `kept` nor anything else
    needs.
    """
    (a, la), (b, lb) = left, right
    a, la = _without(a, la, {x for x in la if x not in lb and x not in kept})
    b, lb = _without(b, lb, {x for x in lb if x not in la and x not in kept})
    if a.layout.dtype is not b.layout.dtype:  # a sum of small integers is int64
        a, b = (t.to(result_type((a.layout, b.layout))) for t in (a, b))
    common = [x for x in la if x in lb]
    batch, inner = [x for x in common if x in kept], [x for x in common if x not in kept]
    only_a, only_b = [x for x in la if x not in lb], [x for x in lb if x not in la]
    sizes = dict(zip(la + lb, (*a.layout.shape, *b.layout.shape), strict=True))
    labels = batch + only_a + only_b
    shape = [sizes[x] for x in labels]
    if not inner:
        spread = [sizes[x] for x in batch + only_a] + [1] * len(only_b)
        left = _arranged(a, la, [[x] for x in batch + only_a]).reshape(spread)
        here = [sizes[x] for x in batch] + [1] * len(only_a) + [sizes[x] for x in only_b]
        return left * _arranged(b, lb, [[x] for x in batch + only_b]).reshape(here), labels
    if not batch:
        return mm(_arranged(a, la, [only_a, inner]), _arranged(b, lb, [inner, only_b])).reshape(
            shape
        ), labels
    return bmm(
        _arranged(a, la, [batch, only_a, inner]), _arranged(b, lb, [batch, inner, only_b])
    ).reshape(shape), labels


def _narrowed(operand, sizes):
    """An operand without the dimensions of size 1 that are broadcast: a product spreads it
    anyway.
    """
    tensor, labels = operand
    thin = {x for x, n in zip(labels, tensor.layout.shape, strict=True) if n == 1 and sizes[x] != 1}
    if not thin:
        return operand
    return tensor.squeeze(tuple(d for d, x in enumerate(labels) if x in thin)), [
        x for x in labels if x not in thin
    ]


def _next_pair(operands, sizes, wanted):
    """Places of the two operands whose product is smallest."""
    best = None
    for j in range(1, len(operands)):
        for i in range(j):
            others = set(wanted).union(*(o[1] for k, o in enumerate(operands) if k not in (i, j)))
            made = math.prod(sizes[x] for x in {*operands[i][1], *operands[j][1]} & others)
            if best is None or made < best[0]:
                best = made, i, j, others
    return best[1:]


@fixed("aten::einsum(str equation, Tensor[] tensors) -> Tensor", method=False)
def einsum(equation, tensors):
    """Products of elements whose subscripts agree, summed over the subscripts that the result does
    not have.

    ``"ij,jk->ik"`` is a matrix product. Without an arrow the result has the subscripts that occur
    once, sorted; ``...`` stands for any number of broadcast dimensions; a subscript repeated in one
    operand takes its diagonal. Products run as matrix products on permuted views, the smallest
    intermediate result first.
    """
    if not tensors:
        raise RuntimeError("einsum(): must provide at least one operand")
    text, arrow, result = equation.partition("->")
    terms = [_labels(t, f"operand {i}") for i, t in enumerate(text.split(","))]
    if len(terms) != len(tensors):
        less = "fewer" if len(tensors) < len(terms) else "more"
        raise RuntimeError(
            f"einsum(): {less} operands were provided than specified in the equation"
        )
    terms = [
        _opened(labels, t.layout.ndim, i)
        for i, (labels, t) in enumerate(zip(terms, tensors, strict=True))
    ]
    wanted = _wanted(arrow, result, terms)
    operands = [
        _single(t, labels, i) for i, (t, labels) in enumerate(zip(tensors, terms, strict=True))
    ]
    sizes = _sizes(operands)
    operands = [_narrowed(o, sizes) for o in operands]
    while len(operands) > 1:
        i, j, needed = _next_pair(operands, sizes, wanted)
        made = _pair(operands[i], operands[j], needed)
        operands = [o for k, o in enumerate(operands) if k not in (i, j)] + [made]
    tensor, labels = operands[0]
    over = tuple(d for d, x in enumerate(labels) if x not in wanted)
    if over:
        tensor, labels = tensor.sum(over), [x for x in labels if x in wanted]
    return tensor.permute([labels.index(x) for x in wanted])


def _total(x, dim):
    return x.sum(dim, True, dtype=x.layout.dtype)


def _pairs_of(dims, a, b):
    """The dimensions of both tensors that a tensordot sums over."""
    if hasattr(dims, "layout"):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            raise RuntimeError(
                f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}, ndim_a={a.ndim}, "
                f"ndim_b={b.ndim}"
            )
        return list(range(a.ndim - dims, a.ndim)), list(range(dims))
    first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(first) != len(second):
        raise RuntimeError("both dimension lists should have same length")
    return [wrap_dim(d, a.ndim) for d in first], [wrap_dim(d, b.ndim) for d in second]


@composite("aten::tensordot(Tensor a, Tensor b, Any dims=2) -> Tensor", method=False)
def tensordot(a, b, dims):
    """The sum of products over several dimensions of both: `dims` counts the last ones of `a` and
    first ones of `b`, or lists them for each.
    """
    x, y = a.layout, b.layout
    first, second = _pairs_of(dims, x, y)
    counted = isinstance(dims, int)
    for d, e in zip(first, second, strict=True):
        m, n = x.shape[d], y.shape[e]
        if m != n and 1 not in (m, n):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {m} in dim "
                f"{d - x.ndim * counted} and second has size {n} in dim {e}"
            )
        if m != n:  # the sum of the other one's elements
            a, b = (a, _total(b, e)) if m == 1 else (_total(a, d), b)
    x, y = a.layout, b.layout
    left, right = (
        [d for d in range(z.ndim) if d not in used] for z, used in ((x, first), (y, second))
    )
    inner = math.prod(x.shape[d] for d in first)
    rows, columns = (math.prod(z.shape[d] for d in free) for z, free in ((x, left), (y, right)))
    product = mm(
        a.permute(left + first).reshape(rows, inner),
        b.permute(second + right).reshape(inner, columns),
    )
    return product.reshape([x.shape[d] for d in left] + [y.shape[d] for d in right])


@fixed("aten::inner(Tensor self, Tensor other) -> Tensor")
def inner(self, other):
    """The sum of products over the last dimension of both."""
    if not self.layout.ndim or not other.layout.ndim:
        return self * other
    if self.layout.shape[-1] != other.layout.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(self.layout.shape)} and {list(other.layout.shape)}"
        )
    return tensordot(self, other, [[-1], [-1]])


# Products of vectors.


@composite("linalg::cross(Tensor input, Tensor other, *, int dim=-1) -> Tensor")
def linalg_cross(input, other, dim):
    """The vector product in three dimensions, along `dim`."""
    a, b = input.layout, other.layout
    if a.ndim != b.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"expected scalar type {type_name(a.dtype)} but found {type_name(b.dtype)}"
        )
    d = wrap_dim(dim, a.ndim)
    if a.shape[d] != 3 or b.shape[d] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {a.shape[d]} and "
            f"{b.shape[d]}"
        )
    after, before = (lambda x: x.roll(-1, d)), (lambda x: x.roll(1, d))
    return after(input) * before(other) - before(input) * after(other)


@fixed("aten::cross(Tensor self, Tensor other, int? dim=None) -> Tensor")
def cross(self, other, dim):
    """The vector product along `dim`; without it, along the first dimension of size 3."""
    if dim is None:
        if 3 not in self.layout.shape:
            raise RuntimeError("no dimension of size 3 in input")
        dim = self.layout.shape.index(3)
    return linalg_cross(self, other, dim=dim)


@composite("linalg::vecdot(Tensor x, Tensor y, *, int dim=-1) -> Tensor")
def vecdot(x, y, dim):
    """The sum of products along `dim`, the first factor conjugated."""
    dtype = result_type((x.layout, y.layout))
    return (conj_of(x) * y).sum(dim, dtype=dtype)


@composite("linalg::diagonal(Tensor A, *, int offset=0, int dim1=-2, int dim2=-1) -> Tensor")
def linalg_diagonal(A, offset, dim1, dim2):
    """The diagonals of matrices, as the last dimension: a view."""
    return diagonal(A, offset, dim1, dim2)


@composite("linalg::matmul(Tensor input, Tensor other) -> Tensor")
def linalg_matmul(input, other):
    """The matrix product."""
    return matmul(input, other)


# Chains of products.


def _best_splits(sizes):
    """Where to split each part of a chain of matrices, by dynamic programming over its cost."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i][j], split[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return split


@composite("linalg::multi_dot(Tensor[] tensors) -> Tensor")
def multi_dot(tensors):
    """The product of a chain of matrices, in the order that needs the fewest operations; the first
    and the last may be vectors.
    """
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    chain = list(tensors)
    for i in (0, -1):
        if chain[i].layout.ndim not in (1, 2):
            which = "the first tensor" if i == 0 else "the last tensor"
            raise RuntimeError(
                f"multi_dot(): {which} must be 1D or 2D but got {chain[i].layout.ndim}D"
            )
    row, column = chain[0].layout.ndim == 1, chain[-1].layout.ndim == 1
    chain[0] = chain[0].unsqueeze(0) if row else chain[0]
    chain[-1] = chain[-1].unsqueeze(1) if column else chain[-1]
    for i, x in enumerate(chain):
        if x.layout.ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {x.layout.ndim}D")
        if i and chain[i - 1].layout.shape[1] != x.layout.shape[0]:
            a, b = chain[i - 1].layout.shape, x.layout.shape
            raise RuntimeError(
                f"multi_dot(): tensors {i - 1} and {i} with shapes {list(a)} and {list(b)} cannot "
                "be multiplied"
            )
    split = _best_splits([chain[0].layout.shape[0], *(x.layout.shape[1] for x in chain)])

    def product(i, j):
        return chain[i] if i == j else mm(product(i, split[i][j]), product(split[i][j] + 1, j))

    out = product(0, len(chain) - 1)
    dims = ((0,) if row else ()) + ((1,) if column else ())
    return out.squeeze(dims) if dims else out


@composite("linalg::matrix_power(Tensor A, int n) -> Tensor")
def linalg_matrix_power(A, n):
    """Square matrices to a whole power, by repeated squaring; negative powers are those of the
    inverse.
    """
    shape = A.layout.shape
    if len(shape) < 2:
        raise RuntimeError(
            "linalg.matrix_power: The input tensor A must have at least 2 dimensions."
        )
    if shape[-1] != shape[-2]:
        raise RuntimeError(
            f"linalg.matrix_power: A must be batches of square matrices, but they are {shape[-2]} "
            f"by {shape[-1]} matrices"
        )
    if n == 0:
        return A.clone().zero_() + find("eye").door(shape[-1], shape[-1], dtype=A.layout.dtype)
    if n < 0:
        A, n = find("linalg.inv").door(A), -n
    out = None
    while n:
        if n & 1:
            out = A if out is None else matmul(out, A)
        n >>= 1
        A = matmul(A, A) if n else A
    return out


@composite("aten::matrix_power(Tensor self, int n) -> Tensor")
def matrix_power(self, n):
    """Square matrices to a whole power."""
    return linalg_matrix_power(self, n)
