"""Libraries behind the ops, as programs ask for them: PyTorch's `torch.backends`."""

from flambeau._base import missing

from . import cpu, cuda, cudnn, mkl, mkldnn, mps, openmp, opt_einsum

__getattr__ = missing(globals())
__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp", "opt_einsum"]
