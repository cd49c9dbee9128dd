"""Tensors of a module that are computed from other tensors whenever they are read.

``register_parametrization(module, "weight", p)`` moves the parameter to
``module.parametrizations.weight.original`` and makes ``module.weight`` a property: ``p(original)``.
A property belongs to a class, so each parametrized module gets a class of its own. It pickles as a
recipe: the class before, and the names to make properties of.
"""

from __future__ import annotations

import contextlib
import copyreg
from collections.abc import Iterator, Sequence
from typing import Any

from flambeau.tensor import Tensor, is_grad_enabled, no_grad

from ..modules import Module, ModuleDict, ModuleList
from ..parameter import Parameter

__all__ = [
    "cached",
    "ParametrizationList",
    "register_parametrization",
    "is_parametrized",
    "remove_parametrizations",
    "type_before_parametrizations",
    "transfer_parametrizations_and_params",
]


class _Cache:
    """The values computed within `cached`, and how many such blocks are open."""

    depth = 0
    values: dict[tuple[ParametrizationList, bool], Any] = {}


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrized tensor once in the with block, at its first use.

    Blocks nest; the values are dropped at the end of the outermost one. Assigning to a parametrized
    tensor drops its value at once. Values with and without gradients are kept apart.
    """
    _Cache.depth += 1
    try:
        yield
    finally:
        _Cache.depth -= 1
        if _Cache.depth == 0:
            _Cache.values = {}


def _register(module: Module, name: str, tensor: Any) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _type_name(value: Any) -> str:
    return type(value).__name__


def _check_kept(rule: str, before: tuple[str, Any], after: tuple[str, Any]) -> None:
    """Raise unless two labelled tensors agree in dtype and shape."""
    for attribute in ("dtype", "shape"):
        old, new = getattr(before[1], attribute), getattr(after[1], attribute)
        if old != new:
            raise ValueError(
                rule.format(attribute)
                + f"\n{before[0].format(attribute)}: {old}\n{after[0].format(attribute)}: {new}"
            )


def _check_is_tensor(value: Any) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {_type_name(value)}.")


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, in order, and the tensors that they start from.

    These are ``original`` or, where ``right_inverse`` of the first parametrization returns several,
    ``original0``, ``original1``, …. Made by `register_parametrization`.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        start = self._invert_where_possible(original)
        if not isinstance(start, Tensor | Sequence):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {_type_name(start)}"
            )
        self.is_tensor = isinstance(start, Tensor)
        self.ntensors = 1 if isinstance(start, Tensor) else len(start)
        self._check_start(original, start)
        if not unsafe:
            self._check_result(original, start)
        if isinstance(start, Tensor):
            original.data = start.detach()
            _register(self, "original", original)
            return
        for place, each in enumerate(start):
            if isinstance(original, Parameter):
                each = Parameter(each.detach(), original.requires_grad)
            _register(self, f"original{place}", each.requires_grad_(original.requires_grad))

    def _invert_where_possible(self, value: Any) -> Any:
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with contextlib.suppress(NotImplementedError):
                        value = module.right_inverse(value)
        return value

    @staticmethod
    def _check_start(original: Tensor, start: Any) -> None:
        if not isinstance(start, Tensor):
            for place, each in enumerate(start):
                if not isinstance(each, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors "
                        f"(list, tuple...). Got element {place} of the sequence with type "
                        f"{_type_name(each)}."
                    )
            return
        for attribute in ("dtype", "device"):
            old, new = getattr(original, attribute), getattr(start, attribute)
            if old != new:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the "
                    f"{attribute}.\noriginal.{attribute}: {old}\n"
                    f"right_inverse(original).{attribute}: {new}"
                )

    def _check_result(self, original: Tensor, start: Any) -> None:
        result = self._compose((start,) if self.is_tensor else tuple(start))
        _check_is_tensor(result)
        _check_kept(
            "Registering a parametrization may not change the {} of the tensor, "
            "unless `unsafe` flag is enabled.",
            ("unparametrized {}", original),
            ("parametrized {}", result),
        )

    @property
    def _original_names(self) -> list[str]:
        if self.is_tensor:
            return ["original"]
        return [f"original{place}" for place in range(self.ntensors)]

    def _compose(self, starts: tuple) -> Any:
        first, *others = self
        value = first(*starts)
        for module in others:
            value = module(value)
        return value

    def forward(self) -> Tensor:
        """The parametrized tensor."""
        return self._compose(tuple(getattr(self, name) for name in self._original_names))

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the parametrized tensor becomes `value`.

        Raises RuntimeError if a parametrization has no ``right_inverse``.
        """
        result: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {_type_name(module)} does not implement right_inverse."
                    )
                result = module.right_inverse(result)
        if self.is_tensor:
            self._set_original(result)
        else:
            self._set_originals(result)
        for key in [key for key in _Cache.values if key[0] is self]:
            del _Cache.values[key]

    def _set_original(self, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise ValueError(f"`right_inverse` should return a tensor. Got {_type_name(value)}")
        if value.dtype != self.original.dtype:
            raise ValueError(
                f"The tensor returned by `right_inverse` has dtype {value.dtype} "
                f"while `original` has dtype {self.original.dtype}"
            )
        self.original.data = value.detach()

    def _set_originals(self, values: Any) -> None:
        if not isinstance(values, Sequence):
            raise ValueError(
                f"'right_inverse' must return a sequence of tensors. Got {_type_name(values)}."
            )
        if len(values) != self.ntensors:
            raise ValueError(
                "'right_inverse' must return a sequence of tensors of length "
                f"{self.ntensors}. Got a sequence of length {len(values)}."
            )
        originals = [getattr(self, name) for name in self._original_names]
        for place, (value, original) in enumerate(zip(values, originals)):
            if not isinstance(value, Tensor):
                raise ValueError(
                    "'right_inverse' must return a sequence of tensors. "
                    f"Got element {place} of type {_type_name(value)}."
                )
            if value.dtype != original.dtype:
                raise ValueError(
                    f"Tensor {place} returned by `right_inverse` has dtype {value.dtype} "
                    f"while `original{place}` has dtype {original.dtype}"
                )
        for value, original in zip(values, originals):
            original.data = value.detach()


# --- the class of a parametrized module ----------------------------------------------------------


def _inject_class(module: Module) -> None:
    """Give the module a class of its own, which may then get properties."""
    before = type(module)
    body = {"__reduce_ex__": _reduce_parametrized, "_class_before_parametrizations": before}
    module.__class__ = type(f"Parametrized{before.__name__}", (before,), body)


def _inject_property(cls: type, name: str) -> None:
    """Make an attribute read and write the parametrized tensor of that name."""

    def read(self: Any) -> Tensor:
        parametrization = self.parametrizations[name]
        if not _Cache.depth:
            return parametrization()
        key = (parametrization, is_grad_enabled())
        value = _Cache.values.get(key)
        if value is None:
            value = _Cache.values[key] = parametrization()
        return value

    def write(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(cls, name, property(read, write))


def _inject_aliases(cls: type, name: str, suffixes: Sequence[str]) -> None:
    """Let ``weight_g`` read ``parametrizations.weight.original0``, and so on."""
    for place, suffix in enumerate(suffixes):
        if not hasattr(cls, name + suffix):
            setattr(cls, name + suffix, _alias(name, f"original{place}"))


def _alias(name: str, original: str) -> property:
    return property(lambda self: getattr(self.parametrizations[name], original))


def _aliases(parametrizations: Any) -> tuple[str, ...]:
    """What the first parametrization's ``original_aliases`` says: suffixes of names."""
    return tuple(getattr(parametrizations[0], "original_aliases", ()))


_NEW = vars(copyreg)["__newobj__"]  # what pickles call to make an object


def _reduce_parametrized(self: Any, protocol: Any) -> tuple:
    """Pickle, or copy, as the object before, the names of its properties, and the state."""
    before: Any = type_before_parametrizations(self)
    reduce: Any = before.__reduce_ex__
    build, arguments, *state = reduce(self, max(int(protocol), 2))
    arguments = tuple(before if each is type(self) else each for each in arguments)
    recipe = [(name, _aliases(each)) for name, each in self.parametrizations.items()]
    if build is _NEW:
        build = None  # old pickle protocols call its module by a name that is no longer there
    return _rebuild_parametrized, (build, arguments, recipe), *state


def _rebuild_parametrized(build: Any, arguments: tuple, recipe: list) -> Any:
    module = _NEW(*arguments) if build is None else build(*arguments)
    _inject_class(module)
    for name, suffixes in recipe:
        _inject_property(type(module), name)
        _inject_aliases(type(module), name, suffixes)
    return module


# --- public functions ----------------------------------------------------------------------------


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a parameter or buffer by a module from now on; several on one tensor are chained.

    The value at first is ``right_inverse`` of the parametrization, where it has that, applied to
    the tensor. Parameters stay the same objects (if ``right_inverse`` returns one tensor), so an
    optimizer made before goes on working. Assigning to the tensor runs all ``right_inverse``.

    Unless `unsafe`, the parametrization is run once to check that it keeps dtype and shape.
    Errors: ValueError if it does not, or if the module has no such tensor. Returns the module.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_link(module, tensor_name, parametrization)
        chain: Any = module.parametrizations[tensor_name]
        chain.append(parametrization)
        chain.unsafe |= unsafe
        return module
    if tensor_name not in module._buffers and tensor_name not in module._parameters:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a "
            f"parametrized element with name '{tensor_name}'"
        )
    original = getattr(module, tensor_name)
    _install(module, tensor_name, ParametrizationList([parametrization], original, unsafe=unsafe))
    return module


def _install(module: Module, name: str, parametrizations: ParametrizationList) -> None:
    """Replace a parameter or buffer, if there is one, by the property."""
    if name in module._parameters or name in module._buffers:
        delattr(module, name)
    if not is_parametrized(module):
        _inject_class(module)
        module.parametrizations = ModuleDict()
    _inject_property(type(module), name)
    _inject_aliases(type(module), name, _aliases(parametrizations))
    module.parametrizations[name] = parametrizations


def _check_link(module: Module, name: str, parametrization: Any) -> None:
    """Check that another parametrization of the same tensor fits behind those it has."""
    before = getattr(module, name)
    after = parametrization(before)
    _check_is_tensor(after)
    _check_kept(
        "Registering a parametrization may not change the {} of the tensor, "
        "unless the `unsafe` flag is enabled.",
        (f"module.{name}.{{}}", before),
        (f"parametrization(module.{name}).{{}}", after),
    )
    if not hasattr(parametrization, "right_inverse"):
        return
    try:
        inverse = parametrization.right_inverse(after)
    except NotImplementedError:
        return
    if not isinstance(inverse, Tensor):
        raise ValueError(
            f"parametrization.right_inverse must return a tensor. Got: {_type_name(inverse)}"
        )
    _check_kept(
        "The tensor returned by parametrization.right_inverse must have the same {} "
        f"as module.{name}, unless the `unsafe` flag is enabled.",
        (f"module.{name}.{{}}", before),
        ("returned {}", inverse),
    )


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module, or this tensor of it, is parametrized."""
    parametrizations = getattr(module, "parametrizations", None)
    if not isinstance(parametrizations, ModuleDict):
        return False
    if tensor_name is None:
        return len(parametrizations) > 0
    return tensor_name in parametrizations


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make a parametrized tensor an ordinary one again.

    It keeps its present value, or, with ``leave_parametrized=False``, gets that of ``original``.
    With a single original, it is the same Parameter object as before the parametrization.
    Errors: ValueError if it is not parametrized, or has several originals and is not to keep its
    value.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    parametrizations: Any = module.parametrizations[tensor_name]
    if parametrizations.is_tensor:
        tensor = parametrizations.original
        if leave_parametrized:
            with no_grad():
                tensor.data = getattr(module, tensor_name).detach()
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        tensor = Parameter(value.detach()) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor "
            "that is parametrized in terms of a sequence of tensors."
        )
    cls: Any = type(module)
    for name in (tensor_name, *(tensor_name + suffix for suffix in _aliases(parametrizations))):
        if name in cls.__dict__:
            delattr(cls, name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, tensor)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = cls._class_before_parametrizations
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class that the module had before it was parametrized."""
    cls: Any = type(module)
    return cls._class_before_parametrizations if is_parametrized(module) else cls


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Let a module share the parametrizations and originals of another, or of one tensor of it.

    Parametrizations that the target tensor has already stay in front. Nothing happens if
    `from_module` is not parametrized. Returns `to_module`.
    """
    if not is_parametrized(from_module):
        return to_module
    names = list(from_module.parametrizations) if tensor_name is None else [tensor_name]
    for name in names:
        source: Any = from_module.parametrizations[name]
        if is_parametrized(to_module, name):
            chain: Any = to_module.parametrizations[name]
            for parametrization in source:
                register_parametrization(to_module, name, parametrization, unsafe=source.unsafe)
        else:
            chain = ParametrizationList.__new__(ParametrizationList)
            ModuleList.__init__(chain, source)
            chain.unsafe, chain.is_tensor = source.unsafe, source.is_tensor
            chain.ntensors = source.ntensors
            _install(to_module, name, chain)
        for path in source._original_names:
            original = getattr(source, path)
            if path in chain._buffers or isinstance(original, Parameter):
                setattr(chain, path, original)
            else:
                chain.register_buffer(path, original)
    return to_module
