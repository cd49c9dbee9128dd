"""Programs captured from running code, and their compilation."""

from .compiled import compile

__all__ = ["compile"]
