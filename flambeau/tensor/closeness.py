"""`assert_close` and `make_tensor`: what tests need."""

import math
import warnings
from collections.abc import Mapping, Sequence

from flambeau._base import numpy
from flambeau.ops import ndarray
from flambeau.types import by_name

from .convert import as_tensor
from .creation import empty
from .tensor import Tensor

# Tolerances by dtype: relative, absolute. Numbers of other types must be equal.
_TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}


def assert_allclose(actual, expected, rtol=None, atol=None, equal_nan=True, msg=""):
    """The deprecated form of `assert_close`: values that are no tensors become such, and dtypes may
    differ.
    """
    warnings.warn(
        "torch.testing.assert_allclose() is deprecated: please use torch.testing.assert_close()",
        FutureWarning,
        stacklevel=2,
    )
    actual = actual if isinstance(actual, Tensor) else as_tensor(actual)
    if not isinstance(expected, Tensor):
        expected = as_tensor(expected, dtype=actual.dtype)
    assert_close(
        actual,
        expected,
        rtol=rtol,
        atol=atol,
        equal_nan=equal_nan,
        check_dtype=False,
        msg=msg or None,
    )


def assert_close(
    actual,
    expected,
    *,
    allow_subclasses=True,
    rtol=None,
    atol=None,
    equal_nan=False,
    check_device=True,
    check_dtype=True,
    check_layout=True,
    check_stride=False,
    msg=None,
):
    """Raises AssertionError unless ``|actual - expected| <= atol + rtol * |expected|`` everywhere.

    Both are tensors, numbers, None, or lists and dicts of them. The tolerances depend on the dtype;
    where one is given, both must be. `msg` replaces the message, or is a function of it.
    """
    if (rtol is None) != (atol is None):
        given, other = ("rtol", "atol") if atol is None else ("atol", "rtol")
        raise ValueError(
            "rtol and atol must both be specified or both be unspecified, but got no "
            f"{other} and {given}={rtol if atol is None else atol}."
        )
    checks = {"device": check_device, "dtype": check_dtype, "stride": check_stride}
    tolerances = None if rtol is None else (float(rtol), float(atol))
    found = _compare(actual, expected, "", tolerances, equal_nan, checks, allow_subclasses)
    if found is not None:
        kind, text = found
        raise kind(msg(text) if callable(msg) else msg or text)


def _compare(actual, expected, where, tolerances, equal_nan, checks, subclasses):
    """(error type, message) of the first difference; None where there is none."""
    rest = (tolerances, equal_nan, checks, subclasses)
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if actual.keys() != expected.keys():
            keys = f"{sorted(map(str, actual))} != {sorted(map(str, expected))}"
            return AssertionError, f"The keys of the mappings do not match: {keys}{where}"
        pairs = ((key, actual[key], expected[key]) for key in actual)
        return _first(pairs, where, rest)
    if _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            text = f"The length of the sequences mismatch: {len(actual)} != {len(expected)}{where}"
            return AssertionError, text
        return _first(zip(range(len(actual)), actual, expected, strict=True), where, rest)
    if actual is None or expected is None:
        same = actual is expected
        return (
            None if same else (AssertionError, f"None mismatch: {actual} is not {expected}{where}")
        )
    return _compare_leaves(actual, expected, where, *rest)


def _is_sequence(value):
    return isinstance(value, Sequence) and not isinstance(value, str)


def _first(pairs, where, rest):
    for key, a, b in pairs:
        place = f"{where or chr(10) * 2 + 'The failure occurred for item '}[{key!r}]"
        if (found := _compare(a, b, place, *rest)) is not None:
            return found
    return None


def _compare_leaves(actual, expected, where, tolerances, equal_nan, checks, subclasses):
    both = [isinstance(value, Tensor) for value in (actual, expected)]
    related = isinstance(actual, type(expected)) or isinstance(expected, type(actual))
    if all(both) and not subclasses and type(actual) is not type(expected):
        related = False
    if any(both) and not (all(both) and related):
        return TypeError, (
            f"No comparison pair was able to handle inputs of type {type(actual)} and "
            f"{type(expected)}.{where}"
        )
    word = "Tensor-likes" if all(both) else "Scalars"
    actual, expected = map(_as_leaf, (actual, expected))
    if (text := _facts(actual, expected, checks if all(both) else {})) is not None:
        return AssertionError, text + where
    names = (actual.dtype.name, expected.dtype.name)
    known = [_TOLERANCES.get(name, (0.0, 0.0)) for name in names]
    rtol, atol = tolerances or (max(r for r, _ in known), max(a for _, a in known))
    text = _values(word, ndarray(actual), ndarray(expected), rtol, atol, equal_nan)
    return None if text is None else (AssertionError, text + where)


