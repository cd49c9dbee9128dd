"""flambeau: deep learning with PyTorch's API, in Python, compiled by LLVM while it runs."""

__version__ = "0.1.0"
