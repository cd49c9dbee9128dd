"""What turns uniform words into numbers of a distribution: arithmetic on arrays, no state."""

import math
import warnings

from flambeau._base import numpy

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
BLOCK = 16  # PyTorch turns uniforms into normals in blocks of 16
FLOAT32, FLOAT64, INT64 = "float32", "float64", "int64"
DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
LARGEST = {
    "float64": 1.7976931348623157e308,
    "float32": 3.4028234663852886e38,
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
}
# PyTorch's messages call a dtype by its C++ type in some places and by its ScalarType in others.
_NAMES = """
    bool bool Bool | uint8 unsigned_char Byte | int8 signed_char Char | int16 short_int Short |
    int32 int Int | int64 long_int Long | uint16 short_unsigned_int UInt16 |
    uint32 unsigned_int UInt32 | uint64 long_unsigned_int UInt64 | float16 c10::Half Half |
    bfloat16 c10::BFloat16 BFloat16 | float32 float Float | float64 double Double |
    complex64 c10::complex<float> ComplexFloat | complex128 c10::complex<double> ComplexDouble
"""
_ROWS = [row.split() for row in _NAMES.split("|")]
C_NAMES = {name: c_name.replace("_", " ") for name, c_name, _ in _ROWS}
SCALAR_NAMES = {name: scalar_name for name, _, scalar_name in _ROWS}


def not_implemented(kernel, dtype):
    return NotImplementedError(
        f"\"{kernel}\" not implemented for '{SCALAR_NAMES.get(dtype.name, dtype.name)}'"
    )


def number(value):
    """`value` as C++ streams print it: six significant digits, no trailing zeros."""
    return f"{float(value):g}"


def rounded(values, dtype):
    """`values` (float32 or float64) in `dtype`; the half types round from float32, as a C++
    conversion does.
    """
    if dtype.itemsize == 2 and dtype.kind != "i" and values.dtype == FLOAT64:
        values = values.astype(FLOAT32)
    with numpy.errstate(over="ignore"):
        return values.astype(dtype, copy=False)


def fused(values, factor, term):
    """``values * factor + term`` rounded once, as a fused multiply-add gives it, for float32 or
    float64 `values`.

    float32 is exact in float64 up to the last rounding. float64 splits the product into two halves
    (Dekker, Numerische Mathematik 18, 1971) and adds what the plain sum loses.
    """
    if term == 0:
        return values if factor == 1 else values * values.dtype.type(factor)
    if values.dtype == FLOAT32:
        wide = values * numpy.float64(factor)
        wide += term
        return wide.astype(FLOAT32)
    product = values * factor
    if not abs(factor) < 1e290:
        return product + term
    splitter = 134217729.0  # 2**27 + 1
    scaled = splitter * values
    high = scaled - (scaled - values)
    low = values - high
    factor_high = splitter * factor - (splitter * factor - factor)
    factor_low = factor - factor_high
    lost = (
        (high * factor_high - product) + high * factor_low + low * factor_high
    ) + low * factor_low
    total = product + term
    shift = total - product
    lost += (product - (total - shift)) + (term - shift)
    return total + lost


def nearest_inside(low, high, dtype):
    """`low` and `high` moved inward to numbers that `dtype` holds, so that no draw rounds out of
    ``[low, high)``.
    """
    digits = DIGITS[dtype.name]

    def held(value):
        if abs(value) > LARGEST[dtype.name]:
            return value  # out of bounds, which the caller reports
        return int(rounded(numpy.array([value], FLOAT64), dtype).astype(FLOAT64)[0])

    def spacing(value):
        return 1 << max(abs(value).bit_length() - digits, 0)

    after, before = held(low + 1), held(high - 1)
    low = after + spacing(low + 1) if after < low else low
    high = before - spacing(high - 1) if before >= high else high
    return low, high


