"""What a step costs, counted: bytes that its kernels move, operations of its matrix products.

Counted is what each launch reads and writes, from memory or cache; for products two operations for
each multiplication and addition; and the operations of all kernels in loop IR, one for each, though
a division or a root takes as long as ten others.
"""

import math
from typing import Any, NamedTuple

from flambeau.graph.capture import Capture
from flambeau.graph.measures import computed, moved


class Counts(NamedTuple):
    """Of one step."""

    nbytes: int
    products: int
    others: int


def _product(a: Any, b: Any, *rest: Any) -> int:
    return 2 * math.prod(a.shape) * b.shape[-1]


def _added_product(self: Any, a: Any, b: Any, *rest: Any) -> int:
    return _product(a, b)


def _linear(x: Any, weight: Any, *rest: Any) -> int:
    return 2 * math.prod(x.shape) * weight.shape[0]


def _convolution(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
                 transposed: bool, *rest: Any, result: Any) -> int:  # fmt: skip
    points = math.prod((x if transposed else result).shape)
    return 2 * points * math.prod(weight.shape) // weight.shape[0]


def _weights(x: Any, grad: Any, *rest: Any, result: Any) -> int:
    return 2 * math.prod(grad.shape) * math.prod(result.shape) // result.shape[0]


def _attention(query: Any, key: Any, value: Any, *rest: Any) -> int:
    *heads, count, _ = query.shape
    return 2 * math.prod(heads) * count * key.shape[-2] * (key.shape[-1] + value.shape[-1])


def _attention_back(grad: Any, query: Any, key: Any, value: Any, *rest: Any) -> int:
    """Scores anew, and the gradients of both products."""
    *heads, count, _ = query.shape
    each = 3 * key.shape[-1] + 2 * value.shape[-1]
    return 2 * math.prod(heads) * count * key.shape[-2] * each


FORMULAS = {
    "mm": _product, "bmm": _product, "addmm": _added_product, "baddbmm": _added_product,
    "linear": _linear, "_attention_tiles": _attention, "_attention_tiles_backward": _attention_back,
}  # fmt: skip
FORMULAS_WITH_RESULT = {"convolution": _convolution, "_convolution_weight": _weights}


def _recurrent(op: Any, args: Any) -> int:
    """Each row of the sequences meets all weights; the products over all steps are ops beside."""
    named = {a.name: value for a, value in zip(op.schema.arguments, args, strict=True)}
    weights = [named.get(name) for name in ("w_ih", "w_hh", "w_hr")]
    return 2 * args[0].shape[0] * sum(math.prod(w.shape) for w in weights if w is not None)


def eager(step: Any) -> Counts:
    """Counts for a step that runs op by op."""

    class Counting(Capture):
        products = 0

        def process(self, op: Any, args: Any, target: Any) -> Any:
            result = super().process(op, args, target)
            if op.name in FORMULAS:
                self.products += FORMULAS[op.name](*args)
            elif op.name in FORMULAS_WITH_RESULT:
                self.products += FORMULAS_WITH_RESULT[op.name](*args, result=result)
            elif op.name.startswith(("_lstm", "_gru", "_rnn")):
                self.products += _recurrent(op, args)
            return result

    counting = Counting()
    with counting:
        step()
    program = counting.program([])
    return Counts(moved(program), counting.products, computed(program))


def compiled(step: Any) -> tuple[int, int]:
    """Bytes that the programs of a compiled step, and of its parts, move, and operations that are
    not those of products.
    """
    found = [e for entry in step._entries.values() for v in entry.variants[:1]
             for e in v.executables]  # fmt: skip
    parts = [compiled(part) for part in (*step._parts, *step._units.values())]
    nbytes, others = (sum(f(e.program) for e in found) for f in (moved, computed))
    return nbytes + sum(n for n, _ in parts), others + sum(n for _, n in parts)
