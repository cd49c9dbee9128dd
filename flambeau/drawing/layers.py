"""Where the boxes of a drawing lie: layers from top to bottom, after Sugiyama, Tagawa and Toda,
"Methods for visual understanding of hierarchical system structures" (1981).

An edge over several layers goes through a *bend*, a box without width, in each of them; one over
more than `far` layers goes straight. Within a layer, boxes are ordered by where their neighbours
are, boxes of one group side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable

GAP_X, GAP_Y = 26.0, 34.0
HEADING = 20.0  # of a group
SWEEPS = 6


class Box:
    """A box of a drawing, or a bend of an edge (`key` is None)."""

    __slots__ = ("above", "below", "group", "height", "key", "layer", "width", "x", "y")

    def __init__(self, key: Hashable | None, width: float, height: float, group: tuple = ()):
        self.key, self.width, self.height, self.group = key, width, height, group
        self.above: list[Box] = []
        self.below: list[Box] = []
        self.layer, self.x, self.y = 0, 0.0, 0.0


class Layout:
    """Boxes with their places: `x` is a box's middle, `y` its top. `paths` are the edges, each a
    row of boxes with the bends between its ends.
    """

    def __init__(
        self,
        boxes: Iterable[Box],
        edges: Iterable[tuple[Box, Box]],
        late: set[Box],
        far: int | None = None,
    ):
        self.boxes, self._far = list(boxes), far
        self.paths: list[list[Box]] = []
        edges = list(edges)
        self._choose_layers(edges, late)
        self._bend(edges)
        depth = max((box.layer for box in self.boxes), default=-1) + 1
        self.layers: list[list[Box]] = [[] for _ in range(depth)]
        for path in self.paths:
            for bend in path[1:-1]:
                self.layers[bend.layer].append(bend)
        for box in self.boxes:
            self.layers[box.layer].append(box)
        self._order()
        self._place()

    def _choose_layers(self, edges: list[tuple[Box, Box]], late: set[Box]) -> None:
        """Each box below all that it reads; those in `late` just above what reads them."""
        reads: dict[Box, list[Box]] = {}
        for above, below in edges:
            reads.setdefault(below, []).append(above)
        for box in self.boxes:  # in the order of the program
            box.layer = max((each.layer + 1 for each in reads.get(box, ())), default=0)
        readers: dict[Box, list[Box]] = {}
        for above, below in edges:
            readers.setdefault(above, []).append(below)
        for box in reversed(self.boxes):
            if box in late:
                box.layer = max(
                    0, min((each.layer for each in readers.get(box, ())), default=1) - 1
                )

    def _bend(self, edges: list[tuple[Box, Box]]) -> None:
        for above, below in edges:
            path = [above]
            apart = below.layer - above.layer
            straight = self._far is not None and apart > self._far
            for layer in range(0) if straight else range(above.layer + 1, below.layer):
                bend = Box(None, 8.0, 0.0, below.group)
                bend.layer = layer
                path.append(bend)
            path.append(below)
            for upper, lower in itertools.pairwise(path):
                upper.below.append(lower)
                lower.above.append(upper)
            self.paths.append(path)

    def _order(self) -> None:
        place: dict[Box, float] = {}
        for layer in self.layers:
            layer.sort(key=lambda box: box.group)
            place |= {box: float(i) for i, box in enumerate(layer)}

        def wanted(box: Box, near: list[Box]) -> float:
            return sum(place[each] for each in near) / len(near) if near else place[box]

        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            for layer in self.layers if down else reversed(self.layers):
                own = {box: wanted(box, box.above if down else box.below) for box in layer}
                groups: dict[tuple, list[float]] = {}
                for box in layer:
                    groups.setdefault(box.group, []).append(own[box])
                middle = {group: sum(each) / len(each) for group, each in groups.items()}
                layer.sort(key=lambda box: (middle[box.group], box.group, own[box]))
                place |= {box: float(i) for i, box in enumerate(layer)}

    def _headings(self) -> list[int]:
        """For each layer, how many groups one inside the other begin there: room for headings."""
        first: dict[tuple, int] = {}
        for box in self.boxes:
            for end in range(1, len(box.group) + 1):
                path = box.group[:end]
                first[path] = min(first.get(path, box.layer), box.layer)
        begun = [0] * len(self.layers)
        for box in self.boxes:
            paths = (box.group[:end] for end in range(1, len(box.group) + 1))
            count = sum(first[path] == box.layer for path in paths)
            begun[box.layer] = max(begun[box.layer], count)
        return begun

    def _place(self) -> None:
        y = 0.0
        for layer, headings in zip(self.layers, self._headings(), strict=True):
            height = max(box.height for box in layer)
            y += headings * HEADING
            for box in layer:
                if box.key is None:  # edges go straight down between boxes
                    box.y, box.height = y, height
                else:
                    box.y = y + (height - box.height) / 2
            y += height + GAP_Y
            x = 0.0
            for box in layer:
                box.x = x + box.width / 2
                x += box.width + GAP_X
            for box in layer:
                box.x -= x / 2
        for sweep in range(2 * SWEEPS):
            down = sweep % 2 == 0
            for layer in self.layers if down else reversed(self.layers):
                _settle(layer, [box.above if down else box.below for box in layer])
        everything = [box for layer in self.layers for box in layer]
        left = min((box.x - box.width / 2 for box in everything), default=0.0)
        self.width = max((box.x + box.width / 2 for box in everything), default=0.0) - left
        for box in everything:
            box.x -= left


def _settle(layer: list[Box], near: list[list[Box]]) -> None:
    """Moves the boxes of a layer to where their neighbours are, without overlaps."""
    wanted = [
        sum(each.x for each in others) / len(others) if others else box.x
        for box, others in zip(layer, near, strict=True)
    ]
    # from the left and from the right; the mean of both keeps the order and the distances
    lefts, rights = wanted[:], wanted[:]
    for i in range(1, len(layer)):
        apart = (layer[i - 1].width + layer[i].width) / 2 + GAP_X
        lefts[i] = max(lefts[i], lefts[i - 1] + apart)
    for i in range(len(layer) - 2, -1, -1):
        apart = (layer[i].width + layer[i + 1].width) / 2 + GAP_X
        rights[i] = min(rights[i], rights[i + 1] - apart)
    for box, left, right in zip(layer, lefts, rights, strict=True):
        box.x = (left + right) / 2
