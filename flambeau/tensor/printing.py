"""How a tensor looks as text.

`tensor_repr` writes an array as PyTorch does, so that logs, doctests and golden files stay the
same. `set_printoptions`, `get_printoptions` and `printoptions` change the precision and so on.

The text of the elements is settled in three steps: `_shown_part` picks the elements that will be
seen, `_element_texts` formats them all alike, `_layout` arranges them in brackets and lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from flambeau._base import numpy as np

__all__ = ["get_printoptions", "printoptions", "set_printoptions", "tensor_repr"]

# Reals are written with an exponent where the fixed form would hide digits or run long.
SCIENTIFIC_RATIO = 1000.0  # largest magnitude over smallest
SCIENTIFIC_ABOVE = 1.0e8
SCIENTIFIC_BELOW = 1.0e-4


class PrintOptions(NamedTuple):
    """The options of `set_printoptions`; `sci_mode` None means: decide by the values."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


PROFILES = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=math.inf),
}

_options = PrintOptions()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed.

    Arguments that are None keep their setting, except `sci_mode`, which None resets to deciding by
    the values. `profile` ("default", "short" or "full") is applied before the others.

    * `precision`: digits after the point
    * `threshold`: tensors with more elements than this are summarised
    * `edgeitems`: how many elements to show at both ends of a summarised dimension
    * `linewidth`: characters per line
    * `sci_mode`: always (True) or never (False) write exponents

    Raises TypeError or ValueError, and changes nothing, where a value makes no sense.
    """
    global _options
    if profile is not None and profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}")
    given: dict[str, Any] = {
        "precision": _count("precision", precision, 0),
        "threshold": threshold,
        "edgeitems": _count("edgeitems", edgeitems, 0),
        "linewidth": _count("linewidth", linewidth, 1),
    }
    if threshold is not None and not isinstance(threshold, (int, float, np.number)):
        raise TypeError(f"threshold must be a number, not {type(threshold).__name__}")
    options = _options if profile is None else PROFILES[profile]
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    _options = options._replace(**changes, sci_mode=sci_mode)


def get_printoptions() -> dict[str, Any]:
    """The current print options by name, as `set_printoptions` takes them."""
    return _options._asdict()


@contextmanager
def printoptions(**changes: Any) -> Iterator[None]:
    """Print with other options (those of `set_printoptions`) inside a `with` block."""
    global _options
    before = _options
    set_printoptions(**changes)
    try:
        yield
    finally:
        _options = before


def _count(name: str, value: int | None, least: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return int(value)


def tensor_repr(
    array: np.ndarray | None,
    dtype_name: str,
    *,
    shape: Sequence[int] | None = None,
    requires_grad: bool = False,
    grad_fn_name: str | None = None,
    device: str = "cpu",
    default_dtype: str = "float32",
    is_parameter: bool = False,
    class_name: str = "tensor",
    contents: str | None = None,
    extra: Sequence[str] = (),
) -> str:
    """The text of a tensor.

    `array` holds the elements, of any strides; its own dtype matters less than `dtype_name`
    ("bfloat16", "int64", …), so that an array of a wider type may stand in. None stands for a
    tensor without data (device "meta"): then `shape` must be given. `default_dtype` is the
    floating dtype that goes without saying. `grad_fn_name` is a node's name ("AddBackward0") and
    wins over `requires_grad`. `contents` replaces the text of the elements. `extra` holds further
    suffixes ("tangent=…"), which come last. Of a large array only what is shown is read.
    """
    if shape is None:
        if array is None:
            raise ValueError("tensor_repr needs a shape where it has no array")
        shape = array.shape
    shape = tuple(int(size) for size in shape)
    start = f"{class_name}("
    body, says_size = _contents(array, dtype_name, shape, len(start), contents)
    suffixes = []
    if device != "cpu":
        suffixes.append(f"device='{device}'")
    if says_size:
        suffixes.append(f"size={shape}")
    if not _goes_without_saying(dtype_name, default_dtype, array is None or 0 in shape):
        suffixes.append(f"dtype=torch.{dtype_name}")
    if grad_fn_name is not None:
        suffixes.append(f"grad_fn=<{grad_fn_name}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    suffixes.extend(extra)
    text = _append_suffixes(start + body, suffixes, len(start)) + ")"
    return f"Parameter containing:\n{text}" if is_parameter else text


def _goes_without_saying(dtype_name: str, default_dtype: str, has_no_elements: bool) -> bool:
    if dtype_name == default_dtype:
        return True
    if has_no_elements:  # nothing shown tells an integer from a truth value
        return False
    default_complex = "complex128" if default_dtype == "float64" else "complex64"
    return dtype_name in ("int64", "bool", default_complex)


def _contents(
    array: np.ndarray | None,
    dtype_name: str,
    shape: tuple[int, ...],
    indent: int,
    contents: str | None,
) -> tuple[str, bool]:
    """The text between the brackets of `tensor(…)`, and whether it leaves the shape unclear."""
    if array is None:
        return contents or "...", True
    elements = math.prod(shape)
    if contents is not None:
        return contents, elements == 0 and len(shape) != 1
    if elements == 0:
        return "[]", len(shape) != 1
    summarised = elements > _options.threshold
    no_edges = _options.edgeitems == 0  # PyTorch then always tells the size
    if summarised and no_edges and shape:
        return "[...]", True
    shown = _shown_part(array.reshape(shape), summarised and shape != ())
    texts, width = _element_texts(shown.reshape(-1), dtype_name)
    if not shape:
        return texts[0], no_edges
    return _layout(texts, shape, width, indent, summarised), no_edges


def _append_suffixes(text: str, suffixes: Sequence[str], indent: int) -> str:
    """`text` and the suffixes, separated by commas, each on a new line if its line is full."""
    column = len(text) - (text.rfind("\n") + 1) + 2  # as if ")" and one more came before
    for suffix in suffixes:
        if column + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
            continue
        text += ", " + suffix
        column += len(suffix) + 2
    return text


def _is_cut(size: int, summarised: bool) -> bool:
    return summarised and size > 2 * _options.edgeitems


def _shown_part(array: np.ndarray, summarised: bool) -> np.ndarray:
    """The elements that will be seen: both ends of the dimensions that are cut."""
    if not summarised:
        return array
    edge = _options.edgeitems
    seen = [
        np.r_[:edge, size - edge : size] if _is_cut(size, summarised) else np.arange(size)
        for size in array.shape
    ]
    return array[np.ix_(*seen)]  # one gather, so that nothing else is read


def _element_texts(values: np.ndarray, dtype_name: str) -> tuple[list[str], int]:
    """The text of each of `values` (1-d), and the width of a column of them."""
    if dtype_name.startswith("complex"):
        return _complex_texts(values)
    if dtype_name.startswith(("float", "bfloat")):
        texts, width = _real_texts(values.astype(np.float64))
    else:
        texts = [str(value) for value in values.tolist()]
        width = max(map(len, texts))
    return [text.rjust(width) for text in texts], width


def _complex_texts(values: np.ndarray) -> tuple[list[str], int]:
    """Real parts in a column, imaginary parts (formatted on their own terms) right behind."""
    values = values.astype(np.complex128)
    reals, real_width = _real_texts(values.real)
    imaginaries, imaginary_width = _real_texts(values.imag)
    texts = []
    for real, imaginary in zip(reals, imaginaries, strict=True):
        sign = "" if imaginary.startswith("-") else "+"
        texts.append(f"{real.rjust(real_width)}{sign}{imaginary}j")
    return texts, real_width + imaginary_width + 1


def _real_texts(values: np.ndarray) -> tuple[list[str], int]:
    """Unpadded texts of `values` (float64, 1-d), and the width of the finite, nonzero ones.

    Only these decide about the form and the width, as in PyTorch: "-inf" or "-0." may stick out.
    """
    deciding = np.isfinite(values) & (values != 0)
    magnitudes = np.abs(values[deciding])
    if magnitudes.size == 0:
        return [_whole_text(value) for value in values.tolist()], 1
    whole = bool((magnitudes == np.ceil(magnitudes)).all())
    if _wants_exponents(float(magnitudes.min()), float(magnitudes.max()), whole):
        pattern = f"%.{_options.precision}e"
        texts = [pattern % value for value in values.tolist()]
    elif whole:
        texts = [_whole_text(value) for value in values.tolist()]
    else:
        pattern = f"%.{_options.precision}f"
        texts = [pattern % value for value in values.tolist()]
    widths = [len(texts[index]) for index in np.flatnonzero(deciding).tolist()]
    return texts, max(widths)


def _wants_exponents(smallest: float, largest: float, whole: bool) -> bool:
    if _options.sci_mode is not None:
        return _options.sci_mode
    if largest / smallest > SCIENTIFIC_RATIO or largest > SCIENTIFIC_ABOVE:
        return True
    return not whole and smallest < SCIENTIFIC_BELOW


def _whole_text(value: float) -> str:
    return f"{value:.0f}." if math.isfinite(value) else str(value)


def _layout(
    texts: list[str], shape: tuple[int, ...], width: int, indent: int, summarised: bool
) -> str:
    """The bracketed text of the shown elements of an array of `shape`, first line unindented."""
    shown = [2 * _options.edgeitems if _is_cut(size, summarised) else size for size in shape]
    per_line = max(1, (_options.linewidth - indent - len(shape) + 1) // (width + 2))

    def block(axis: int, start: int, stop: int) -> str:
        column = indent + axis + 1
        cut = _is_cut(shape[axis], summarised)
        if axis == len(shape) - 1:
            return _row(texts[start:stop], cut, per_line, column)
        step = (stop - start) // shown[axis]
        rows = [block(axis + 1, begin, begin + step) for begin in range(start, stop, step)]
        if cut:
            rows.insert(_options.edgeitems, "...")
        separator = "," + "\n" * (len(shape) - axis - 1) + " " * column
        return "[" + separator.join(rows) + "]"

    return block(0, 0, len(texts))


def _row(texts: list[str], cut: bool, per_line: int, column: int) -> str:
    """One innermost row; a cut one has dots, which count as an element, in its middle."""
    if cut:
        edge = _options.edgeitems
        texts = [*texts[:edge], " ...", *texts[edge:]]
    lines = [", ".join(texts[start : start + per_line]) for start in range(0, len(texts), per_line)]
    return "[" + (",\n" + " " * column).join(lines) + "]"
