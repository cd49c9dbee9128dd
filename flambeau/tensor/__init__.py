"""Tensors and what surrounds them."""

from flambeau import ops, runtime
from flambeau.ops import modes

from . import (
    accelerator,
    autocast,
    borders,
    chance,
    convert,
    creation,
    differences,
    formats,
    indexing,
    inplace,
    overrides,
    printing,
    settings,
    several,
    sharing,
    sizes,
    storages,
    switches,
    windows,
)
from .autograd import anomaly, engine, grad_mode
from .convert import as_tensor, from_numpy, tensor
from .foreach import of_torch
from .methods import door_of, function_of, install, public
from .several import flatten_dense_tensors, unflatten_dense_tensors
from .storages import TypedStorage, UntypedStorage
from .strided import strided
from .tensor import Size, Tensor, destination


def _fit(grad, layout):
    """Brings a gradient to the layout of an input: sums what was broadcast, drops what promotion
    added.
    """
    if grad.layout.shape != layout.shape:
        grad = grad.sum_to_size(layout.shape)
    if grad.layout.dtype is not layout.dtype:
        if layout.dtype.kind == "f" and grad.layout.dtype.kind == "c":
            grad = grad.real
        grad = grad.to(layout.dtype)
    return grad


runtime.bind(Tensor, modes.grad_enabled, modes.inference_enabled)
engine.bind(Tensor)
ops.bind_doors(
    Tensor,
    {
        "write_back": inplace.write_back,
        "write_out": inplace.write_out,
        "check_writable": inplace.check_writable,
        "rebase": inplace.rebase,
    },
)
ops.bind_tape(_fit, anomaly.note)
for _part in (creation, convert, indexing, borders, several, sharing):
    _part.install()
install()
overrides.install()
ops.aten = ops.Namespace("aten", door_of)
PUBLIC = {
    name: getattr(part, name)
    for part in (
        autocast,
        creation,
        chance,
        convert,
        settings,
        sizes,
        borders,
        storages,
        several,
        windows,
        differences,
        switches,
    )
    for name in part.PUBLIC
}
PUBLIC |= convert.LEGACY | {"range": creation.range_, "resize_as_": borders.resize_as}
PUBLIC |= {name: getattr(printing, name) for name in ("get_printoptions", "set_printoptions")}
PUBLIC |= {x.name: x for named in (formats.FORMATS, formats.LAYOUTS) for x in named}
PUBLIC |= {"legacy_contiguous_format": formats.contiguous_format, "newaxis": None}
PUBLIC |= {"memory_format": formats.MemoryFormat, "layout": formats.MemoryLayout}

from .autograd import (
    checkpoint,
    enable_grad,
    forward,
    function,
    functional,
    gradcheck,
    graph,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
    transforms,
)  # fmt: skip

__all__ = [
    "PUBLIC",
    "Size",
    "Tensor",
    "TypedStorage",
    "UntypedStorage",
    "accelerator",
    "anomaly",
    "as_tensor",
    "autocast",
    "checkpoint",
    "destination",
    "door_of",
    "enable_grad",
    "engine",
    "flatten_dense_tensors",
    "of_torch",
    "formats",
    "forward",
    "from_numpy",
    "function",
    "function_of",
    "functional",
    "grad_mode",
    "gradcheck",
    "graph",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "overrides",
    "public",
    "set_grad_enabled",
    "sharing",
    "strided",
    "tensor",
    "transforms",
    "unflatten_dense_tensors",
]
