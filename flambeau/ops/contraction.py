"""Products of matrices: BLAS where it has the type, and what is written in terms of them."""

import math

from flambeau import compiler, ir, runtime
from flambeau.types import Layout, by_name, contiguous

from .arithmetic import conj_of
from .facts import c_name, type_name
from .family import chain, fixed, opaque
from .family.chain import viewed
from .family.launch import Work, expand, scratch_of
from .family.product import BLAS_TYPES, blas_form, multiply, packs, product_stage
from .op import Op, also, composite
from .promotion import compute_type
from .softmax import sum_fold

HALVES = ("float16", "bfloat16")
_PART = 1024  # products whose sum their own type holds: lanes share them out


def work(out: Layout, k: int) -> bool:
    """Whether a product is long enough to release the GIL."""
    return out.numel * k > 1_000_000


class Product(Op):
    """mm and bmm: a product of matrices, or of batches of them."""

    family = "contraction"
    rank = 2

    def check(self, a, b):
        raise NotImplementedError

    def plan(self, args):
        a, b = args[0].layout, args[1].layout
        self.check(a, b)
        if a.dtype is not b.dtype:
            raise RuntimeError(
                f"expected m1 and m2 to have the same dtype, but got: {c_name(a.dtype)} != "
                f"{c_name(b.dtype)}"
            )
        out = contiguous((*a.shape[:-1], b.shape[-1]), a.dtype, a.device)
        if a.device.type == "meta":
            return lambda x, y: x.new_empty(out.shape)
        if a.dtype.name in HALVES:
            wide, product = by_name("float32"), self.door
            return lambda x, y: product(x.to(wide), y.to(wide)).to(out.dtype)
        if a.dtype.name not in BLAS_TYPES:
            return integer_product
        fixed = [y if blas_form(y) else y.plain() for y in (a, b)]
        launcher = _launcher("tt", self.recorder(args), out, out, *fixed)
        copy_a, copy_b = fixed[0] is not a, fixed[1] is not b
        if not copy_a and not copy_b:
            return launcher
        return lambda x, y: launcher(plain_copy(x) if copy_a else x, plain_copy(y) if copy_b else y)


def _launcher(letters, record, result, out, a, b, bias=None):
    """The launcher of ``out = a @ b`` (`bias`: added), for arguments in this order; the tensor
    carries the layout `result`."""
    fresh = [(result, out.nbytes)]
    if packs(a, b):
        works = [multiply(out, a, b, bias, (-1, 0, 1, 2)[: 3 if bias is None else 4])]
        stages = works[0].stages(scratch_of(fresh))
    else:
        stages = []
        works = []
        if bias is not None:
            kernel = ir.Pointwise("spread", [out.dtype], [out.dtype], (ir.load(0, out.dtype),))
            works.append(Work(kernel, (out, expand(bias, out.shape)), (-1, 2)))
            [built] = compiler.link([works[0].plan()])
            stages += works[0].stages(built, fresh)
        product = product_stage(out, a, b, bias is not None)._replace(data=(-1, 0, 1))
        stages.append(product)
        works.append(product)
    sizes = tuple(0 if letter == "-" else out.itemsize for letter in letters)
    return runtime.launcher(
        runtime.Launch(
            letters, sizes, tuple(fresh), tuple(stages), work(out, a.shape[-1]), record,
            None, tuple(works),
        )
    )  # fmt: skip


def plain_copy(tensor):
    """A row-major copy with conj and neg bit resolved."""
    out = tensor.new_empty(tensor.layout.shape)
    return out.copy_(tensor)


class _Matrices(Product):
    def check(self, a, b):
        for name, y in (("self", a), ("mat2", b)):
            if y.ndim != 2:
                raise RuntimeError(f"{name} must be a matrix")
        if a.shape[1] != b.shape[0]:
            raise RuntimeError(
                f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and "
                f"{b.shape[0]}x{b.shape[1]})"
            )


