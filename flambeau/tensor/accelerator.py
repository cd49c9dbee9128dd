"""What programs ask about CUDA before they use it."""

import contextlib

from flambeau.runtime import host


def is_available() -> bool:
    """Whether a CUDA device can be used: no."""
    return False


def device_count() -> int:
    """How many CUDA devices there are: none."""
    return 0


def manual_seed_all(seed: int) -> None:
    """Seeds the streams of all CUDA devices: there are none."""


_NONE = "Torch not compiled with CUDA enabled: no CUDA device is there"


def synchronize(device=None) -> None:
    """Waits for a CUDA device, which cannot be."""
    raise AssertionError(_NONE)


class AcceleratorError(RuntimeError):
    """What a device that is no CPU refuses. Nothing raises it; programs catch it."""


class OutOfMemoryError(RuntimeError):
    """That a device that is no CPU has no memory left. Nothing raises it; programs catch it."""


def memory_stats(device=None) -> dict:
    """What is known of a CUDA device's memory: there is none."""
    return {}


def reset_memory_stats(device=None) -> None:
    """Counts the memory of a CUDA device anew: there is none."""


def get_rng_state_all() -> list:
    """The states of the streams of all CUDA devices: there are none."""
    return []


def set_rng_state_all(new_states) -> None:
    """Puts the streams of all CUDA devices into states: there are none."""


def seed_all() -> None:
    """Seeds the streams of all CUDA devices: there are none."""


class Absent:
    """What exists on CUDA devices only: a class for annotations, of which nothing can be made."""

    def __init__(self, *args, **options):
        raise AssertionError(_NONE)


class Stream:
    """The order in which a device works. The CPU has one: an op is over when it returns, so there
    is nothing to wait for. Programs that capture graphs warm up on streams of their own.
    """

    def __init__(self, device=None, priority: int = 0):
        self.device, self.priority = device, priority

    def wait_stream(self, stream: "Stream") -> None:
        """Waits for what was given to another stream: it is over."""

    def synchronize(self) -> None:
        """Waits for what was given to the stream: it is over."""

    def query(self) -> bool:
        """Whether all is over that was given to the stream: yes."""
        return True

    def __enter__(self):
        return self

    def __exit__(self, *exception) -> None:
        pass


def stream(stream: Stream | None) -> Stream:
    """A with block whose ops are given to a stream."""
    return _stream if stream is None else stream


def current_stream(device=None) -> Stream:
    """The stream that ops are given to."""
    return _stream


def nothing_to_wait_for(device=None) -> None:
    """Waits for the CPU: its ops are over when they return."""


_stream = Stream()


def current_accelerator(check_available: bool = False) -> None:
    """The device that programs should prefer to the CPU: there is none."""


def manual_seed(seed: int) -> None:
    """Seeds the stream of the current CUDA device: there is none."""


def empty_cache() -> None:
    """Gives memory that waits for use back to CUDA: there is none."""


def memory_allocated(device=None) -> int:
    """Bytes of a CUDA device that tensors take: none."""
    return 0


@contextlib.contextmanager
def switches(*values, **named):
    """A with block with other switches of a library that is not there."""
    yield


def no_switch(enabled):
    """Turns something of a library on or off that is not there: without effect."""


class Switch:
    """Where a program sets what a library may do, which has no effect without the library."""

    def __init__(self, **values):
        self.__dict__.update(values)


def get_cpu_capability() -> str:
    """The vectors that kernels use, as PyTorch names them: AVX512, AVX2 or DEFAULT."""
    return {64: "AVX512", 32: "AVX2"}.get(host().vector_bytes, "DEFAULT")
