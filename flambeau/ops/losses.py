"""Losses. `reduction` is PyTorch's code: 0 none, 1 mean, 2 sum."""

import math as _math

from flambeau import ir
from flambeau.types import by_name

from .facts import type_name
from .family import fixed, fused, indexed, pointwise
from .family.arrays import ndarray
from .family.indexed import At, along, viewed
from .logic import within
from .op import composite, find
from .promotion import compute_type, result_type
from .softmax import level, softmax_at, sum_fold

INT64 = by_name("int64")
LARGE = 1 << 18  # elements from which moving memory costs more than launches do


def reduce(loss, reduction):
    """The loss of each element, their mean, or their sum."""
    if reduction == 0:
        return loss
    return loss.mean() if reduction == 1 else loss.sum()


def _weighted(loss, weight):
    return loss if weight is None else loss * weight


@composite("nn::mse_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor")
def mse_loss(self, target, reduction):
    """The square of the difference."""
    kind = result_type([self.layout, target.layout])
    if kind.kind != "f":
        raise NotImplementedError(f"\"mse_cpu\" not implemented for '{type_name(kind)}'")
    difference = self - target
    return reduce(difference * difference, reduction)


@composite("nn::l1_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor")
def l1_loss(self, target, reduction):
    """The absolute difference."""
    return reduce((self - target).abs(), reduction)


@fused("nn::_huber(Tensor self, Tensor target, Scalar delta) -> Tensor")
def _huber(self, target, delta):
    """Quadratic for differences up to delta, linear beyond."""
    z = (self - target).abs()
    return where(z <= delta, z * z * 0.5, (z - 0.5 * delta) * delta)


def where(condition, yes, no):
    return find("where").door(condition, yes, no)


@composite(
    "nn::huber_loss(Tensor self, Tensor target, int reduction=Mean, float delta=1.0) -> Tensor"
)
def huber_loss(self, target, reduction, delta):
    """Quadratic for differences up to `delta`, linear beyond."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    return reduce(_huber(self, target, delta), reduction)


@composite(
    "nn::smooth_l1_loss(Tensor self, Tensor target, int reduction=Mean, float beta=1.0) -> Tensor"
)
def smooth_l1_loss(self, target, reduction, beta):
    """`huber_loss` divided by `beta`; the absolute difference where beta is 0."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return l1_loss(self, target, reduction)
    return reduce(_huber(self, target, beta) / beta, reduction)


@composite(
    "nn::kl_div(Tensor self, Tensor target, int reduction=Mean, *, bool log_target=False) -> Tensor"
)
def kl_div(self, target, reduction, log_target):
    """``target * (log(target) - self)`` pointwise; `self` holds logarithms."""
    loss = (
        target.exp() * (target - self)
        if log_target
        else find("xlogy").door(target, target) - target * self
    )
    return reduce(loss, reduction)


_probability = pointwise(
    "nn::_probability(Tensor self) -> Tensor",
    """The same numbers, which must lie in [0, 1].""",
    scalar=lambda self: self,
    refuses=lambda self: ~((self >= 0) & (self <= 1)),
    refusal=lambda self: RuntimeError("all elements of input should be between 0 and 1"),
    grad=dict(self=lambda grad: grad),
    function=False,
)


@composite(
    "nn::binary_cross_entropy(Tensor self, Tensor target, Tensor? weight=None, int reduction=Mean) "
    "-> Tensor"
)
def binary_cross_entropy(self, target, weight, reduction):
    """Cross entropy of probabilities with targets in [0, 1]; logarithms are clamped at -100."""
    if target.layout.dtype is not self.layout.dtype:
        raise RuntimeError(
            f"Found dtype {type_name(target.layout.dtype)} but expected "
            f"{type_name(self.layout.dtype)}"
        )
    self = _probability(self)
    loss = -(target * self.log().clamp(min=-100) + (1 - target) * (-self).log1p().clamp(min=-100))
    return reduce(_weighted(loss, weight), reduction)


