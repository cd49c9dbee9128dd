"""Drawings of programs: PyTorch's `FxGraphDrawer`, with SVG of our own."""

from __future__ import annotations

import pathlib
from typing import Any

from .. import drawing
from ..graph import Graph
from ..graph_module import GraphModule

__all__ = ["Drawing", "FxGraphDrawer"]


class Drawing:
    """A drawing of a graph, as text for Graphviz and as SVG."""

    def __init__(self, graph: Graph, name: str, parameters: bool):
        self.graph, self.name, self.parameters = graph, name, parameters

    def to_string(self) -> str:
        """Text for Graphviz."""
        return drawing.dot(self.graph, self.name, self.parameters)

    __str__ = to_string

    def create_svg(self) -> bytes:
        """The drawing as SVG."""
        return drawing.draw(self.graph, self.name, self.parameters).encode()

    def write_svg(self, path: Any) -> None:
        """Writes an SVG file."""
        pathlib.Path(path).write_bytes(self.create_svg())

    def write(self, path: Any) -> None:
        """Writes the text for Graphviz."""
        pathlib.Path(path).write_text(self.to_string(), encoding="utf-8")

    write_raw = write_dot = write

    def _repr_svg_(self) -> str:
        return self.create_svg().decode()


class FxGraphDrawer:
    """Draws a program and those of the GraphModules that it calls.

    With `ignore_getattr`, reads of parameters are left out. The arguments behind
    `ignore_parameters_and_buffers` are about Graphviz, which is not used: they change nothing.
    """

    def __init__(
        self,
        graph_module: GraphModule,
        name: str,
        ignore_getattr: bool = False,
        ignore_parameters_and_buffers: bool = False,
        skip_node_names_in_args: bool = True,
        parse_stack_trace: bool = False,
        dot_graph_shape: str | None = None,
        normalize_args: bool = False,
    ) -> None:
        self._name = name
        parameters = not (ignore_getattr or ignore_parameters_and_buffers)
        self._drawings = {name: Drawing(graph_module.graph, name, parameters)}
        for path, module in graph_module.named_modules():
            if path and isinstance(module, GraphModule):
                inner = f"{name}_{path}"
                self._drawings[inner] = Drawing(module.graph, inner, parameters)

    def get_dot_graph(self, submod_name: str | None = None) -> Drawing:
        """The drawing of the program, or of one of its modules by ``NAME_PATH``."""
        return self._drawings[submod_name or self._name]

    get_main_dot_graph = get_dot_graph

    def get_submod_dot_graph(self, submod_name: str) -> Drawing:
        """The drawing of a module of the program."""
        return self._drawings[f"{self._name}_{submod_name}"]

    def get_all_dot_graphs(self) -> dict[str, Drawing]:
        """All drawings by name."""
        return dict(self._drawings)
