"""Ops on lists of tensors, one by one: PyTorch's ``torch._foreach_…`` functions."""

import functools

from flambeau.ops import registry

from .methods import door_of, function_of, functions_in, inplace_of
from .tensor import Tensor

PREFIX = "_foreach_"
_WITH_NUMBERS = {"maximum": "clamp_min", "minimum": "clamp_max"}


def foreach(name: str):
    """The function of that name; None where there is no op behind it."""
    if not name.startswith(PREFIX):
        return None
    base = name.removeprefix(PREFIX)
    in_place = base.endswith("_") and base not in registry
    base = base.removesuffix("_") if in_place else base
    base = "linalg.vector_norm" if base == "norm" else base
    if base not in registry or (in_place and not registry[base][0].inplace_form):
        return None
    take = inplace_of if in_place else door_of

    def function(self, *others, **options):
        columns = [other if isinstance(other, list | tuple) else None for other in others]
        made = []
        for place, tensor in enumerate(self):
            rest = [
                other if column is None else column[place]
                for other, column in zip(others, columns, strict=True)
            ]
            if base in ("addcdiv", "addcmul") and len(rest) == 3:
                options["value"] = rest.pop()
            numbers = base in _WITH_NUMBERS and not isinstance(rest[0], Tensor)
            made.append(take(_WITH_NUMBERS[base] if numbers else base)(tensor, *rest, **options))
        return None if in_place else tuple(made)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""`{base}` of each tensor of a list{", in place" if in_place else ""}."""
    return function


def of_torch(name):
    """What an op makes of `torch.NAME`; None where no op has it. Its attribute `names` lists the
    public ones.
    """
    return function_of(name) or foreach(name)


of_torch.names = functools.partial(functions_in, "")  # type: ignore[attr-defined]
