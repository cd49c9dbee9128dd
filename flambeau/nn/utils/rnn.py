"""Sequences of different lengths: padded and packed."""

from __future__ import annotations

import itertools
from collections import namedtuple
from typing import Any

from flambeau.tensor import Tensor

from .. import operations as ops

PackedSequence_ = namedtuple(
    "PackedSequence_", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"]
)


class PackedSequence(PackedSequence_):
    """Sequences laid out step by step, without padding.

    `data` holds for each step the elements of the sequences still running, longest first;
    `batch_sizes` (int64, CPU) says how many.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is not None and batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be "
                "created manually. They should be instantiated by functions like "
                "pack_sequence and pack_padded_sequences in nn.utils.rnn. "
                "https://pytorch.org/docs/stable/nn.html#torch.nn.utils.rnn.pack_sequence"
            )
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move or cast the data; the index tensors follow the device."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        indices = [
            None if each is None else each.to(data.device)
            for each in (self.sorted_indices, self.unsorted_indices)
        ]
        return type(self)(data, self.batch_sizes, *indices)

    def cpu(self) -> PackedSequence:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move to an accelerator."""
        return self.to(self.data.cuda(*args, **kwargs).device)

    def pin_memory(self) -> PackedSequence:
        """Itself, or in memory that accelerators read directly, where there are any."""
        return self._with(self.data.pin_memory())

    def double(self) -> PackedSequence:
        """Cast to float64."""
        return self._with(self.data.double())

    def float(self) -> PackedSequence:
        """Cast to float32."""
        return self._with(self.data.float())

    def half(self) -> PackedSequence:
        """Cast to float16."""
        return self._with(self.data.half())

    def long(self) -> PackedSequence:
        """Cast to int64."""
        return self._with(self.data.long())

    def int(self) -> PackedSequence:
        """Cast to int32."""
        return self._with(self.data.int())

    def short(self) -> PackedSequence:
        """Cast to int16."""
        return self._with(self.data.short())

    def char(self) -> PackedSequence:
        """Cast to int8."""
        return self._with(self.data.char())

    def byte(self) -> PackedSequence:
        """Cast to uint8."""
        return self._with(self.data.byte())

    def is_pinned(self) -> bool:
        """Whether the data lies in page-locked memory."""
        return self.data.is_pinned()

    def _with(self, data: Tensor) -> PackedSequence:
        return type(self)(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    @property
    def is_cuda(self) -> bool:
        return self.data.is_cuda


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another."""
    if permutation is None:
        return None
    places = ops.arange(0, permutation.numel(), device=permutation.device)
    return ops.empty_like(permutation).scatter_(0, permutation, places)


def pad_sequence(
    sequences: Any,
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences (L, …) of different lengths: (L max, N, …), or N first."""
    if padding_side not in ("left", "right"):
        raise ValueError(
            f"Expected padding_side to be one of left or right, but got {padding_side}"
        )
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    if not hasattr(sequences, "__iter__"):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    longest = max(each.size(0) for each in sequences)
    shape = (longest, len(sequences), *sequences[0].shape[1:])
    padded = sequences[0].new_full(shape, padding_value)
    for place, each in enumerate(sequences):
        count = each.size(0)
        if padding_side == "right":
            padded[:count, place] = each
        else:
            padded[longest - count :, place] = each
    return padded.transpose(0, 1) if batch_first else padded


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of the given lengths out of a padded tensor."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    counts = lengths.tolist()
    return [each[:count] for each, count in zip(padded_sequences, counts, strict=True)]


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded tensor; without `enforce_sorted` the sequences are sorted by length first."""
    counts = lengths.tolist() if isinstance(lengths, Tensor) else [int(n) for n in lengths]
    batch = input.size(0 if batch_first else 1)
    if len(counts) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(counts)} "
            f"(batch_size={batch})"
        )
    sorted_indices = None
    if not enforce_sorted:
        order = sorted(range(len(counts)), key=lambda place: -counts[place])
        sorted_indices = ops.tensor(order)
        counts = [counts[place] for place in order]
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    if batch_first:
        input = input.transpose(0, 1)
    if any(count <= 0 for count in counts):
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    if any(after > before for before, after in itertools.pairwise(counts)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
            "You can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement if you do not need ONNX exportability."
        )
    sizes = [sum(count > step for count in counts) for step in range(counts[0])]
    data = ops.cat([input[step, :size] for step, size in enumerate(sizes)])
    return PackedSequence(data, ops.tensor(sizes), sorted_indices, None)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Unpack to a padded tensor and the lengths."""
    sizes = sequence.batch_sizes.tolist()
    steps = len(sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in "
                f"input, but got total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    padded = sequence.data.new_full((steps, sizes[0], *sequence.data.shape[1:]), padding_value)
    start = 0
    for step, size in enumerate(sizes):
        padded[step, :size] = sequence.data[start : start + size]
        start += size
    lengths = ops.tensor([sum(size > place for size in sizes) for place in range(sizes[0])])
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices]
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences (L, …)."""
    lengths = [each.size(0) for each in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences in a packed one."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
