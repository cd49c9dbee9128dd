"""Tables of what was made before."""

from collections.abc import Callable
from typing import Any


class Memo(dict):
    """What was made before, by its key; `most` entries, then all are forgotten."""

    def __init__(self, most: int):
        self._most = most

    def get_or(self, key: Any, make: Callable[..., Any], *args: Any) -> Any:
        """What stands under the key; ``make(*args)``, which is kept, where nothing does."""
        try:
            return self[key]
        except KeyError:
            pass
        made = make(*args)
        if len(self) >= self._most:
            self.clear()
        self[key] = made
        return made


__all__ = ["Memo"]