@composite(
    "nn::binary_cross_entropy_with_logits(Tensor self, Tensor target, Tensor? weight=None, "
    "Tensor? pos_weight=None, int reduction=Mean) -> Tensor"
)
def binary_cross_entropy_with_logits(self, target, weight, pos_weight, reduction):
    """`binary_cross_entropy` of ``sigmoid(self)``, computed without overflow."""
    softplus = (-self.abs()).exp().log1p() + (-self).clamp(min=0)  # log(1 + exp(-x))
    if pos_weight is None:
        loss = (1 - target) * self + softplus
    else:
        loss = (1 - target) * self + (1 + (pos_weight - 1) * target) * softplus
    return reduce(_weighted(loss, weight), reduction)


@composite("nn::soft_margin_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor")
def soft_margin_loss(self, target, reduction):
    """``log(1 + exp(-target * self))``."""
    return reduce((self * -target).exp().log1p(), reduction)


@composite(
    "nn::hinge_embedding_loss(Tensor self, Tensor target, float margin=1.0, int reduction=Mean) -> "
    "Tensor"
)
def hinge_embedding_loss(self, target, margin, reduction):
    """`self` where the target is 1, ``max(0, margin - self)`` where it is -1."""
    far = where(target.eq(1), find("zeros_like").door(self), (margin - self).clamp(min=0))
    near = where(target.eq(-1), find("zeros_like").door(self), self)
    return reduce(far + near, reduction)


@composite(
    "nn::margin_ranking_loss(Tensor input1, Tensor input2, Tensor target, float margin=0.0, int "
    "reduction=Mean) -> Tensor"
)
def margin_ranking_loss(input1, input2, target, margin, reduction):
    """``max(0, -target * (input1 - input2) + margin)``."""
    return reduce((-target * (input1 - input2) + margin).clamp(min=0), reduction)


@composite(
    "nn::cosine_embedding_loss(Tensor input1, Tensor input2, Tensor target, float margin=0.0, int "
    "reduction=Mean) -> Tensor"
)
def cosine_embedding_loss(input1, input2, target, margin, reduction):
    """``1 - cos`` for pairs with target 1, ``max(0, cos - margin)`` for those with -1."""
    if not (
        (target.ndim == 0 and input1.ndim == input2.ndim == 1)
        or (target.ndim == 1 and input1.ndim == input2.ndim == 2)
    ):
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found "
            f"inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    tiny = 1e-12  # EPSILON of the reference: keeps the product of squares from vanishing
    product = (input1 * input2).sum(-1)
    squares = ((input1 * input1).sum(-1) + tiny) * ((input2 * input2).sum(-1) + tiny)
    cosine = product / squares.sqrt()
    zeros = find("zeros_like").door(cosine)
    loss = where(target.eq(1), 1 - cosine, zeros) + where(
        target.eq(-1), (cosine - margin).clamp(min=0), zeros
    )
    return reduce(loss, reduction)


@composite(
    "nn::poisson_nll_loss(Tensor input, Tensor target, bool log_input, bool full, float eps, int "
    "reduction) -> Tensor"
)
def poisson_nll_loss(input, target, log_input, full, eps, reduction):
    """The negative log likelihood of counts; `full` adds Stirling's term."""
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * _math.pi * target).log()
        loss = loss + where(target > 1, stirling, find("zeros_like").door(stirling))
    return reduce(loss, reduction)


