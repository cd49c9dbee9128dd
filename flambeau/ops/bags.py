"""Sums, means and maxima of bags of table rows; limiting the norm of rows.

The sum over bags is a product with a sparse matrix: entry e adds ``factor[e] * source[column[e]]``
to row ``row[e]``. So are its gradients, with rows and columns exchanged.
"""

from flambeau import ir, runtime
from flambeau.types import by_name

from .embedding import embedding
from .family import fixed, indexed
from .family.arrays import ndarray
from .family.chain import viewed
from .family.indexed import along
from .op import composite, find
from .promotion import compute_type

SUM, MEAN, MAX = 0, 1, 2
INT64 = by_name("int64")


def _build_bags(steps, offsets, n, include_last):
    bags = offsets.layout.numel - include_last
    starts = steps.dense(offsets)
    if offsets.dtype is not INT64:
        starts = steps.scratch(offsets.layout.shape, INT64)
        steps.copy(starts, offsets)
    member, sizes = steps.result((n,), INT64), steps.result((bags,), INT64)
    dims = (n, bags, int(include_last))
    steps.call(runtime.order_kernel("bags"), [starts, member, sizes], dims, 1, 1.0 * n + bags)


def _bad_offsets(offsets, n, include_last):
    first, last = (int(ndarray(offsets)[k]) for k in (0, -1))
    if first:
        return RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from "
            f"position 0. However, got {first}"
        )
    if last > n:
        return RuntimeError(
            f"offsets[-1] can not be greater than input's length({n}) but got offsets[-1] of {last}"
        )
    return RuntimeError("offsets must not decrease")


_bags_of = indexed(
    "aten::_bags(Tensor offsets, int n, bool include_last) -> (Tensor member, Tensor sizes)",
    """For each of `n` entries the bag that it is in (-1: none), and the sizes of the bags.""",
    build=_build_bags,
    refuse=_bad_offsets,
    method=False,
    function=False,
)


def _refuse(*args):
    return IndexError("index out of range in self")


def _entries(buffer, width):
    """A vector as it is for every element of the entries' rows."""
    (n,), (step,) = buffer.layout.shape, buffer.layout.strides
    return viewed(buffer, (n, width), (step, 0))


def _rows_at(table, numbers, width):
    """The rows of a table for each entry, and the place that its number names."""
    index = _entries(numbers, width)
    return along(table, 0, index.layout.shape, index)


def _build_sum(steps, source, column, row, factor, kept, rows, by_frequency):
    n, width = column.layout.numel, source.layout.shape[1]
    inner = compute_type(source.dtype)
    out = steps.result((rows, width), source.dtype)
    steps.indexed(lambda: (ir.const(0, inner),), [out], [], [])
    read, from_ = _rows_at(source, column, width)
    written, to = _rows_at(out, row, width)
    given = [_entries(b, width) for b in (factor, kept) if b is not None]

    def add(old, value, *rest):
        new = old + (value if factor is None else value * ir.cast(rest[0], inner))
        return (new if kept is None else ir.select(rest[-1], new, old),)

    if n and out.layout.numel:
        steps.indexed(add, [written], [written, read, *given], [to, from_], (0,))


def _source_grad(grad, source_layout, column, row, factor, kept, by_frequency):
    rows = source_layout.shape[0]
    total = gathered_sum(grad, row, column, factor, kept, rows)
    if not by_frequency:
        return total
    counts = find("bincount").door(column, minlength=rows)
    return total / counts.clamp_min(1).unsqueeze(1)


def _factor_grad(grad, source, column, row, kept):
    total = (embedding(grad, row) * embedding(source, column)).sum(-1)
    return total if kept is None else total.masked_fill(~kept, 0)


gathered_sum = indexed(
    "aten::_gathered_sum(Tensor source, Tensor column, Tensor row, Tensor? factor, Tensor? kept, "
    "int rows, bool by_frequency=False) -> Tensor",
    """Row ``row[e]`` of the result [rows, D] gets ``factor[e] * source[column[e]]`` added, for each
    entry e that is `kept`, in order. `by_frequency` divides the gradient of each row of `source` by
    how often it is named.
    """,
    build=_build_sum,
    refuse=_refuse,
    grad=dict(
        source=_source_grad,
        factor=_factor_grad,
    ),
    method=False,
    function=False,
)


