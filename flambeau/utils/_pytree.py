"""Trees of containers: PyTorch's `torch.utils._pytree`."""

from typing import Any as PyTree

from flambeau.types import pytree as _made

SUPPORTED_NODES, LeafSpec = _made.SUPPORTED_NODES, _made.LeafSpec
TreeSpec, NodeDef = _made.TreeSpec, _made.NodeDef
SequenceKey, MappingKey = _made.SequenceKey, _made.MappingKey
GetAttrKey, register_pytree_node = _made.GetAttrKey, _made.register_pytree_node
register_dataclass, register_constant = _made.register_dataclass, _made.register_constant
tree_all, tree_all_only = _made.tree_all, _made.tree_all_only
tree_any, tree_any_only = _made.tree_any, _made.tree_any_only
tree_flatten, tree_flatten_with_path = _made.tree_flatten, _made.tree_flatten_with_path
tree_is_leaf, tree_iter = _made.tree_is_leaf, _made.tree_iter
tree_leaves, tree_leaves_with_path = _made.tree_leaves, _made.tree_leaves_with_path
tree_map, tree_map_ = _made.tree_map, _made.tree_map_
tree_map_only, tree_map_only_ = _made.tree_map_only, _made.tree_map_only_
tree_map_with_path, tree_structure = _made.tree_map_with_path, _made.tree_structure
tree_unflatten, arg_tree_leaves = _made.tree_unflatten, _made.arg_tree_leaves
key_get, keystr = _made.key_get, _made.keystr
map_only = _made.map_only
__all__ = [
    "PyTree",
    "GetAttrKey",
    "LeafSpec",
    "MappingKey",
    "NodeDef",
    "SUPPORTED_NODES",
    "SequenceKey",
    "TreeSpec",
    "arg_tree_leaves",
    "key_get",
    "keystr",
    "map_only",
    "register_constant",
    "register_dataclass",
    "register_pytree_node",
    "tree_all",
    "tree_all_only",
    "tree_any",
    "tree_any_only",
    "tree_flatten",
    "tree_flatten_with_path",
    "tree_is_leaf",
    "tree_iter",
    "tree_leaves",
    "tree_leaves_with_path",
    "tree_map",
    "tree_map_",
    "tree_map_only",
    "tree_map_only_",
    "tree_map_with_path",
    "tree_structure",
    "tree_unflatten",
]