@composite(
    "nn::triplet_margin_loss(Tensor anchor, Tensor positive, Tensor negative, float margin=1.0, "
    "float p=2, float eps=1e-06, bool swap=False, int reduction=Mean) -> Tensor"
)
def triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, reduction):
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)``."""
    a, b, c = (t.layout.ndim for t in (anchor, positive, negative))
    if not a == b == c:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {a}D, positive {b}D, and negative {c}D inputs"
        )
    distance = find("pairwise_distance").door
    near, far = distance(anchor, positive, p, eps), distance(anchor, negative, p, eps)
    if swap:
        far = find("minimum").door(far, distance(positive, negative, p, eps))
    return reduce((margin + near - far).clamp(min=0), reduction)


@fixed(
    "aten::pairwise_distance(Tensor x1, Tensor x2, float p=2, float eps=1e-06, "
    "bool keepdim=False) -> Tensor",
           method=False)  # fmt: skip
def pairwise_distance(x1, x2, p, eps, keepdim):
    """The p-norm of the difference along the last dimension."""
    return find("linalg.vector_norm").door(x1 - x2 + eps, p, (-1,), keepdim)


@fixed(
    "aten::cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-08) -> Tensor",
    method=False,
)
def cosine_similarity(x1, x2, dim, eps):
    """The cosine of the angle between vectors along `dim`; norms are at least `eps`."""
    x1, x2 = find("broadcast_tensors").door([x1, x2])
    norm = find("linalg.vector_norm").door
    first, second = (norm(x, 2, (dim,), True).clamp(min=eps) for x in (x1, x2))
    return ((x1 / first) * (x2 / second)).sum(dim)


def _class_dim(ndim):
    return 1 if ndim > 1 else 0


def _check_classes(input, target, weight):
    """PyTorch's checks of a classification loss' shapes and of the classes' range."""
    shape = input.layout.shape
    d = _class_dim(len(shape))
    if len(shape) == 0:
        raise ValueError(f"Expected 1 or more dimensions (got {len(shape)})")
    wanted = shape[:d] + shape[d + 1 :]
    if target.layout.shape != wanted:
        if len(shape) <= 2 and shape[:1] != target.layout.shape[:1]:
            raise ValueError(
                f"Expected input batch_size ({shape[0]}) to match target batch_size "
                f"({target.shape[0] if target.ndim else 1})."
            )
        raise RuntimeError(
            "0D or 1D target tensor expected, multi-target not supported"
            if len(shape) <= 2
            else f"Expected target size {list(wanted)}, got {list(target.shape)}"
        )
    if target.layout.dtype.name not in ("int64", "uint8"):
        raise RuntimeError(
            "expected target dtype to be Long or Byte, but got " + type_name(target.layout.dtype)
        )
    classes = shape[d]
    if weight is None:
        return d, classes
    if weight.layout.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but "
            f"got weight tensor of shape: {list(weight.shape)}"
        )
    if weight.layout.dtype is not input.layout.dtype:
        raise RuntimeError(
            f"expected scalar type {type_name(input.layout.dtype)} but found "
            f"{type_name(weight.layout.dtype)}"
        )
    return d, classes


def _no_class(target, classes, ignored):
    bad = target.masked_select(((target < 0) | (target >= classes)) & target.ne(ignored))
    return IndexError(f"Target {bad.select(0, 0).item()} is out of bounds.")


class_index = pointwise(
    "nn::_class_index(Tensor self, Scalar classes, Scalar ignored) -> Tensor",
    """The class, which must lie in [0, `classes`), or 0 where it is `ignored`.""",
    scalar=lambda self, classes, ignored: ir.select(self.equals(ignored), 0, self),
    refuses=lambda self, classes, ignored: ((self < 0) | (self >= classes)) & self.differs(ignored),
    refusal=_no_class,
    promotes=("self",),
    function=False,
)


def _check_nll(self, target, weight, reduction, ignore_index):
    _check_classes(self, target, weight)


def _nll_weights(target, weight, ignore_index, classes, like):
    """The classes, 0 in place of what is ignored, and each target's weight: that of its class, 0
    where ignored.
    """
    safe, kept = class_index(target, classes, ignore_index), target.ne(ignore_index)
    if weight is None:
        return safe, kept.to(like.layout.dtype)
    return safe, weight.index_select(0, safe.reshape(-1)).reshape(target.layout.shape) * kept


def _out_of_range(self, target, weight, reduction, ignore_index):
    classes, targets = self.layout.shape[_class_dim(self.layout.ndim)], ndarray(target)
    wrong = targets[((targets < 0) | (targets >= classes)) & (targets != ignore_index)]
    return IndexError(f"Target {wrong.flat[0]} is out of bounds.")


