"""Results with names, as `torch.return_types` has them."""

from collections import namedtuple

_made: dict[tuple, type] = {}


def named(op: str, fields: str) -> type:
    """The tuple type that an op with several named results returns: ``named("max", "values
    indices")``.
    """
    key = (op, fields)
    if key not in _made:
        base: type = namedtuple(op, fields)  # type: ignore[misc]
        members = {"__repr__": _show, "__module__": "torch.return_types", "__slots__": ()}
        _made[key] = type(op, (base,), members)
    return _made[key]


def _show(self):
    inner = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
    return f"torch.return_types.{type(self).__name__}(\n{inner})"


def result_type_of(op: str) -> type | None:
    """The type of an op's results; None where they have no names."""
    return next((kind for (name, _), kind in _made.items() if name == op), None)
