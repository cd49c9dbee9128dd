"""Handles that take a registered hook away again."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from typing import Any

_counter = itertools.count()


class RemovableHandle:
    """What a ``register_…_hook`` method returns: ``remove()`` unregisters the hook.

    It refers to the hook dictionary weakly, so that a handle does not keep a module alive.
    `extra_dict` is one or more dictionaries that carry flags under the same id. Usable as a context
    manager.
    """

    __slots__ = ("__weakref__", "_dictionaries", "id")

    def __init__(self, hooks: OrderedDict, *, extra_dict: Any = None) -> None:
        extras = () if extra_dict is None else extra_dict
        if isinstance(extras, dict):
            extras = (extras,)
        self._dictionaries = [weakref.ref(each) for each in (hooks, *extras)]
        self.id = next(_counter)

    def remove(self) -> None:
        """Unregister the hook; a second call does nothing."""
        for reference in self._dictionaries:
            hooks = reference()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()
