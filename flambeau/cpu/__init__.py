"""The CPU as a device: PyTorch's `torch.cpu`."""

from flambeau._base import missing
from flambeau.tensor import accelerator as _made

Stream, StreamContext, stream = _made.Stream, _made.Stream, _made.stream
current_stream, synchronize = _made.current_stream, _made.nothing_to_wait_for
__getattr__ = missing(globals(), submodules=("amp",))
__all__ = ["Stream", "StreamContext", "amp", "current_stream", "stream", "synchronize"]
