"""Autocast: inside, products and convolutions run in a half type, and what would lose too much by
that in float32.

It is an interpreter on the door. An op of the lists below gets its arguments cast; a composite that
is on none of them is watched part by part; everything else happens as it is. The lists are
PyTorch's for the CPU.
"""

import functools
import threading
import warnings

from flambeau.ops import Composite, modes, perform_plainly
from flambeau.types import Device, by_name, cpu

from .tensor import Tensor

state = modes.state
FLOAT32, FLOAT64 = by_name("float32"), by_name("float64")
_HALVES = (by_name("bfloat16"), by_name("float16"))

LOWER = frozenset(
    "addbmm addmm baddbmm bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d "
    "conv_transpose3d linalg_vecdot linear matmul mm prelu scaled_dot_product_attention".split()
)
FLOAT = frozenset(
    "adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d binary_cross_entropy "
    "binary_cross_entropy_with_logits cdist cholesky cholesky_inverse cholesky_solve "
    "cosine_embedding_loss cross_entropy_loss ctc_loss fft_fft fft_fft2 fft_fftn fft_hfft fft_ifft "
    "fft_ifft2 fft_ifftn fft_ihfft fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn "
    "fractional_max_pool2d fractional_max_pool3d geqrf grid_sampler grid_sampler_2d "
    "grid_sampler_3d hinge_embedding_loss huber_loss inverse kl_div l1_loss linalg_cholesky "
    "linalg_cholesky_ex linalg_cond linalg_eig linalg_eigh linalg_eigvals linalg_eigvalsh "
    "linalg_householder_product linalg_inv linalg_inv_ex linalg_lstsq linalg_matrix_rank linalg_qr "
    "linalg_solve linalg_svd linalg_svdvals linalg_tensorinv linalg_tensorsolve lu_solve "
    "margin_ranking_loss max_pool3d max_unpool2d max_unpool3d mse_loss multi_margin_loss "
    "multilabel_margin_loss nanquantile nll_loss_nd orgqr ormqr pinverse poisson_nll_loss polar "
    "prod qr quantile smooth_l1_loss soft_margin_loss stft svd trace triangular_solve "
    "triplet_margin_loss view_as_complex".split()
)
# Composites that are not looked into: for PyTorch, they have no parts.
WHOLE = frozenset(("addmv", "bilinear", "dot", "linalg_lu_solve", "mv", "vdot"))
# The padding modes in float32, with the least number of entries of `pad` that are not.
PADDING = {"reflect": 6, "replicate": 8}


class _Thread(threading.local):
    """What this thread has set."""

    def __init__(self):
        self.enabled = set()  # device types
        self.dtypes = {}  # by device type, where not the default
        self.caches = True
        self.nesting = 0
        self.casts = {}  # (number of a parameter, grad mode) -> (parameter, version, cast)


_thread = _Thread()


@functools.cache
def _rule(op):
    """How an op's arguments are cast: "lower", "float", "pad", "widest"; "parts" where the op's
    parts are looked at instead; None.
    """
    plain = op.namespace in ("", "aten", "nn")
    name = op.name if plain else f"{op.namespace}_{op.name}"
    if name in LOWER:
        return "lower"
    if name in FLOAT:
        return "float"
    if name in ("pad", "index_copy"):
        return {"pad": "pad", "index_copy": "widest"}[name]
    whole = name in WHOLE or op.gradients or not isinstance(op, Composite)
    return None if whole else "parts"


