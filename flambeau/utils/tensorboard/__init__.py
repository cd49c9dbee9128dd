"""Files for TensorBoard: PyTorch's `torch.utils.tensorboard`."""

from flambeau._base import missing
from flambeau.board import FileWriter, SummaryWriter

__getattr__ = missing(globals())
__all__ = ["FileWriter", "SummaryWriter"]
