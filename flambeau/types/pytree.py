"""Trees of containers: lists, tuples, dicts and registered classes, with anything as leaves.

The names are those of PyTorch's `torch.utils._pytree`.
"""

from __future__ import annotations

import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple


class NodeDef(NamedTuple):
    """How a kind of container comes apart, and together again; `flatten_with_keys` gives pairs of a
    key and a child in place of children.
    """

    flatten: Callable[[Any], tuple[list, Any]]
    unflatten: Callable[[Iterable, Any], Any]
    flatten_with_keys: Callable[[Any], tuple[list, Any]] | None = None


SUPPORTED_NODES: dict[type, NodeDef] = {}


def register_pytree_node(
    cls: type,
    flatten_fn: Callable,
    unflatten_fn: Callable,
    *,
    serialized_type_name: str | None = None,
    to_dumpable_context: Callable | None = None,
    from_dumpable_context: Callable | None = None,
    flatten_with_keys_fn: Callable | None = None,
) -> None:
    """Makes a class a container: `flatten_fn(value)` gives ``(children, context)``,
    `unflatten_fn(children, context)` the value again. Paths need `flatten_with_keys_fn(value)`,
    which gives ``([(key, child), …], context)``. The other three are about trees in PyTorch's JSON,
    which nobody writes here.
    """
    SUPPORTED_NODES[cls] = NodeDef(flatten_fn, unflatten_fn, flatten_with_keys_fn)


def register_dataclass(
    cls: type,
    *,
    field_names: Sequence[str] | None = None,
    drop_field_names: Sequence[str] | None = None,
    serialized_type_name: str | None = None,
) -> None:
    """Makes a dataclass a container of its fields, or of those in `field_names`; what is in
    `drop_field_names` is left out, and has its default again.
    """
    dropped = frozenset(drop_field_names or ())
    made = [f for f, field in cls.__dataclass_fields__.items() if field.init]  # type: ignore[attr-defined]
    names = [n for n in (made if field_names is None else field_names) if n not in dropped]
    if unknown := {*names, *dropped} - {*made}:
        raise ValueError(f"{cls.__name__} has no fields {sorted(unknown)}")
    register_pytree_node(
        cls,
        lambda value: ([getattr(value, name) for name in names], None),
        lambda children, _: cls(**dict(zip(names, children, strict=True))),
        flatten_with_keys_fn=lambda value: (
            [(GetAttrKey(name), getattr(value, name)) for name in names],
            None,
        ),
    )


def register_constant(cls: type) -> None:
    """Makes values of a class, which must have an equality and a hash, part of a tree's shape."""
    register_pytree_node(
        cls,
        lambda value: ([], value),
        lambda _, value: value,
        flatten_with_keys_fn=lambda value: ([], value),
    )


class SequenceKey(NamedTuple):
    """A step of a path: into a list or a tuple."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, value: Any) -> Any:
        return value[self.idx]


class MappingKey(NamedTuple):
    """A step of a path: into a dict."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, value: Any) -> Any:
        return value[self.key]


class GetAttrKey(NamedTuple):
    """A step of a path: to an attribute."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, value: Any) -> Any:
        return getattr(value, self.name)


Path = tuple[Any, ...]


def keystr(path: Path) -> str:
    """The path as Python writes it behind the tree's name: ``['a'][0].b``."""
    return "".join(map(str, path))


def key_get(tree: Any, path: Path) -> Any:
    """What lies at the end of a path."""
    for key in path:
        tree = key.get(tree)
    return tree


def _with_keys(tree: Any, definition: NodeDef) -> list[tuple[Any, Any]]:
    """The children, each behind its key. ValueError for classes without keys."""
    if definition.flatten_with_keys is not None:
        return list(definition.flatten_with_keys(tree)[0])
    children = definition.flatten(tree)[0]
    if _is_namedtuple(type(tree)):
        return [(GetAttrKey(n), c) for n, c in zip(tree._fields, children, strict=True)]
    if isinstance(tree, dict):
        return [(MappingKey(key), child) for key, child in tree.items()]
    if isinstance(tree, list | tuple | deque):
        return [(SequenceKey(place), child) for place, child in enumerate(children)]
    raise ValueError(
        f"{type(tree)} was registered without flatten_with_keys_fn, which paths are made of"
    )


