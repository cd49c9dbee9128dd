"""PyTorch's path to the sampler of one rank."""

from flambeau.data import (
    DistributedSampler,
)

__all__ = [
    "DistributedSampler",
]
