"""Memory of other libraries, and tensors for them: PyTorch's `torch.utils.dlpack`."""

from flambeau.tensor import PUBLIC, Tensor

from_dlpack, to_dlpack = PUBLIC["from_dlpack"], vars(Tensor)["__dlpack__"]
__all__ = ["from_dlpack", "to_dlpack"]
