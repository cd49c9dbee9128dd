"""Draws docs/speed.svg from docs/speed.json, and the table of README.md.

    python tools/speed_picture.py
    python tools/speed_picture.py --json FILE --out FILE --readme FILE

The figures are those of a program that times the same workloads on PyTorch and on flambeau in
turns: for each workload `ratio`, PyTorch's time over flambeau's (the median over rounds), `low`
and `high`; or `error`. The key `note`, if there, says where and how they were measured. The axis
is logarithmic: twice as fast and half as fast are equally far from 1.
"""

import argparse
import json
import math
import pathlib
import sys
from html import escape

TOP = pathlib.Path(__file__).resolve().parent.parent
ROW, LEFT, WIDTH, RIGHT, HEAD, FOOT = 20, 170, 460, 70, 44, 30
TICKS = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .small { font-size: 11px; fill: #57606a }
.grid { stroke: #d0d7de } .one { stroke: #57606a } .range { stroke: #24292f; stroke-opacity: .45 }
.faster { fill: #2da44e } .slower { fill: #cf7a1c }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #3d444d } .one { stroke: #9198a1 }
.range { stroke: #e6edf3 } }
"""
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def measured(results: dict) -> dict[str, dict]:
    """The workloads that ran, fastest first."""
    ran = {k: v for k, v in results.items() if isinstance(v, dict) and "ratio" in v}
    return dict(sorted(ran.items(), key=lambda item: -item[1]["ratio"]))


def mean(rows: dict[str, dict]) -> float:
    """The geometric mean of the ratios."""
    return math.exp(sum(math.log(r["ratio"]) for r in rows.values()) / len(rows))


def picture(results: dict) -> str:
    """The figures as a bar chart, SVG."""
    rows = measured(results)
    low = min(0.5, *(r["ratio"] for r in rows.values()))
    high = max(4.0, *(r["ratio"] for r in rows.values()))
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))

    def place(ratio: float) -> float:
        share = (math.log2(ratio) - first) / (last - first)
        return LEFT + WIDTH * min(max(share, 0.0), 1.0)

    width, height = LEFT + WIDTH + RIGHT, HEAD + ROW * len(rows) + FOOT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="8" y="18">PyTorch\'s time divided by flambeau\'s: '
        f"geometric mean {mean(rows):.2f} over {len(rows)} workloads</text>",
        '<text class="small" x="8" y="34">right of 1, flambeau is faster; thin lines: the range '
        "over the rounds</text>",
    ]
    bottom = HEAD + ROW * len(rows)
    for tick in (t for t in TICKS if first <= math.log2(t) <= last):
        x, kind = place(tick), "one" if tick == 1 else "grid"
        out.append(f'<line class="{kind}" x1="{x:.1f}" y1="{HEAD}" x2="{x:.1f}" y2="{bottom}"/>')
        out.append(
            f'<text class="small" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">'
            f"{tick:g}</text>"
        )
    for i, (name, row) in enumerate(rows.items()):
        out += bar(HEAD + ROW * i, name, row, place)
    return "\n".join([*out, "</svg>", ""])


def bar(top: int, name: str, row: dict, place) -> list[str]:
    """One workload: name, bar from 1 to the ratio, range, figure."""
    ratio, middle = row["ratio"], top + ROW / 2
    start, stop = sorted((place(1), place(ratio)))
    kind = "faster" if ratio >= 1 else "slower"
    ends = place(row.get("low", ratio)), place(row.get("high", ratio))
    return [
        f'<text x="{LEFT - 8}" y="{middle + 4:.0f}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{start:.1f}" y="{top + 4}" width="{max(stop - start, 1):.1f}" '
        f'height="{ROW - 8}"/>',
        f'<line class="range" x1="{ends[0]:.1f}" y1="{middle}" x2="{ends[1]:.1f}" y2="{middle}"/>',
        f'<text x="{LEFT + WIDTH + 10}" y="{middle + 4:.0f}">{ratio:.2f}</text>',
    ]


def summary(results: dict) -> str:
    """What stands in README.md between the marks."""
    rows = measured(results)
    failing = [k for k, v in results.items() if isinstance(v, dict) and "error" in v]
    lines = ["![PyTorch's time over flambeau's, for each workload](docs/speed.svg)", ""]
    lines.append(
        "PyTorch 2.13 and flambeau in turns, eager, in one run; above 1 flambeau is faster. "
        f"Geometric mean {mean(rows):.2f} over {len(rows)} workloads."
    )
    if failing:
        lines.append(f"Not running yet: {', '.join(f'`{name}`' for name in failing)}.")
    if "import" in results:
        seen = results["import"]
        lines.append(
            f"A process that imports the library and ends: PyTorch {seen['torch']:.2f} s, flambeau "
            f"{seen['flambeau']:.2f} s."
        )
    if results.get("note"):
        lines.append(str(results["note"]))
    return "\n".join(lines)


def put(readme: str, text: str) -> str:
    """`readme` with `text` between the marks."""
    before, mark, rest = readme.partition(BEGIN)
    _, other, after = rest.partition(END)
    if not (mark and other):
        raise ValueError(f"no {BEGIN} … {END} to write between")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=pathlib.Path, default=TOP / "docs" / "speed.json")
    parser.add_argument("--out", type=pathlib.Path, default=TOP / "docs" / "speed.svg")
    parser.add_argument("--readme", type=pathlib.Path, default=TOP / "README.md")
    arguments = parser.parse_args()
    results = json.loads(arguments.json.read_text(encoding="utf-8"))
    if not measured(results):
        print(f"speed_picture: {arguments.json} holds no figures")
        return 1
    arguments.out.write_text(picture(results), encoding="utf-8")
    readme = put(arguments.readme.read_text(encoding="utf-8"), summary(results))
    arguments.readme.write_text(readme, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
