"""Losses: argument checks and reduction names over the loss ops, and the composed losses."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from flambeau.tensor import Tensor

from .. import operations as ops

REDUCTION = {"none": 0, "mean": 1, "sum": 2}


def reduction_name(size_average: Any, reduce: Any, warn: bool = True) -> str:
    """Translate the two deprecated switches into a reduction."""
    size_average = True if size_average is None else size_average
    reduce = True if reduce is None else reduce
    name = "none" if not reduce else "mean" if size_average else "sum"
    if warn:
        warnings.warn(
            "size_average and reduce args will be deprecated, please use "
            f"reduction='{name}' instead.",
            stacklevel=4,
        )
    return name


def reduction_code(reduction: str, size_average: Any = None, reduce: Any = None) -> int:
    """The number that ops take for a reduction: none 0, mean 1, sum 2."""
    if size_average is not None or reduce is not None:
        reduction = reduction_name(size_average, reduce)
    if reduction == "elementwise_mean":
        warnings.warn(
            "reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.",
            stacklevel=3,
        )
        reduction = "mean"
    code = REDUCTION.get(reduction)
    if code is None:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return code


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def _same_size(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if input.shape == target.shape:
        return input, target
    warnings.warn(
        f"Using a target size ({target.size()}) that is different to the input size "
        f"({input.size()}). This will likely lead to incorrect results due to broadcasting. "
        "Please ensure they have the same size.",
        stacklevel=3,
    )
    return ops.broadcast_tensors(input, target)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy between logits (N, C, …) and class numbers (N, …) or probabilities."""
    code = reduction_code(reduction, size_average, reduce)
    return ops.cross_entropy_loss(input, target, weight, code, ignore_index, label_smoothing)


