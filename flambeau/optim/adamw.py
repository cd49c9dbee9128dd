"""AdamW, under its module path."""

from flambeau.optim.adam import AdamW

__all__ = ["AdamW"]