class _Interpreter:
    """Casts the arguments of ops."""

    def process(self, op, args, target):
        rule = _rule(op)
        if rule is None or target is not None:
            return perform_plainly(op, args, target)
        if rule == "parts":
            outer = state.stack
            state.stack = (*outer, self)
            try:
                return op.slow(args)
            finally:
                state.stack = outer
        dtype = self._dtype(rule, args)
        if dtype is not None:
            args = tuple(_cast(a, dtype) if isinstance(a, Tensor) else a for a in args)
        return perform_plainly(op, args, None)

    @staticmethod
    def _dtype(rule, args):
        """What to cast to; None for nothing."""
        if rule == "lower":
            return get_autocast_dtype("cpu")
        if rule == "float":
            return FLOAT32
        if rule == "pad":
            least = PADDING.get(args[2])
            return None if least is None or len(args[1]) >= least else FLOAT32
        wide = any(isinstance(a, Tensor) and a.layout.dtype is FLOAT32 for a in args)
        return FLOAT32 if wide else None


interpreter = _Interpreter()


def _cast(tensor, dtype):
    """A floating-point tensor of the CPU, float64 excepted, in that dtype. Casts of float32
    parameters are kept until the outermost autocast ends.
    """
    layout = tensor.layout
    if layout.dtype is dtype or layout.dtype.kind != "f" or layout.dtype is FLOAT64:
        return tensor
    if layout.device is not cpu:
        return tensor
    keeps = (
        _thread.caches
        and layout.dtype is FLOAT32
        and dtype is get_autocast_dtype("cpu")
        and tensor.requires_grad
        and tensor.is_leaf
        and tensor._base is None
    )
    if not keeps:
        return tensor.to(dtype)
    key, version = (id(tensor), bool(state.grad)), tensor._storage.version
    entry = _thread.casts.get(key)
    if entry is None or entry[1] != version or entry[2].layout.dtype is not dtype:
        entry = _thread.casts[key] = tensor, version, tensor.to(dtype)
    return entry[2]


def lowered(tensor):
    """A tensor, or None, as an op of `LOWER` gets it."""
    return tensor if tensor is None else _cast(tensor, get_autocast_dtype("cpu"))


# What programs ask and set.


def is_autocast_enabled(device_type="cuda"):
    """Whether autocast is on in this thread, for that type of device."""
    return Device(device_type).type in _thread.enabled


def set_autocast_enabled(device_type, enabled=None):
    """Turns autocast on or off in this thread. `enabled` alone is CUDA's."""
    if enabled is None:
        device_type, enabled = "cuda", device_type
    kind = Device(device_type).type
    if enabled == (kind in _thread.enabled):
        return
    if enabled:
        _thread.enabled.add(kind)
    else:
        _thread.enabled.remove(kind)
    if kind != "cpu":
        return
    if enabled:
        state.stack = (*state.stack, interpreter)
        modes.interpreters.append(interpreter)
    else:
        state.stack = tuple(x for x in state.stack if x is not interpreter)
        modes.interpreters.remove(interpreter)


def get_autocast_dtype(device_type):
    """The half type that autocast uses on that type of device."""
    if device_type == "meta":
        raise RuntimeError("unsupported scalarType")
    default = _HALVES[Device(device_type).type in ("cuda", "mps")]
    return _thread.dtypes.get(device_type, default)


def set_autocast_dtype(device_type, dtype):
    """Sets the half type that autocast uses on that type of device."""
    _thread.dtypes[Device(device_type).type] = dtype


def is_autocast_available(device_type):
    """Whether PyTorch has autocast for that type of device."""
    return Device(device_type).type != "meta"


def is_autocast_cache_enabled():
    """Whether casts of parameters are kept."""
    return _thread.caches


def set_autocast_cache_enabled(enabled):
    """Sets whether casts of parameters are kept."""
    _thread.caches = enabled


def clear_autocast_cache():
    """Drops the casts of parameters."""
    _thread.casts.clear()


def autocast_increment_nesting():
    """Enters one more autocast block; returns how many there are."""
    _thread.nesting += 1
    return _thread.nesting


def autocast_decrement_nesting():
    """Leaves an autocast block; returns how many there are still."""
    _thread.nesting -= 1
    return _thread.nesting


