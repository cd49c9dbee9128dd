"""The knobs: settings from the environment, as words, each declared once, below.

They are read when flambeau is imported and are plain attributes afterwards::

    from flambeau._base import knobs

    if "llvm" in knobs.show:
        ...
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from .names import nearest

SHOW_WORDS = ("ops", "breaks", "programs", "memory", "loops", "llvm", "asm")
BACKEND_WORDS = ("llvm", "interpret")


class Declaration(NamedTuple):
    """One knob: its variable is FLAMBEAU_ and the field's name in capitals."""

    field: str
    kind: str  # "words": any of them, comma-separated; "word": one of them; "switch"; "folder"
    words: tuple[str, ...]
    default: str
    doc: str

    @property
    def variable(self) -> str:
        return "FLAMBEAU_" + self.field.upper()


DECLARATIONS = (
    Declaration(
        "show",
        "words",
        SHOW_WORDS,
        "",
        "What to print while the program runs: each op that it calls, what `compile` could not "
        "capture, the programs that it made and the memory that they take; kernels as they are "
        "planned, LLVM text and assembly of what is compiled.",
    ),
    Declaration(
        "backend",
        "word",
        BACKEND_WORDS,
        "llvm",
        "Who runs kernels: llvm compiles them; interpret walks them in NumPy, slowly but plainly.",
    ),
    Declaration(
        "verify",
        "switch",
        ("0", "1"),
        "0",
        "Whether programs are checked after their capture and after each pass, and kernels before "
        "they are compiled: 1 finds mistakes of flambeau's own, and takes time.",
    ),
    Declaration(
        "dump",
        "folder",
        (),
        "",
        "A folder that receives, for each program that is captured, its text after each pass, what "
        "each pass changed, a drawing, its kernels and its memory; index.html shows them.",
    ),
    Declaration(
        "cache",
        "folder",
        (),
        "",
        "The folder of compiled kernels, shared between processes; off keeps nothing on disk. "
        "Default: flambeau in the user's cache folder.",
    ),
)


class Knobs:
    """The values of all knobs, as attributes.

    show     frozenset of words
    backend  "llvm" or "interpret"
    verify   bool
    dump     folder, or None
    cache    folder, or None for no cache on disk
    """

    __slots__ = tuple(declaration.field for declaration in DECLARATIONS)

    show: frozenset[str]
    backend: str
    verify: bool
    dump: str | None
    cache: str | None

    def __init__(self, environment: Mapping[str, str]):
        """Reads the knobs from `environment`; ValueError names an unknown variable's word."""
        for declaration in DECLARATIONS:
            text = environment.get(declaration.variable, "").strip() or declaration.default
            setattr(self, declaration.field, _parsed(declaration, text))
        if not environment.get("FLAMBEAU_CACHE", "").strip():
            self.cache = _cache_folder(environment)

    @contextmanager
    def override(self, **values: Any) -> Iterator[None]:
        """Sets knobs for the duration of a with block, for tests: ``override(cache=None)``."""
        before = {name: getattr(self, name) for name in values}
        try:
            for name, value in values.items():
                setattr(self, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)


def _parsed(declaration: Declaration, text: str) -> Any:
    if declaration.kind == "folder":
        return None if text in ("", "off") else os.path.expanduser(text)
    if declaration.kind == "words":
        words = [word.strip() for word in text.split(",") if word.strip()]
        return frozenset(_known(declaration, word) for word in words)
    word = _known(declaration, text)
    return word == "1" if declaration.kind == "switch" else word


def _known(declaration: Declaration, word: str) -> str:
    if word in declaration.words:
        return word
    guess = nearest(word, declaration.words)
    hint = f"; did you mean {guess!r}?" if guess else ""
    raise ValueError(
        f"{declaration.variable} does not know the word {word!r}{hint}\n"
        f"  its words: {', '.join(declaration.words)}\n"
        f"  {declaration.doc}"
    )


def _cache_folder(environment: Mapping[str, str]) -> str:
    """Where this system keeps caches (XDG base directories, and their likes elsewhere)."""
    if sys.platform == "win32":
        base = environment.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "flambeau")


knobs = Knobs(os.environ)