def _chunk_rows(options: Any, count: int, features: int, classes: int) -> int:
    """How many rows of logits may be there together: as many as take the room of the inputs, over
    the number behind "aspect_ratio:", as PyTorch chooses them.
    """
    if options.batch_chunk_size is not None:
        return min(options.batch_chunk_size, count)
    method = options.chunking_method
    if method is None:
        return count
    _, _, parts = ("aspect_ratio:2" if method == "auto" else method).partition(":")
    rows = math.ceil(count / math.ceil(classes / features))
    return max((1 << (rows - 1).bit_length()) // int(parts or 1), 1)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """``cross_entropy(linear(input, linear_weight, linear_bias), target, ...)``.

    `linear_weight` is [C, features], or [C, *D, features] for a loss at each place of D. With
    `options` (`nn.LinearCrossEntropyOptions`), chunks of rows are computed one after the other.
    """
    _check_linear_cross_entropy(input, linear_weight, target, linear_bias, ignore_index)
    *outputs, features = linear_weight.shape
    classes, places = outputs[0], outputs[1:]
    ignore = -100 if ignore_index is None else ignore_index
    # Gradients of probabilities and class weights come from the logits.
    learned = target.requires_grad or (weight is not None and weight.requires_grad)
    if options is not None and not places and not learned:
        batched = input.dim() == 2
        x, t = (input, target) if batched else (input.unsqueeze(0), target.unsqueeze(0))
        rows = _chunk_rows(options, x.shape[0], features, classes)
        losses = ops._linear_cross_entropy(
            x, linear_weight, t, linear_bias, rows, weight, ignore, label_smoothing
        )
        if reduction == "mean":
            return losses.sum() / _row_weights(t, weight, ignore)
        return _reduced(losses if batched else losses.squeeze(0), reduction)
    flat = linear_weight.reshape(-1, features)
    logits = ops.linear(input, flat, None if linear_bias is None else linear_bias.reshape(-1))
    logits = logits.reshape(*input.shape[:-1], *outputs)
    return cross_entropy(logits, target, weight, None, ignore, None, reduction, label_smoothing)


def _check_linear_cross_entropy(
    input: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None, ignore_index: int | None
) -> None:
    shape, given = tuple(weight.shape), tuple(input.shape)
    if len(given) not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {len(given)}")
    if len(shape) < 2:
        raise RuntimeError(
            f"expected linear_weight with dimensionality at least 2, got {len(shape)}"
        )
    if given[-1] != shape[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), got "
            f"{given[-1]} and {shape[-1]}, respectively"
        )
    if len(shape) > 2 and len(given) == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {shape} requires batched input, "
            f"(N, {shape[-1]}), got unbatched input with shape {given}"
        )
    if bias is not None and tuple(bias.shape) != shape[:-1]:
        raise RuntimeError(f"expected linear_bias shape {shape[:-1]}, got {tuple(bias.shape)}")
    if target.is_floating_point() and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")


def _row_weights(target: Tensor, weight: Tensor | None, ignore_index: int) -> Any:
    """By what a mean over rows is divided."""
    if target.is_floating_point():
        return target.shape[0]
    kept = target != ignore_index
    if weight is None:
        return kept.sum()
    return (weight[target * kept] * kept).sum()


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability (N, C, …) of each target class."""
    code = reduction_code(reduction, size_average, reduce)
    return ops.nll_loss_nd(input, target, weight, code, ignore_index)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Squared difference."""
    code = reduction_code(reduction, size_average, reduce)
    input, target = _same_size(input, target)
    if weight is None:
        return ops.mse_loss(input, target, code)
    return _weighted((input - target) ** 2, weight, input, reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Absolute difference."""
    code = reduction_code(reduction, size_average, reduce)
    input, target = _same_size(input, target)
    if weight is None:
        return ops.l1_loss(input, target, code)
    return _weighted((input - target).abs(), weight, input, reduction)


def _weighted(loss: Tensor, weight: Tensor, input: Tensor, reduction: str) -> Tensor:
    if weight.size() != input.size():
        raise ValueError("Weights and input must have the same size.")
    loss = loss * weight
    return loss.sum() / weight.sum() if reduction == "mean" else _reduced(loss, reduction)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Squared below `beta`, linear above."""
    code = reduction_code(reduction, size_average, reduce)
    input, target = _same_size(input, target)
    if beta == 0.0:
        return ops.l1_loss(input, target, code)
    return ops.smooth_l1_loss(input, target, code, beta)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Huber's loss: half the square below `delta`, linear above."""
    code = reduction_code(reduction)
    input, target = _same_size(input, target)
    if weight is None:
        return ops.huber_loss(input, target, code, delta)
    return _weighted(ops.huber_loss(input, target, 0, delta), weight, input, reduction)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross entropy of probabilities with targets in [0, 1]."""
    code = reduction_code(reduction, size_average, reduce)
    if target.size() != input.size():
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size "
            f"({input.size()}) is deprecated. Please ensure they have the same size."
        )
    if weight is not None:
        weight = weight.expand(ops.broadcast_tensors(weight, target)[0].size())
    return ops.binary_cross_entropy(input, target, weight, code)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Cross entropy of sigmoid(input) with targets in [0, 1]."""
    code = reduction_code(reduction, size_average, reduce)
    if target.size() != input.size():
        raise ValueError(
            f"Target size ({target.size()}) must be the same as input size ({input.size()})"
        )
    return ops.binary_cross_entropy_with_logits(input, target, weight, pos_weight, code)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Kullback-Leibler divergence of log-probabilities `input` from `target`."""
    if size_average is not None or reduce is not None:
        reduction = reduction_name(size_average, reduce)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.'mean' will be changed to behave the same as 'batchmean' in the next "
            "major release.",
            stacklevel=2,
        )
    code = 2 if reduction == "batchmean" else reduction_code(reduction)
    loss = ops.kl_div(input, target, code, log_target=log_target)
    return loss / input.size()[0] if reduction == "batchmean" and input.dim() else loss


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: Any = None,
    eps: float = 1e-8,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-likelihood of counts under a Poisson distribution."""
    code = reduction_code(reduction, size_average, reduce)
    return ops.poisson_nll_loss(input, target, log_input, full, eps, code)


def _one_missing(whole: Any, part: Any) -> bool:
    """Whether two shapes are equal but for one dimension, which is 1 in the second."""
    return len(whole) == len(part) and [b for a, b in zip(whole, part, strict=True) if a != b] == [
        1
    ]


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-likelihood under normal distributions of the given variance."""
    if isinstance(var, float | int):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        spread: Tensor = var * ops.ones_like(input)
    elif (var < 0).any():
        raise ValueError("var has negative entry/entries")
    else:
        spread = var
    if spread.size() != input.size():
        if input.size()[:-1] == spread.size():
            spread = spread.unsqueeze(-1)
        elif not _one_missing(input.size(), spread.size()):
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    spread = spread.detach().clone().clamp_(min=eps) + (spread - spread.detach())
    loss = 0.5 * (spread.log() + (input - target) ** 2 / spread)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduced(loss, reduction)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """x where the target is 1, max(0, margin - x) where it is -1."""
    code = reduction_code(reduction, size_average, reduce)
    return ops.hinge_embedding_loss(input, target, margin, code)


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin)."""
    code = reduction_code(reduction, size_average, reduce)
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    return ops.margin_ranking_loss(input1, input2, target, margin, code)


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * x))."""
    code = reduction_code(reduction, size_average, reduce)
    return ops.soft_margin_loss(input, target, code)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Margin between the labels that hold, listed first in `target` up to a -1, and the others."""
    code = reduction_code(reduction, size_average, reduce)
    return ops.multilabel_margin_loss(input, target, code)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over the labels of the binary cross entropy of sigmoid(input)."""
    if size_average is not None or reduce is not None:
        reduction = reduction_name(size_average, reduce)
    reduction_code(reduction)
    loss = -(target * ops.log_sigmoid(input) + (1 - target) * ops.log_sigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return _reduced(loss.sum(dim=-1) / input.size(-1), reduction)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Multi-class hinge loss; `p` is 1 or 2."""
    code = reduction_code(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    return ops.multi_margin_loss(input, target, p, margin, weight, code)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1."""
    code = reduction_code(reduction, size_average, reduce)
    return ops.cosine_embedding_loss(input1, input2, target, margin, code)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin)."""
    code = reduction_code(reduction, size_average, reduce)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return ops.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, code)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """The triplet loss with a distance of one's own."""
    reduction_code(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    dimensions = {anchor.dim(), positive.dim(), negative.dim()}
    if len(dimensions) > 1:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.dim()}D, positive {positive.dim()}D, and "
            f"negative {negative.dim()}D inputs"
        )
    distance = distance_function or ops.pairwise_distance
    near = distance(anchor, positive)
    far = distance(anchor, negative)
    if swap:
        far = ops.minimum(far, distance(positive, negative))
    return _reduced(ops.clamp_min(margin + near - far, 0), reduction)


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Connectionist temporal classification (Graves et al. 2006)."""
    return ops.ctc_loss(
        log_probs,
        targets,
        input_lengths,
        target_lengths,
        blank,
        reduction_code(reduction),
        zero_infinity,
    )
