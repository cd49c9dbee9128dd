"""Lists and dicts that cannot be changed: what the arguments of a node are made of."""

from __future__ import annotations

from typing import Any, NoReturn

from flambeau.types import pytree

__all__ = ["immutable_dict", "immutable_list"]


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(
        f"{type(self).__name__!r} object does not support mutation. If you are attempting to "
        "modify the kwargs or args of a torch.fx.Node object,\ninstead create a new copy of it "
        "and assign the copy to the node:\n\n    new_args = ...  # copy and mutate args\n"
        "    node.args = new_args"
    )


class immutable_list(list):
    """A list whose changing methods raise TypeError."""

    append = clear = extend = insert = pop = remove = reverse = sort = _refuse
    __delitem__ = __iadd__ = __imul__ = __setitem__ = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __reduce__(self) -> tuple:
        return immutable_list, (list(self),)


class immutable_dict(dict):
    """A dict whose changing methods raise TypeError."""

    clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]
    __delitem__ = __ior__ = __setitem__ = _refuse  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple:
        return immutable_dict, (dict(self),)


# As trees they are the ordinary kinds: what is mapped may be changed again.
pytree.SUPPORTED_NODES[immutable_list] = pytree.NodeDef(
    lambda values: (list(values), None), lambda children, _: immutable_list(children)
)
pytree.SUPPORTED_NODES[immutable_dict] = pytree.NodeDef(
    lambda d: (list(d.values()), list(d)),
    lambda children, keys: immutable_dict(zip(keys, children, strict=True)),
)
