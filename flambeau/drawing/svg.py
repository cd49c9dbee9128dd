"""Figures: boxes and arrows from top to bottom, as SVG."""

from __future__ import annotations

import html
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

from .layers import HEADING, Box, Layout

CHARACTER = 6.7  # the width of a letter, about
MARGIN = 34.0


class Kind(NamedTuple):
    """A kind of shape: what it is called, how it is filled and framed, and what belongs to it."""

    name: str
    fill: str
    line: str
    words: tuple[str, ...] = ()

    @property
    def is_dark(self) -> bool:
        """Whether text on it must be light."""
        return self.fill == self.line


class Shape(NamedTuple):
    """A box to be drawn: up to three lines of text, of which the first is its name and the last in
    letters of one width; `hint` is shown to who points at it. An `end` has round ends. `group` are
    the names of the frames around it, the outermost first. What is `late` lies just above what
    reads it.
    """

    key: Hashable
    texts: tuple[str, str, str]
    kind: Kind
    hint: str
    end: bool = False
    dashed: bool = False
    group: tuple[str, ...] = ()
    late: bool = False


class Arrow(NamedTuple):
    """An arrow between the shapes of two keys; `hint` is shown to who points at it."""

    above: Hashable
    below: Hashable
    hint: str = ""
    width: float = 1.4


def figure(
    shapes: Sequence[Shape],
    arrows: Sequence[Arrow],
    title: str = "",
    far: int | None = None,
    headings: Mapping[str, tuple[str, str]] | None = None,
) -> str:
    """The shapes, in an order in which arrows go forward, and the arrows, as SVG.

    Arrows over more than `far` layers are straight and pale. `headings` are those of the frames, by
    their names: what is written large, and what is written small.
    """
    boxes: dict[Hashable, Box] = {}
    for shape in shapes:
        texts = [text for text in shape.texts if text]
        width = max(map(len, texts)) * CHARACTER + 26
        boxes[shape.key] = Box(shape.key, max(width, 64.0), 14.0 + 15.0 * len(texts), shape.group)
    between = [(boxes[arrow.above], boxes[arrow.below]) for arrow in arrows]
    layout = Layout(boxes.values(), between, {boxes[s.key] for s in shapes if s.late}, far)
    groups = _frames(boxes.values())
    outside_in = sorted(groups.items(), key=lambda group: len(group[0]))
    parts = [_frame(box) for _, box in outside_in]
    parts += [_edge(path, arrow) for path, arrow in zip(layout.paths, arrows, strict=True)]
    parts += [
        _heading((headings or {}).get(path[-1], (path[-1], "")), box) for path, box in outside_in
    ]
    parts += [_box(shape, boxes[shape.key]) for shape in shapes]
    kinds = list(dict.fromkeys(shape.kind for shape in shapes))
    return _page(parts, layout, list(groups.values()), kinds, title)


def _frames(boxes: Iterable[Box]) -> dict[tuple[str, ...], tuple[float, float, float, float]]:
    """For each module the rectangle around its boxes and the frames of inner modules."""
    inside: dict[tuple[str, ...], list[tuple[float, float, float, float]]] = {}
    for box in boxes:
        for end in range(1, len(box.group) + 1):
            inside.setdefault(box.group[:end], [])
        half = box.width / 2
        if box.group:
            inside[box.group].append((box.x - half, box.y, box.x + half, box.y + box.height))
    frames = {}
    for path in sorted(inside, key=len, reverse=True):
        lefts, tops, rights, bottoms = zip(*inside[path], strict=True)
        frame = (min(lefts) - 7, min(tops) - HEADING, max(rights) + 7, max(bottoms) + 6)
        frames[path] = frame
        if len(path) > 1:
            inside[path[:-1]].append(frame)
    return frames


def _frame(box: tuple[float, float, float, float]) -> str:
    left, top, right, bottom = box
    return (
        f'<rect class="m" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
        f'height="{bottom - top:.1f}" rx="10"/>'
    )


def _heading(text: tuple[str, str], box: tuple[float, float, float, float]) -> str:
    left, top, _, _ = box
    name, kind = map(html.escape, text)
    return (
        f'<text class="g" x="{left + 9:.1f}" y="{top + 13:.1f}">{name}'
        f'<tspan dx="5" opacity=".65">{kind}</tspan></text>'
    )