class _Targets:
    """The steps that losses by classes have in common: where the target of each place lies along
    the classes, and the weight of its class, 0 where it is ignored. Buffers have size 1 there.
    """

    def __init__(self, steps, shape, target, weight, ignore_index, inner):
        self.steps, self.inner = steps, inner
        self.d = d = _class_dim(len(shape))
        self.shape = (*shape[:d], 1, *shape[d + 1 :])
        strides = target.layout.strides
        self.given = given = viewed(target, self.shape, (*strides[:d], 0, *strides[d:]))
        self.place, self.factor = (steps.scratch(self.shape, t) for t in (INT64, inner))
        zero, one = ir.const(0, inner), ir.const(1, inner)

        def kept(target, yes, no=zero):
            return ir.select(target.differs(ignore_index), yes, no)

        self.kept = kept
        steps.pointwise(lambda t: kept(t, ir.cast(t, INT64), 0), [given], [self.place])
        if weight is None:
            steps.pointwise(lambda t: kept(t, one), [given], [self.factor])
            return
        (step,), every = weight.layout.strides, viewed(weight, self.shape, (0,) * len(self.shape))
        at = At(self.place, (every,), step * weight.layout.itemsize, shape[d])
        steps.indexed(
            lambda t, w: (kept(t, ir.cast(w, inner)),), [self.factor], [given, every], [at]
        )

    def sum(self, terms):
        """The sum of all terms."""
        total = self.steps.scratch((1,) * len(self.shape), self.inner)
        axes = tuple(range(len(self.shape)))
        self.steps.reduce(sum_fold(lambda v: v, self.inner), [terms], axes, [total])
        return total


def _build_nll(steps, self, target, weight, reduction, ignore_index):
    inner = compute_type(self.dtype)
    targets = _Targets(steps, self.layout.shape, target, weight, ignore_index, inner)
    view, at = along(self, targets.d, targets.shape, targets.place)
    kept = steps.plain(target.layout.shape, self.dtype)
    loss = (
        steps.result(targets.shape, self.dtype, kept)
        if reduction == 0
        else steps.scratch(targets.shape, inner)
    )

    def term(value, factor, target):
        return (targets.kept(target, -ir.cast(value, inner) * factor),)

    steps.indexed(term, [loss], [view, targets.factor, targets.given], [at])
    if reduction == 0:
        return
    sums = [targets.sum(t) for t in ((loss, targets.factor) if reduction == 1 else (loss,))]
    out = steps.result(sums[0].layout.shape, self.dtype, steps.plain((), self.dtype))
    steps.pointwise(lambda total, *by: total / by[0] if by else total, sums, [out])


def _build_nll_slope(steps, grad, target, weight, shape, reduction, ignore_index):
    inner = compute_type(grad.dtype)
    targets = _Targets(steps, shape, target, weight, ignore_index, inner)
    out = steps.result(shape, grad.dtype)
    steps.indexed(lambda: (ir.const(0, inner),), [out], [], [])
    strides, d = grad.layout.strides, targets.d
    slopes = (0,) * len(shape) if reduction else (*strides[:d], 0, *strides[d:])
    operands = [viewed(grad, targets.shape, slopes), targets.factor, targets.given]
    slope = steps.scratch(targets.shape, inner)
    if reduction == 1:
        operands.append(targets.sum(targets.factor))

    def term(grad, factor, target, *total):
        return targets.kept(target, -grad * (factor / total[0] if total else factor))

    steps.pointwise(term, operands, [slope])
    view, at = along(out, d, targets.shape, targets.place)
    steps.indexed(lambda value: (value,), [view], [slope], [at])


_nll_slope = indexed(
    "nn::_nll_slope(Tensor slope, Tensor target, Tensor? weight, int[] shape, int reduction, int "
    "ignore_index) -> Tensor",
    """The gradient of `nll_loss_nd`, of which it is the transpose.""",
    build=_build_nll_slope,
    refuse=lambda *args: IndexError("a target is out of bounds"),
    grad=dict(
        slope=lambda grad, target, weight, reduction, ignore_index: nll_loss_nd(
            grad, target, weight, reduction, ignore_index
        )
    ),
)