def _older(name, newer, device_type, takes=""):
    """A function for one type of device, with PyTorch's warning."""

    def older(*given):
        arguments = f"'{device_type}', {takes}" if takes else f"'{device_type}'"
        warnings.warn(
            f"torch.{name}({takes}) is deprecated. Please use torch.{newer.__name__}({arguments}) "
            "instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        return newer(device_type, *given)

    older.__name__ = older.__qualname__ = name
    older.__doc__ = f"`{newer.__name__}` of {device_type}."
    return older


is_autocast_cpu_enabled = _older("is_autocast_cpu_enabled", is_autocast_enabled, "cpu")
set_autocast_cpu_enabled = _older(
    "set_autocast_cpu_enabled", set_autocast_enabled, "cpu", "enabled"
)
get_autocast_cpu_dtype = _older("get_autocast_cpu_dtype", get_autocast_dtype, "cpu")
get_autocast_gpu_dtype = _older("get_autocast_gpu_dtype", get_autocast_dtype, "cuda")
set_autocast_cpu_dtype = _older("set_autocast_cpu_dtype", set_autocast_dtype, "cpu", "dtype")
set_autocast_gpu_dtype = _older("set_autocast_gpu_dtype", set_autocast_dtype, "cuda", "dtype")


class autocast:
    """A with block, or a decorator, in which ops of a type of device are cast.

    `dtype` is bfloat16 (the default) or float16 on the CPU; another is warned of and turns it off.
    `enabled=False` makes an island without autocast. `cache_enabled=False` casts parameters anew
    for each use. Blocks nest. Backward belongs outside.
    """

    def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=None):
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = Device(device_type).type
        self.fast_dtype = get_autocast_dtype(self.device) if dtype is None else dtype
        self._cache_enabled = _thread.caches if cache_enabled is None else cache_enabled
        self._enabled = bool(enabled) and self._possible()
        self._before: list = []

    def _possible(self):
        if self.device == "cuda":
            warnings.warn(
                "CUDA is not available or torch_xla is imported. Disabling autocast.", stacklevel=3
            )
            return False
        if self.device == "cpu" and self.fast_dtype not in _HALVES:
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
                "CPU Autocast only supports dtypes of torch.bfloat16, torch.float16 currently.",
                stacklevel=3,
            )
            return False
        return True

    def __enter__(self):
        kind = self.device
        self._before.append((kind in _thread.enabled, _thread.dtypes.get(kind), _thread.caches))
        set_autocast_enabled(kind, self._enabled)
        _thread.dtypes[kind] = self.fast_dtype
        _thread.nesting += 1
        _thread.caches = self._cache_enabled
        return self

    def __exit__(self, *exception):
        _thread.nesting -= 1
        if not _thread.nesting:
            _thread.casts.clear()
        enabled, dtype, _thread.caches = self._before.pop()
        set_autocast_enabled(self.device, enabled)
        if dtype is None:
            del _thread.dtypes[self.device]
        else:
            _thread.dtypes[self.device] = dtype

    def __call__(self, func):
        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            with self:
                return func(*args, **kwargs)

        return wrapper


def present_autocast():
    """A new context that sets autocast for the CPU as it is now."""
    return autocast("cpu", get_autocast_dtype("cpu"), "cpu" in _thread.enabled, _thread.caches)


PUBLIC = (
    "autocast",
    "autocast_decrement_nesting",
    "autocast_increment_nesting",
    "clear_autocast_cache",
    "get_autocast_cpu_dtype",
    "get_autocast_dtype",
    "get_autocast_gpu_dtype",
    "is_autocast_cache_enabled",
    "is_autocast_cpu_enabled",
    "is_autocast_enabled",
    "set_autocast_cache_enabled",
    "set_autocast_cpu_dtype",
    "set_autocast_cpu_enabled",
    "set_autocast_dtype",
    "set_autocast_enabled",
    "set_autocast_gpu_dtype",
)
