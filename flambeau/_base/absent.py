"""What programs ask of parts of PyTorch that are not here, before they use them."""


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
