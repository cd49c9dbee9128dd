"""Sums, means and maxima of bags of table rows; limiting the norm of rows."""

from flambeau._base import numpy

from .embedding import embedding
from .family import opaque
from .op import composite, find

SUM, MEAN, MAX = 0, 1, 2


def _bags(offsets, n, include_last):
    """The bag of each of `n` entries; entries before the first offset do not exist."""
    starts = offsets[:-1] if include_last else offsets
    if offsets.size and offsets[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from "
            "position 0. "
            f"However, got {offsets[0]}"
        )
    if offsets.size and offsets[-1] > n:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length({n}) but got offsets[-1] of "
            f"{offsets[-1]}"
        )
    bag = numpy.searchsorted(starts, numpy.arange(n), side="right") - 1
    if include_last and offsets.size:
        bag[int(offsets[-1]) :] = starts.size  # behind the last bag: dropped
    return bag.astype(numpy.int64)


bags_of = opaque(
    "aten::_bags(Tensor offsets, int n, bool include_last) -> Tensor",
    """For each of `n` entries the number of the bag that it is in.""",
    run=_bags,
    method=False,
    function=False,
)


def _largest(rows, bag, keep, bags):
    """[bags, D]: which entry holds the maximum of each column of each bag, the first of equals; -1
    in empty bags.
    """
    order = numpy.flatnonzero(keep & (bag < bags))
    found = numpy.full((bags, rows.shape[1]), -1, numpy.int64)
    for e in order.tolist():
        best = found[bag[e]]
        better = (best < 0) | (rows[e] > rows[best, numpy.arange(rows.shape[1])])
        best[better] = e
    return found


largest_of = opaque(
    "aten::_bag_largest(Tensor rows, Tensor bag, Tensor keep, int bags) -> Tensor",
    """The entry with the maximum of each column of each bag.""",
    run=_largest,
    method=False,
    function=False,
)


@composite(
    "aten::embedding_bag(Tensor weight, Tensor indices, Tensor offsets, bool "
    "scale_grad_by_freq=False, int mode=0, "
    "bool sparse=False, Tensor? per_sample_weights=None, bool include_last_offset=False, int? "
    "padding_idx=None)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    method=False,
    rounds_once=True,
)
def embedding_bag(
    weight,
    indices,
    offsets,
    scale_grad_by_freq,
    mode,
    sparse,
    per_sample_weights,
    include_last_offset,
    padding_idx,
):
    """Rows of `weight` [rows, D] at `indices`, folded over the bags that start at `offsets`: [bags,
    D].

    Mode 0 is the sum (of rows times `per_sample_weights`), 1 the mean, 2 the maximum; entries equal
    to `padding_idx`
    do not count. Further results: the bag of each entry, the sizes of the bags, and which rows held
    the maxima.
    """
    for t, name in ((indices, "indices"), (offsets, "offsets")):
        if t.layout.dtype.name not in ("int64", "int32"):
            raise RuntimeError(
                f"Expected tensor for argument #1 '{name}' to have one of the following scalar "
                "types: Long, Int; but "
                f"got torch.{t.dtype.name} instead (while checking arguments for embedding_bag)"
            )
    rows_count, n = weight.layout.shape[0], indices.layout.numel
    if padding_idx is not None:
        if not -rows_count <= padding_idx < rows_count:
            raise RuntimeError(
                f"padding_idx must be within the number of embeddings, -{rows_count} through "
                f"{rows_count - 1}, but got {padding_idx}"
            )
        padding_idx %= rows_count
    bags = offsets.layout.numel - (1 if include_last_offset else 0)
    bag = bags_of(offsets, n, include_last_offset)
    counts = (indices.ne(padding_idx) if padding_idx is not None else indices.eq(indices)) & (
        bag < bags
    )
    rows = embedding(
        weight,
        indices,
        -1 if padding_idx is None else padding_idx,
        scale_grad_by_freq and mode != MAX,
    )
    sizes = bag.new_zeros((bags + 1,)).index_add(0, bag, counts.long()).narrow(0, 0, bags)
    if mode == MAX:
        largest = largest_of(rows.detach(), bag, counts, bags)
        empty = largest < 0
        entries = largest.clamp_min(0)
        out = (
            rows.gather(0, entries).masked_fill(empty, 0)
            if n
            else rows.new_zeros((bags, weight.layout.shape[1]))
        )
        held = (
            indices.long().index_select(0, entries.reshape(-1)).reshape(entries.layout.shape)
            if n
            else entries
        )
        return out, bag, sizes, held.masked_fill(empty, 0)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    rows = rows.masked_fill(~counts.unsqueeze(-1), 0)
    zeros = rows.new_zeros((bags + 1, weight.layout.shape[1]))
    out = zeros.index_add(0, bag, rows).narrow(0, 0, bags)
    if mode == SUM:  # PyTorch does not count here
        none = sizes * 0
        return out, bag, none, none.clone()
    return out / sizes.clamp_min(1).unsqueeze(-1), bag, sizes, sizes.clone()


@composite(
    "aten::embedding_renorm_(Tensor self, Tensor indices, float max_norm, float norm_type) "
    "-> Tensor",
           method=False)  # fmt: skip
def embedding_renorm_(self, indices, max_norm, norm_type):
    """Scales the rows of `self` that `indices` name, in place, down to a `norm_type`-norm of
    `max_norm`.
    """
    if not indices.layout.numel:
        return self
    named = find("unique").door(indices.reshape(-1))
    rows = self.index_select(0, named)
    norms = find("norm").door(rows, norm_type, 1, True)
    scale = (
        find("where").door(norms > max_norm, max_norm / (norms + 1e-7), 1.0).to(rows.layout.dtype)
    )
    return self.index_copy_(0, named.long(), rows * scale)