class _Batches(Product):
    def check(self, a, b):
        if a.ndim != 3 or b.ndim != 3:
            raise RuntimeError(
                "batch1 must be a 3D tensor" if a.ndim != 3 else "batch2 must be a 3D tensor"
            )
        if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
            raise RuntimeError(
                f"Expected size for first two dimensions of batch2 tensor to be: [{a.shape[0]}, "
                f"{a.shape[2]}] but got: [{b.shape[0]}, {b.shape[1]}]."
            )


def adjoint(x):
    """The conjugate transpose of the last two dimensions, as a view."""
    return conj_of(x.transpose(-2, -1))


_gradients = dict(
    self=lambda grad, mat2: grad.matmul(adjoint(mat2)),
    mat2=lambda grad, self: adjoint(self).matmul(grad),
)
mm = _Matrices(
    "aten::mm(Tensor self, Tensor mat2) -> Tensor", """The product of two matrices.""", _gradients
)
bmm = _Batches(
    "aten::bmm(Tensor self, Tensor mat2) -> Tensor",
    """The products of two batches of matrices.""",
    _gradients,
)
integer_product = opaque(
    "aten::_integer_mm(Tensor self, Tensor mat2) -> Tensor",
    """The product of integer matrices, in their own type.""",
    run=lambda a, b: a @ b,
    function=False,
    method=False,
)


def _build_dot(steps, a, b):
    if a.dtype.kind != "f":
        raise NotImplementedError(f"\"dot\" not implemented for '{type_name(a.dtype)}'")
    none = steps.plain((), a.dtype)
    out, inner = steps.result((1,), a.dtype, none), compute_type(a.dtype)
    n = a.layout.numel
    if not n:
        steps.pointwise(lambda: ir.const(0, inner), [], [out])
    elif inner.itemsize == 8 or n < 2 * _PART:
        steps.reduce(sum_fold(lambda x, y: x * y, inner), [a, b], (0,), [out])
    else:
        _build_long_dot(steps, a, b, out, inner)


def _build_long_dot(steps, a, b, out, inner):
    """Parts that are short enough to be summed in their own type, then these in a wider one: to
    widen each product takes longer than to read it."""
    n, fold = a.layout.numel, sum_fold(lambda x, y: x * y, inner, count=_PART)
    whole, rest = divmod(n, _PART)
    parts = steps.scratch((whole + (rest > 0),), inner)

    def add(count, length, start, place):
        rows = []
        for x in (a, b):
            [step] = x.layout.strides
            rows.append(viewed(x, (count, length), (length * step, step), start * step))
        steps.reduce(fold, rows, (1,), [viewed(parts, (count, 1), (1, 1), place)])

    add(whole, _PART, 0, 0)
    if rest:
        add(1, rest, whole * _PART, whole)
    steps.reduce(sum_fold(lambda part: part, inner), [parts], (0,), [out])


real_dot = chain(
    "aten::_dot(Tensor self, Tensor tensor) -> Tensor",
    """`dot` of floats: one pass, as of a sum.""",
    build=_build_dot,
    grad=dict(
        self=lambda grad, tensor: grad * tensor,
        tensor=lambda grad, self: grad * self,
    ),
    method=False,
    function=False,
)


@fixed("aten::dot(Tensor self, Tensor tensor) -> Tensor")
def dot(self, tensor):
    """The sum of the products of two vectors' elements."""
    for x in (self, tensor):
        if x.ndim != 1:
            raise RuntimeError(
                f"1D tensors expected, but got {self.ndim}D and {tensor.ndim}D tensors"
            )
    if self.layout.dtype is not tensor.layout.dtype:
        raise RuntimeError(
            "dot : expected both vectors to have same dtype, but found "
            f"{type_name(self.dtype)} and {type_name(tensor.dtype)}"
        )
    if self.layout.shape != tensor.layout.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{self.shape[0]}] and src "
            f"[{tensor.shape[0]}] to have the same number of elements, but got {self.shape[0]} and "
            f"{tensor.shape[0]} elements respectively"
        )
    if self.layout.dtype.kind == "f":
        return real_dot(self, tensor)
    return mm(self.unsqueeze(0), tensor.unsqueeze(1)).reshape(())


