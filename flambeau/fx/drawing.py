"""Drawings of graphs: SVG by a layout of our own, and text for Graphviz."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, NamedTuple

from .layout import HEADING, Box, Layout
from .names import qualified_name, shown_target
from .node import Node

if TYPE_CHECKING:
    from .graph import Graph

CHARACTER = 6.7  # the width of a letter, about
MARGIN = 34.0


class Kind(NamedTuple):
    """A kind of node: what it is called, how it is filled and framed, and what belongs to it."""

    name: str
    fill: str
    line: str
    words: tuple[str, ...] = ()


_SHAPE_WORDS = (
    "view reshape permute transpose flatten cat stack split chunk getitem getattr size squeeze "
    "expand contiguous unbind pad"
).split()
KINDS = (
    Kind("convolution", "#dbeafe", "#2563eb", ("conv", "unfold", "fold")),
    Kind("attention", "#fae8ff", "#a21caf", ("attention",)),
    Kind(
        "product",
        "#e0e7ff",
        "#4f46e5",
        ("linear", "matmul", "bmm", "mm", "einsum", "bilinear", "embedding", "lstm", "gru", "rnn"),
    ),
    Kind("normalization", "#fef3c7", "#d97706", ("norm",)),
    Kind(
        "activation",
        "#dcfce7",
        "#16a34a",
        ("elu", "sigmoid", "tanh", "softmax", "softmin", "silu", "mish", "swish", "softplus"),
    ),
    Kind("pooling", "#ccfbf1", "#0d9488", ("pool", "interpolate", "upsample")),
    Kind("dropout", "#f1f5f9", "#94a3b8", ("dropout", "identity")),
    Kind("shape", "#f3e8ff", "#9333ea", tuple(_SHAPE_WORDS)),
)
END = Kind("input or output", "#0f172a", "#0f172a")
PARAMETER = Kind("parameter", "#ffffff", "#94a3b8")
MODULE = Kind("module", "#ffe4e6", "#e11d48")
OTHER = Kind("arithmetic", "#f8fafc", "#64748b")


def _module(node: Node) -> Any:
    owner = node.graph.owning_module
    if owner is None:
        return None
    for part in node.target.split("."):
        owner = getattr(owner, part, None)
    return owner


def kind_of(node: Node) -> Kind:
    """The kind by which a node is coloured."""
    own = {"placeholder": END, "output": END, "get_attr": PARAMETER}.get(node.op)
    if own is not None:
        return own
    word = _called(node).lower()
    found = next((kind for kind in KINDS if any(each in word for each in kind.words)), None)
    return found or (MODULE if node.op == "call_module" else OTHER)


def _called(node: Node) -> str:
    """The last name of what a node calls: the type of a module."""
    if node.op == "call_module":
        module = _module(node)
        return node.target.rpartition(".")[2] if module is None else type(module).__name__
    if node.op == "call_function":
        return qualified_name(node.target).rpartition(".")[2]
    return node.target


def described(meta: Any) -> str:
    """Shape and dtype of a value that `ShapeProp` or `FakeTensorProp` saw."""
    if meta is None:
        return ""
    if hasattr(meta, "dtype") and hasattr(meta, "shape"):
        sizes = " × ".join(map(str, meta.shape)) or "scalar"
        return f"{sizes}  {str(meta.dtype).removeprefix('torch.')}"
    if isinstance(meta, list | tuple):
        return ", ".join(filter(None, map(described, meta[:3]))) + ("…" if len(meta) > 3 else "")
    return ""


def _texts(node: Node) -> tuple[str, str, str]:
    """What a box says: the operation, the name, shape and dtype."""
    shape = described(node.meta.get("tensor_meta", node.meta.get("val")))
    if node.op == "output":
        return "output", "", shape
    if node.op in ("placeholder", "get_attr"):
        return node.target, "", shape
    name = _below(node.target, _group(node)) if node.op == "call_module" else node.name
    return _called(node), "" if name == _called(node) else name, shape


def _below(path: str, around: tuple[str, ...]) -> str:
    """A module's path, seen from the module around it."""
    return path.removeprefix(around[-1] + ".") if around else path


