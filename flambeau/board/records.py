"""Files of records, each with its length and checksums: TensorFlow's TFRecord format."""

import functools
import struct

from flambeau._base import numpy

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed (RFC 3720, B.4)
_BLOCK = 256  # bytes of the blocks whose checksums are computed side by side


@functools.cache
def _table():
    """The checksum of each byte, before any other."""
    value = numpy.arange(256, dtype=numpy.uint32)
    for _ in range(8):
        value = numpy.where(value & 1, value >> 1 ^ numpy.uint32(_POLYNOMIAL), value >> 1)
    return value


def _advanced(state, columns):
    """States after one byte each of `columns`, one column after the other."""
    for column in columns:
        state = _table()[(state ^ column) & 255] ^ state >> 8
    return state


@functools.cache
def _past_zeros():
    """Tables that take a state over a block of zeros: one for each of its four bytes. Checksums are
    linear, so this joins blocks that were computed apart.
    """
    values = numpy.arange(256, dtype=numpy.uint32)
    states = numpy.concatenate([values << 8 * place for place in range(4)])
    zeros = numpy.zeros((_BLOCK, 1), numpy.uint32)
    return _advanced(states, zeros).reshape(4, 256).tolist()


def crc32c(data: bytes) -> int:
    """The checksum CRC-32C of `data`."""
    whole = len(data) // _BLOCK * _BLOCK
    array = numpy.frombuffer(data, numpy.uint8).astype(numpy.uint32)
    blocks = array[:whole].reshape(-1, _BLOCK)
    state, (a, b, c, d) = 0xFFFFFFFF, _past_zeros()
    for block in _advanced(numpy.zeros(len(blocks), numpy.uint32), blocks.T).tolist():
        state = a[state & 255] ^ b[state >> 8 & 255] ^ c[state >> 16 & 255] ^ d[state >> 24] ^ block
    rest = _advanced(numpy.array([state], numpy.uint32), array[whole:].reshape(-1, 1))
    return int(rest[0]) ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    """The checksum as records hold it: turned and shifted, since they may hold records."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    """The bytes of one record."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)
