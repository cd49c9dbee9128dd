"""Whose memory a value may be, who writes to it, and what order of the nodes follows from that.

Here is decided, too, whether somebody would notice that ``y += 1`` made a new value instead of
changing `y`.

PyTorch records such operators out of place, and that is right for a fresh result which nobody
reads again. Where the memory is somebody else's (an input, a parameter, a view of either) or is
read later, the operator must stay in place.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from flambeau import nn

from .known import ASSERT
from .node import Node

if TYPE_CHECKING:
    from .graph import Graph

# Functions and methods whose result may share memory with their first argument.
_MAY_SHARE = frozenset(
    (
        "as_strided atleast_1d atleast_2d atleast_3d broadcast_to chunk conj contiguous detach "
        "diagonal dropout expand expand_as feature_alpha_dropout flatten getattr getitem hsplit "
        "imag movedim moveaxis narrow permute ravel real reshape reshape_as rrelu select split "
        "squeeze swapaxes swapdims t tensor_split to transpose type_as unbind unflatten unfold "
        "unsqueeze values view view_as view_as_complex view_as_real vsplit dsplit double float "
        "half bfloat16 cpu cuda"
    ).split()
)
_SHARING_MODULES = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.Dropout,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.Sequential,
)


def shares_with(node: Node) -> Node | None:
    """The node whose memory this one's result may be; None where the result is fresh."""
    first = node.args[0] if node.args else None
    if type(first) is not Node:
        return None
    if node.op == "call_module":
        owner = node.graph.owning_module
        module = None if owner is None else owner.get_submodule(node.target)
        shares = getattr(module, "inplace", False) or isinstance(module, _SHARING_MODULES)
        return first if shares or module is None else None
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    in_place = name.endswith("_") and not name.startswith("_")
    if name in _MAY_SHARE or in_place or node.kwargs.get("inplace") or node.target in INPLACE:
        return first
    return None


INPLACE = frozenset(
    getattr(operator, name)
    for name in "iadd iand ifloordiv ilshift imod imul ior ipow irshift isub itruediv ixor".split()
)


class Memory:
    """Which values of a graph may lie in one memory, and which nodes write to it."""

    def __init__(self, graph: Graph):
        self.root: dict[Node, Node] = {}  # for each node the first one that may be its memory
        for node in graph.nodes:
            source = shares_with(node)
            self.root[node] = node if source is None else self.root[source]
        self.written = {root for node in graph.nodes for root in self.written_by(node)}

    def written_by(self, node: Node) -> set[Node]:
        """The memory that a node may write to, as roots."""
        if node.op == "call_module":
            owner = node.graph.owning_module
            module = None if owner is None else owner.get_submodule(node.target)
            writes = getattr(module, "inplace", False)
        else:
            writes = node.op.startswith("call") and node.is_impure(impure_random=False)
        if not writes or node.target is ASSERT:
            return set()
        return {self.root[read] for read in node._input_nodes}

    def is_written(self, node: Node) -> bool:
        """Whether some node may write to the memory of this one."""
        return self.root[node] in self.written

    def order(self) -> dict[Node, set[Node]]:
        """For each node those that must run before it because of what it reads or writes: who wrote
        last, and, for one that writes, who has read since.
        """
        before: dict[Node, set[Node]] = {}
        writer: dict[Node, Node] = {}
        readers: dict[Node, list[Node]] = {}
        for node in self.root:
            writes = self.written_by(node)
            for root in {self.root[read] for read in node._input_nodes} & self.written:
                needed = before.setdefault(node, set())
                if root in writer:
                    needed.add(writer[root])
                if root in writes:
                    needed.update(readers.pop(root, ()))
                    writer[root] = node
                else:
                    readers.setdefault(root, []).append(node)
        return before


class Updates:
    """The in-place operators of one trace that were recorded out of place.

    `watched` maps nodes that must not be read any more to such an operator's node; where one is
    read after all, the operator goes back in place.
    """

    def __init__(self) -> None:
        self.watched: dict[Node, tuple[Node, object]] = {}

    def is_observed(self, node: Node) -> bool:
        """Whether the memory of `node` is, or may have been, seen by others."""
        current: Node | None = node
        below: Node | None = None
        while current is not None:
            if current.op in ("placeholder", "get_attr"):
                return True
            if any(user is not below and shares_with(user) for user in current.users):
                return True
            current, below = shares_with(current), current
        return False

    def watch(self, old: Node, made: Node, in_place: object) -> None:
        """Says that `made` stands for an in-place operator on `old`."""
        current: Node | None = old
        while current is not None:
            self.watched[current] = (made, in_place)
            current = shares_with(current)

    def read(self, node: Node) -> None:
        """Says that `node`, which is in `watched`, is read again."""
        made, in_place = self.watched.pop(node)
        made.target = in_place
