"""Passes over programs: PyTorch's `torch.fx.passes`."""

from . import (
    annotate_getitem_nodes,
    fake_tensor_prop,
    graph_drawer,
    graph_manipulation,
    graph_transform_observer,
    infra,
    net_min_base,
    operator_support,
    param_fetch,
    pass_manager,
    shape_prop,
    split_module,
    split_utils,
    splitter_base,
    tools_common,
    utils,
)

__all__ = [
    "annotate_getitem_nodes",
    "fake_tensor_prop",
    "graph_drawer",
    "graph_manipulation",
    "graph_transform_observer",
    "infra",
    "net_min_base",
    "operator_support",
    "param_fetch",
    "pass_manager",
    "shape_prop",
    "split_module",
    "split_utils",
    "splitter_base",
    "tools_common",
    "utils",
]