nll_loss_nd = indexed(
    "nn::nll_loss_nd(Tensor self, Tensor target, Tensor? weight=None, int reduction=Mean, int "
    "ignore_index=-100) -> Tensor",
    """The negative log likelihood: minus `self` at the target's class, weighted; classes are
    dimension 1.
    """,
    build=_build_nll,
    check=_check_nll,
    refuse=_out_of_range,
    grad=dict(
        self=lambda grad, self_layout, target, weight, reduction, ignore_index: _nll_slope(
            grad, target, weight, self_layout.shape, reduction, ignore_index
        )
    ),
)


def _log_loss_backward(grad_loss, grad_high, grad_rest, self, target, high, rest, dim):
    """The slope of high + rest is the soft-max; that of high alone is 1 where the maximum is."""
    grad = None if grad_loss is None else grad_loss.unsqueeze(dim)
    both = grad_rest if grad is None else grad if grad_rest is None else grad + grad_rest
    made = None if both is None else softmax_at(self, high, rest, both).to(self.layout.dtype)
    if grad is not None:
        made = made.scatter_add(dim, target.unsqueeze(dim), -grad)
    if grad_high is None and grad_rest is None:
        return made
    alone = -grad_rest if grad_high is None else grad_high
    alone = alone if grad_high is None or grad_rest is None else alone - grad_rest
    peaks = self.eq(high) * alone
    return peaks if made is None else made + peaks


@composite(
    "nn::_log_loss(Tensor self, Tensor target, int dim) -> (Tensor loss, Tensor high, Tensor rest)",
    grad=dict(self=_log_loss_backward),
)
def log_loss(self, target, dim):
    """Minus the `log_softmax` of `self` at the target's class, which is never made whole; and the
    level of the soft-max, which backward makes it from.
    """
    high, rest = level(self, dim)
    picked = self.gather(dim, target.unsqueeze(dim))
    return (high - picked + rest).squeeze(dim).to(self.layout.dtype), high, rest


@composite(
    "nn::cross_entropy_loss(Tensor self, Tensor target, Tensor? weight=None, int reduction=Mean, "
    "int ignore_index=-100, float label_smoothing=0.0) -> Tensor"
)
def cross_entropy_loss(self, target, weight, reduction, ignore_index, label_smoothing):
    """`nll_loss` of `log_softmax`; a floating target holds class probabilities instead of
    classes.
    """
    d = _class_dim(self.layout.ndim)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    hard = target.layout.shape != self.layout.shape
    if hard and label_smoothing == 0 and self.layout.numel >= LARGE:
        return _large_cross_entropy(self, target, weight, reduction, ignore_index)
    logs = self.log_softmax(d)
    if not hard:
        if target.layout.dtype.kind != "f":
            raise RuntimeError(
                "Expected floating point type for target with class probabilities, got "
                + type_name(target.layout.dtype)
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _soft_cross_entropy(logs, target, weight, reduction, label_smoothing, d)
    plain = nll_loss_nd(logs, target, weight, reduction, ignore_index)
    if label_smoothing == 0:
        return plain
    classes = self.layout.shape[d]
    target = target.to(INT64)
    shape = [1] * self.layout.ndim
    shape[d] = classes
    spread = -(logs if weight is None else logs * weight.reshape(shape)).sum(d)
    _, weights = _nll_weights(target, weight, ignore_index, classes, self)
    kept = target.ne(ignore_index)
    spread = where(kept, spread, find("zeros_like").door(spread))
    if reduction == 1:
        spread = spread.sum() / weights.sum()
    elif reduction == 2:
        spread = spread.sum()
    return (1 - label_smoothing) * plain + label_smoothing / classes * spread


def _large_cross_entropy(self, target, weight, reduction, ignore_index):
    """More launches, and less memory moved."""
    d, classes = _check_classes(self, target, weight)
    if target.layout.dtype is not INT64:
        target = target.to(INT64)
    safe, weights = _nll_weights(target, weight, ignore_index, classes, self)
    loss = log_loss(self, safe, d)[0] * weights
    if reduction == 0:
        return loss
    return loss.sum() / weights.sum() if reduction == 1 else loss.sum()


def _soft_cross_entropy(logs, target, weight, reduction, label_smoothing, d):
    classes = logs.layout.shape[d]
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    if weight is not None:
        shape = [1] * logs.layout.ndim
        shape[d] = classes
        logs = logs * weight.reshape(shape)
    loss = -(logs * target)
    if reduction == 0:
        return loss.sum(d)
    total = loss.sum()
    return total / (loss.layout.numel // classes) if reduction == 1 else total


def _check_rows(layout):
    """Refuses what is neither one sample's classes nor rows of them."""
    if layout.ndim > 2 or (layout.ndim and not layout.shape[-1]):
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(layout.shape)}"
        )


