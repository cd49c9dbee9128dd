"""What TensorBoard shows: PyTorch's `torch.utils.tensorboard`, without TensorBoard itself."""

from .writer import FileWriter, SummaryWriter

__all__ = ["FileWriter", "SummaryWriter"]
