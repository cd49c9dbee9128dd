"""Two tensors that change places: PyTorch's `torch.utils.swap_tensors`."""

import weakref

from flambeau.ops import AccumulateGrad

_SLOTS = ("_base", "_grad", "_node", "_storage", "_views", "_offset", "layout")


def swap_tensors(t1, t2):
    """Exchanges all that two tensors are, class and attributes included: whoever holds one of them
    holds the other then.

    RuntimeError for views and for tensors that have some: these refer to each other.
    """
    for name, t in (("t1", t1), ("t2", t2)):
        if t._base is not None or any(r() is not None for r in t._views or ()):
            raise RuntimeError(f"Cannot swap {name} because it is a view, or has views")
    if t1 is t2:
        return
    t1.__class__, t2.__class__ = t2.__class__, t1.__class__
    t1.__dict__, t2.__dict__ = t2.__dict__, t1.__dict__
    for slot in _SLOTS:
        first, second = getattr(t1, slot), getattr(t2, slot)
        setattr(t1, slot, second)
        setattr(t2, slot, first)
    for t in (t1, t2):
        if isinstance(t._node, AccumulateGrad):
            t._node._variable = weakref.ref(t)


__all__ = ["swap_tensors"]