@fixed("aten::vdot(Tensor self, Tensor other) -> Tensor")
def vdot(self, other):
    """As `dot`, with the first vector conjugated."""
    return dot(self.conj(), other)


@fixed("aten::mv(Tensor self, Tensor vec) -> Tensor")
def mv(self, vec):
    """The product of a matrix and a vector."""
    if self.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {self.ndim}, {vec.ndim}")
    if self.layout.shape[1] != vec.layout.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({self.shape[0]}), mat ({self.shape[0]}x{self.shape[1]}), "
            f"vec ({vec.shape[0]})"
        )
    return mm(self, vec.unsqueeze(1)).squeeze(1)


@fixed("aten::matmul(Tensor self, Tensor other) -> Tensor")
def matmul(self, other):
    """The matrix product; vectors, and leading dimensions as broadcast batches."""
    left, right = self.layout.ndim, other.layout.ndim
    if left == 2 and right == 2:
        return mm(self, other)
    if left == 0 or right == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {left}D and {right}D"
        )
    if left == 1 and right == 1:
        return dot(self, other)
    if left == 1:
        return matmul(self.unsqueeze(0), other).squeeze(-2)
    if right == 1:
        return mv(self, other) if left == 2 else matmul(self, other.unsqueeze(1)).squeeze(-1)
    if right == 2:  # fold the batch into the rows: one large product
        shape = self.layout.shape
        folded = mm(self.reshape(math.prod(shape[:-1]), shape[-1]), other)
        return folded.reshape((*shape[:-1], other.layout.shape[-1]))
    return _batched(self, other)


def _batched(self, other):
    a, b = self.layout.shape, other.layout.shape
    if a[-1] != b[-2]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{math.prod(b[:-2])}, "
            f"{a[-1]}] but got: [{math.prod(b[:-2])}, {b[-2]}]."
        )
    from_both = expand_batches(a[:-2], b[:-2])
    count = math.prod(from_both)
    left = self.expand((*from_both, *a[-2:])).reshape((count, *a[-2:]))
    right = other.expand((*from_both, *b[-2:])).reshape((count, *b[-2:]))
    return bmm(left, right).reshape((*from_both, a[-2], b[-1]))


def expand_batches(a, b):
    """The common batch shape."""
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    for d, (x, y) in enumerate(zip(a, b, strict=True)):
        if x != y and 1 not in (x, y):
            raise RuntimeError(
                f"The size of tensor a ({x}) must match the size of tensor b ({y}) at "
                f"non-singleton dimension {d}"
            )
    return tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))


def _check_added(self, product):
    if self.layout.dtype is not product.layout.dtype:
        raise RuntimeError(
            "self and mat2 must have the same dtype, but got "
            f"{type_name(self.layout.dtype)} and {type_name(product.layout.dtype)}"
        )


def _weighted(self, product, beta, alpha, promotes=False):
    """beta * self + alpha * product; what is in `self` does not matter where beta is 0.

    Beside integers, the fractions of beta and alpha are dropped."""
    shape = product.layout.shape
    if not promotes:
        _check_added(self, product)
    if product.layout.dtype.kind != "c" and complex in (beta.__class__, alpha.__class__):
        raise RuntimeError("value cannot be converted to type float without overflow")
    if self.layout.shape not in (shape, shape[-1:]):
        self = self.expand(shape)
    kind = product.layout.dtype.kind
    if kind in "biu":
        beta, alpha = (bool(v) if kind == "b" else int(v) for v in (beta, alpha))
    scaled = product if alpha == 1 else product * alpha
    if beta == 0:
        return scaled
    return scaled + (self if beta == 1 else self * beta)


@composite(
    "aten::addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> "
    "Tensor",
    rounds_once=True,
)
def addmm(self, mat1, mat2, beta, alpha):
    """``beta * self + alpha * (mat1 @ mat2)``."""
    return _weighted(self, mm(mat1, mat2), beta, alpha)


@composite(
    "aten::addmv(Tensor self, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
    rounds_once=True,
)
def addmv(self, mat, vec, beta, alpha):
    """``beta * self + alpha * (mat @ vec)``."""
    return _weighted(self, mv(mat, vec), beta, alpha)