def tree_leaves_with_path(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> list[tuple[Path, Any]]:
    """The leaves from left to right, each behind its path."""
    definition = node_def(type(tree))
    if definition is None or (is_leaf is not None and is_leaf(tree)):
        return [((), tree)]
    return [
        ((key, *path), leaf)
        for key, child in _with_keys(tree, definition)
        for path, leaf in tree_leaves_with_path(child, is_leaf)
    ]


def tree_flatten_with_path(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> tuple[list[tuple[Path, Any]], TreeSpec]:
    """The leaves as of `tree_leaves_with_path`, and the tree's shape."""
    return tree_leaves_with_path(tree, is_leaf), tree_structure(tree, is_leaf)


def tree_map_with_path(
    func: Callable, tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None
) -> Any:
    """As `tree_map`, where `func` is given the path first."""
    pairs, spec = tree_flatten_with_path(tree, is_leaf)
    others = [spec.flatten_up_to(rest) for rest in rests]
    return tree_unflatten([func(*p, *more) for p, *more in zip(pairs, *others, strict=True)], spec)


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

    @property
    def num_children(self) -> int:
        return len(self.children_specs)

    @property
    def num_nodes(self) -> int:
        return 1 + sum(child.num_nodes for child in self.children_specs)

    def children(self) -> list[TreeSpec]:
        return list(self.children_specs)

    def child(self, place: int) -> TreeSpec:
        return self.children_specs[place]

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """The tree of this shape with these leaves."""
        return tree_unflatten(leaves, self)

    def flatten_up_to(self, tree: Any) -> list[Any]:
        """What lies in `tree` where this shape has leaves. ValueError where the kinds differ."""
        if self.type is None:
            return [tree]
        definition = node_def(type(tree))
        children = None if definition is None else definition.flatten(tree)[0]
        if type(tree) is not self.type or children is None or len(children) != self.num_children:
            raise ValueError(
                f"the trees differ: {self.num_children} values in a {self.type.__name__} there, "
                f"{tree!r} here"
            )
        pairs = zip(self.children_specs, children, strict=True)
        return [leaf for spec, child in pairs for leaf in spec.flatten_up_to(child)]

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


def map_only(kind: Any, /) -> Callable[[Callable], Callable]:
    """Decorator: a function that changes values of a class (of several, or such as a predicate
    holds for) and gives others back.
    """
    chosen = _chooser(kind)
    return lambda func: lambda value: func(value) if chosen(value) else value


def _chooser(kind: Any) -> Callable[[Any], bool]:
    if isinstance(kind, type | tuple | types.UnionType):
        return lambda value: isinstance(value, kind)
    return kind


def tree_map_only(
    kind: Any, /, func: Callable, tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> Any:
    """As `tree_map`, for leaves of a class; others stay."""
    return tree_map(map_only(kind)(func), tree, is_leaf=is_leaf)


def tree_map_(
    func: Callable, tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None
) -> Any:
    """Calls `func` with each leaf, as `tree_map` does; returns the tree itself."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only_(
    kind: Any, /, func: Callable, tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> Any:
    """As `tree_map_`, for leaves of a class."""
    return tree_map_(map_only(kind)(func), tree, is_leaf=is_leaf)


def tree_is_leaf(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether a tree is a single leaf."""
    return (is_leaf is not None and is_leaf(tree)) or node_def(type(tree)) is None


def tree_iter(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Iterable[Any]:
    """The leaves from left to right, one after the other."""
    yield from tree_leaves(tree, is_leaf)


def arg_tree_leaves(*args: Any, **kwargs: Any) -> list[Any]:
    """The leaves of all arguments."""
    return tree_leaves((args, kwargs))


def tree_any_only(
    kind: Any,
    /,
    predicate: Callable[[Any], bool],
    tree: Any,
    is_leaf: Callable[[Any], bool] | None = None,
) -> bool:
    """Whether `predicate` holds for some leaf of a class."""
    chosen = _chooser(kind)
    return any(chosen(leaf) and predicate(leaf) for leaf in tree_leaves(tree, is_leaf))


def tree_all_only(
    kind: Any,
    /,
    predicate: Callable[[Any], bool],
    tree: Any,
    is_leaf: Callable[[Any], bool] | None = None,
) -> bool:
    """Whether `predicate` holds for all leaves of a class."""
    chosen = _chooser(kind)
    return all(not chosen(leaf) or predicate(leaf) for leaf in tree_leaves(tree, is_leaf))


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
