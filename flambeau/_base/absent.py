"""What programs ask of parts of PyTorch that are not here, before they use them."""

from collections.abc import Callable


def is_available() -> bool:
    """Whether it is there: no."""
    return False


def is_initialized() -> bool:
    """Whether it was started: no."""
    return False


def version() -> None:
    """The version of the library, which is not there."""


def tracing_state() -> None:
    """The trace for TorchScript that is being taken: none."""


def is_fake(x: object) -> bool:
    """Whether it is of PyTorch's class of tensors without memory: never."""
    return False


def log_usage(event: str) -> None:
    """Notes that a part of the API is used: PyTorch counts it, flambeau does not."""


def register_symbolic(symbolic_name: str, symbolic_fn: object, opset_version: int) -> None:
    """Says how an op is exported to ONNX, as packages do when they are imported."""


def parse_args(*descriptors: str) -> Callable[[Callable], Callable]:
    """Decorator of such a rule, of which nothing is asked."""
    return lambda rule: rule