@composite(
    "aten::addr(Tensor self, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
    rounds_once=True,
)
def addr(self, vec1, vec2, beta, alpha):
    """``beta * self + alpha * outer(vec1, vec2)``."""
    return _weighted(self, outer(vec1, vec2), beta, alpha, promotes=True)


@composite(
    "aten::baddbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> "
    "Tensor",
    rounds_once=True,
)
def baddbmm(self, batch1, batch2, beta, alpha):
    """``beta * self + alpha * (batch1 @ batch2)`` for each matrix of the batches."""
    return _weighted(self, bmm(batch1, batch2), beta, alpha)


@composite(
    "aten::addbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> "
    "Tensor",
    rounds_once=True,
)
def addbmm(self, batch1, batch2, beta, alpha):
    """``beta * self + alpha * sum(batch1 @ batch2)`` over the batch."""
    return _weighted(self, bmm(batch1, batch2).sum(0, dtype=batch1.layout.dtype), beta, alpha)


for _op in (addmm, addmv, addr, baddbmm, addbmm):
    _op.inplace_form, _op.older = True, ("beta", "alpha")


@fixed("aten::outer(Tensor self, Tensor vec2) -> Tensor")
def outer(self, vec2):
    """All products of an element of one vector with one of the other."""
    if self.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(f"outer: Expected 1-D argument self, but got {self.ndim}-D")
    return self.unsqueeze(1) * vec2


also(outer, "ger")


class Linear(Op):
    """``input @ weight.T + bias`` in one launch."""

    family = "contraction"

    def plan(self, args):
        x, weight, bias = (
            args[0].layout,
            args[1].layout,
            args[2].layout if args[2] is not None else None,
        )
        if bias is not None and weight.dtype is not x.dtype:
            raise RuntimeError(
                "mat1 and mat2 must have the same dtype, but got "
                f"{type_name(x.dtype)} and {type_name(weight.dtype)}"
            )
        if (
            weight.ndim != 2
            or x.ndim == 0
            or x.dtype.name not in BLAS_TYPES
            or x.device.type == "meta"
        ):
            return _linear_by_parts
        k, n = weight.shape[1], weight.shape[0]
        if x.shape[-1] != k:
            rows = math.prod(x.shape[:-1])
            raise RuntimeError(
                f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x.shape[-1]} and {k}x{n})"
            )
        same = all(
            y is None or (y.dtype is x.dtype and not y.conj and not y.neg)
            for y in (x, weight, bias)
        )
        if not same:
            return _linear_by_parts
        rows = contiguous((math.prod(x.shape[:-1]), k), x.dtype)
        flipped = weight.reshaped((k, n), (weight.strides[1], weight.strides[0]))
        if blas_form(flipped) is None or (bias is not None and bias.shape != (n,)):
            return _linear_by_parts
        if not x.contiguous:
            return lambda input, weight, bias: linear(input.contiguous(), weight, bias)
        out = contiguous((*x.shape[:-1], n), x.dtype)
        flat = contiguous((rows.shape[0], n), x.dtype)
        letters = "tt-" if bias is None else "ttt"
        return _launcher(letters, self.recorder(args), out, flat, rows, flipped, bias)


def _linear_by_parts(input, weight, bias):
    out = input.matmul(weight.t())
    if bias is None:
        return out
    _check_added(bias, out)
    return out + (bias if bias.layout.shape == out.layout.shape[-1:] else bias.expand(out.shape))


def _rows(x):
    return x.reshape(-1, x.layout.shape[-1]) if x.layout.ndim != 2 else x


linear = Linear(
    "nn::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor",
    """``input @ weight.T + bias``: input [..., in], weight [out, in], bias [out], result [...,
    out].
    """,
    dict(
        input=lambda grad, weight: grad.matmul(conj_of(weight)),
        weight=lambda grad, input: _rows(grad).t().mm(conj_of(_rows(input))),
        bias=lambda grad: (
            grad.reshape(-1, grad.layout.shape[-1]).sum(0) if grad.layout.ndim > 1 else grad
        ),
    ),
)
