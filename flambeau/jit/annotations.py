"""PyTorch's path to the types of lists for which a lone number may stand."""

from flambeau._base import missing

BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = list
__getattr__ = missing(globals())
__all__ = ["BroadcastingList1", "BroadcastingList2", "BroadcastingList3"]
