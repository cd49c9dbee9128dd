"""Trees of containers: PyTorch's `torch.utils._pytree`."""

from flambeau.types import pytree as _made

SUPPORTED_NODES, LeafSpec, TreeSpec = _made.SUPPORTED_NODES, _made.LeafSpec, _made.TreeSpec
register_pytree_node = _made.register_pytree_node
tree_all, tree_any, tree_flatten = _made.tree_all, _made.tree_any, _made.tree_flatten
tree_leaves, tree_map, tree_map_only = _made.tree_leaves, _made.tree_map, _made.tree_map_only
tree_structure, tree_unflatten = _made.tree_structure, _made.tree_unflatten
__all__ = [
    "SUPPORTED_NODES",
    "LeafSpec",
    "TreeSpec",
    "register_pytree_node",
    "tree_all",
    "tree_any",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
    "tree_map_only",
    "tree_structure",
    "tree_unflatten",
]
