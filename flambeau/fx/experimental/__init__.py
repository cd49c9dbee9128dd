"""Newer passes and tracers: PyTorch's `torch.fx.experimental`."""
