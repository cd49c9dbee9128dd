"""PyTorch's `torch.utils`: only names from elsewhere."""

from . import data

__all__ = ["data"]