def _as_leaf(value):
    wide = {float: "float64", complex: "complex128"}.get(type(value))
    return as_tensor(value, dtype=by_name(wide)) if wide else as_tensor(value)


def _facts(actual, expected, checks):
    """What differs apart from the values."""
    rows = [("shape", "shape"), ("device", "device"), ("dtype", "dtype")]
    for name, word in rows:
        a, b = getattr(actual, name), getattr(expected, name)
        if (name == "shape" or checks.get(name)) and a != b:
            return f"The values for attribute '{word}' do not match: {a} != {b}."
    if checks.get("stride") and actual.stride() != expected.stride():
        a, b = actual.stride(), expected.stride()
        return f"The values for attribute 'stride()' do not match: {a} != {b}."
    return None


def _values(word, a, b, rtol, atol, equal_nan):
    exact = not (rtol or atol)
    if not exact or a.dtype != b.dtype:
        kinds = a.dtype.kind + b.dtype.kind
        wide = numpy.complex128 if "c" in kinds else numpy.float64
        wide = wide if set(kinds) - set("biu") else numpy.int64
        a, b = a.astype(wide), b.astype(wide)
    with numpy.errstate(all="ignore"):
        fits = a == b
        if not exact:
            fits |= (abs(a - b) <= atol + rtol * abs(b)) & numpy.isfinite(b)
        if equal_nan:
            fits |= (a != a) & (b != b)
        if fits.all():
            return None
        difference = abs(a - b) if a.dtype.kind != "b" else (a ^ b).astype(numpy.int64)
        relative = difference / abs(b.astype(numpy.float64 if a.dtype.kind != "c" else a.dtype))
        difference, relative = (numpy.where(fits, 0, part) for part in (difference, relative))
    head = f"{word} are not {'equal' if exact else 'close'}!\n\n"
    if word == "Scalars":
        allowed = "" if exact else f" (up to {atol} allowed)"
        head += f"Expected {b.item()} but got {a.item()}.\n"
        head += f"Absolute difference: {difference.item()}{allowed}\n"
        allowed = "" if exact else f" (up to {rtol} allowed)"
        return head + f"Relative difference: {relative.item()}{allowed}"
    wrong = int((~fits).sum())
    lines = [f"Mismatched elements: {wrong} / {fits.size} ({wrong / fits.size:.1%})"]
    for name, part, most in (("absolute", difference, atol), ("relative", relative, rtol)):
        place = numpy.unravel_index(numpy.argmax(part), part.shape)
        allowed = "" if exact else f" (up to {most} allowed)"
        index = tuple(int(i) for i in place)
        lines.append(f"Greatest {name} difference: {part[place]} at index {index}{allowed}")
    return head + "\n".join(lines)


def make_tensor(
    *shape,
    dtype,
    device=None,
    low=None,
    high=None,
    requires_grad=False,
    noncontiguous=False,
    exclude_zero=False,
    memory_format=None,
):
    """A tensor with random values in [low, high), by default [-9, 9) or what the dtype holds of it.

    `noncontiguous` leaves gaps between its elements, `exclude_zero` replaces zeros.
    """
    if len(shape) == 1 and isinstance(shape[0], Sequence):
        shape = tuple(shape[0])
    low = (0 if dtype.kind in "bu" else -9) if low is None else low
    high = (2 if dtype.kind == "b" else 10 if dtype.kind in "iu" else 9) if high is None else high
    if low >= high:
        raise ValueError(f"make_tensor: low must be less than high, but got {low} >= {high}")
    wide = (*shape[:-1], 2 * shape[-1]) if noncontiguous and shape else shape
    made = empty(wide, dtype=dtype, device=device)
    if dtype.kind in "biu":
        made.random_(math.ceil(low), max(math.ceil(high), math.ceil(low) + 1))
    elif dtype.kind == "c":
        made.real.uniform_(low, high)
        made.imag.uniform_(low, high)
    else:
        made.uniform_(low, high)
    if exclude_zero:
        made[made == 0] = 1 if dtype.kind in "biu" else numpy.finfo(numpy.float16).tiny
    if noncontiguous and shape:
        made = made[..., ::2]
    if memory_format is not None:
        made = made.clone(memory_format=memory_format)
    return made.requires_grad_(requires_grad)
