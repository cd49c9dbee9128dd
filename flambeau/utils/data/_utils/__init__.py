"""PyTorch's paths to parts of the loader."""

from . import collate, worker

__all__ = ["collate", "worker"]
