"""How CUDA computes, which is not there: its switches may be set and do nothing."""

from flambeau._base import absent as _absent
from flambeau._base import missing
from flambeau.tensor import accelerator as _made

is_built = is_flash_attention_available = _absent.is_available
math_sdp_enabled = flash_sdp_enabled = mem_efficient_sdp_enabled = cudnn_sdp_enabled = (
    _absent.is_available
)
sdp_kernel, matmul = (
    _made.switches,
    _made.Switch(
        allow_tf32=False,
        allow_fp16_reduced_precision_reduction=True,
        allow_bf16_reduced_precision_reduction=True,
    ),
)
enable_flash_sdp = enable_mem_efficient_sdp = enable_math_sdp = enable_cudnn_sdp = _made.no_switch
__getattr__ = missing(globals())
__all__ = [
    "cudnn_sdp_enabled",
    "enable_cudnn_sdp",
    "enable_flash_sdp",
    "enable_math_sdp",
    "enable_mem_efficient_sdp",
    "flash_sdp_enabled",
    "is_built",
    "is_flash_attention_available",
    "math_sdp_enabled",
    "matmul",
    "mem_efficient_sdp_enabled",
    "sdp_kernel",
]