def _checked_targets(target, lowest, classes, message):
    if target.layout.dtype is not INT64:
        raise RuntimeError(f"expected scalar type Long but found {type_name(target.layout.dtype)}")
    return within(target, lowest, classes - 1, message)


@composite(
    "nn::multi_margin_loss(Tensor self, Tensor target, Scalar p=1, Scalar margin=1, Tensor? "
    "weight=None, int reduction=Mean) -> Tensor"
)
def multi_margin_loss(self, target, p, margin, weight, reduction):
    """The mean over the other classes of ``max(0, margin - x[target] + x[class]) ** p``."""
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    _check_rows(self.layout)
    single = self.layout.ndim < 2
    x = self.reshape(1, -1) if single else self
    count, classes = x.layout.shape
    if target.layout.ndim > 1 or target.layout.numel != count:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input "
            f"samples (batch size). Expected target size [{count}], but got {list(target.shape)}. "
            f"Input has shape {list(self.shape)}."
        )
    if weight is not None and (weight.layout.ndim > 1 or weight.layout.numel != classes):
        raise RuntimeError(
            f"inconsistent weight size, expected {classes} but got {list(weight.shape)}"
        )
    y = _checked_targets(target, 0, classes, "target out of range").reshape(-1)
    picked = x.gather(1, y.unsqueeze(1))
    z = (margin - picked + x).clamp(min=0)
    z = z if p == 1 else z * z
    if weight is not None:
        z = z * weight.index_select(0, y).unsqueeze(1)
    others = find("_iota").door(classes).to(y.layout.device).ne(y.unsqueeze(1))
    loss = (z * others).sum(1) / classes
    if reduction == 0:
        return loss.reshape(target.layout.shape) if single else loss
    return reduce(loss, reduction)


@composite("nn::multilabel_margin_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor")
def multilabel_margin_loss(self, target, reduction):
    """For each label (up to the first -1) and each class that is no label: ``max(0, 1 - x[label] +
    x[class])``.
    """
    _check_rows(self.layout)
    if target.layout.shape != self.layout.shape:
        raise RuntimeError(
            f"inconsistent target size: {list(target.shape)} for input of size: {list(self.shape)}"
        )
    classes = self.layout.shape[-1] if self.layout.ndim else 1
    target = _checked_targets(target, -1, classes, "argument #2 'target' is out of range")
    single = self.layout.ndim < 2
    x, y = (self.reshape(1, -1), target.reshape(1, -1)) if single else (self, target)
    valid = y.lt(0).to(INT64).cumsum(1).eq(0)
    safe = where(valid, y, find("zeros_like").door(y))
    is_label = find("zeros_like").door(y).scatter_add(1, safe, valid.to(y.layout.dtype)).gt(0)
    picked = x.gather(1, safe)
    z = (1 - picked.unsqueeze(2) + x.unsqueeze(1)).clamp(min=0)
    z = z * (valid.unsqueeze(2) & ~is_label.unsqueeze(1))
    loss = z.sum((1, 2)) / classes
    if reduction == 0:
        return loss.reshape(()) if single else loss
    return reduce(loss, reduction)