def _build_largest(steps, weight, indices, member, kept, bags):
    n, width = indices.layout.numel, weight.layout.shape[1]
    best = steps.scratch((bags, width), weight.dtype)
    found = steps.result((bags, width), INT64)
    start = ir.const(0, compute_type(weight.dtype)), ir.const(-1, INT64)
    steps.indexed(lambda: start, [best, found], [], [])
    if not n or not found.layout.numel:
        return
    number = steps.scratch((n,), INT64)
    steps.pointwise(lambda: ir.position, [], [number], counter=([1], 0))
    read, from_ = _rows_at(weight, indices, width)
    highest, to = _rows_at(best, member, width)
    entry, also_to = _rows_at(found, member, width)
    given = [_entries(b, width) for b in (number, kept)]

    def pick(high, entry, value, number, kept):
        take = kept & ((entry < 0) | (value > high))
        return ir.select(take, value, high), ir.select(take, number, entry)

    places = [to, also_to, from_]
    steps.indexed(pick, [highest, entry], [highest, entry, read, *given], places, (0,))


_largest_of = indexed(
    "aten::_bag_largest(Tensor weight, Tensor indices, Tensor member, Tensor kept, int bags) -> "
    "Tensor",
    """[bags, D]: which entry holds the maximum of each column of each bag, the first of equals; -1
    in empty bags.
    """,
    build=_build_largest,
    refuse=_refuse,
    method=False,
    function=False,
)


def _check_bag(weight, indices, offsets, padding_idx):
    """The padding index, counted from the front; raises on what is refused."""
    for t, name in ((indices, "indices"), (offsets, "offsets")):
        if t.layout.dtype.name not in ("int64", "int32"):
            raise RuntimeError(
                f"Expected tensor for argument #1 '{name}' to have one of the following scalar "
                f"types: Long, Int; but got torch.{t.dtype.name} instead (while checking arguments "
                "for embedding_bag)"
            )
    rows = weight.layout.shape[0]
    if padding_idx is None or 0 <= padding_idx < rows:
        return padding_idx
    if not -rows <= padding_idx < 0:
        raise RuntimeError(
            f"padding_idx must be within the number of embeddings, -{rows} through {rows - 1}, but "
            f"got {padding_idx}"
        )
    return padding_idx + rows


@fixed(
    "aten::embedding_bag(Tensor weight, Tensor indices, Tensor offsets, bool "
    "scale_grad_by_freq=False, int mode=0, bool sparse=False, Tensor? per_sample_weights=None, "
    "bool include_last_offset=False, int? padding_idx=None) -> (Tensor, Tensor, Tensor, Tensor)",
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
    to `padding_idx` do not count. Further results: the bag of each entry, the sizes of the bags,
    and which rows held the maxima.
    """
    padding_idx = _check_bag(weight, indices, offsets, padding_idx)
    bags = offsets.layout.numel - include_last_offset
    member, sizes = _bags_of(offsets, indices.layout.numel, include_last_offset)
    kept = None
    if padding_idx is not None or include_last_offset or mode == MAX:
        kept = member >= 0
        member = member.clamp_min(0)
    if padding_idx is not None:
        kept = kept & indices.ne(padding_idx)
        sizes = sizes.new_zeros((bags,)).index_add(0, member, kept.to(INT64))
    if mode == MAX:
        return _largest_bag(weight, indices, member, kept, bags, sizes)
    out = gathered_sum(weight, indices, member, per_sample_weights, kept, bags, scale_grad_by_freq)
    if mode == SUM:  # PyTorch does not count here
        none = sizes.new_zeros(sizes.layout.shape)
        return out, member, none, none.clone()
    return out / sizes.clamp_min(1).unsqueeze(-1), member, sizes, sizes.clone()


def _largest_bag(weight, indices, member, kept, bags, sizes):
    if not indices.layout.numel:
        held = member.new_zeros((bags, weight.layout.shape[1]))
        return weight.new_zeros(held.layout.shape), member, sizes, held
    largest = _largest_of(weight.detach(), indices, member, kept, bags)
    empty = largest < 0
    held = indices.to(INT64).index_select(0, largest.clamp_min(0).reshape(-1))
    held = held.reshape(largest.layout.shape).masked_fill(empty, 0)
    return weight.gather(0, held).masked_fill(empty, 0), member, sizes, held


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
