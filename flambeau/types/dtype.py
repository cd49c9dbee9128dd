"""Element types, and the rules by which they combine."""

from __future__ import annotations

from flambeau._base import numpy


class DType:
    """An element type; each exists once, so comparison is by identity.

    `kind` is one of ``b`` bool, ``u`` unsigned, ``i`` signed, ``f`` floating, ``c`` complex;
    `itemsize` is in bytes.
    """

    __slots__ = ("__weakref__", "_numpy", "aliases", "itemsize", "kind", "name", "order")

    def __init__(self, name, kind, itemsize, order, aliases=()):
        self.name, self.kind, self.itemsize, self.order, self.aliases = (
            name,
            kind,
            itemsize,
            order,
            aliases,
        )
        self._numpy = None

    def __repr__(self):
        return f"torch.{self.name}"

    def __reduce__(self):
        return by_name, (self.name,)

    @property
    def numpy(self) -> numpy.dtype:
        """NumPy's dtype of the same memory format (bfloat16 is ml_dtypes')."""
        if self._numpy is None:
            self._numpy = _numpy_dtype(self.name)
        return self._numpy

    @property
    def type_name(self) -> str:
        """PyTorch's C++ name, as its messages print it: Float, Long, …"""
        return _TYPE_NAMES.get(self.name, self.name.replace("uint", "UInt"))

    @property
    def is_floating_point(self) -> bool:
        return self.kind == "f"

    @property
    def is_complex(self) -> bool:
        return self.kind == "c"

    @property
    def is_signed(self) -> bool:
        return self.kind in "ifc"

    @property
    def category(self) -> int:
        """0 bool, 1 integer, 2 floating, 3 complex: the coarse order of promotion."""
        return _CATEGORY[self.kind]

    def to_real(self) -> DType:
        """The type of the real part; the type itself where it is real."""
        return _REAL.get(self, self)

    def to_complex(self) -> DType:
        """The complex type that holds this one: float64 and complex128 give complex128, half gives
        complex64.
        """
        if self is float64 or self is complex128:
            return complex128
        return complex64


class AbsentDType:
    """An element type of PyTorch's of which there are no tensors here: programs compare with it."""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"torch.{self.name}"


complex32 = AbsentDType("complex32")

_TYPE_NAMES = {
    "bool": "Bool",
    "uint8": "Byte",
    "int8": "Char",
    "int16": "Short",
    "int32": "Int",
    "int64": "Long",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "float32": "Float",
    "float64": "Double",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}
_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}

bool_ = DType("bool", "b", 1, 0)
uint8 = DType("uint8", "u", 1, 1)
int8 = DType("int8", "i", 1, 2)
int16 = DType("int16", "i", 2, 3, ("short",))
int32 = DType("int32", "i", 4, 4, ("int",))
int64 = DType("int64", "i", 8, 5, ("long",))
uint16 = DType("uint16", "u", 2, 6)
uint32 = DType("uint32", "u", 4, 7)
uint64 = DType("uint64", "u", 8, 8)
float16 = DType("float16", "f", 2, 9, ("half",))
bfloat16 = DType("bfloat16", "f", 2, 10)
float32 = DType("float32", "f", 4, 11, ("float",))
float64 = DType("float64", "f", 8, 12, ("double",))
complex64 = DType("complex64", "c", 8, 13, ("cfloat",))
complex128 = DType("complex128", "c", 16, 14, ("cdouble",))

DTYPES = (
    bool_,
    uint8,
    int8,
    int16,
    int32,
    int64,
    uint16,
    uint32,
    uint64,
    float16,
    bfloat16,
    float32,
    float64,
    complex64,
    complex128,
)
UNPROMOTED = (uint16, uint32, uint64)
_REAL = {complex64: float32, complex128: float64}
_BY_NAME = {d.name: d for d in DTYPES} | {alias: d for d in DTYPES for alias in d.aliases}
PYTHON_TYPES = {bool: bool_, int: int64, float: float32, complex: complex64}


def _numpy_dtype(name):
    if name != "bfloat16":
        return numpy.dtype(name)
    import ml_dtypes  # costs 10 ms, and few programs need it

    return numpy.dtype(ml_dtypes.bfloat16)


def by_name(name: str) -> DType:
    """The dtype of that name or alias: ``by_name("long") is int64``."""
    return _BY_NAME[name]


def from_numpy(dtype) -> DType | None:
    """The dtype with NumPy's memory format, or None where there is none (str, big-endian, …)."""
    if not dtype.isnative:
        return None
    return _BY_NAME.get(dtype.name)


def promote(a: DType, b: DType) -> DType:
    """The smallest type that both convert to, by PyTorch's table.

    Unsigned with signed gives the next wider signed type; two different half types give float32; an
    integer never widens a floating type. uint16, uint32 and uint64 combine with floating types
    only; RuntimeError otherwise.
    """
    if a is b:
        return a
    for place, given in ((1, a), (2, b)):
        if not isinstance(given, DType):
            raise TypeError(
                f"promote_types(): argument 'type{place}' (position {place}) must be torch.dtype, "
                f"not {type(given).__name__}"
            )
    if (a in UNPROMOTED and b.kind != "f") or (b in UNPROMOTED and a.kind != "f"):
        raise RuntimeError(
            "Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
            f"{a.type_name} and {b.type_name}"
        )
    if a.order > b.order:
        a, b = b, a
    if b.kind == "c":
        return complex128 if (a is float64 or b is complex128) else complex64
    if b.kind == "f":
        return float32 if (a is float16 and b is bfloat16) else b
    return int16 if (a is uint8 and b is int8) else b


def can_cast(source: DType, target: DType) -> bool:
    """Whether a result of `source` may be written to `target`: never to a lower category, never int
    to bool.
    """
    for name, value in (("from_", source), ("to", target)):
        if not isinstance(value, DType):
            raise TypeError(
                f"can_cast(): argument '{name}' must be torch.dtype, not {type(value).__name__}"
            )
    return source.category <= target.category


# The letters of Python's `struct` for elements that it knows.
STRUCT_LETTERS = {
    by_name(name): letter
    for name, letter in zip(
        "bool uint8 int8 int16 int32 int64 float16 float32 float64".split(), "?Bbhiqefd",
        strict=True,
    )
}  # fmt: skip


def as_dtype(dtype):
    """A dtype, also from Python's `float`, `int`, `bool`, `complex`."""
    if dtype is None or dtype.__class__ is DType:
        return dtype
    if dtype in (float, complex):  # 64 bits, as Python's are
        return by_name("float64") if dtype is float else by_name("complex128")
    if isinstance(dtype, type) and dtype in PYTHON_TYPES:
        return PYTHON_TYPES[dtype]
    if isinstance(dtype, AbsentDType):
        raise NotImplementedError(f"flambeau has no tensors of {dtype}")
    raise TypeError(f"dtype must be a torch.dtype, not {type(dtype).__name__}")
