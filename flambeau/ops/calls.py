"""`torch.ops.aten`: ops under the names that PyTorch's own code calls them by."""

from .op import registry

# Overloads that tell tensors from numbers, or forms of arguments: one op here takes them all.
MERGED = frozenset(
    (
        "Dimname", "IntList", "Scalar", "Scalar_Tensor", "Scalar_out", "Scalar_self", "Tensor",
        "Tensor_Scalar", "Tensor_Tensor", "Tensor_mode", "Tensor_out", "correction", "default",
        "dim", "dim_IntList", "int", "other_Scalar", "out", "self", "self_Scalar", "stable",
        "start", "start_step", "unary_out", "using_ints",
    )
)  # fmt: skip


class Packet:
    """All overloads of a name: callable itself, and each of them is an attribute."""

    def __init__(self, namespace, name, ops, form):
        self.__name__, self._namespace, self._ops, self._form = name, namespace, ops, form

    def __call__(self, *args, **kwargs):
        return self._form(*args, **kwargs)

    def overloads(self):
        """The names of the overloads that are declared."""
        return [op.overload or "default" for op in self._ops]

    def __getattr__(self, name):
        for op in self._ops:
            if op.overload == name:
                return op.inplace if self.__name__.endswith("_") else op.door
        if name in MERGED:
            return self._form
        raise AttributeError(f"{self!r} has no overload {name!r}")

    def __repr__(self):
        return f"{self._namespace}.{self.__name__}"


class Namespace:
    """`torch.ops.NAME`: its ops, looked up among what is declared."""

    def __init__(self, name, door_of):
        self.__name__, self._door_of = name, door_of

    def __getattr__(self, name):
        if self.__name__ != "aten":
            return self._of_users(name)
        for key in (name, f"nn.{name}", name.replace("_", ".", 1)):
            if key in registry:
                made = Packet(self.__name__, name, registry[key], self._door_of(key))
                break
        else:
            base = name.removesuffix("_")
            if base == name or base not in registry or not registry[base][0].inplace_form:
                raise AttributeError(f"torch.ops.{self.__name__} has no op {name!r}")
            made = Packet(self.__name__, name, registry[base], registry[base][0].inplace)
        setattr(self, name, made)
        return made

    def _of_users(self, name):
        """An op that a user declared, and may declare again."""
        declared = registry.get(f"{self.__name__}.{name}")
        if not declared:
            raise AttributeError(f"torch.ops.{self.__name__} has no op {name!r}")
        return Packet(self.__name__, name, declared, declared[0].door)

    def __repr__(self):
        return f"torch.ops.{self.__name__}"


PUBLIC = frozenset(("fft", "linalg", "nn", "special"))


def namespace(name):
    """The namespace of ops that users declared; None where they declared none in it."""
    if name not in PUBLIC and any(key.startswith(f"{name}.") for key in registry):
        return Namespace(name, None)
    return None


def load_library(path):
    """Raises OSError: libraries that are compiled for PyTorch need PyTorch."""
    raise OSError(f"{path} is compiled for PyTorch, which is not here: flambeau cannot load it")
