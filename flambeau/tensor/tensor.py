"""`Tensor`: a storage, a layout, an offset, and what autograd needs to know."""

from struct import unpack_from
from typing import TYPE_CHECKING, Any

from flambeau import ops, runtime
from flambeau._base import explain, numpy
from flambeau.ops import (
    AccumulateGrad,
    Output,
    add_hook,
    adopt,
    find,
    modes,
    ndarray,
    no_device,
    overrides,
)
from flambeau.types import (
    PYTHON_TYPES,
    STRUCT_LETTERS,
    AbsentDType,
    Device,
    DType,
    Layout,
    as_dtype,
    cpu,
    layout,
    meta,
)

from .autograd import engine, hooks
from .printing import tensor_repr


class Size(tuple):
    """The sizes of a tensor's dimensions: a tuple of int that knows its product."""

    __slots__ = ()

    def __new__(cls, sizes=()):
        made = tuple.__new__(cls, sizes)
        for place, size in enumerate(made):
            if not hasattr(size, "__index__"):
                raise TypeError(
                    f"torch.Size() takes an iterable of 'int' (item {place} is "
                    f"'{type(size).__name__}')"
                )
        return made

    def numel(self) -> int:
        """The number of elements: the product of the sizes."""
        n = 1
        for size in self:
            n *= size
        return n

    def __repr__(self):
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, index):
        item = super().__getitem__(index)
        return Size(item) if isinstance(item, tuple) else item

    def __add__(self, other):
        return Size(super().__add__(tuple(other)))

    def __radd__(self, other):
        return Size(tuple(other) + tuple(self))

    def __mul__(self, times):
        return Size(super().__mul__(times))

    __rmul__ = __mul__

    def __reduce__(self):
        return Size, (tuple(self),)


