"""Drawings of graphs: SVG by a layout of our own, and text for Graphviz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flambeau.drawing import Arrow, Kind, Shape, figure

from .names import qualified_name, shown_target
from .node import Node

if TYPE_CHECKING:
    from .graph import Graph

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
    known = set(shown)
    shapes = [
        Shape(
            node, _texts(node), kind_of(node), _hint(node), dashed=node.op == "get_attr",
            end=node.op in ("placeholder", "output"), group=_group(node),
            late=not any(read in known for read in node._input_nodes),
        )
        for node in shown
    ]  # fmt: skip
    arrows = [Arrow(read, node) for node in shown for read in node._input_nodes if read in known]
    kinds = _module_kinds(shown)
    paths = dict.fromkeys(path for shape in shapes for path in _ways(shape.group))
    headings = {path[-1]: (_below(path[-1], path[:-1]), kinds[path[-1]]) for path in paths}
    return figure(shapes, arrows, title, headings=headings)


def _ways(group: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The frames around a node, each with those around it."""
    return [group[: end + 1] for end in range(len(group))]


def _hint(node: Node) -> str:
    text = str(node.format_node())
    return f"{text}\n{node.stack_trace}" if node.stack_trace else text


def _module_kinds(nodes: list[Node]) -> dict[str, str]:
    """The types of the modules along the way, by path."""
    stacks = (node.meta.get("nn_module_stack") or {} for node in nodes)
    return {path: kind.__name__ for stack in stacks for path, kind in stack.values()}


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
