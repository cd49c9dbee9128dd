"""PyTorch's path to the writers."""

from flambeau.board import FileWriter, SummaryWriter

__all__ = ["FileWriter", "SummaryWriter"]
