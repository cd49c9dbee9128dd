"""Memory of other libraries, and tensors for them: PyTorch's `torch.utils.dlpack`."""

from flambeau.tensor import PUBLIC

from_dlpack = PUBLIC["from_dlpack"]


def to_dlpack(tensor):
    """A DLPack capsule on the tensor's memory. BufferError for what a capsule cannot say: a conj or
    neg bit, history.
    """
    return tensor.__dlpack__()


__all__ = ["from_dlpack", "to_dlpack"]
