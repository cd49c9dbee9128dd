"""Reading state dictionaries that use other names for the same tensors."""

from __future__ import annotations

from typing import Any


class RenamedState:
    """A hook before loading: renames keys of the module's own part, if all of them are there."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def __call__(self, state_dict: dict, prefix: str, *others: Any) -> None:
        if not all(prefix + name in state_dict for name in self.names):
            return
        for old, new in self.names.items():
            state_dict[prefix + new] = state_dict.pop(prefix + old)


def add_renaming(module: Any, names: dict[str, str]) -> None:
    """Let a module load states that call its tensors by these names (keys) too."""
    for hook in module._load_state_dict_pre_hooks.values():
        if getattr(getattr(hook, "hook", hook), "names", None) == names:
            return
    module._register_load_state_dict_pre_hook(RenamedState(names))


def remove_renaming(module: Any, names: dict[str, str]) -> None:
    """Take back `add_renaming`."""
    hooks = module._load_state_dict_pre_hooks
    for key, hook in list(hooks.items()):
        if getattr(getattr(hook, "hook", hook), "names", None) == names:
            del hooks[key]