def check_uniform(dtype, low, high):
    """Raise where `dtype` has no uniform numbers in [low, high)."""
    if dtype.name not in DIGITS:
        raise not_implemented("check_uniform_bounds", dtype)
    largest = LARGEST[dtype.name]
    for name, value in (("from", low), ("to", high)):
        if not -largest <= value <= largest:
            raise RuntimeError(f"{name} is out of bounds for {C_NAMES[dtype.name]}")
    if not low <= high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={number(low)} > "
            f"to={number(high)}"
        )
    if not high - low <= largest:
        raise RuntimeError(
            f"uniform_ expects to-from <= "
            f"std::numeric_limits<{SCALAR_NAMES[dtype.name]}>::max(), but found "
            f"to={number(high)} and from={number(low)} which result in to-from to exceed the limit"
        )


def check_exponential(dtype, rate):
    """Raise where `dtype` has no exponential numbers of that rate."""
    if not rate > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={number(rate)}")
    if dtype.name not in DIGITS:
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {SCALAR_NAMES[dtype.name]}"
        )


def check_bernoulli(dtype, p):
    """Raise where `dtype` has no draws of probability `p`."""
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={number(p)}")
    if dtype.kind == "c" or dtype.name in ("uint16", "uint32", "uint64"):
        raise not_implemented("bernoulli_scalar_cpu_", dtype)


def check_bounds(low, last, dtype):
    """Raise where `dtype` cannot hold `low` or `last`; warn where it cannot hold every integer
    between them.
    """
    named = (("from", low), ("to - 1", last))
    if dtype.name not in DIGITS:
        bounds = (
            (0, 1)
            if dtype.kind == "b"
            else (numpy.iinfo(dtype).min, min(numpy.iinfo(dtype).max, INT64_MAX))
        )
        for name, value in named:
            if not bounds[0] <= value <= bounds[1]:
                raise RuntimeError(f"{name} is out of bounds for {C_NAMES[dtype.name]}")
        return
    digits, largest = DIGITS[dtype.name], LARGEST[dtype.name]
    for name, value in named:
        if not -largest <= value <= largest:
            raise RuntimeError(f"{name} is out of bounds for {C_NAMES[dtype.name]}")
        if abs(value) > 1 << digits:
            warnings.warn(
                f"{name} is out of bounds [-(2^{digits}), 2^{digits}]. Due to precision "
                f"limitations {C_NAMES[dtype.name]} can support discrete uniform distribution only "
                "within this range.",
                stacklevel=4,
            )


def array_and_view(shape, dtype, out):
    """The array to return, and a flat real view of it to fill."""
    if out is None:
        result = numpy.empty(shape, dtype)
    elif out.flags.c_contiguous:
        result = out
    else:
        raise ValueError("out must be C-contiguous")
    flat = result.reshape(-1)
    if result.dtype.kind == "c":
        flat = flat.view(f"f{result.itemsize // 2}")
    return result, flat


def as_integers(words, dtype, base=0):
    """Unsigned `words` plus `base`, modulo 2**64 and read as signed, in `dtype`."""
    if words.dtype == numpy.uint64:
        words = (words + numpy.uint64(base % (1 << 64))).view(INT64)
    if dtype.name == "bfloat16" or dtype.name == "float16":
        words = words.astype(FLOAT32)
    return words.astype(dtype)


MOST_CATEGORIES = 2**24  # PyTorch's limit: a category's number must be exact in float32


def check_weights(weights, n, replacement):
    if not 1 <= weights.ndim <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if weights.dtype.name not in DIGITS:
        name = SCALAR_NAMES.get(weights.dtype.name, weights.dtype.name)
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {name}"
        )
    if n <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and n > weights.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    if weights.shape[-1] > MOST_CATEGORIES:
        raise RuntimeError("number of categories cannot exceed 2^24")
    if not ((weights >= 0) & (weights < math.inf)).all():
        if not replacement or n == 1:
            raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
        finite = (weights < math.inf).all()
        raise RuntimeError(
            "invalid multinomial distribution (encountering probability entry "
            f"{'< 0' if finite else '= infinity or NaN'})"
        )
    if (weights.sum(axis=-1) == 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
