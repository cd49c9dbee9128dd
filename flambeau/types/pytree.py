"""Trees of containers: lists, tuples, dicts and registered classes, with anything as leaves.

The names are those of PyTorch's `torch.utils._pytree`.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class NodeDef(NamedTuple):
    """How a kind of container comes apart, and together again."""

    flatten: Callable[[Any], tuple[list, Any]]
    unflatten: Callable[[Iterable, Any], Any]


SUPPORTED_NODES: dict[type, NodeDef] = {}


def register_pytree_node(
    cls: type, flatten_fn: Callable, unflatten_fn: Callable, **_names: Any
) -> None:
    """Makes a class a container: `flatten_fn(value)` gives ``(children, context)``,
    `unflatten_fn(children, context)` the value again.
    """
    SUPPORTED_NODES[cls] = NodeDef(flatten_fn, unflatten_fn)


class TreeSpec:
    """The shape of a tree: the kind of its root, what that kind remembers, the children's shapes.

    `type` is None for a leaf.
    """

    __slots__ = ("children_specs", "context", "num_leaves", "type")

    def __init__(self, type: type | None, context: Any, children_specs: Iterable[TreeSpec]):
        self.type, self.context = type, context
        self.children_specs = list(children_specs)
        self.num_leaves = (
            1 if type is None else sum(child.num_leaves for child in self.children_specs)
        )

    def is_leaf(self) -> bool:
        return self.type is None

    def _parts(self) -> tuple:
        return self.type, self.context, self.children_specs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeSpec) and self._parts() == other._parts()

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple:
        return TreeSpec, self._parts()

    def __setstate__(self, state: list[Any]) -> None:
        """The state in pickles that PyTorch wrote."""
        TreeSpec.__init__(self, *state[:3])

    def __repr__(self) -> str:
        if self.type is None:
            return "*"
        return f"TreeSpec({self.type.__name__}, {self.context}, {self.children_specs})"


class LeafSpec(TreeSpec):
    """The shape of a single leaf."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(None, None, ())


LEAF = LeafSpec()


def _is_namedtuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def node_def(kind: type) -> NodeDef | None:
    """How values of this class come apart; None for leaves."""
    found = SUPPORTED_NODES.get(kind)
    if found is None and _is_namedtuple(kind):
        return NodeDef(lambda t: (list(t), kind), lambda children, _: kind(*children))
    return found


def tree_flatten(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> tuple[list[Any], TreeSpec]:
    """The leaves from left to right, and the tree's shape."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, is_leaf)


def _flatten(tree: Any, leaves: list, is_leaf: Callable | None) -> TreeSpec:
    definition = node_def(type(tree))
    if definition is None or (is_leaf is not None and is_leaf(tree)):
        leaves.append(tree)
        return LEAF
    children, context = definition.flatten(tree)
    return TreeSpec(type(tree), context, [_flatten(child, leaves, is_leaf) for child in children])


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> Any:
    """The tree of that shape with these leaves. ValueError where their number differs."""
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten: the tree has {treespec.num_leaves} leaves, and {len(leaves)} were "
            f"given: {treespec}"
        )
    return _unflatten(iter(leaves), treespec)


def _unflatten(leaves: Any, spec: TreeSpec) -> Any:
    if spec.type is None:
        return next(leaves)
    definition = node_def(spec.type)
    assert definition is not None
    return definition.unflatten(
        [_unflatten(leaves, child) for child in spec.children_specs], spec.context
    )


def tree_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves from left to right."""
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> TreeSpec:
    """The tree's shape."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(
    func: Callable, tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None
) -> Any:
    """The tree of what `func` makes of each leaf (and of those at its place in `rests`)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [tree_leaves(rest, is_leaf) for rest in rests]
    return tree_unflatten([func(*each) for each in zip(leaves, *others, strict=True)], spec)


def tree_map_only(kind: type | tuple, func: Callable, tree: Any) -> Any:
    """As `tree_map`, for leaves of a class; others stay."""
    return tree_map(lambda leaf: func(leaf) if isinstance(leaf, kind) else leaf, tree)


def tree_any(predicate: Callable[[Any], bool], tree: Any) -> bool:
    """Whether `predicate` holds for some leaf."""
    return any(map(predicate, tree_leaves(tree)))


def tree_all(predicate: Callable[[Any], bool], tree: Any) -> bool:
    """Whether `predicate` holds for all leaves."""
    return all(map(predicate, tree_leaves(tree)))


def _keyed(make: Callable[[Iterable, Any], Any]) -> NodeDef:
    return NodeDef(
        lambda d: (list(d.values()), list(d)),
        lambda children, keys: make(zip(keys, children, strict=True), keys),
    )


register_pytree_node(list, lambda v: (v, None), lambda children, _: list(children))
register_pytree_node(tuple, lambda v: (list(v), None), lambda children, _: tuple(children))
register_pytree_node(
    deque, lambda v: (list(v), v.maxlen), lambda children, size: deque(children, size)
)
SUPPORTED_NODES[dict] = _keyed(lambda pairs, _: dict(pairs))
SUPPORTED_NODES[OrderedDict] = _keyed(lambda pairs, _: OrderedDict(pairs))
register_pytree_node(
    defaultdict,
    lambda d: (list(d.values()), (d.default_factory, list(d))),
    lambda children, context: defaultdict(context[0], zip(context[1], children, strict=True)),
)
