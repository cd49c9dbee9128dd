"""Which PyTorch this stands for: PyTorch's `torch.version`."""

from flambeau._base import TORCH_VERSION as __version__
from flambeau._base import missing

cuda = hip = rocm = xpu = git_version = None
debug = False
__getattr__ = missing(globals())
__all__ = ["__version__", "cuda", "debug", "git_version", "hip", "rocm", "xpu"]