def _edge(path: list[Box], arrow: Arrow) -> str:
    first, last = path[0], path[-1]
    x, y = first.x, first.y + first.height
    text = f"M{x:.1f} {y:.1f}"
    for box in path[1:]:
        end = box.y - 5 if box is last else box.y
        middle = (y + end) / 2
        text += f"C{x:.1f} {middle:.1f} {box.x:.1f} {middle:.1f} {box.x:.1f} {end:.1f}"
        x, y = box.x, box.y + box.height
        if box is not last:
            text += f"V{y:.1f}"
    straight = " f" if len(path) == 2 and last.layer - first.layer > 1 else ""
    width = "" if arrow.width == 1.4 else f' style="stroke-width:{arrow.width:.1f}"'
    hint = f"<title>{html.escape(arrow.hint)}</title>" if arrow.hint else ""
    return f'<path class="e{straight}" d="{text}"{width}>{hint}</path>'


def _box(shape: Shape, box: Box) -> str:
    kind = shape.kind
    radius = box.height / 2 if shape.end else 7
    place = f'x="{box.x - box.width / 2:.1f}" y="{box.y:.1f}"'
    size = f'width="{box.width:.1f}" height="{box.height:.1f}" rx="{radius:.1f}"'
    dashed = ' stroke-dasharray="4 3"' if shape.dashed else ""
    lines, y = [], box.y + 19
    for style, text in zip("tns", shape.texts, strict=True):
        if text:
            ink = " i" if kind.is_dark else ""
            lines.append(
                f'<text class="{style}{ink}" x="{box.x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'
            )
            y += 15
    return (
        f"<g><title>{html.escape(shape.hint)}</title>"
        f'<rect {place} {size} fill="{kind.fill}" stroke="{kind.line}"{dashed}/>'
        f"{''.join(lines)}</g>"
    )


_STYLE = """\
text{font:12px ui-sans-serif,system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;fill:#0f172a}
.t{font-weight:600;text-anchor:middle}.n,.s{font-size:11px;text-anchor:middle}.n{opacity:.75}
.s{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:10.5px;opacity:.8}
.e{fill:none;stroke:#94a3b8;stroke-width:1.4;marker-end:url(#a)}
.f{opacity:.35;stroke-dasharray:5 4}
.m{fill:#64748b;fill-opacity:.07;stroke:#64748b;stroke-opacity:.35}
.i{fill:#f8fafc}.g{font-size:10.5px;fill:#475569;font-weight:600}
.g{paint-order:stroke;stroke:#fff;stroke-opacity:.8;stroke-width:3px}
.h{font-size:16px;font-weight:700}.k{font-size:11px}"""


def _page(
    parts: list[str],
    layout: Layout,
    frames: list[tuple[float, float, float, float]],
    kinds: list[Kind],
    title: str,
) -> str:
    """The drawing with its title and the meaning of the colours."""
    left = min([0.0, *(frame[0] for frame in frames)]) - MARGIN
    top = min([0.0, *(frame[1] for frame in frames)]) - MARGIN - (58 if title else 34)
    right = max([layout.width, *(frame[2] for frame in frames)]) + MARGIN
    ends = [box.y + box.height for box in layout.boxes]
    bottom = max([0.0, *ends, *(frame[3] for frame in frames)]) + MARGIN
    widths = [34 + len(kind.name) * 6.2 for kind in kinds]
    missing = max(0.0, sum(widths) + 2 * MARGIN - (right - left))
    left, right = left - missing / 2, right + missing / 2  # the drawing is in the middle
    x, y = left + MARGIN, top + (46 if title else 16)
    key = []
    for kind, width in zip(kinds, widths, strict=True):
        key.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="12" height="12" rx="3" fill="{kind.fill}" '
            f'stroke="{kind.line}"/>'
            f'<text class="k" x="{x + 17:.1f}" y="{y + 10:.1f}">{kind.name}</text>'
        )
        x += width
    heading = (
        f'<text class="h" x="{left + MARGIN:.1f}" y="{top + 30:.1f}">{html.escape(title)}</text>'
        if title
        else ""
    )
    width, height = right - left, bottom - top
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.1f} {top:.1f} {width:.1f} '
        f'{height:.1f}" width="{width:.0f}" height="{height:.0f}">\n<style>{_STYLE}</style>\n'
        '<defs><marker id="a" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="6" markerHeight="6"'
        ' orient="auto"><path d="M0 0L8 4L0 8z" fill="#94a3b8"/></marker></defs>\n'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="#ffffff"/>\n{heading}{"".join(key)}\n' + "\n".join(parts) + "\n</svg>\n"
    )