def _group(node: Node) -> tuple[str, ...]:
    """The paths of the modules around a node, the outermost first."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ()
    paths = tuple(path for path, _ in stack.values() if path)
    return paths[:-1] if node.op == "call_module" and paths[-1:] == (node.target,) else paths


def draw(graph: Graph, title: str = "", parameters: bool = False) -> str:
    """The graph as SVG: boxes from top to bottom, coloured by kind, framed by module.

    Shapes and dtypes are shown where a pass has noted them (`ShapeProp`). Reads of parameters are
    drawn with `parameters`. Pointing at a box shows its node.
    """
    shown = [node for node in graph.nodes if parameters or node.op != "get_attr"]
    boxes: dict[Node, Box] = {}
    for node in shown:
        texts = [text for text in _texts(node) if text]
        width = max(map(len, texts)) * CHARACTER + 26
        boxes[node] = Box(node, max(width, 64.0), 14.0 + 15.0 * len(texts), _group(node))
    edges = [
        (boxes[read], boxes[node]) for node in shown for read in node._input_nodes if read in boxes
    ]
    late = {boxes[node] for node in shown if not any(read in boxes for read in node._input_nodes)}
    layout = Layout(boxes.values(), edges, late)
    groups = _frames(boxes.values())
    outside_in = sorted(groups.items(), key=lambda group: len(group[0]))
    kinds = _module_kinds(shown)
    parts = [_frame(box) for _, box in outside_in]
    parts += [_edge(path) for path in layout.paths]
    parts += [_heading(path, kinds[path[-1]], box) for path, box in outside_in]
    parts += [_box(node, box) for node, box in boxes.items()]
    found = list(dict.fromkeys(kind_of(node) for node in shown))
    return _page(parts, layout, list(groups.values()), found, title)


def _frames(boxes: Any) -> dict[tuple[str, ...], tuple[float, float, float, float]]:
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


def _module_kinds(nodes: list[Node]) -> dict[str, str]:
    """The types of the modules along the way, by path."""
    stacks = (node.meta.get("nn_module_stack") or {} for node in nodes)
    return {path: kind.__name__ for stack in stacks for path, kind in stack.values()}


def _frame(box: tuple[float, float, float, float]) -> str:
    left, top, right, bottom = box
    return (
        f'<rect class="m" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
        f'height="{bottom - top:.1f}" rx="10"/>'
    )


def _heading(path: tuple[str, ...], kind: str, box: tuple[float, float, float, float]) -> str:
    left, top, _, _ = box
    name = html.escape(_below(path[-1], path[:-1]))
    return (
        f'<text class="g" x="{left + 9:.1f}" y="{top + 13:.1f}">{name}'
        f'<tspan dx="5" opacity=".65">{html.escape(kind)}</tspan></text>'
    )


def _edge(path: list[Box]) -> str:
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
    return f'<path class="e" d="{text}"/>'


def _box(node: Node, box: Box) -> str:
    kind = kind_of(node)
    name, second, third = _texts(node)
    ends = node.op in ("placeholder", "output")
    radius = box.height / 2 if ends else 7
    place = f'x="{box.x - box.width / 2:.1f}" y="{box.y:.1f}"'
    size = f'width="{box.width:.1f}" height="{box.height:.1f}" rx="{radius:.1f}"'
    dashed = ' stroke-dasharray="4 3"' if node.op == "get_attr" else ""
    lines, y = [], box.y + 19
    for style, text in (("t", name), ("n", second), ("s", third)):
        if text:
            ink = " i" if ends else ""
            lines.append(
                f'<text class="{style}{ink}" x="{box.x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'
            )
            y += 15
    hint = html.escape(str(node.format_node()))
    if node.stack_trace:
        hint += "\n" + html.escape(node.stack_trace)
    return (
        f'<g><title>{hint}</title><rect {place} {size} fill="{kind.fill}" stroke="{kind.line}"'
        f"{dashed}/>{''.join(lines)}</g>"
    )


_STYLE = """\
text{font:12px ui-sans-serif,system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;fill:#0f172a}
.t{font-weight:600;text-anchor:middle}.n,.s{font-size:11px;text-anchor:middle}.n{opacity:.75}
.s{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:10.5px;opacity:.8}
.e{fill:none;stroke:#94a3b8;stroke-width:1.4;marker-end:url(#a)}
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


def dot(graph: Graph, name: str = "graph", parameters: bool = True) -> str:
    """The graph as text for Graphviz: boxes with fields, coloured by kind, clusters by module."""
    lines = [
        f"digraph {_quoted(name)} {{",
        "  rankdir=TB;",
        '  node [shape=record, style="filled,rounded", fontname="Helvetica"];',
    ]
    shown = [node for node in graph.nodes if parameters or node.op != "get_attr"]
    tree: dict[tuple[str, ...], list[Node]] = {}
    for node in shown:
        tree.setdefault(_group(node), []).append(node)
    depth: tuple[str, ...] = ()
    for path in sorted(tree):
        common = 0
        while common < min(len(depth), len(path)) and depth[common] == path[common]:
            common += 1
        lines += ["  }"] * (len(depth) - common)
        for end in range(common, len(path)):
            lines.append(f"  subgraph {_quoted('cluster_' + path[end])} {{")
            lines.append(f"  label={_quoted(path[end])}; color=gray;")
        depth = path
        lines += [_dot_node(node) for node in tree[path]]
    lines += ["  }"] * len(depth)
    known = set(shown)
    for node in shown:
        lines += [
            f"  {_quoted(read.name)} -> {_quoted(node.name)};"
            for read in node._input_nodes
            if read in known
        ]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _dot_node(node: Node) -> str:
    kind = kind_of(node)
    fields = [
        f"name=%{node.name}",
        f"op_code={node.op}",
        f"target={shown_target(node.target)}",
        f"num_users={len(node.users)}",
        described(node.meta.get("tensor_meta", node.meta.get("val"))),
    ]
    text = "|".join(_field(field) for field in fields if field)
    ink = "#f8fafc" if node.op in ("placeholder", "output") else "#0f172a"
    return (
        f'  {_quoted(node.name)} [label="{{{text}}}", fillcolor="{kind.fill}", '
        f'color="{kind.line}", fontcolor="{ink}"];'
    )


def _field(text: str) -> str:
    for character in '\\{}|<>"':
        text = text.replace(character, "\\" + character)
    return text
