"""What programs ask about CUDA before they use it."""


def is_available() -> bool:
    """Whether a CUDA device can be used: no."""
    return False


def device_count() -> int:
    """How many CUDA devices there are: none."""
    return 0


def manual_seed_all(seed: int) -> None:
    """Seeds the streams of all CUDA devices: there are none."""


def synchronize(device=None) -> None:
    """Waits for a CUDA device, which cannot be."""
    raise AssertionError("Torch not compiled with CUDA enabled: no CUDA device is there")
