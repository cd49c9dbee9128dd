"""Machine code of this process as bytes, for other processes: packs.

A pack is what the object cache holds, in one piece: each object under the keys that say from what
source, with which LLVM and for which processor it was made. So code for another machine is never
run: nobody asks for its keys. It is code nevertheless: who takes a pack must trust its maker. A
*seal*, made with a secret that lies in the user's cache folder, proves that the maker was a process
of the same user.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from typing import Any, NamedTuple

from flambeau._base import knobs
from flambeau.runtime import jit

MAGIC = b"flambeau machine code 1\n"
DIGEST = 32


class Damaged(ValueError):
    """Bytes that are not what they should be."""


class CacheInfo(NamedTuple):
    """What was packed, or taken: keys of objects, by kind."""

    artifacts: dict[str, list[str]]

    def empty(self) -> bool:
        """Whether there is nothing."""
        return not any(self.artifacts.values())


def save_cache_artifacts() -> tuple[bytes, CacheInfo] | None:
    """The machine code that this process has compiled or loaded so far, as bytes for
    `load_cache_artifacts` in another process, and what it is; None where there is none.
    """
    objects = jit.objects()
    if not objects:
        return None
    payloads = list(dict.fromkeys(objects.values()))
    numbers = {payload: k for k, payload in enumerate(payloads)}
    index = {
        "identity": jit.identity(),
        "keys": {key: numbers[payload] for key, payload in objects.items()},
        "sizes": [len(payload) for payload in payloads],
    }
    return sealed(MAGIC, index, payloads), CacheInfo({"objects": list(objects)})


def load_cache_artifacts(serialized_artifacts: bytes) -> CacheInfo | None:
    """Takes what `save_cache_artifacts` gave: kernels that are in it are not compiled again in this
    process. None where all of it is for another processor or LLVM, or the bytes are damaged.

    The bytes hold machine code. Only take what you trust as you trust a program.
    """
    if not isinstance(serialized_artifacts, bytes | bytearray | memoryview):
        raise TypeError(f"bytes are expected, not {type(serialized_artifacts).__name__}")
    try:
        index, payloads = opened(MAGIC, serialized_artifacts)
        objects = {key: payloads[number] for key, number in index["keys"].items()}
        foreign = index["identity"] != jit.identity()
    except (Damaged, AttributeError, KeyError, IndexError, TypeError):
        return None
    if foreign:
        return None
    jit.offer(objects)
    return CacheInfo({"objects": list(objects)})


# Files of this kind: a header in JSON, blocks of bytes whose sizes it has, a digest of all.


def sealed(magic: bytes, index: dict[str, Any], blocks: list[bytes]) -> bytes:
    """Bytes that `opened` takes apart. `index` has the blocks' "sizes"."""
    head = json.dumps(index, separators=(",", ":")).encode()
    body = b"".join([magic, len(head).to_bytes(8, "little"), head, *blocks])
    return body + hashlib.sha256(body).digest()


def opened(magic: bytes, content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The index and the blocks. Raises Damaged."""
    content = bytes(content)
    start = len(magic) + 8
    if not content.startswith(magic):
        raise Damaged(f"it does not begin with {magic.decode().strip()!r}")
    body, digest = content[:-DIGEST], content[-DIGEST:]
    if len(body) < start or hashlib.sha256(body).digest() != digest:
        raise Damaged("it is damaged: its digest is another")
    at = start + int.from_bytes(body[len(magic) : start], "little")
    try:
        index = json.loads(body[start:at])
        sizes = index["sizes"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Damaged("its header cannot be read") from None
    if not isinstance(sizes, list) or not all(type(n) is int and n >= 0 for n in sizes):
        raise Damaged("its header cannot be read")
    if at + sum(sizes) != len(body):
        raise Damaged("its size is not that of its parts")
    blocks = []
    for size in sizes:
        blocks.append(body[at : at + size])
        at += size
    return index, blocks


# Seals.


def seal(content: bytes) -> str:
    """The proof that this user's process made `content`; "" where there is no cache folder."""
    secret = _secret(make=True)
    return "" if secret is None else hmac.new(secret, content, hashlib.sha256).hexdigest()


def is_ours(content: bytes, proof: Any) -> bool:
    """Whether `proof` is a seal of `content` by a process that has the same cache folder."""
    secret = _secret(make=False)
    if secret is None or not isinstance(proof, str) or not proof.isascii():
        return False
    return hmac.compare_digest(hmac.new(secret, content, hashlib.sha256).hexdigest(), proof)


def _secret(make: bool) -> bytes | None:
    if not knobs.cache:
        return None
    path = os.path.join(knobs.cache, "seal")
    try:
        if make and not os.path.exists(path):
            os.makedirs(knobs.cache, exist_ok=True)
            mine = f"{path}-{os.getpid()}-{secrets.token_hex(4)}"
            with open(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(DIGEST))
            try:
                os.link(mine, path)  # the first of several processes wins
            except FileExistsError:
                pass
            finally:
                os.unlink(mine)
        with open(path, "rb") as file:
            secret = file.read()
    except OSError:
        return None
    return secret if len(secret) == DIGEST else None
