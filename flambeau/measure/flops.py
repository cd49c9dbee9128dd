"""Counts of floating-point operations: PyTorch's `torch.utils.flop_counter`."""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from flambeau import nn, ops
from flambeau.ops import Composite, modes, perform_plainly
from flambeau.tensor import Tensor
from flambeau.types import pytree

Shape = tuple[int, ...]
WHOLE = "Global"


def _product(a: Shape, b: Shape, **_: Any) -> int:
    """``a @ b``: a product and a sum for each term."""
    return 2 * math.prod(a) * b[-1]


def _added_product(_: Shape, a: Shape, b: Shape, **more: Any) -> int:
    return _product(a, b)


def _linear(x: Shape, weight: Shape, *_: Any, **more: Any) -> int:
    return 2 * math.prod(x) * weight[0]


def _convolution(
    x: Shape, weight: Shape, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, *_: Any, out_shape: Shape,
) -> int:  # fmt: skip
    places = x if transposed else out_shape
    return 2 * x[0] * math.prod(places[2:]) * math.prod(weight)


def _rows_product(a: Shape, b: Shape, *_: Any, **more: Any) -> int:
    """``a.T @ b``."""
    return 2 * math.prod(a) * b[-1]


def _convolution_weight(x: Shape, slope: Shape, size: Shape, *_: Any, **more: Any) -> int:
    return 2 * x[0] * math.prod(slope[2:]) * math.prod(size)


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **more: Any) -> int:
    scores = math.prod(query[:-1]) * key[-2]
    return 2 * scores * (query[-1] + value[-1])


def _attention_back(
    grad: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **more: Any
) -> int:
    """The scores again, and two products for each of the two of the forward pass."""
    scores = math.prod(query[:-1]) * key[-2]
    return 2 * scores * (3 * query[-1] + 2 * value[-1])


def _layer(states: int) -> Callable[..., int]:
    """A recurrent layer with that many states: two products, and perhaps a projection."""

    def formula(x: Shape, *rest: Any, **more: Any) -> int:
        w_ih, w_hh = rest[states : states + 2]
        w_hr = rest[states + 4] if states == 2 else None
        weights = math.prod(w_ih) + math.prod(w_hh) + (math.prod(w_hr) if w_hr else 0)
        return 2 * x[0] * weights

    return formula


def _layer_back(place: int) -> Callable[..., int]:
    """Its gradients are products with the recurrent weights, which are the argument at `place`."""
    return lambda grad, *rest, **more: 2 * grad[0] * math.prod(rest[place - 1])


# By the names of ops: functions of the arguments, shapes in place of tensors, and of `out_shape`.
_FORMULAS: dict[str, Callable[..., int]] = {
    "mm": _product,
    "bmm": _product,
    "addmm": _added_product,
    "baddbmm": _added_product,
    "linear": _linear,
    "convolution": _convolution,
    "_convolution_weight": _convolution_weight,
    "_attention_tiles": _attention,
    "_attention_tiles_backward": _attention_back,
    "_lstm_layer": _layer(2),
    "_gru_layer": _layer(1),
    "_rnn_layer": _layer(1),
    "_sum_over_rows": _rows_product,
    "_lstm_layer_back": _layer_back(5),
    "_gru_layer_back": _layer_back(5),
    "_rnn_layer_back": _layer_back(3),
}
# Ops that PyTorch has no name for are counted under the one that users know.
_SHOWN = {
    "_convolution_weight": "convolution",
    "_attention_tiles": "scaled_dot_product_attention",
    "_attention_tiles_backward": "scaled_dot_product_attention",
}
_raw: dict[str, Callable[..., int]] = {}  # formulas that want tensors


def register_flop_formula(targets: Any, get_raw: bool = False) -> Callable[[Callable], Callable]:
    """Decorator of a formula for an op ``torch.ops.NAMESPACE.NAME``, or a list of such: a function
    of the op's arguments, with shapes in place of tensors (with `get_raw`: of the tensors), and of
    `out_shape` (`out_val`).
    """

    def register(formula: Callable) -> Callable:
        for target in targets if isinstance(targets, list | tuple) else [targets]:
            (_raw if get_raw else _FORMULAS)[_name_of(target)] = formula
        return formula

    return register


def _name_of(target: Any) -> str:
    """What an op, or its name under ``torch.ops``, is called in the tables above."""
    if isinstance(target, ops.Op):
        plain = target.namespace in ("", "aten", "nn")
        return target.name if plain else f"{target.namespace}.{target.name}"
    return str(target).removesuffix(".default").removeprefix("aten.")


