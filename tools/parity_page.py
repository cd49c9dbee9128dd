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
# What is compared: label of the run (the report's name) -> heading, by group.
GROUPS = {
    "results, float32": {"float32": "float32"},
    "results, other dtypes": {
        name: name for name in ("int64", "bool", "uint8", "float16", "bfloat16", "complex64")
    },
    "gradients": {"grad-float64": "float64", "grad-complex128": "complex128"},
}
RUNS = {label: name for group in GROUPS.values() for label, name in group.items()}
VERDICTS = {
    "wrong": "Another result than PyTorch's",
    "error": "Raises where PyTorch does not",
    "missing": "Not there yet",
    "died": "Ended the process, or hung",
}

_HALF = r"\[b?float16\]"
# Entry (a regular expression, with or without a dtype) -> why it is no fault of flambeau's.
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
    r"matrix_exp" + _HALF: "PyTorch's result is nan throughout: it overflows on the way.",
    r"matrix_exp": "Measured against float64, PyTorch's float32 result is off by up to 2e-3 of an "
    "element, flambeau's by 6e-8.",
    r"cov\[(float64|complex128)\]": "The gradient of the float32 weights differs in its last "
    "place, and is compared with the tolerance of float64.",
    r"(complex|polar|view_as_complex)\[float16\]": "Complex numbers of half precision are not "
    "there; NumPy, through which results are compared, has none either.",
    r"(arg)?sort|topk|kthvalue": "Equal elements: PyTorch gives them in an order of its own, "
    "which it does not promise; flambeau in the order in which they stand.",
    r"(addbmm|addr|baddbmm|div\.trunc_rounding|histc|grid_sampler_[23]d|native_batch_norm"
    r"|nn\.functional\.(interpolate\.\w+|adaptive_avg_pool3d|grid_sample|batch_norm|instance_norm"
    r"|conv_transpose[123]d|hinge_embedding_loss))"
    + _HALF: "flambeau computes in float32 and rounds "
    "once; PyTorch rounds on the way. Measured against the same samples in float64, flambeau is "
    "nearer on every sample.",
    r"nn\.functional\.interpolate\.\w+\[uint8\]": "PyTorch weighs bytes with 16-bit integers; "
    "flambeau in float32, rounded after each axis. They differ by 1.",
    r"special\.bessel_[jy][01]": "PyTorch's float64 values are off by up to 9e-7 for arguments "
    "from 5 to 20; flambeau's are within 4 units in the last place of the amplitude.",
}

HEAD = """# Parity with PyTorch

`./dev parity` feeds the samples of PyTorch's own operator database (`torch.testing`, release 2.13)
to PyTorch and to flambeau and compares what comes back. An entry passes when all of its samples
agree. What passes is recorded in [tests/parity](../tests/parity) and must go on passing. This page
is written by `tools/parity_page.py`.

An entry that is not there does not mean that an op is wrong, but that a program which uses it stops
with a message.
"""


Found = dict[str, dict[str, tuple[str, str]]]


def load(folder: pathlib.Path) -> Found:
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
    patterns = ((rf"({pattern})\[\w+\]", pattern, text) for pattern, text in REMARKS.items())
    return next(
        (t for a, b, t in patterns if re.fullmatch(a, entry) or re.fullmatch(b, entry)), None
    )


def cell(text: str, limit: int = 160) -> str:
    """A message as part of a table: one line, not too long, nothing that Markdown reads."""
    line = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
    return line if len(line) <= limit else line[: limit - 1] + "…"


def totals(found: Found) -> str:
    lines = [
        "| compared | entries | pass | of 100 | " + " | ".join(VERDICTS) + " | remarked |",
        "|---|" + "---:|" * (len(VERDICTS) + 4),
    ]
    for title, group in GROUPS.items():
        there = {label: name for label, name in group.items() if label in found}
        for label, name in there.items():
            heading = title if len(group) == 1 else f"{title}: {name}"
            lines.append(_counted(heading, found[label]))
        if len(there) > 1:
            every = {(label, e): row for label in there for e, row in found[label].items()}
            lines.append(_counted(f"**{title}, together**", every))
    return "\n".join(lines) + "\n"


def _counted(heading: str, rows: dict) -> str:
    tally = collections.Counter(verdict for verdict, _ in rows.values())
    names = ((key if isinstance(key, str) else key[1], row) for key, row in rows.items())
    noted = sum(verdict != "ok" and remark(name) is not None for name, (verdict, _) in names)
    share = f"{100 * tally['ok'] / max(len(rows), 1):.1f}"
    numbers = [len(rows), tally["ok"], share, *(tally[v] for v in VERDICTS), noted]
    return f"| {heading} | " + " | ".join(map(str, numbers)) + " |"


def listing(found: Found) -> str:
    """The entries without a remark that do not pass, by verdict: where, and the first message."""
    parts = []
    for verdict, title in VERDICTS.items():
        where: dict[str, list[str]] = collections.defaultdict(list)
        why: dict[str, str] = {}
        for label, rows in found.items():
            for entry, (said, text) in rows.items():
                if said == verdict and remark(entry) is None:
                    name = entry.partition("[")[0]
                    where[name].append(label)
                    why.setdefault(name, text)
        if not where:
            continue
        lines = [f"## {title}: {len(where)}\n"]
        if verdict == "missing":
            lines.append(", ".join(f"`{name}`" for name in sorted(where)) + "\n")
        else:
            lines += ["| entry | compared | what happens |", "|---|---|---|"]
            for name in sorted(where):
                lines.append(f"| `{name}` | {', '.join(where[name])} | {cell(why[name])} |")
            lines.append("")
        parts.append("\n".join(lines))
    return "\n".join(parts) or "Every entry passes, but for those with remarks.\n"


def remarks(found: Found) -> str:
    noted: dict[str, dict[str, list[str]]] = {}
    for label, rows in found.items():
        for entry, (verdict, _) in rows.items():
            text = remark(entry)
            if verdict != "ok" and text is not None:
                name = entry.partition("[")[0]
                noted.setdefault(text, {}).setdefault(name, []).append(label)
    if not noted:
        return ""
    lines = ["## Remarks\n", "These do not pass, and flambeau is not to blame.\n"]
    for text, entries in sorted(noted.items(), key=lambda item: sorted(item[1])):
        labels = {label for where in entries.values() for label in where}
        runs = (
            "everywhere" if len(labels) == len(found) else ", ".join(x for x in RUNS if x in labels)
        )
        lines.append(f"* {', '.join(f'`{e}`' for e in sorted(entries))} ({runs}): {text}")
    return "\n".join(lines) + "\n"


def page(found: Found) -> str:
    parts = [HEAD, totals(found), remarks(found), listing(found)]
    return "\n".join(part for part in parts if part)


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
