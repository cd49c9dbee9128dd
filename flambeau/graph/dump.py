"""`FLAMBEAU_DUMP=folder`: each program as text after each pass, as differences between passes, as a
picture, and pages that show them all.
"""

from __future__ import annotations

import difflib
import html
import itertools
import json
import os
import pathlib
import re
from typing import Any

from .measures import moved, size
from .pictures import picture
from .program import Program
from .report import loops, memory_plan

MOST = 2000  # instructions of a program that is drawn: beyond, nobody finds anything in a picture


class History:
    """The text of a program after its capture and after each pass."""

    def __init__(self, program: Program):
        self.steps: list[tuple[str, str, str]] = []
        self.after("capture", program)

    def after(self, name: str, program: Program) -> None:
        """Notes what the pass `name` made."""
        made = sum(b.holder is None for b in program.buffers())
        figures = f"{len(program.instructions)} instructions, {made} buffers"
        figures += f", {size(moved(program))} moved"
        self.steps.append((name, loops(program), figures))


def dump(executable: Any, folder: str) -> None:
    """Writes all about a program to a new folder in `folder`, whose index.html then names it."""
    program: Program = executable.program
    home = _new_folder(pathlib.Path(folder), program.title)
    home.joinpath("memory.txt").write_text(memory_plan(executable) + "\n", encoding="utf-8")
    steps = program.history.steps if program.history else []
    for k, (name, text, _) in enumerate(steps):
        home.joinpath(f"{k}-{name}.txt").write_text(text + "\n", encoding="utf-8")
    changes = [_difference(*pair) for pair in itertools.pairwise(steps)]
    for k, (step, change) in enumerate(zip(steps[1:], changes, strict=True), 1):
        home.joinpath(f"{k}-{step[0]}.diff").write_text(change, encoding="utf-8")
    drawn = ""
    if len(program.instructions) <= MOST:
        drawn = picture(program, program.title)
        home.joinpath("program.svg").write_text(drawn, encoding="utf-8")
    page = _page(program, memory_plan(executable), changes, drawn)
    home.joinpath("index.html").write_text(page, encoding="utf-8")
    about = {"title": program.title, "figures": steps[-1][2] if steps else "", "drawn": bool(drawn)}
    about["memory"] = f"{size(executable.scratch)} scratch"
    home.joinpath("about.json").write_text(json.dumps(about), encoding="utf-8")
    _write_index(pathlib.Path(folder))


def _new_folder(top: pathlib.Path, title: str) -> pathlib.Path:
    """A folder that nobody else has: processes may share `top`."""
    top.mkdir(parents=True, exist_ok=True)
    word = re.sub(r"\W+", "-", title).strip("-") or "program"
    for number in itertools.count(1 + sum(1 for _ in top.glob("[0-9]*-*"))):
        try:
            (made := top / f"{number:04}-{word}").mkdir()
            return made
        except FileExistsError:
            continue
    raise AssertionError("numbers do not end")


def _difference(before: tuple[str, str, str], after: tuple[str, str, str]) -> str:
    lines = difflib.unified_diff(
        before[1].splitlines(), after[1].splitlines(), before[0], after[0], lineterm="", n=2
    )
    return "".join(f"{line}\n" for line in lines)


# Pages.

_STYLE = """
body{font:15px/1.5 ui-sans-serif,system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;margin:0;
color:#0f172a;background:#f8fafc}
main{max-width:1200px;margin:0 auto;padding:28px 24px 60px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:32px 0 10px}
p{margin:0 0 10px;color:#475569}a{color:#2563eb;text-decoration:none}
a:hover{text-decoration:underline}
pre{font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;background:#fff;border:1px solid #e2e8f0;
border-radius:8px;padding:12px 14px;overflow:auto;max-height:560px;margin:8px 0 0}
ins{background:#dcfce7;text-decoration:none;display:block}
del{background:#ffe4e6;text-decoration:none;display:block}
table{border-collapse:collapse;width:100%;background:#fff;border:1px solid #e2e8f0;
border-radius:8px}td,th{text-align:left;padding:8px 14px;border-top:1px solid #e2e8f0}
th{font-weight:600;color:#475569;border-top:0}summary{cursor:pointer;padding:4px 0}
.drawing{background:#fff;border:1px solid #e2e8f0;border-radius:8px;overflow:auto;max-height:860px;
text-align:center}.drawing svg{max-width:none}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(260px,1fr));gap:16px}
.card{background:#fff;border:1px solid #e2e8f0;border-radius:10px;overflow:hidden;color:inherit}
.card div{padding:10px 14px;font-size:13px;color:#475569}.card b{display:block;color:#0f172a;
font-size:15px}.card img{width:100%;height:190px;object-fit:cover;object-position:top;
border-bottom:1px solid #e2e8f0}
"""


def _html(title: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}'
        f"</title>\n<style>{_STYLE}</style>\n<main>\n{body}\n</main></html>\n"
    )


def _page(program: Program, plan: str, changes: list[str], drawn: str) -> str:
    steps = program.history.steps if program.history else []
    parts = ['<p><a href="../index.html">all programs</a></p>']
    parts.append(f"<h1>{html.escape(program.title)}</h1><p>{html.escape(steps[-1][2])}</p>")
    if drawn:
        parts.append(f'<h2>Program</h2><div class="drawing">{drawn}</div>')
        parts.append('<p><a href="program.svg">the drawing alone</a></p>')
    parts.append("<h2>Passes</h2><table><tr><th>pass</th><th>after it</th><th></th></tr>")
    for k, (name, _, figures) in enumerate(steps):
        links = f'<a href="{k}-{name}.txt">text</a>'
        links += f' · <a href="{k}-{name}.diff">changes</a>' if k else ""
        parts.append(f"<tr><td>{name}</td><td>{figures}</td><td>{links}</td></tr>")
    parts.append("</table>")
    for (name, _, _), change in zip(steps[1:], changes, strict=True):
        if change:
            parts.append(f"<details><summary>what {name} changed</summary>{_coloured(change)}")
            parts.append("</details>")
    parts.append(f"<h2>Memory</h2><pre>{html.escape(plan)}</pre>")
    text = html.escape(steps[-1][1])
    parts.append(f"<h2>Loops</h2><pre>{text}</pre>")
    return _html(program.title, "\n".join(parts))


def _coloured(change: str) -> str:
    lines = []
    for line in change.splitlines():
        tag = {"+": "ins", "-": "del"}.get(line[:1])
        text = html.escape(line)
        lines.append(f"<{tag}>{text}</{tag}>" if tag else text + "\n")
    return f"<pre>{''.join(lines)}</pre>"


def _write_index(top: pathlib.Path) -> None:
    """The page of all programs in the folder; written aside and moved, since others read it."""
    cards = []
    for file in sorted(top.glob("*/about.json")):
        about, name = json.loads(file.read_text(encoding="utf-8")), file.parent.name
        image = f'<img src="{name}/program.svg" alt="">' if about["drawn"] else ""
        cards.append(
            f'<a class="card" href="{name}/index.html">{image}<div><b>{html.escape(name)}</b>'
            f"{html.escape(about['figures'])}<br>{html.escape(about['memory'])}</div></a>"
        )
    body = f"<h1>Programs</h1><p>{len(cards)} were captured.</p>"
    body += f'<div class="cards">{"".join(cards)}</div>'
    aside = top / f"index.html.{os.getpid()}"
    aside.write_text(_html("Programs", body), encoding="utf-8")
    aside.replace(top / "index.html")