def _shapes(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else value


class FlopCounterMode:
    """A with block in which the floating-point operations of matrix products, convolutions,
    attention and recurrent layers are counted, forward and backward, for each module.

    ``get_total_flops()``, ``get_flop_counts()`` and ``get_table(depth)`` tell; with `display`, the
    table of modules down to `depth` is printed at the end. `custom_mapping` has formulas for ops,
    as `register_flop_formula` takes them. `mods` is no longer needed. Compiled functions run op
    by op here.
    """

    def __init__(
        self,
        mods: Any = None,
        depth: int = 2,
        display: bool = True,
        custom_mapping: dict[Any, Callable] | None = None,
    ) -> None:
        if mods is not None:
            warnings.warn(
                "mods argument is not needed anymore, you can stop passing it", stacklevel=2
            )
        self.depth, self.display = depth, display
        self._custom = {_name_of(op): formula for op, formula in (custom_mapping or {}).items()}
        self.flop_counts: dict[str, dict[Any, int]] = {WHOLE: {}}
        self._modules = _Modules()

    def __enter__(self) -> FlopCounterMode:
        self.flop_counts = {WHOLE: {}}
        self._modules.begin()
        self._interpreting = modes.interpreting(self)
        self._interpreting.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._interpreting.__exit__(*exception)
        self._modules.end()
        if self.display:
            print(self.get_table(self.depth))

    def process(self, op: Any, args: Any, target: Any) -> Any:
        """Performs an op and counts it, or its parts."""
        name = _name_of(op)
        formula = self._custom.get(name) or _FORMULAS.get(name)
        raw = _raw.get(name)
        if formula is None and raw is None:
            if not isinstance(op, Composite) or target is not None:
                return perform_plainly(op, args, target)
            with modes.interpreting(self):
                return op.slow(args)
        result = perform_plainly(op, args, target)
        if formula is not None:
            first = pytree.tree_map(_shapes, result)
            out_shape = first[0] if first and isinstance(first[0], tuple) else first
            given, named = _split(op, pytree.tree_map(_shapes, list(args)))
            count = formula(*given, **named, out_shape=out_shape)
        else:
            assert raw is not None
            given, named = _split(op, args)
            count = raw(*given, **named, out_val=result)
        shown = _packet(op, args)
        for module in (WHOLE, *self._modules.active()):
            counts = self.flop_counts.setdefault(module, {})
            counts[shown] = counts.get(shown, 0) + count
        return result

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """For each module by name, and "Global", the operations of each op ``torch.ops.…``."""
        return {module: dict(counts) for module, counts in self.flop_counts.items()}

    def get_total_flops(self) -> int:
        """The operations of the whole block."""
        return sum(self.flop_counts[WHOLE].values())

    def get_table(self, depth: int | None = None) -> str:
        """A table of modules down to `depth`, and of the ops in them."""
        most, rows = self.depth if depth is None else depth, []
        total = max(self.get_total_flops(), 1)
        for module, counts in self.flop_counts.items():
            level = module.count(".") + (module != WHOLE)
            if level > most or not counts:
                continue
            lines = [(level * " " + module, sum(counts.values()))]
            lines += [(f"{(level + 1) * ' '}- {op}", count) for op, count in counts.items()]
            rows += [(name, _with_suffix(n), f"{n / total:.2%}") for name, n in lines]
        head = ("Module", "FLOP", "% Total")
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        return "\n".join(
            f"{name.ljust(widths[0])}  {n.rjust(widths[1])}  {part.rjust(widths[2])}"
            for name, n, part in (head, tuple("-" * width for width in widths), *rows)
        )


def _split(op: Any, args: Any) -> tuple[Any, dict[str, Any]]:
    """The arguments that may be positional, and the others by name."""
    arguments = op.schema.arguments
    count = sum(not a.keyword for a in arguments)
    named = zip(arguments[count:], args[count:], strict=True)
    return args[:count], {a.name: value for a, value in named}


def _packet(op: Any, args: Any) -> Any:
    """What an op is called in counts."""
    name = _SHOWN.get(op.name, op.name)
    if op.name == "linear":
        name = "mm" if args[2] is None else "addmm"
    plain = op.namespace in ("", "aten", "nn")
    return getattr(ops.aten if plain else getattr(ops, op.namespace), name)


def _with_suffix(number: int) -> str:
    for power, suffix in ((12, "T"), (9, "B"), (6, "M"), (3, "K")):
        if number >= 10**power:
            return f"{number / 10**power:.3f}{suffix}"
    return str(number)


class _Modules:
    """Which modules compute now: those whose forward runs, and those whose backward does, from the
    gradients of their results to those of their inputs.
    """

    def __init__(self) -> None:
        self._names: Any = weakref.WeakKeyDictionary()
        self._forward: list[str] = []
        self._backward: dict[str, None] = {}
        self._handles: list[Any] = []

    def begin(self) -> None:
        module = nn.modules.module
        self._handles = [
            module.register_module_forward_pre_hook(self._enter),
            module.register_module_forward_hook(self._leave, always_call=True),
        ]

    def end(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._forward.clear()
        self._backward.clear()

    def active(self) -> list[str]:
        return list(dict.fromkeys((*self._forward, *self._backward)))

    def _enter(self, module: Any, args: Any) -> None:
        if not self._forward:
            self._backward.clear()  # a backward pass is over
        if module not in self._names:
            root = type(module).__name__
            for name, inner in module.named_modules():
                self._names.setdefault(inner, f"{root}.{name}" if name else root)
        name = self._names[module]
        self._forward.append(name)
        for tensor in _recorded(args):
            tensor.register_hook(lambda grad: self._backward.pop(name, None))

    def _leave(self, module: Any, args: Any, result: Any) -> None:
        name = self._forward.pop()
        for tensor in _recorded(result):
            tensor.register_hook(lambda grad: self._backward.setdefault(name))


def _recorded(values: Any) -> Iterator[Tensor]:
    for value in pytree.tree_leaves(values):
        if isinstance(value, Tensor) and value.requires_grad:
            yield value


__all__ = ["FlopCounterMode", "register_flop_formula"]
