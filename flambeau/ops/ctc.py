"""Connectionist temporal classification (Graves, Fernández, Gomez, Schmidhuber 2006)."""

from __future__ import annotations

import math

from flambeau._base import numpy

from .family import opaque
from .family.pointwise import type_name
from .op import composite, is_tensor

NOTHING = -math.inf


def _labels(targets, target_lengths, blank):
    """[N, 2 S + 1]: the labels with blanks between them, and which states may be entered from two
    before.
    """
    longest = max(target_lengths, default=0)
    extended = numpy.full((len(target_lengths), 2 * longest + 1), blank, numpy.int64)
    start = 0
    for n, length in enumerate(target_lengths):
        if targets.ndim == 1:
            extended[n, 1 : 2 * length : 2] = targets[start : start + length]
            start += length
        else:
            extended[n, 1 : 2 * length : 2] = targets[n, :length]
    skips = numpy.zeros(extended.shape, bool)
    skips[:, 2:] = (extended[:, 2:] != blank) & (extended[:, 2:] != extended[:, :-2])
    return extended, skips


def _sum_logs(*terms):
    """log(sum(exp(terms))), -inf where all are."""
    high = terms[0]
    for t in terms[1:]:
        high = numpy.maximum(high, t)
    base = numpy.where(high == NOTHING, 0, high)
    with numpy.errstate(divide="ignore"):
        return numpy.log(sum(numpy.exp(t - base) for t in terms)) + base


def _shifted(states, by):
    """States moved right (left for a negative number), filled with log 0."""
    out = numpy.full_like(states, NOTHING)
    if by > 0:
        out[:, by:] = states[:, :-by]
    else:
        out[:, :by] = states[:, -by:]
    return out


def _emitted(log_probs, extended):
    """[T, N, states]: the log probability of each state's label."""
    index = numpy.broadcast_to(extended, (log_probs.shape[0], *extended.shape))
    return numpy.take_along_axis(log_probs.astype(numpy.float64), index, 2)


def _forward(log_probs, targets, input_lengths, target_lengths, blank):
    """(loss [N], log alpha [N, T, states]), in double precision inside."""
    steps, batch, _ = log_probs.shape
    extended, skips = _labels(targets, target_lengths, blank)
    emitted = _emitted(log_probs, extended)
    states = extended.shape[1]
    alpha = numpy.full((steps, batch, states), NOTHING)
    if steps:
        alpha[0, :, :2] = emitted[0, :, :2]
        alpha[0, numpy.array(target_lengths) == 0, 1:] = NOTHING
    for t in range(1, steps):
        before = alpha[t - 1]
        two = numpy.where(skips, _shifted(before, 2), NOTHING) if states > 2 else before + NOTHING
        alpha[t] = _sum_logs(before, _shifted(before, 1), two) + emitted[t]
    loss = numpy.empty(batch)
    for n, (length, labels) in enumerate(zip(input_lengths, target_lengths, strict=True)):
        if not length:
            loss[n] = 0 if not labels else numpy.inf
            continue
        last = alpha[length - 1, n]
        loss[n] = -_sum_logs(
            last[2 * labels], last[2 * labels - 1] if labels else numpy.float64(NOTHING)
        )
    kind = log_probs.dtype
    return loss.astype(kind), numpy.ascontiguousarray(alpha.transpose(1, 0, 2).astype(kind))


def _backward(
    grad, log_probs, targets, loss, alpha, input_lengths, target_lengths, blank, zero_infinity
):
    """The gradient with respect to what log_softmax was applied to, as PyTorch's kernel has it."""
    steps, batch, classes = log_probs.shape
    extended, skips = _labels(targets, target_lengths, blank)
    emitted, states = _emitted(log_probs, extended), extended.shape[1]
    ends = numpy.zeros((batch, states), bool)
    for n, labels in enumerate(target_lengths):
        ends[n, max(2 * labels - 1, 0) : 2 * labels + 1] = True
    lengths = numpy.array(input_lengths)
    beta = numpy.full((steps, batch, states), NOTHING)
    leaves = numpy.zeros_like(skips)
    leaves[:, :-2] = skips[:, 2:]
    for t in range(steps - 1, -1, -1):
        if t + 1 < steps:
            after = beta[t + 1]
            two = (
                numpy.where(leaves, _shifted(after, -2), NOTHING) if states > 2 else after + NOTHING
            )
            beta[t] = _sum_logs(after, _shifted(after, -1), two) + emitted[t]
        starts = (lengths - 1 == t)[:, None]
        beta[t] = numpy.where(starts, numpy.where(ends, emitted[t], NOTHING), beta[t])
        beta[t, lengths <= t] = NOTHING
    both = alpha.astype(numpy.float64).transpose(1, 0, 2) + beta
    probabilities = log_probs.astype(numpy.float64)
    shares = numpy.full((steps, batch, classes), NOTHING)
    for n, labels in enumerate(target_lengths):
        numpy.logaddexp.at(
            shares[:, n].T, extended[n, : 2 * labels + 1], both[:, n, : 2 * labels + 1].T
        )
    total = loss.astype(numpy.float64)[:, None]
    with numpy.errstate(invalid="ignore", over="ignore"):
        result = (numpy.exp(probabilities) - numpy.exp(shares + total - probabilities)) * grad[
            :, None
        ]
    result[numpy.arange(steps)[:, None] >= lengths[None, :]] = 0
    if zero_infinity:
        result[:, numpy.isinf(loss)] = 0
    return result.astype(log_probs.dtype)


