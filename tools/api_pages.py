"""Writes docs/api.md: every declared op, from its declaration.

python tools/api_pages.py              docs/api.md
python tools/api_pages.py --out FILE
"""

import argparse
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

import flambeau
from flambeau import ops

# Where a schema's namespace is public; ops without one are torch's.
HOMES = {
    "": "torch",
    "aten": "torch",
    "nn": "torch.nn.functional",
    "linalg": "torch.linalg",
    "special": "torch.special",
    "fft": "torch.fft",
}
HEAD = """# The ops

{count} declared ops, written by `tools/api_pages.py` from their declarations. A function takes the
schema's arguments (`self` is called `input`); of a method, `self` is the tensor. Under the schema:
what the op does, its public names, its family (see [design.md](design.md)), and the arguments that
have a gradient. A composite without gradients of its own has those of its parts. `flambeau explain
aten::NAME` prints more.
"""


def declared() -> list[ops.Op]:
    """Every op once, sorted by namespace and name."""
    found = {id(op): op for overloads in ops.registry.values() for op in overloads}
    return sorted(found.values(), key=lambda op: (section(op), op.name, op.overload))


def section(op: ops.Op) -> str:
    """The heading that the op stands under."""
    return HOMES[op.namespace] if forms(op) else "used by other ops"


def other_names() -> dict[int, list[str]]:
    """The further names of each op, by its identity."""
    found: dict[int, list[str]] = {}
    for key, overloads in ops.registry.items():
        namespace, _, name = key.rpartition(".")
        for op in overloads:
            if name != op.name:
                found.setdefault(id(op), []).append(f"{HOMES[namespace]}.{name}")
    return found


OTHERS = other_names()


def forms(op: ops.Op) -> list[str]:
    """The public names under which the op can be called; none for an op that only others use."""
    if op.name.startswith("_"):
        return []
    home = HOMES[op.namespace]
    places = (home, "Tensor") if home == "torch" else (home,)
    names = [f"{place}.{name}" for name in (op.name, op.name + "_") for place in places]
    return [name for name in [*names, *OTHERS.get(id(op), [])] if exists(name)]


def exists(name: str) -> bool:
    """Whether a public name, such as torch.nn.functional.gelu, is there."""
    place: object = flambeau
    for part in name.removeprefix("torch.").split("."):
        place = getattr(place, part, None)
    return place is not None


def first_sentence(text: str) -> str:
    """A docstring's first sentence, on one line."""
    line = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z])", line, maxsplit=1)[0]


def entry(op: ops.Op) -> str:
    names = ", ".join(f"`{name}`" for name in forms(op))
    gradients = ", ".join(f"`{name}`" for name in op.gradients)
    facts = [op.family] + ([f"gradient: {gradients}"] if gradients else [])
    title = f"### {op.name}{'.' + op.overload if op.overload else ''}"
    signature = " ".join(op.schema.text.split())
    return "\n".join(
        [title, "", f"    {signature}", "", first_sentence(op.doc or ""), "",
         " · ".join([names] * bool(names) + facts), ""]
    )  # fmt: skip


def page() -> str:
    listed = declared()
    parts = [HEAD.format(count=len(listed))]
    last = None
    for op in listed:
        if section(op) != last:
            last = section(op)
            parts.append(f"## {last}\n")
        parts.append(entry(op))
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=TOP / "docs" / "api.md")
    arguments = parser.parse_args()
    arguments.out.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
