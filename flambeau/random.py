"""Seeds and states of the default generator: PyTorch's `torch.random`."""

from flambeau._base import missing
from flambeau.runtime import default_generator
from flambeau.tensor import PUBLIC

fork_rng, get_rng_state, set_rng_state = (
    PUBLIC[name] for name in ("fork_rng", "get_rng_state", "set_rng_state")
)
initial_seed, manual_seed, seed = (PUBLIC[name] for name in ("initial_seed", "manual_seed", "seed"))
__getattr__ = missing(globals())
__all__ = [
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]
