"""The language of the native core: the same text means the same to Python and to LLVM."""

import ctypes
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flambeau.runtime import jit
from flambeau.runtime.native import translate

SOURCE = """
LIMIT = 3 + (1 << 4)

def gcd(a, b):
    while b != 0:
        rest = a % b
        a = b
        b = rest
    return a

def collatz(a, b):
    a = a % 100000
    steps = 0
    while a > 1 and steps < 200:
        if a % 2 == 0:
            a = a // 2
        else:
            a = 3 * a + 1
        steps += 1
    return steps

def primes(a, b):
    found = 0
    for i in range(2, a % 500):
        is_prime = 1
        for k in range(2, i):
            if k * k > i:
                break
            if i % k == 0:
                is_prime = 0
                break
        if is_prime == 0:
            continue
        found += i
    return found

def logic(a, b):
    x = 0
    if a < b and not a == 5 or b == 7:
        x = 1
    elif a >= b or a == 3 and b != 2:
        x = 2
    return x + 10 * (a > b) + 100 * (a <= LIMIT)

def bits(a, b):
    return (a & b) + 2 * (a | b) - (a ^ b) + (a << 3) - (b >> 2) + ~a

def fibonacci(a, b):
    if a % 20 < 2:
        return a % 20
    return fibonacci(a % 20 - 1, 0) + fibonacci(a % 20 - 2, 0)
"""
NAMES = ["gcd", "collatz", "primes", "logic", "bits", "fibonacci"]
CALL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def native(source, names):
    addresses = jit.compile(source, names, translate=lambda t: translate(t, names), optimize=True)
    return {name: CALL(address) for name, address in zip(names, addresses, strict=True)}


@pytest.fixture(scope="module")
def both():
    meant: dict = {}
    exec(SOURCE, meant)
    return meant, native(SOURCE, NAMES)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(a=st.integers(0, 1 << 40), b=st.integers(0, 1 << 40))
@example(a=0, b=0)
@example(a=5, b=7)
@example(a=3, b=2)
@example(a=19, b=19)
def test_native_code_does_what_python_does(both, name, a, b):
    meant, compiled = both
    assert compiled[name](a, b) == int(meant[name](a, b))


def test_memory_and_globals():
    source = """
total: word = 5
squares: words[10]
numbers: table = [(3, 1 << 40), (-2, 7)]

def fill(a, b):
    for i in range(10):
        squares[i] = i * i
    squares[3] += 100
    own = stack(2)
    own[1] = squares[3]
    total += own[1]
    return total

def look(a, b):
    return squares[a] + numbers[b]

def characters(a, b):
    return byte("hello" + a)
"""
    found = native(source, ["fill", "look", "characters"])
    assert [found["fill"](0, 0) for _ in range(2)] == [114, 223]
    assert [found["look"](a, b) for a, b in ((3, 0), (9, 1), (0, 2))] == [112, 81 + (1 << 40), -2]
    assert [found["characters"](k, 0) for k in range(6)] == [*b"hello", 0]


def test_calls_of_c():
    source = """
def labs(value: i64) -> i64: ...
def abs(value: i32) -> i32: ...
def sqrt(value: f64) -> f64: ...
def snprintf(to: ptr, size: i64, text: ptr, *rest) -> i32: ...

def run(a, b):
    to = stack(8)
    written = snprintf(to, 64, "%lld-%lld", a, b)
    return labs(a) + abs(b) + call("i64:i64", labs, -1000) + written * 10000 + byte(to)

def root(a, b):
    return sqrt(a)
"""
    found = native(source, ["run", "root"])
    assert found["run"](-5, -7) == 5 + 7 + 1000 + 5 * 10000 + ord("-")
    import struct

    (bits,) = struct.unpack("q", struct.pack("d", 2.0))
    assert struct.pack("q", found["root"](bits, 0)) == struct.pack("d", 2.0**0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(a):\n    return b\n", "unknown name"),
        ("def f(a):\n    return g(a)\n", "unknown function"),
        ("def g(a):\n    return a\ndef f(a):\n    return g(a, a)\n", "too many arguments"),
        ("def g(a):\n    return a\ndef f(a):\n    return g()\n", "too few arguments"),
        ("def f(a):\n    f = 3\n    return a\n", "f is taken"),
        ("def f(a):\n    return a / 2\n", "unknown operator"),
        ("def f(a: int):\n    return a\n", "unknown type"),
        ("def f(a):\n    with a:\n        pass\n", "unknown statement"),
        ("import os\n", "not a declaration"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(SyntaxError, match=message):
        translate(text, ["f"])


REAL = """
def sqrt(x: f64) -> f64: ...

@real
def newton(a, b):
    x = 1.5
    while (x * x - a) / a > 1e-15 or -(x * x - a) / a > 1e-15:
        x = 0.5 * (x + a / x)
    return x + sqrt(b) - whole_part(b)

def whole_part(b): return as_real(b >> 62)

def run(a: f64, b: f64) -> f64: return newton(a, b)
"""


@pytest.mark.parametrize("a, b", [(2.0, 4.0), (0.01, 2.25), (1e10, 0.0)])
def test_arithmetic_on_doubles(a, b):
    (address,) = jit.compile(
        REAL, ["run"], translate=lambda t: translate(t, ["run"]), optimize=True
    )
    found = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_double)(address)(a, b)
    assert found == pytest.approx(math.sqrt(a) + math.sqrt(b) - (b >= 2), 1e-14)