class Tensor:
    """An n-dimensional array of one dtype on one device.

    Made by functions such as `flambeau.tensor`, `flambeau.zeros`, `flambeau.from_numpy`; native
    code makes the results of ops. Several tensors may share one storage: views.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_base",
        "_grad",
        "_node",
        "_offset",
        "_storage",
        "_views",
        "layout",
    )
    _storage: Any
    layout: Layout
    _offset: int
    _node: Any
    _grad: "Tensor | None"

    if TYPE_CHECKING:  # most methods are ops, hung on the class by `methods.install`

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, index: Any) -> "Tensor": ...
        def __setitem__(self, index: Any, value: Any) -> None: ...

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __getitem__
        __truediv__ = __rtruediv__ = __floordiv__ = __mod__ = __pow__ = __rpow__ = __getitem__
        __matmul__ = __rmatmul__ = __and__ = __or__ = __xor__ = __getitem__
        __lt__ = __le__ = __gt__ = __ge__ = __getitem__

        def __eq__(self, other: Any) -> Any: ...
        def __ne__(self, other: Any) -> Any: ...

        def __neg__(self) -> "Tensor": ...

    def __new__(cls, *args, dtype=None, device=None):
        return find_constructor()(cls, args, dtype, device)

    # What it is.

    @property
    def shape(self) -> Size:
        return tuple.__new__(Size, self.layout.shape)

    @property
    def dtype(self) -> DType:
        return self.layout.dtype

    @property
    def device(self) -> Device:
        return self.layout.device

    @property
    def ndim(self) -> int:
        return self.layout.ndim

    @property
    def itemsize(self) -> int:
        return self.layout.itemsize

    @property
    def nbytes(self) -> int:
        return self.layout.numel * self.layout.itemsize

    def size(self, dim=None):
        """The shape, or the size of dimension `dim`."""
        if dim is None:
            return tuple.__new__(Size, self.layout.shape)
        return (
            self.layout.shape[ops.wrap_dim(dim, self.layout.ndim)]
            if self.layout.ndim
            else _no_dimension(dim)
        )

    def stride(self, dim=None):
        """Steps between neighbours along each dimension (or along `dim`), in elements."""
        if dim is None:
            return self.layout.strides
        return (
            self.layout.strides[ops.wrap_dim(dim, self.layout.ndim)]
            if self.layout.ndim
            else _no_dimension(dim)
        )

    def dim(self) -> int:
        return self.layout.ndim

    ndimension = dim

    def numel(self) -> int:
        return self.layout.numel

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.layout.itemsize

    def storage_offset(self) -> int:
        """Where the first element lies in the storage, in elements."""
        return self._offset

    def data_ptr(self) -> int:
        """The address of the first element; 0 where there is none."""
        return self._storage.ptr + self._offset * self.layout.itemsize if self.layout.numel else 0

    def is_contiguous(self, memory_format=None) -> bool:
        """Whether elements lie in row-major order without gaps (or in the order of
        `memory_format`).
        """
        if memory_format is None or memory_format.is_row_major:
            return self.layout.contiguous
        return memory_format.fits(self.layout)

    def is_floating_point(self) -> bool:
        return self.layout.dtype.kind == "f"

    def is_complex(self) -> bool:
        return self.layout.dtype.kind == "c"

    def is_nonzero(self) -> bool:
        """Whether the one element is not zero."""
        return bool(self)

    def is_signed(self) -> bool:
        return self.layout.dtype.is_signed

    def is_conj(self) -> bool:
        return self.layout.conj

    def is_neg(self) -> bool:
        return self.layout.neg

    def __rdiv__(self, other):
        return self.reciprocal() * other

    is_cuda = is_sparse = is_quantized = is_mkldnn = is_nested = is_mps = is_xpu = False
    is_ipu = is_maia = is_mtia = is_sparse_csr = is_vulkan = is_xla = False
    is_cpu = property(lambda self: self.layout.device.type == "cpu")
    is_meta = property(lambda self: self.layout.device.type == "meta")

    def get_device(self) -> int:
        return -1 if self.layout.device.index is None else self.layout.device.index

    def __invert__(self) -> "Tensor":
        if self.layout.dtype.kind in "fc":
            raise TypeError(
                "~ (operator.invert) is only implemented on integer and Boolean-type tensors"
            )
        return self.bitwise_not()

    def __delitem__(self, index):
        raise TypeError("Tensor does not support deleting items")

    # Autograd.

    @property
    def requires_grad(self) -> bool:
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, on):
        if not isinstance(on, bool):
            raise RuntimeError("requires_grad must be a bool")
        self.requires_grad_(on)

    def requires_grad_(self, requires_grad=True):
        """Starts (or stops) recording what is computed from this leaf."""
        if requires_grad:
            if self._node is None:
                if modes.is_inference(self._storage) and not modes.state.inference:
                    raise RuntimeError(
                        "Setting requires_grad=True on inference tensor outside InferenceMode is "
                        "not allowed."
                    )
                if self.layout.dtype.kind not in "fc":
                    raise RuntimeError("only Tensors of floating point dtype can require gradients")
                self._node = AccumulateGrad(self)
        elif self._node is not None:
            if self._node.__class__ is not AccumulateGrad:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to "
                    "use a computed variable in a subgraph that doesn't require differentiation "
                    "use var_no_grad = var.detach()."
                )
            self._node = None
        return self

    @property
    def is_leaf(self) -> bool:
        return self._node is None or self._node.__class__ is AccumulateGrad

    @property
    def grad_fn(self):
        """The node that made this tensor; None for leaves."""
        node = self._node
        if node.__class__ is Output:
            return node.node
        return None if node.__class__ is AccumulateGrad else node

    @property
    def output_nr(self) -> int:
        return self._node.index if self._node.__class__ is Output else 0

    @property
    def grad(self):
        """The gradient that backward accumulated, or None."""
        return self._grad

    @grad.setter
    def grad(self, value):
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    "assigned grad expected to be a Tensor or None but got grad of type "
                    f"{type(value).__name__}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value.layout.shape != self.layout.shape:
                raise RuntimeError(
                    f"attempting to assign a gradient of size '{list(value.shape)}' to a tensor "
                    f"of size '{list(self.shape)}'. Please ensure that the gradient and the tensor "
                    "are the same size"
                )
            if value.layout.dtype is not self.layout.dtype:
                raise RuntimeError(
                    "assigned grad has data of a different type: "
                    f"got {value.dtype.name}, expected {self.layout.dtype.name}"
                )
        self._grad = value

    @grad.deleter
    def grad(self):
        self._grad = None

    @property
    def data(self):
        """The same memory without history, and with a version counter of its own."""
        return runtime.wrap(_unversioned(self._storage), self.layout, self._offset)

    @data.setter
    def data(self, value):
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if self._node is not None and value.layout.dtype.kind not in "fc":
            raise RuntimeError(
                "data set to a tensor that requires gradients must be floating point or complex "
                "dtype"
            )
        self._storage, self.layout, self._offset = (
            _unversioned(value._storage),
            value.layout,
            value._offset,
        )

    @property
    def real(self):
        """The real part: a view of complex tensors, real ones as they are."""
        return find("real").door(self)

    @real.setter
    def real(self, value):
        find("real").door(self).copy_(value)

    @property
    def imag(self):
        """The imaginary part of a complex tensor: a view."""
        return find("imag").door(self)

    @imag.setter
    def imag(self, value):
        find("imag").door(self).copy_(value)

    @property
    def _version(self) -> int:
        if modes.is_inference(self._storage):
            raise RuntimeError("Inference tensors do not track version counter.")
        return self._storage.version

    def is_inference(self) -> bool:
        """Whether the tensor was made in `inference_mode`, or is a view of one that was."""
        return modes.is_inference(self._storage)

    def _is_view(self) -> bool:
        return self._base is not None

    backward = engine.backward_from

    def register_hook(self, hook):
        """Calls ``hook(grad)`` when this tensor's gradient is known; what it returns replaces the
        gradient.
        """
        if self._node is None:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        return add_hook(*hooks.place_of(self), hook)

    def register_post_accumulate_grad_hook(self, hook):
        """Calls ``hook(tensor)`` after this leaf's `grad` has been added to."""
        if self._node.__class__ is not AccumulateGrad:
            raise RuntimeError(
                "post accumulate grad hooks cannot be registered on non-leaf tensors"
            )
        return add_hook(self._node, "post", hook)

    def retain_grad(self):
        """Keeps the gradient of this computed tensor in its `grad`."""
        if self._node is None:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if not self.is_leaf:
            hooks.retain(self)

    @property
    def retains_grad(self) -> bool:
        return not self.is_leaf and hooks.retains(self)

    def detach_(self):
        """Forgets the history, in place."""
        if self._base is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self._node = None
        return self

    def to(
        self, *args, dtype=None, device=None, non_blocking=False, copy=False, memory_format=None,
        tensor=None,
    ):  # fmt: skip
        """The tensor in another dtype or on another device; itself where nothing changes and `copy`
        is false.

        Without names: a device and perhaps a dtype, a dtype, or a tensor that has both; then
        `non_blocking`, which means nothing here, and `copy`.
        """
        given = args if tensor is None else (tensor, *args)
        device, dtype, copy = destination(given, device, as_dtype(dtype), copy)
        out = self if device is None else self._on(device)
        changed = dtype is not None and dtype is not out.layout.dtype
        if changed or (copy and out is self):
            out = find("_to_copy").door(out, dtype or out.layout.dtype, True)
        if memory_format is None or memory_format.preserves:
            return out
        if out is self and memory_format.is_meant(out.layout):
            return out
        return out.clone(memory_format=memory_format)

    def _on(self, device):
        if device is self.layout.device:
            return self
        if device.type == "meta":
            return find("empty_strided").door(
                self.shape, self.stride(), dtype=self.dtype, device=device
            )
        if self.layout.device.type == "meta":
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        if device.type == "cpu":
            return self
        raise no_device(device)

    # Values out.

    def item(self):
        """The one element as a Python number."""
        layout = self.layout
        if layout.numel != 1:
            raise RuntimeError(
                f"a Tensor with {layout.numel} elements cannot be converted to Scalar"
            )
        if layout.device is meta:
            raise RuntimeError("Tensor.item() cannot be called on meta tensors")
        letter = STRUCT_LETTERS.get(layout.dtype)
        watched = modes.interpreters and modes.state.stack
        if letter is not None and layout.device is cpu and not layout.neg and not watched:
            return unpack_from(letter, self._storage, self._offset * layout.itemsize)[0]
        return (
            ndarray(self).item()
            if self.dtype.name != "bfloat16"
            else float(ndarray(self).reshape(())[()])
        )

    def tolist(self):
        """The elements as nested lists of Python numbers (a number for a 0-dim tensor)."""
        array = ndarray(self)
        return (array.astype(numpy.float32) if self.dtype.name == "bfloat16" else array).tolist()

    def numpy(self, *, force=False):
        """The same memory as a NumPy array. `force` copies what cannot be shared (history, conj and
        neg bits).
        """
        if force:
            return ndarray(self)
        for bit, name in ((self.layout.conj, "conj"), (self.layout.neg, "neg")):
            if bit:
                word = {"conj": "conjugate", "neg": "negative"}[name]
                raise RuntimeError(
                    f"Can't call numpy() on Tensor that has {word} bit set. Use "
                    f"tensor.resolve_{name}().numpy() instead."
                )
        if self._node is not None:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() "
                "instead."
            )
        if self.layout.dtype.name == "bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return ndarray(self)

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        if copy is False and dtype is not None and array.dtype != dtype:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        if copy:  # NumPy leaves it to us
            return array.astype(array.dtype if dtype is None else dtype)
        return array if dtype is None else array.astype(dtype, copy=False)

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return adopt(numpy.asarray(array))

    def __bool__(self):
        if self.layout.numel != 1:
            raise RuntimeError(
                "Boolean value of Tensor with no values is ambiguous"
                if self.layout.numel == 0
                else "Boolean value of Tensor with more than one value is ambiguous"
            )
        return bool(self.item())

    def __float__(self):
        return float(self._real("double") if self.layout.numel == 1 else _not_one())

    def __int__(self):
        return int(self._real("int64_t") if self.layout.numel == 1 else _not_one())

    def _real(self, name):
        """The one element, which has to be real to become a C++ number of that name."""
        value = self.item()
        if isinstance(value, complex):
            if value.imag:
                raise explain(
                    RuntimeError, f"value cannot be converted to type {name} without overflow"
                )
            return value.real
        return value

    def __complex__(self):
        return complex(self.item())

    def __index__(self):
        if self.layout.numel != 1 or self.layout.dtype.kind in "fc":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __len__(self):
        if not self.layout.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.layout.shape[0]

    def __iter__(self):
        if not self.layout.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, element):
        if not isinstance(element, Tensor | bool | int | float | complex):
            raise RuntimeError(
                "Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
                f"{type(element)}."
            )
        return bool((self == element).any())

    __hash__ = object.__hash__  # by identity; native, so that tensors are quick keys

    def __repr__(self, *, tensor_contents=None):
        return _represent(self)

    def __format__(self, spec):
        if self.layout.ndim == 0 and self.__class__ is Tensor and self.layout.device.type != "meta":
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __dir__(self):
        return sorted(set(object.__dir__(self)) | set(self.__dict__))

    @staticmethod
    def _make_subclass(cls, data, require_grad=False):
        """A tensor of class `cls` on the memory of `data`."""
        if not isinstance(data, Tensor):
            raise TypeError(
                "_make_subclass(): argument 'data' (position 2) must be Tensor, not "
                f"{type(data).__name__}"
            )
        made = object.__new__(cls)
        made._storage, made.layout, made._offset = data._storage, data.layout, data._offset
        made._node = made._base = made._grad = made._views = None
        if require_grad:
            made.requires_grad_()
        return made


