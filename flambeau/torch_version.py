"""Versions that compare by their numbers: PyTorch's `torch.torch_version`."""

from flambeau._base import TORCH_VERSION as __version__
from flambeau._base import TorchVersion

__all__ = ["TorchVersion", "__version__"]
