"""PyTorch's path to types, those of lists for which a lone number may stand among them."""

import typing as _typing

from flambeau._base import missing

BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = list
Any, Dict, List, Optional = _typing.Any, _typing.Dict, _typing.List, _typing.Optional  # noqa: UP006
Tuple, Union = _typing.Tuple, _typing.Union  # noqa: UP006
__getattr__ = missing(globals())
__all__ = [
    "Any",
    "BroadcastingList1",
    "BroadcastingList2",
    "BroadcastingList3",
    "Dict",
    "List",
    "Optional",
    "Tuple",
    "Union",
]
