"""Reads the digits: the bundled 10,000, or a directory of IDX files.

IDX is the format of the original MNIST distribution: two zero bytes, a byte for the element type
(8 = unsigned byte), a byte for the number of dimensions, each dimension as a big-endian 32-bit
integer, then the elements.
"""

import gzip
import math
import pathlib
import struct
import zlib

import numpy as np

BUNDLED = pathlib.Path(__file__).resolve().parent / "mnist10k.npz"
BUNDLED_TRAIN = 8000  # the file is shuffled already: the first 8,000 train, the rest test
SIDE = 28
UNSIGNED_BYTE = 8


class DataError(Exception):
    """The data are missing or damaged; the message names the file and what is wrong with it."""


def load_digits(directory=None):
    """Train images, train labels, test images, test labels as uint8 arrays.

    Images are [n, 28, 28], labels [n]. Without a directory these are the bundled digits (8,000 and
    2,000); with one, its four IDX files, packed by gzip or not. Raises DataError.
    """
    if directory is None:
        with np.load(BUNDLED) as bundle:
            images, labels = bundle["images"], bundle["labels"]
        split = BUNDLED_TRAIN
        return images[:split], labels[:split], images[split:], labels[split:]
    return *_read_pair(directory, "train"), *_read_pair(directory, "t10k")


def read_idx(path):
    """The array (uint8) in one IDX file, gzip-packed if its name ends in .gz. Raises DataError."""
    path = pathlib.Path(path)
    content = _read_bytes(path)
    if len(content) < 4:
        raise DataError(f"{path}: {len(content)} bytes are too few for an IDX file")
    zeros, element_type, dimensions = struct.unpack(">HBB", content[:4])
    if zeros != 0:
        raise DataError(f"{path}: not an IDX file (it begins with {content[:4].hex(' ')})")
    if element_type != UNSIGNED_BYTE:
        raise DataError(f"{path}: IDX element type {element_type:#04x}; only bytes (0x08) are read")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path}: ends within its header of {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    expected, found = math.prod(shape), len(content) - start
    if found != expected:
        fault = "truncated" if found < expected else "too long"
        raise DataError(f"{path}: {fault}: {list(shape)} needs {expected} bytes, {found} are there")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()


def _read_bytes(path):
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        with gzip.open(path) as packed:
            return packed.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _find(directory, stem):
    directory = pathlib.Path(directory)
    for name in (
        stem,
        stem + ".gz",
        stem.replace("-idx", ".idx"),
        stem.replace("-idx", ".idx") + ".gz",
    ):
        if (directory / name).is_file():
            return directory / name
    raise DataError(f"{directory}: neither {stem} nor {stem}.gz is there")


def _read_pair(directory, part):
    image_path = _find(directory, f"{part}-images-idx3-ubyte")
    label_path = _find(directory, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{image_path}: shape {list(images.shape)} instead of [n, {SIDE}, {SIDE}]")
    if labels.ndim != 1:
        raise DataError(f"{label_path}: shape {list(labels.shape)} instead of [n]")
    if len(images) != len(labels):
        raise DataError(f"{label_path}: {len(labels)} labels for {len(images)} images")
    if len(images) == 0:
        raise DataError(f"{image_path}: holds no images")
    if labels.max() > 9:
        raise DataError(f"{label_path}: label {labels.max()} is not a digit")
    return images, labels
