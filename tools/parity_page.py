"""Writes docs/parity.md: how far flambeau agrees with PyTorch's own operator database.

    python tools/parity_page.py            after ./dev parity
    python tools/parity_page.py --reports DIR --out FILE

The verdicts are those that tools/ratchet.py left in .cache/parity/*.json. Remarks stand below: on
entries where PyTorch or the comparison is at fault, each of which somebody has looked into.
"""

import argparse
import collections
import json
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
RUNS = {
    "float32": "results, float32",
    "grad-float64": "gradients, float64",
}
VERDICTS = {
    "wrong": "Another result than PyTorch's",
    "error": "Raises where PyTorch does not",
    "missing": "Not there yet",
    "died": "Ended the process, or hung",
}

# Entry (a regular expression on its name without dtype) -> why it is no fault of flambeau's.
REMARKS = {
    r"as_strided_scatter": "PyTorch's gradient of `self` is not 0 where `src` was written, which "
    "`torch.autograd.gradcheck` rejects on the database's own samples. flambeau's passes the same "
    "check.",
    r"bool|byte|char|short|int|long|half|bfloat16|float|double|cfloat|cdouble": "Named like a "
    "dtype: the comparison finds the dtype `torch.NAME` under that name, and calls it. The method "
    "of that name is there.",
    r"nn\.functional\.triplet_margin_with_distance_loss(\..*)?": "The sample's `distance_function` "
    "is one of PyTorch's own functions, which takes PyTorch's tensors only.",
    r"nn\.functional\.(scaled_dot_product_attention|multi_head_attention_forward)": "Samples with "
    "dropout: the database seeds PyTorch's stream before each call, and only PyTorch's. With "
    "flambeau's seeded as well, all samples agree.",
    r"special\.bessel_[jy][01]": "PyTorch's float64 values are off by up to 9e-7 for arguments "
    "from 5 to 20; flambeau's are within 4 units in the last place of the amplitude.",
    r"cov": "The samples' `aweights` are float32, and so are their gradients: differences in the "
    "last place are held against the tolerance of float64.",
    r"matrix_exp": "PyTorch's float32 result is off by up to 5e-7 of the largest element, "
    "flambeau's by 2e-8.",
}

HEAD = """# Parity with PyTorch

`./dev parity` feeds the samples of PyTorch's own operator database (`torch.testing`, release 2.13)
to PyTorch and to flambeau and compares what comes back. An entry passes when all of its samples
agree. What passes is recorded in [tests/parity](../tests/parity) and must go on passing. This page
is written by `tools/parity_page.py`.

An entry that is not there does not mean that an op is wrong, but that a program which uses it stops
with a message.
"""


def load(folder: pathlib.Path) -> dict[str, dict[str, tuple[str, str]]]:
    """The verdicts (verdict, why) of each run, by entry; a run without a report is left out."""
    found = {}
    for label in RUNS:
        path = folder / f"{label}.json"
        if path.exists():
            rows = json.loads(path.read_text(encoding="utf-8"))
            found[label] = {entry: (row[0], row[1]) for entry, row in rows.items()}
    return found


def remark(entry: str) -> str | None:
    """What is to be said of an entry such as ``abs[float32]``."""
    name = entry.partition("[")[0]
    return next((text for pattern, text in REMARKS.items() if re.fullmatch(pattern, name)), None)


def cell(text: str, limit: int = 160) -> str:
    """A message as part of a table: one line, not too long, nothing that Markdown reads."""
    line = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
    return line if len(line) <= limit else line[: limit - 1] + "…"


def totals(found: dict[str, dict[str, tuple[str, str]]]) -> str:
    lines = [
        "| compared | entries | pass | " + " | ".join(VERDICTS) + " | remarked |",
        "|---|" + "---:|" * (len(VERDICTS) + 3),
    ]
    for label, rows in found.items():
        tally = collections.Counter(verdict for verdict, _ in rows.values())
        noted = sum(v != "ok" and remark(entry) is not None for entry, (v, _) in rows.items())
        numbers = [len(rows), tally["ok"], *(tally[v] for v in VERDICTS), noted]
        lines.append(f"| {RUNS[label]} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines) + "\n"


def listing(rows: dict[str, tuple[str, str]]) -> str:
    """The entries of one run that do not pass, grouped."""
    parts = []
    for verdict, title in VERDICTS.items():
        group = {e: why for e, (v, why) in rows.items() if v == verdict and remark(e) is None}
        if not group:
            continue
        lines = [f"### {title}: {len(group)}\n"]
        if verdict == "missing":
            lines.append(", ".join(f"`{e.partition('[')[0]}`" for e in sorted(group)) + "\n")
        else:
            lines += ["| entry | what happens |", "|---|---|"]
            for entry, why in sorted(group.items()):
                lines.append(f"| `{entry.partition('[')[0]}` | {cell(why)} |")
            lines.append("")
        parts.append("\n".join(lines))
    return "\n".join(parts) or "Every entry passes, but for those with remarks.\n"


def remarks(found: dict[str, dict[str, tuple[str, str]]]) -> str:
    noted: dict[str, set[str]] = collections.defaultdict(set)
    for rows in found.values():
        for entry, (verdict, _) in rows.items():
            text = remark(entry)
            if verdict != "ok" and text is not None:
                noted[text].add(entry.partition("[")[0])
    if not noted:
        return ""
    lines = ["## Remarks\n", "These do not pass, and flambeau is not to blame.\n"]
    for text, entries in sorted(noted.items(), key=lambda item: sorted(item[1])):
        lines.append(f"* {', '.join(f'`{e}`' for e in sorted(entries))}: {text}")
    return "\n".join(lines) + "\n"


def page(found: dict[str, dict[str, tuple[str, str]]]) -> str:
    parts = [HEAD, totals(found)]
    noted = remarks(found)
    parts += [noted] if noted else []
    for label, rows in found.items():
        parts += [f"## {RUNS[label].capitalize()}\n", listing(rows)]
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--reports", type=pathlib.Path, default=TOP / ".cache" / "parity")
    parser.add_argument("--out", type=pathlib.Path, default=TOP / "docs" / "parity.md")
    arguments = parser.parse_args()
    found = load(arguments.reports)
    if not found:
        print(f"parity_page: no reports in {arguments.reports}; ./dev parity makes them")
        return 1
    arguments.out.write_text(page(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
