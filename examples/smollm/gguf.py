"""Reads GGUF files: the metadata, and tensors of the types F32, F16, Q4_0, Q4_1 and Q8_0.

A GGUF file (version 2 or 3, little-endian) is a header, pairs of names and typed values, one
record for each tensor, and the tensors' bytes. A quantised tensor is a row of blocks of 32
elements; a block holds a scale, perhaps an offset, and one small integer for each element.
"""

import mmap
import struct

import torch

SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
STRING, ARRAY = 8, 9
BLOCK = 32  # elements


class GGUFError(Exception):
    """The file is no GGUF file, or holds what this reader does not know."""


def halves(blocks, column):
    """One half-precision number of each block, as float32 [blocks, 1]."""
    return blocks[:, column : column + 2].contiguous().view(torch.float16).float()


def nibbles(packed):
    """The lower halves of the bytes, then the upper halves, as float32."""
    return torch.cat((packed & 15, packed >> 4), dim=1).float()


def unpack_q4_0(blocks):
    return (nibbles(blocks[:, 2:]) - 8) * halves(blocks, 0)


def unpack_q4_1(blocks):
    return nibbles(blocks[:, 4:]) * halves(blocks, 0) + halves(blocks, 2)


def unpack_q8_0(blocks):
    return blocks[:, 2:].contiguous().view(torch.int8).float() * halves(blocks, 0)


# Type number: bytes of a block, elements of a block, and what makes float32 of blocks [n, bytes].
TYPES = {
    0: (4, 1, lambda blocks: blocks.view(torch.float32)),
    1: (2, 1, lambda blocks: blocks.view(torch.float16).float()),
    2: (18, BLOCK, unpack_q4_0),
    3: (20, BLOCK, unpack_q4_1),
    8: (34, BLOCK, unpack_q8_0),
}


class Reader:
    """Takes numbers and strings off a file's bytes, one after the other."""

    def __init__(self, content):
        self.content, self.place = content, 0

    def number(self, code):
        value = struct.unpack_from("<" + code, self.content, self.place)[0]
        self.place += struct.calcsize("<" + code)
        return value

    def string(self):
        length = self.number("Q")
        text = self.content[self.place : self.place + length].decode()
        self.place += length
        return text

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            kind, length = self.number("I"), self.number("Q")
            return [self.value(kind) for _ in range(length)]
        if kind not in SCALARS:
            raise GGUFError(f"metadata of the unknown type {kind}")
        return self.number(SCALARS[kind])


def read_gguf(path):
    """The metadata (a dict) and the tensors (a dict of float32) of a GGUF file.

    Shapes are PyTorch's order: a linear layer's weight is [out, in]. Raises GGUFError.
    """
    with open(path, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if content[:4] != b"GGUF":
        raise GGUFError(f"{path}: not a GGUF file")
    reader = Reader(content)
    reader.place = 4
    try:
        version = reader.number("I")
        if version not in (2, 3):
            raise GGUFError(f"{path}: version {version} of the format is not known")
        count, pairs = reader.number("Q"), reader.number("Q")
        metadata = {reader.string(): reader.value(reader.number("I")) for _ in range(pairs)}
        records = []
        for _ in range(count):
            name, dimensions = reader.string(), reader.number("I")
            shape = [reader.number("Q") for _ in range(dimensions)][::-1]
            records.append((name, shape, reader.number("I"), reader.number("Q")))
    except struct.error as error:
        raise GGUFError(f"{path}: ends within its header") from error
    alignment = metadata.get("general.alignment", 32)
    start = -(-reader.place // alignment) * alignment
    return metadata, {name: tensor(content, start, name, *rest) for name, *rest in records}


def tensor(content, start, name, shape, kind, offset):
    """One tensor of the file as float32."""
    if kind not in TYPES:
        raise GGUFError(f"tensor {name} has type {kind}; known are {sorted(TYPES)}")
    size, elements, unpack = TYPES[kind]
    blocks = torch.Size(shape).numel() // elements
    if start + offset + blocks * size > len(content):
        raise GGUFError(f"tensor {name} reaches beyond the end of the file")
    flat = torch.frombuffer(content, dtype=torch.uint8, count=blocks * size, offset=start + offset)
    return unpack(flat.view(blocks, size)).reshape(shape)
