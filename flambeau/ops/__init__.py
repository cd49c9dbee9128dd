"""The ops: their declarations, families, doors, and what they leave behind for backward."""

from flambeau._base import knobs

from . import (
    activations,
    arithmetic,
    attention,
    bags,
    batch_norm,
    bessel,
    beta,
    comparison,
    contraction,
    convolution,
    counting,
    creation,
    ctc,
    decompositions,
    determinants,
    diagonals,
    distances,
    draws,
    eigenvalues,
    einsum,
    embedding,
    extremes,
    filling,
    fourier,
    hypergeometric,
    indexing,
    integrals,
    linear_cross_entropy,
    logic,
    losses,
    masks,
    memory,
    modes,
    normalization,
    norms,
    overrides,
    polynomials,
    pooling,
    random,
    ranges,
    recurrent,
    reductions,
    repeats,
    sampling,
    scans,
    scatter,
    searching,
    shapes,
    shown,
    softmax,
    solving,
    sorting,
    special,
    spectra,
    statistics,
    stirling,
    transcendental,
    unfold,
    updates,
    upsample,
    views,
)
from .calls import Namespace, load_library, namespace
from .convolve import Convolve
from .creation import no_device
from .door import (
    OVERLAP,
    announced,
    call,
    check_overlap,
    check_places,
    generated,
    inplace_plan,
    listeners,
    make_plain,
)
from .door import bind as bind_doors
from .door import plainly as perform_plainly
from .facts import c_name, type_name
from .family import (
    Chain,
    Fold,
    Fused,
    Pointwise,
    Reduction,
    fused,
    pointwise,
    reduction,
    scan,
    view,
)  # fmt: skip
from .family.arrays import adopt, ndarray
from .family.chain import InRows
from .family.launch import Work, broadcast, expand, scratch_of
from .family.pointwise import can_write, check_target
from .family.product import Multiply
from .family.reduction import wrap_dim
from .family.view import register
from .joining import at_least
from .matrices import LinAlgError
from .modes import INPLACE, interpreting
from .op import Composite, Op, composite, explain, find, forget_plans, registry
from .promotion import result_type
from .random import record_of
from .results import named, result_type_of
from .shapes import conjugate_of_scalar
from .tape import (
    FREED,
    AccumulateGrad,
    Node,
    Output,
    Packed,
    add_hook,
    alone,
    extras,
    kind_of,
    modified,
    next_order,
    refuse_inference,
    start_recording,
    watchers,
)
from .tape import bind as bind_tape

if "ops" in knobs.show:
    shown.show_ops()


def __getattr__(name):
    """A declared op as a function, by its name: `ops.relu`, `ops.mse_loss` (an `nn::` op),
    `ops.relu_`.
    """
    for key in (name, f"nn.{name}"):
        if key in registry:
            return registry[key][0].door
        if key.endswith("_") and key[:-1] in registry:
            return registry[key[:-1]][0].inplace
    if found := namespace(name):
        return found
    raise AttributeError(f"no op named {name!r} is declared")


__all__ = [
    "FREED",
    "INPLACE",
    "InRows",
    "AccumulateGrad",
    "Chain",
    "Composite",
    "Convolve",
    "interpreting",
    "perform_plainly",
    "scratch_of",
    "conjugate_of_scalar",
    "Fold",
    "Fused",
    "Multiply",
    "Node",
    "Op",
    "Output",
    "Packed",
    "Pointwise",
    "Reduction",
    "Work",
    "add_hook",
    "adopt",
    "alone",
    "announced",
    "bind_doors",
    "bind_tape",
    "broadcast",
    "c_name",
    "call",
    "can_write",
    "check_overlap",
    "check_places",
    "composite",
    "expand",
    "explain",
    "extras",
    "find",
    "forget_plans",
    "fused",
    "generated",
    "inplace_plan",
    "kind_of",
    "load_library",
    "listeners",
    "make_plain",
    "modes",
    "overrides",
    "modified",
    "next_order",
    "record_of",
    "refuse_inference",
    "ndarray",
    "no_device",
    "LinAlgError",
    "Namespace",
    "pointwise",
    "reduction",
    "register",
    "registry",
    "result_type",
    "named",
    "result_type_of",
    "scan",
    "start_recording",
    "type_name",
    "view",
    "watchers",
    "at_least",
    "wrap_dim",
]
