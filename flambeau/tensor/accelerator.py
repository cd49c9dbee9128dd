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


def current_accelerator(check_available: bool = False) -> None:
    """The device that programs should prefer to the CPU: there is none."""


class Backend:
    """A library that PyTorch may use: programs ask for it and set its switches, which do nothing.

    ``torch.backends.cudnn.benchmark = True`` is such a switch.
    """

    def __init__(self, name: str, available: bool = False, **switches):
        self._name, self._available = name, available
        self.__dict__.update(switches)

    def __repr__(self):
        return f"<backend {self._name}: {'used' if self._available else 'not there'}>"

    def is_available(self) -> bool:
        """Whether the library is used."""
        return self._available

    def is_built(self) -> bool:
        """As `is_available`."""
        return self._available


cudnn = Backend("cudnn", enabled=False, benchmark=False, deterministic=False, allow_tf32=False)
mps = Backend("mps")
mkldnn = Backend("mkldnn")
openmp = Backend("openmp")
