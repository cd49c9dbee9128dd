"""The functions on tensors that loading needs, by name."""

from flambeau.tensor import PUBLIC, function_of

as_tensor, from_numpy, tensor = (PUBLIC[name] for name in ("as_tensor", "from_numpy", "tensor"))
stack = function_of("stack")