def _gradient(
    grad_loss,
    log_probs,
    targets,
    loss,
    log_alpha,
    input_lengths,
    target_lengths,
    blank,
    zero_infinity,
):
    return backward(
        grad_loss,
        log_probs,
        targets,
        loss,
        log_alpha,
        input_lengths,
        target_lengths,
        blank,
        zero_infinity,
    )


backward = opaque(
    "aten::_ctc_loss_backward(Tensor grad, Tensor log_probs, Tensor targets, Tensor loss, Tensor "
    "log_alpha, int[] input_lengths, int[] target_lengths, int blank, bool zero_infinity) -> "
    "Tensor",
    """The gradient of `_ctc_loss`.""",
    run=_backward,
    method=False,
    function=False,
)
ctc = opaque(
    "aten::_ctc_loss(Tensor log_probs, Tensor targets, int[] input_lengths, int[] target_lengths, "
    "int blank=0, bool zero_infinity=False) -> (Tensor loss, Tensor log_alpha)",
    """The negative log likelihood of each target under log_probs [T, N, C], and the forward
    variables.
    """,
    run=lambda log_probs, targets, inputs, labels, blank, zero_infinity: _forward(
        log_probs, targets, inputs, labels, blank
    ),
    grad=dict(log_probs=_gradient),
    method=False,
)


def _check(log_probs, targets, inputs, labels, blank):
    steps, batch, classes = log_probs.layout.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    for lengths, name in ((inputs, "input_lengths"), (labels, "target_lengths")):
        if len(lengths) != batch:
            raise RuntimeError(f"{name} must be of size batch_size")
    for length in inputs:
        if length > steps:
            raise RuntimeError(
                f"Expected input_lengths to have value at most {steps}, but got value {length} "
                "(while checking arguments for ctc_loss_allocate_outputs)"
            )
        if length < 0:
            raise RuntimeError("input_lengths must be non-negative")
    if any(length < 0 for length in labels):
        raise RuntimeError("target_lengths must be non-negative")
    if targets.layout.ndim not in (1, 2):
        raise RuntimeError(
            f"Expected 1 to 2 dimensions, but got {targets.layout.ndim}-dimensional tensor for "
            "argument #2 'targets' (while checking arguments for ctc_loss_allocate_outputs)"
        )
    if targets.layout.ndim == 2 and targets.layout.shape[0] != batch:
        raise RuntimeError(
            f"Expected tensor to have size {batch} at dimension 0, but got size "
            f"{targets.layout.shape[0]} for argument #2 'targets' (while checking arguments for "
            "ctc_loss_allocate_outputs)"
        )
    if targets.layout.ndim == 1 and sum(labels) != targets.layout.numel:
        raise RuntimeError(
            f"Expected tensor to have size {sum(labels)} at dimension 0, but got size "
            f"{targets.layout.numel} for "
            "argument #2 'targets' (while checking arguments for ctc_loss_allocate_outputs)"
        )
    if targets.layout.ndim == 2 and max(labels, default=0) > targets.layout.shape[1]:
        raise RuntimeError(
            f"Expected tensor to have size at least {max(labels)} at dimension 1, but got size "
            f"{targets.layout.shape[1]} for argument #2 'targets' (while checking arguments for "
            "ctc_loss_allocate_outputs)"
        )


def _ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity):
    if log_probs.layout.dtype.name not in ("float32", "float64"):
        raise NotImplementedError(
            f"\"ctc_loss_cpu\" not implemented for '{type_name(log_probs.layout.dtype)}'"
        )
    single = log_probs.layout.ndim == 2
    if single:
        log_probs = log_probs.unsqueeze(1)
        targets = targets.unsqueeze(0) if targets.layout.ndim == 1 else targets
    _check(log_probs, targets, input_lengths, target_lengths, blank)
    loss, _ = ctc(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity)
    if zero_infinity:
        loss = loss.masked_fill(loss.detach().eq(numpy.inf), 0)
    if reduction == 1:
        return (loss / loss.new_tensor([float(max(n, 1)) for n in target_lengths])).mean()
    if reduction == 2:
        return loss.sum()
    return loss.squeeze(0) if single else loss


@composite(
    "aten::ctc_loss.IntList(Tensor log_probs, Tensor targets, int[] input_lengths, int[] "
    "target_lengths, int blank=0, int reduction=Mean, bool zero_infinity=False) -> Tensor",
    method=False,
)
def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity):
    """The negative log likelihood of `targets` under log_probs [T, N, C], summed over all
    alignments.

    `targets` is [N, S] or all labels one after the other; `blank` is the label between labels.
    Without N all lose that dimension. Reduction: 0 none, 1 the mean of losses divided by target
    lengths, 2 the sum.
    """
    return _ctc_loss(
        log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity
    )


def _lengths(tensor):
    return (
        tuple(int(n) for n in tensor.reshape(-1).tolist()) if is_tensor(tensor) else tuple(tensor)
    )


@composite(
    "aten::ctc_loss.Tensor(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor "
    "target_lengths, int blank=0, int reduction=Mean, bool zero_infinity=False) -> Tensor",
    method=False,
)
def ctc_loss_tensor(
    log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity
):
    """As `ctc_loss.IntList`, with the lengths in tensors."""
    for lengths in (input_lengths, target_lengths):
        if is_tensor(lengths) and lengths.layout.dtype.kind not in "iu":
            raise RuntimeError("lengths must be integral")
    inputs, labels = _lengths(input_lengths), _lengths(target_lengths)
    return _ctc_loss(log_probs, targets, inputs, labels, blank, reduction, zero_infinity)
