"""Recurrent networks as functions of their weights: `torch.lstm` and its like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.tensor import Tensor

from .recurrent import Order, Weights, recurrent_batch, recurrent_layers

_REST = ("params", "has_biases", "num_layers", "dropout", "train", "bidirectional")
_BATCH = ("input", "hx", *_REST, "batch_first")
_PACKED = ("data", "batch_sizes", "hx", *_REST)


def lstm(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """An LSTM: (output, last hidden states, last cell states).

    ``lstm(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)``,
    or, packed, ``lstm(data, batch_sizes, hx, params, has_biases, num_layers, dropout, train,
    bidirectional)``. `hx` are the first hidden and cell states [layers * directions, N, hidden];
    `params` are w_ih, w_hh, b_ih and b_hh (with `has_biases`) and w_hr (with a projection) of each
    layer and direction; `input` is [L, N, in], or [N, L, in] if `batch_first`.
    """
    return _called("LSTM", args, kwargs)


def gru(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """A GRU: (output, last states). Arguments as of `lstm`; `hx` is one tensor."""
    return _called("GRU", args, kwargs)


def rnn_tanh(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Elman's network with tanh: (output, last states). Arguments as of `gru`."""
    return _called("RNN_TANH", args, kwargs)


def rnn_relu(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Elman's network with relu: (output, last states). Arguments as of `gru`."""
    return _called("RNN_RELU", args, kwargs)


def _called(mode: str, args: tuple, kwargs: dict[str, Any]) -> Any:
    # Packed sequences have a tensor more before the list of parameters.
    before = next((k for k, value in enumerate(args) if _is_parameters(mode, k, value)), None)
    packed = "data" in kwargs or "batch_sizes" in kwargs or before == 3
    names = _PACKED if packed else _BATCH
    if len(args) + len(kwargs) != len(names) or set(names[len(args) :]) != set(kwargs):
        raise TypeError(f"{mode.lower()}() takes the arguments {', '.join(names)}")
    given = dict(zip(names, args, strict=False)) | kwargs
    directions = 2 if given["bidirectional"] else 1
    weights = _split(given["params"], given["has_biases"], given["num_layers"] * directions)
    states = given["hx"] if mode == "LSTM" else (given["hx"],)
    dropout = float(given["dropout"]) if given["train"] and given["num_layers"] > 1 else 0.0
    if packed:
        order = Order(tuple(given["batch_sizes"].tolist()))
        output, lasts = recurrent_layers(
            mode, given["data"], states, weights, order, directions, dropout
        )
    else:
        output, lasts = recurrent_batch(
            mode, given["input"], states, weights, directions, dropout, given["batch_first"]
        )
    return output, *lasts


def _is_parameters(mode: str, place: int, value: Any) -> bool:
    """Whether an argument is the list of parameters, not the pair of an LSTM's states."""
    many = isinstance(value, list | tuple)
    return many and (mode != "LSTM" or place == 3 or (place == 2 and len(value) != 2))


def _split(params: Sequence[Tensor], has_biases: bool, places: int) -> list[Weights]:
    """The parameters of each layer and direction."""
    each = len(params) // places
    projects = each == (5 if has_biases else 3)
    if each * places != len(params) or each not in ((4, 5) if has_biases else (2, 3)):
        raise ValueError(f"got {len(params)} parameters for {places} layers times directions")
    found: list[Weights] = []
    for start in range(0, len(params), each):
        own = list(params[start : start + each])
        projection = own.pop() if projects else None
        found.append((*own, *([] if has_biases else [None, None]), projection))
    return found


__all__ = ["gru", "lstm", "rnn_relu", "rnn_tanh"]
