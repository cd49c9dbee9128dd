"""Defaults, questions about tensors and dtypes: `set_default_dtype`, `result_type`, `finfo`, …"""

from flambeau import runtime
from flambeau._base import numpy
from flambeau.ops import forget_plans, modes
from flambeau.ops import result_type as common_type
from flambeau.types import Device, DType, by_name

from .creation import as_dtype
from .tensor import Tensor

_defaults = modes.defaults


def get_default_dtype():
    """The dtype of new floating-point tensors."""
    return _defaults.dtype


def set_default_dtype(d, /):
    """Sets the dtype of new floating-point tensors: float32 (at the start), float64, or a half
    type.
    """
    if isinstance(d, DType) and d.kind != "f":
        raise TypeError("only floating-point types are supported as the default type")
    if not isinstance(d, DType):
        raise TypeError(
            "invalid dtype object: only floating-point types are supported as the default type, "
            f"not {d}"
        )
    if d is not _defaults.dtype:
        _defaults.dtype = d
        forget_plans()  # plans hold result types that the default decides


def set_default_tensor_type(t, /):
    """The legacy form of `set_default_dtype`: takes ``torch.DoubleTensor`` or its name."""
    names = {"Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16"}
    name = t if isinstance(t, str) else t.__name__
    set_default_dtype(by_name(names[name.rpartition(".")[2].removesuffix("Tensor")]))


def get_default_device():
    """The device of new tensors."""
    return _defaults.device


def set_default_device(device):
    """Sets the device of new tensors; None means the CPU."""
    _defaults.device = Device("cpu" if device is None else device)


_outer: list[Device] = []  # the default devices around the with blocks of devices


def _enter_device(self):
    """``with torch.device("meta"):`` new tensors are there."""
    _outer.append(_defaults.device)
    _defaults.device = self
    return self


def _leave_device(self, *exception):
    _defaults.device = _outer.pop()


for _name, _method in (("__enter__", _enter_device), ("__exit__", _leave_device)):
    setattr(Device, _name, _method)  # devices lie below and know of no defaults


def is_tensor(obj, /):
    """Whether `obj` is a Tensor."""
    return isinstance(obj, Tensor)


def check_tensor(name, argument, value, position=1):
    """Raises PyTorch's TypeError where an argument is no tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}(): argument '{argument}' (position {position}) must be Tensor, not "
            f"{type(value).__name__}"
        )


def is_floating_point(input):
    """Whether the dtype is a floating-point type."""
    check_tensor("is_floating_point", "input", input)
    return input.is_floating_point()


def is_inference(input):
    """Whether a tensor was made in `inference_mode`, or is a view of one that was."""
    return input.is_inference()


def is_complex(input):
    """Whether the dtype is complex."""
    check_tensor("is_complex", "input", input)
    return input.is_complex()


def is_conj(input):
    """Whether the conjugate bit is set."""
    return input.is_conj()


def is_neg(input):
    """Whether the negative bit is set."""
    return input.is_neg()


def is_nonzero(input):
    """Whether the one element is not zero."""
    return bool(input)


def is_signed(input):
    """Whether the dtype has negative numbers."""
    return input.is_signed()


def numel(input):
    """The number of elements."""
    check_tensor("numel", "input", input)
    return input.numel()


def result_type(tensor1, tensor2):
    """The dtype of arithmetic between two tensors or numbers."""
    for place, value in enumerate((tensor1, tensor2)):
        if not isinstance(value, bool | int | float | complex):
            check_tensor("result_type", f"tensor{place + 1}", value, place + 1)
    return common_type([x.layout if isinstance(x, Tensor) else type(x) for x in (tensor1, tensor2)])


class finfo:
    """Limits of a floating-point dtype: bits, eps, max, min, tiny, smallest_normal, resolution."""

    __slots__ = ("bits", "dtype", "eps", "max", "min", "resolution", "smallest_normal", "tiny")

    def __init__(self, type=None):
        kind = _defaults.dtype if type is None else as_dtype(type)
        if kind.kind not in "fc":
            raise TypeError(
                "torch.finfo() requires a floating point input type. Use torch.iinfo to handle "
                "'torch.finfo'"
            )
        kind = kind.to_real()
        digits, low, high = {
            "float16": (10, -14, 15),
            "bfloat16": (7, -126, 127),
            "float32": (23, -126, 127),
            "float64": (52, -1022, 1023),
        }[kind.name]
        self.bits, self.dtype = 8 * kind.itemsize, kind.name
        self.eps, self.tiny = 2.0**-digits, 2.0**low
        self.smallest_normal = self.tiny
        self.max = (2.0 - self.eps) * 2.0**high
        self.min = -self.max
        self.resolution = {"float16": 1e-3, "bfloat16": 1e-2, "float32": 1e-6, "float64": 1e-15}[
            kind.name
        ]

    def __repr__(self):
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype: bits, max, min."""

    __slots__ = ("bits", "dtype", "max", "min")

    def __init__(self, type):
        kind = as_dtype(type)
        if kind.kind not in "iu":
            raise TypeError(
                "torch.iinfo() requires an integer input type. Use torch.finfo to handle "
                "'torch.iinfo'"
            )
        info = numpy.iinfo(kind.numpy)
        self.bits, self.dtype, self.max, self.min = (
            info.bits,
            kind.name,
            int(info.max),
            int(info.min),
        )

    def __repr__(self):
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


def set_num_threads(threads: int) -> None:
    """How many threads one op may use."""
    if not isinstance(threads, int) or isinstance(threads, bool):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(threads).__name__}")
    if threads <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    runtime.set_num_threads(threads)


def get_num_threads() -> int:
    """How many threads one op may use."""
    return runtime.get_num_threads()


_interop_threads = 1


def set_num_interop_threads(threads: int) -> None:
    """How many ops may run beside each other. They never do here: the number is only kept."""
    global _interop_threads
    if not isinstance(threads, int) or isinstance(threads, bool):
        raise RuntimeError(
            f"set_num_interop_threads expects an int, but got {type(threads).__name__}"
        )
    if threads <= 0:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _interop_threads = threads


def get_num_interop_threads() -> int:
    """What `set_num_interop_threads` was told."""
    return _interop_threads


def set_flush_denormal(mode: bool) -> bool:
    """Whether denormal numbers can be flushed to zero: no, they are always computed with."""
    return False


def _assert(condition, message):
    """Raises AssertionError with `message` where `condition` is false: an assertion that traced
    programs record.
    """
    assert condition, message


def _assert_async(input, assert_msg="Expected Tensor with single nonzero value, but got zero"):
    """Raises RuntimeError where the one element is zero; at once, as all is done here."""
    if not input:
        raise RuntimeError(assert_msg)


PUBLIC = (
    "_assert",
    "_assert_async",
    "get_num_interop_threads",
    "get_num_threads",
    "set_flush_denormal",
    "set_num_interop_threads",
    "set_num_threads",
    "finfo",
    "get_default_device",
    "get_default_dtype",
    "iinfo",
    "is_complex",
    "is_conj",
    "is_floating_point",
    "is_inference",
    "is_neg",
    "is_nonzero",
    "is_signed",
    "is_tensor",
    "numel",
    "result_type",
    "set_default_device",
    "set_default_dtype",
    "set_default_tensor_type",
)