def _no_dimension(dim):
    raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")


def _unversioned(storage):
    """The same memory with a version counter of its own."""
    other = runtime.foreign(storage.ptr, storage.nbytes, storage)
    other.version = min(storage.version, 0)
    return other


def _not_one():
    raise ValueError("only one element tensors can be converted to Python scalars")


def destination(args, device, dtype, copy=False):
    """(device, dtype, copy) that arguments of `to` ask for, `args` those without names. TypeError
    where these are no such, or name again what is given.
    """
    device = None if device is None else Device(device)
    if not args:
        return device, dtype, copy
    first, *rest = args
    if isinstance(first, Tensor):
        found, wanted = first.device, first.dtype
    elif first is None or first.__class__ is int or isinstance(first, str | Device):
        found = None if first is None else Device(first)
        wanted = as_dtype(rest.pop(0)) if rest and not isinstance(rest[0], bool) else None
    else:
        known = isinstance(first, DType | AbsentDType) or first in tuple(PYTHON_TYPES)
        found, wanted = None, as_dtype(first) if known else None
    nothing = found is wanted is None and first is not None
    twice = (found and device) or (wanted and dtype)
    if nothing or twice or len(rest) > 2 or not all([isinstance(v, bool) for v in rest]):
        given = [v for v in (*args, device, dtype) if v is not None]
        got = ", ".join(["torch.dtype" if type(v) is DType else type(v).__name__ for v in given])
        raise TypeError(f"to() received an invalid combination of arguments - got ({got})")
    return found or device, wanted or dtype, copy or rest[1:] == [True]


_constructor: list = []


def find_constructor():
    """`Tensor(...)` itself is PyTorch's legacy constructor; the creation module registers it
    here.
    """
    return _constructor[0]


def _represent(tensor):
    kind = type(tensor)
    made = layout(tensor.layout.shape, tensor.layout.strides, tensor.layout.dtype)
    node = tensor.grad_fn
    if tensor.layout.device.type == "meta":
        array = None
    else:
        array = ndarray(tensor)
    return tensor_repr(
        array,
        made.dtype.name,
        shape=made.shape,
        requires_grad=tensor.requires_grad and node is None,
        grad_fn_name=None if node is None else node.name(),
        device=str(tensor.layout.device),
        default_dtype=modes.defaults.dtype.name,
        class_name="tensor" if kind in overrides.plain else kind.__name__,
        extra=[s for i in modes.state.stack if hasattr(i, "suffixes") for s in i.suffixes(tensor)],
    )
