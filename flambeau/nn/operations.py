"""The ops by the names that `flambeau.nn` calls them, each looked up at its first use.

An op of the namespace ``nn`` goes by its plain name, one of ``linalg`` with a prefix: ``linear``,
``linalg_qr``.
"""

from __future__ import annotations

from typing import Any

from flambeau.ops import registry
from flambeau.tensor import PUBLIC, door_of, function_of


def _candidates(name: str) -> list[str]:
    if name.startswith("linalg_"):
        return ["linalg." + name.removeprefix("linalg_"), name]
    return ["nn." + name, name]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name in PUBLIC:
        function = globals()[name] = PUBLIC[name]
        return function
    for candidate in _candidates(name):
        function = function_of(candidate)
        if function is not None:
            globals()[name] = function
            return function
    for candidate in _candidates(name):
        if candidate in registry:
            function = globals()[name] = door_of(candidate)
            return function
    raise AttributeError(f"flambeau has no operation {name!r}")
