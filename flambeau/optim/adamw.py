"""AdamW, under its module path."""

from .adam import AdamW

__all__ = ["AdamW"]
