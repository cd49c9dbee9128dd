"""Messages of protocol buffers, as bytes: just what TensorBoard's events need.

A message is a list of fields, each a number, a type and a value
(https://protobuf.dev/programming-guides/encoding).
"""

import struct
from collections.abc import Iterable


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def integer(number: int, value: int) -> bytes:
    """A field with an integer, a bool or the number of an enum."""
    return _varint(number << 3) + _varint(int(value))


def double(number: int, value: float) -> bytes:
    """A field with a float of 8 bytes."""
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def single(number: int, value: float) -> bytes:
    """A field with a float of 4 bytes."""
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def message(number: int, *fields: bytes) -> bytes:
    """A field with a message of these fields, or with bytes."""
    content = b"".join(fields)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def text(number: int, value: str) -> bytes:
    """A field with text."""
    return message(number, value.encode())


def doubles(number: int, values: Iterable[float]) -> bytes:
    """A field with many floats of 8 bytes."""
    return message(number, *(struct.pack("<d", value) for value in values))
