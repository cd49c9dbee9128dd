"""What a file may build with ``weights_only=True``: the names, and what stands behind them."""

import collections
import contextlib

from flambeau import runtime
from flambeau.nn import Buffer, Parameter
from flambeau.tensor import Size, Tensor, formats, strided
from flambeau.types import DTYPES, Device, DType, by_name, layout

from .location import META, nowhere

STORAGE_TYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
NAME_OF_STORAGE = {dtype: name for name, dtype in STORAGE_TYPES.items()}
BYTES = type("BYTES", (), {"__repr__": lambda self: "UntypedStorage"})()  # a storage without dtype


def _tensor(stored, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
    """A tensor on a storage of the file; raises where it would reach outside. `metadata` says which
    of the conj and the neg bit is set.
    """
    bits = {bit: bool((metadata or {}).get(bit)) for bit in ("conj", "neg")}
    if stored.device is META:
        made = _without_memory(stored.dtype, size, stride, **bits)
    else:
        memory = stored.memory
        made = strided(memory, stored.dtype, tuple(size), tuple(stride), offset, **bits)
    return made.requires_grad_() if requires_grad else made


class _Typed:
    """Bytes of the file read as a dtype."""

    def __init__(self, stored, dtype):
        self.memory, self.device, self.dtype = stored.memory, stored.device, dtype


def _typed_tensor(stored, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
    """As `_tensor`, on bytes that are read as `dtype`."""
    typed = _Typed(stored, dtype)
    return _tensor(typed, offset, size, stride, requires_grad, hooks, metadata)


def _without_memory(dtype, size, stride, **bits):
    return runtime.wrap(nowhere(), layout(tuple(size), tuple(stride), dtype, META, **bits), 0)


def _meta_tensor(dtype, size, stride, requires_grad):
    """A tensor on the device meta."""
    made = _without_memory(dtype, size, stride)
    return made.requires_grad_() if requires_grad else made


def _parameter(data, requires_grad=True, hooks=None):
    """A Parameter on the memory of `data`."""
    return Parameter(data, requires_grad)


def with_state(made, state):
    """`made` with the attributes `state`: a dict, or a pair of one and a dict for its slots, which
    no tensor of a file may set.
    """
    if isinstance(state, tuple) and len(state) == 2 and not state[1]:
        state = state[0]
    if state is not None and not isinstance(state, dict):
        raise TypeError("a tensor's state is a dict of its attributes")
    made.__dict__.update(state or {})
    return made


def _parameter_with_state(data, requires_grad, hooks, state):
    """A Parameter with attributes."""
    return with_state(Parameter(data, requires_grad), state)


def _of_class(function, kind, args, state):
    """A tensor of class `kind`, made by `function` as a plain one, with attributes."""
    made = function(*args)
    if not isinstance(kind, type) or not issubclass(kind, Tensor):
        raise TypeError(f"{kind!r} is no class of tensors")
    if kind is not type(made):
        made = made.as_subclass(kind)
    return with_state(made, state)


def _layout(name):
    """The memory layout of that name: ``torch.strided``."""
    return next(made for made in formats.LAYOUTS if str(made) == name)


# Containers whose classes also take a number, or something that has no end.


def _bytearray(data=b"", encoding=None):
    return bytearray(data, encoding) if encoding else bytearray(_finite(data, bytes))


def _encoded(text, encoding):
    """Bytes, as protocol 2 writes them."""
    if encoding != "latin1":
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _finite(values, kinds=(tuple, list, set, frozenset, dict, str)):
    if not isinstance(values, kinds):
        raise TypeError(f"cannot be built of a {type(values).__name__}")
    return values


def _of_finite(kind):
    return lambda values=(): kind(_finite(values))


# What may be called, by the names in PyTorch's files.
CALLS = {
    ("collections", "OrderedDict"): _of_finite(collections.OrderedDict),
    ("collections", "Counter"): _of_finite(collections.Counter),
    ("collections", "defaultdict"): collections.defaultdict,
    ("builtins", "set"): _of_finite(set),
    ("builtins", "frozenset"): _of_finite(frozenset),
    ("builtins", "complex"): complex,
    ("builtins", "slice"): slice,
    ("builtins", "bytearray"): _bytearray,
    ("_codecs", "encode"): _encoded,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _meta_tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter_with_state,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_class,
    ("torch.serialization", "_get_layout"): _layout,
    ("torch", "Size"): _of_finite(Size),
    ("torch", "device"): Device,
}
# What may only be referred to.
VALUES = {
    ("torch", "Tensor"): Tensor,
    ("torch.nn.parameter", "Parameter"): Parameter,
    ("torch.nn.parameter", "Buffer"): Buffer,
    ("torch.storage", "UntypedStorage"): BYTES,
    **{("builtins", kind.__name__): kind for kind in (bool, int, float, str, tuple, list, dict)},
    **{("torch", dtype.name): dtype for dtype in DTYPES},
    **{("torch", made.name): made for made in formats.FORMATS},
    **{
        (module, name): by_name(dtype)
        for name, dtype in STORAGE_TYPES.items()
        for module in ("torch", "torch.cuda")
    },
}
ALLOWED = CALLS | VALUES
ALLOWED |= {
    ("__builtin__", name): v for (module, name), v in ALLOWED.items() if module == "builtins"
}
_callable = {id(function) for function in CALLS.values()}
_added: list = []


def is_callable(function) -> bool:
    """Whether a file may call `function`."""
    return id(function) in _callable or is_added(function)


def is_added(value) -> bool:
    """Whether the user added the class or function to the list."""
    return any(value is (extra[0] if isinstance(extra, tuple) else extra) for extra in _added)


def added(names) -> object | None:
    """What the user added under one of these full names; None if nothing."""
    for extra in _added:
        known, path = extra if isinstance(extra, tuple) else (extra, None)
        if (path or f"{known.__module__}.{known.__qualname__}") in names:
            return known
    return None


def add_safe_globals(safe_globals):
    """Lets `load` with ``weights_only=True`` build instances of these classes and call these
    functions.

    An item may be a pair of one and the name that files have for it.
    """
    _added.extend(safe_globals)


def clear_safe_globals():
    """Takes back what `add_safe_globals` added."""
    _added.clear()


def get_safe_globals():
    """What `add_safe_globals` added."""
    return list(_added)


@contextlib.contextmanager
def safe_globals(safe_globals):
    """`add_safe_globals` for the length of a with block."""
    before = list(_added)
    _added.extend(safe_globals)
    try:
        yield
    finally:
        _added[:] = before


def is_dtype(value) -> bool:
    """Whether a storage's type in a file is one: a dtype, or none at all."""
    return value is BYTES or isinstance(value, DType)
