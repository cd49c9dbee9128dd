"""How many programs of a function are kept: `torch._dynamo.config`."""

from __future__ import annotations


class Config:
    """Numbers that may be set, under PyTorch's names.

    `recompile_limit`, or `cache_size_limit`, is how many programs one kind of arguments may have:
    more means that something which Python reads is different with every call, and the function
    then runs as it is. `accumulated_recompile_limit`, or `accumulated_cache_size_limit`, is how
    many kinds of arguments, such as lengths, are known for a function: those go first that were
    not used for long, and their memory with them.
    """

    def __init__(self) -> None:
        self.recompile_limit, self.accumulated_recompile_limit = 16, 256

    @property
    def cache_size_limit(self) -> int:
        """`recompile_limit`."""
        return self.recompile_limit

    @cache_size_limit.setter
    def cache_size_limit(self, limit: int) -> None:
        self.recompile_limit = limit

    @property
    def accumulated_cache_size_limit(self) -> int:
        """`accumulated_recompile_limit`."""
        return self.accumulated_recompile_limit

    @accumulated_cache_size_limit.setter
    def accumulated_cache_size_limit(self, limit: int) -> None:
        self.accumulated_recompile_limit = limit


config = Config()

__all__ = ["config"]
