"""Trees of containers, and the paths to their leaves."""

import collections
import dataclasses

import pytest

import flambeau as torch
from flambeau.utils import _pytree as pytree

Point = collections.namedtuple("Point", "x y")
TREE = {
    "a": [1, (2, 3)],
    "b": Point(4, {"c": 5}),
    "d": collections.deque([6]),
    7: collections.OrderedDict(e=8),
    "f": collections.defaultdict(list, g=9),
    "none": (),
}
PATHS = {
    "['a'][0]": 1,
    "['a'][1][0]": 2,
    "['a'][1][1]": 3,
    "['b'].x": 4,
    "['b'].y['c']": 5,
    "['d'][0]": 6,
    "[7]['e']": 8,
    "['f']['g']": 9,
}


def test_paths_are_what_python_writes():
    pairs, spec = pytree.tree_flatten_with_path(TREE)
    assert {pytree.keystr(path): leaf for path, leaf in pairs} == PATHS
    for path, leaf in pairs:
        assert eval(f"TREE{pytree.keystr(path)}") == leaf == pytree.key_get(TREE, path)
    assert spec.unflatten(leaf for _, leaf in pairs) == TREE
    assert pytree.tree_leaves_with_path(5) == [((), 5)]
    assert pairs[0][0] == (pytree.MappingKey("a"), pytree.SequenceKey(0))


def test_functions_of_paths():
    found = pytree.tree_map_with_path(lambda path, a, b: (pytree.keystr(path), a + b), TREE, TREE)
    assert found["b"].y["c"] == ("['b'].y['c']", 10)
    whole = pytree.tree_map_with_path(
        lambda path, leaf: len(path), TREE, is_leaf=lambda v: isinstance(v, Point)
    )
    assert whole["b"] == 1 and whole["a"] == [2, (3, 3)]
    with pytest.raises(ValueError, match="the trees differ"):
        pytree.tree_map_with_path(lambda *_: None, [1, 2], [1])


@pytest.fixture
def registered():
    kinds = []
    yield kinds.append
    for kind in kinds:
        del pytree.SUPPORTED_NODES[kind]


def test_dataclasses_and_constants(registered):
    @dataclasses.dataclass
    class Batch:
        rows: object
        names: list
        cached: int = 0

    @dataclasses.dataclass(frozen=True)
    class Mode:
        name: str

    pytree.register_dataclass(Batch, drop_field_names=["cached"])
    pytree.register_constant(Mode)
    registered(Batch), registered(Mode)
    tree = [Batch(torch.ones(2), [1, 2], cached=5), Mode("x")]
    pairs, spec = pytree.tree_flatten_with_path(tree)
    assert [pytree.keystr(path) for path, _ in pairs] == [
        "[0].rows",
        "[0].names[0]",
        "[0].names[1]",
    ]
    again = spec.unflatten([leaf for _, leaf in pairs])
    assert again[0].rows is tree[0].rows and again[0].cached == 0 and again[1] == Mode("x")
    assert spec != pytree.tree_structure([tree[0], Mode("y")])
    with pytest.raises(ValueError, match="no fields"):
        pytree.register_dataclass(Batch, field_names=["other"])


def test_classes_without_keys(registered):
    class Pair:
        def __init__(self, *both):
            self.both = both

    pytree.register_pytree_node(Pair, lambda p: (list(p.both), None), lambda both, _: Pair(*both))
    registered(Pair)
    assert pytree.tree_leaves([Pair(1, 2)]) == [1, 2]
    with pytest.raises(ValueError, match="flatten_with_keys_fn"):
        pytree.tree_leaves_with_path([Pair(1, 2)])


def test_leaves_of_a_kind():
    tree = [1, "a", (2.0, "b")]
    assert pytree.tree_map_only(str, str.upper, tree) == [1, "A", (2.0, "B")]
    assert pytree.tree_map_only(lambda v: v == 1, lambda v: v + 1, tree) == [2, "a", (2.0, "b")]
    assert pytree.map_only((int, float))(lambda v: v * 2)("a") == "a"
    assert pytree.tree_any_only(str, lambda s: s == "b", tree)
    assert not pytree.tree_all_only(int | float, lambda v: v > 1, tree)
    seen = []
    assert pytree.tree_map_only_(str, seen.append, tree) is tree and seen == ["a", "b"]
    assert list(pytree.tree_iter(tree)) == pytree.arg_tree_leaves(1, "a", x=(2.0, "b"))
    assert (
        pytree.tree_is_leaf(1)
        and not pytree.tree_is_leaf([])
        and pytree.tree_is_leaf([], bool) is False
    )


def test_shapes():
    spec = pytree.tree_structure([1, (2, 3)])
    assert (spec.num_nodes, spec.num_leaves, spec.num_children) == (5, 3, 2)
    assert spec.children()[1] == pytree.tree_structure((0, 0)) == spec.child(1)
    assert spec.flatten_up_to(["a", ("b", ["c"])]) == ["a", "b", ["c"]]
