"""New tensors: `zeros`, `full`, `arange`, `rand` and their kin, with PyTorch's signatures.

Every function takes `dtype`, `device`, `requires_grad`. The only `layout` is torch.strided;
`pin_memory`, a hint for copies to other devices, is accepted and means nothing here.
"""

import functools
import math

from flambeau.ops import find, modes
from flambeau.types import Device, as_dtype, by_name, cpu

from .formats import MemoryFormat, MemoryLayout, strided
from .tensor import Tensor

_defaults = modes.defaults
INT64 = by_name("int64")


@functools.cache
def _door(name):
    return find(name).door


def shape_of(name, args, size=None):
    """The shape that was given as ``(2, 3)``, ``((2, 3),)`` or ``size=``."""
    if size is None:
        if len(args) == 1 and args[0].__class__ is not int:
            size = args[0]
        elif not args:
            raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
        else:
            size = args
    if isinstance(size, Tensor) and (size.ndim or size.dtype.kind not in "iu"):
        raise _bad_size(name, size)
    if isinstance(size, str | bool):
        raise _bad_size(name, size)
    if not hasattr(size, "__iter__") or isinstance(size, Tensor):
        if not hasattr(size, "__index__"):
            raise _bad_size(name, size)
        size = (size,)
    shape = tuple([n if n.__class__ is int else _index(name, n) for n in size])
    if shape and min(shape) < 0 and name in ("zeros", "ones"):
        raise RuntimeError(f"{name}: Dimension size must be non-negative.")
    return shape


def _bad_size(name, size):
    return TypeError(
        f"{name}(): argument 'size' (position 1) must be tuple of ints, not {type(size).__name__}"
    )


def _index(name, n):
    try:
        return n.__index__()
    except AttributeError:
        raise TypeError(
            f"{name}(): argument 'size' (position 1) must be tuple of ints, but found element of "
            f"type {type(n).__name__} at pos 0"
        ) from None


def as_device(device, layout=None):
    """A device, the default one for None. Raises for a layout other than torch.strided."""
    if layout is not None and layout is not strided:
        check_layout(layout)
    return (
        _defaults.device
        if device is None
        else device
        if device.__class__ is Device
        else Device(device)
    )


def check_layout(layout):
    """Raises where `layout` is not torch.strided, or None."""
    if layout is None or layout is strided:
        return
    if not isinstance(layout, MemoryLayout):
        raise TypeError(f"argument 'layout' must be torch.layout, not {type(layout).__name__}")
    raise NotImplementedError(f"flambeau has no tensors of layout {layout}")


def finish(made, out, requires_grad):
    """Writes the new tensor to `out` if there is one, and makes it a leaf that requires grad if so
    asked.
    """
    if out is not None:
        if made.layout.shape != out.layout.shape:
            out.resize_(made.layout.shape)
        return out.copy_(made)
    if requires_grad:
        if made.layout.dtype.kind not in "fc":
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients"
            )
        made.requires_grad_()
    return made


def _filled(size, value, out, dtype, layout, device, requires_grad):
    if out is not None:
        dtype = dtype or out.dtype
    made = _door("full")(
        size, value, dtype=as_dtype(dtype) or _defaults.dtype, device=as_device(device, layout)
    )
    return made if out is None and not requires_grad else finish(made, out, requires_grad)


def zeros(
    *args,
    size=None,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    pin_memory=False,
    requires_grad=False,
):
    """A tensor of zeros of shape `size`."""
    return _filled(shape_of("zeros", args, size), 0, out, dtype, layout, device, requires_grad)


def ones(
    *args,
    size=None,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    pin_memory=False,
    requires_grad=False,
):
    """A tensor of ones of shape `size`."""
    return _filled(shape_of("ones", args, size), 1, out, dtype, layout, device, requires_grad)


def empty(
    *args,
    size=None,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    pin_memory=False,
    requires_grad=False,
    memory_format=None,
):
    """A tensor of shape `size` whose contents are unspecified."""
    shape = shape_of("empty", args, size)
    if out is not None:
        return out.resize_(shape)
    dtype, device = as_dtype(dtype), as_device(device, layout)
    if memory_format is None or memory_format.is_row_major:
        made = _door("empty")(shape, dtype=dtype, device=device)
    else:
        made = _door("empty_strided")(
            shape, memory_format.strides(shape), dtype=dtype, device=device
        )
    return finish(made, None, requires_grad) if requires_grad else made


def empty_strided(
    size, stride, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """A tensor of shape `size` and strides `stride`, in elements, whose contents are
    unspecified.
    """
    made = _door("empty_strided")(
        tuple(size), tuple(stride), dtype=as_dtype(dtype), device=as_device(device, layout)
    )
    return finish(made, None, requires_grad)


def empty_permuted(
    size,
    physical_layout,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Unwritten memory whose dimensions lie in the order `physical_layout`, from the outermost to
    the innermost.
    """
    size, n = tuple(size), len(physical_layout)
    if len(size) != n:
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout; i.e. "
            f"len(size) = {len(size)} is not equal to len(physical_layout) = {n}"
        )
    for place, d in enumerate(physical_layout):
        if not 0 <= d < n:
            raise RuntimeError(
                f"Dimension out of range (expected to be between 0 and {n - 1}, but got {d} at "
                f"index {place})."
            )
    if len(set(physical_layout)) != n:
        raise RuntimeError("Duplicate dim not allowed")
    strides = MemoryFormat("permuted", tuple(physical_layout)).strides(size)
    return empty_strided(
        size, strides, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad
    )


def full(
    size,
    fill_value,
    *,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """A tensor of shape `size` whose elements all are `fill_value`, which decides the dtype if none
    is given.
    """
    if isinstance(fill_value, Tensor):
        dtype, fill_value = dtype or fill_value.dtype, fill_value.item()
    if out is not None:
        dtype = dtype or out.dtype
    made = _door("full")(
        shape_of("full", (size,)),
        fill_value,
        dtype=as_dtype(dtype),
        device=as_device(device, layout),
    )
    return finish(made, out, requires_grad)


def scalar_tensor(
    s, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """A 0-dim tensor of one number, in the default dtype."""
    return _filled((), s, None, dtype, layout, device, requires_grad)


def _like(name):
    def function(
        input,
        *,
        dtype=None,
        layout=None,
        device=None,
        requires_grad=False,
        pin_memory=False,
        memory_format=None,
    ):
        check_layout(layout)
        device = None if device is None else as_device(device)
        made = _door(name)(input, dtype=as_dtype(dtype), device=device, memory_format=memory_format)
        return finish(made, None, requires_grad) if requires_grad else made

    return _named(function, name, _door_doc(name))


def _door_doc(name):
    return find(name).doc


def _named(function, name, doc):
    function.__name__ = function.__qualname__ = name
    function.__doc__, function.__module__ = doc, "torch"
    return function


zeros_like, ones_like, empty_like = map(_like, ("zeros_like", "ones_like", "empty_like"))


def full_like(
    input,
    fill_value,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
    memory_format=None,
):
    """A tensor in the shape, dtype and memory order of `input`, filled with one number."""
    made = empty_like(input, dtype=dtype, layout=layout, device=device, memory_format=memory_format)
    return finish(made.fill_(fill_value), None, requires_grad)


# Ranges.


def _range_dtype(numbers, dtype):
    if dtype is not None:
        return as_dtype(dtype)
    dtypes = [n.dtype for n in numbers if isinstance(n, Tensor)]
    if all(
        isinstance(n, int) or (isinstance(n, Tensor) and n.dtype.kind in "iub") for n in numbers
    ):
        return INT64
    wide = [d for d in dtypes if d.kind == "f"]
    return wide[0] if len(wide) == 1 == len(numbers) else _defaults.dtype


def _number(x):
    return x.item() if hasattr(x, "item") else x


def arange(
    start=0,
    end=None,
    step=1,
    *,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Numbers from `start` (0) up to but without `end`, `step` apart; int64 where all three are
    integers.
    """
    if end is None:
        start, end = 0, start
    numbers = (start, end, step)
    if dtype is None and out is not None:
        dtype = out.dtype
    dtype = _range_dtype(numbers, dtype)
    numbers = [_number(n) for n in numbers]
    if dtype is INT64 and all(map(math.isfinite, numbers)):
        numbers = [int(n) for n in numbers]  # PyTorch counts in the result's type
        if step and not numbers[2]:
            raise ValueError("step must be nonzero")
    made = _door("arange")(*numbers, dtype=dtype, device=as_device(device, layout))
    return finish(made, out, requires_grad) if requires_grad or out is not None else made


def range_(
    start=0,
    end=None,
    step=1,
    *,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
):
    """As `arange`, with `end` included; a float tensor."""
    if end is None:
        start, end = 0, start
    count = math.floor((end - start) / step) + 1
    dtype = as_dtype(dtype) or _defaults.dtype
    wide = arange(start, start + count * step, step, dtype=by_name("float64"), device=cpu)
    made = wide[:count].to(device=as_device(device, layout), dtype=dtype)
    return finish(made, out, requires_grad)


def _spaced(name):
    def spaced(start, end, steps, *extra, out, dtype, layout, device, requires_grad):
        for end_point in (start, end):
            if getattr(end_point, "ndim", 0):
                raise RuntimeError(
                    f"{name} only supports 0-dimensional start and end tensors, but got one with "
                    f"{end_point.ndim} dimension(s)."
                )
        numbers = [_number(start), _number(end)]
        if dtype is None and out is not None:
            dtype = out.dtype
        default = (
            _defaults.dtype.to_complex()
            if any(isinstance(n, complex) for n in numbers)
            else _defaults.dtype
        )
        made = _door(name)(
            *numbers,
            steps,
            *extra,
            dtype=as_dtype(dtype) or default,
            device=as_device(device, layout),
        )
        return finish(made, out, requires_grad)

    return spaced


_linspace, _logspace = _spaced("linspace"), _spaced("logspace")


def linspace(
    start,
    end,
    steps,
    *,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """`steps` numbers at equal distances from `start` to `end`, both included."""
    return _linspace(
        start,
        end,
        steps,
        out=out,
        dtype=dtype,
        layout=layout,
        device=device,
        requires_grad=requires_grad,
    )


def logspace(
    start,
    end,
    steps,
    base=10.0,
    *,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Powers of `base`, their exponents at equal distances from `start` to `end`, both included."""
    return _logspace(
        start,
        end,
        steps,
        base,
        out=out,
        dtype=dtype,
        layout=layout,
        device=device,
        requires_grad=requires_grad,
    )


def eye(
    n,
    m=None,
    *,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """An n by m matrix (m = n by default) with ones on the diagonal and zeros elsewhere."""
    if dtype is None and out is not None:
        dtype = out.dtype
    made = _door("eye")(
        n, n if m is None else m, dtype=as_dtype(dtype), device=as_device(device, layout)
    )
    return finish(made, out, requires_grad)


def tril_indices(row, col, offset=0, *, dtype=INT64, device=None, layout=None):
    """Row and column indices (2 by N) of the lower triangle of a `row` by `col` matrix."""
    return _door("tril_indices")(
        row, col, offset, dtype=as_dtype(dtype), device=as_device(device, layout)
    )


def triu_indices(row, col, offset=0, *, dtype=INT64, device=None, layout=None):
    """Row and column indices (2 by N) of the upper triangle of a `row` by `col` matrix."""
    return _door("triu_indices")(
        row, col, offset, dtype=as_dtype(dtype), device=as_device(device, layout)
    )


# Methods of tensors: the same dtype and device by default.


def _new(name, value):
    def method(
        self,
        *args,
        size=None,
        dtype=None,
        device=None,
        requires_grad=False,
        layout=None,
        pin_memory=False,
    ):
        shape = shape_of(name, args, size)
        dtype = as_dtype(dtype) or self.layout.dtype
        device = as_device(self.layout.device if device is None else device, layout)
        if value is None:
            made = _door("empty")(shape, dtype=dtype, device=device)
        else:
            made = _door("full")(shape, value, dtype=dtype, device=device)
        return finish(made, None, requires_grad) if requires_grad else made

    return _named(method, name, _door_doc(name))


def _new_full(
    self,
    size,
    fill_value,
    *,
    dtype=None,
    device=None,
    requires_grad=False,
    layout=None,
    pin_memory=False,
):
    """A tensor of shape `size` filled with a number, with this tensor's dtype and device by
    default.
    """
    device = self.layout.device if device is None else device
    return full(
        size,
        fill_value,
        dtype=dtype or self.layout.dtype,
        layout=layout,
        device=device,
        requires_grad=requires_grad,
    )


def _new_empty_strided(
    self,
    size,
    stride,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Unwritten memory with this tensor's dtype and device by default."""
    device = self.layout.device if device is None else device
    return empty_strided(
        size,
        stride,
        dtype=dtype or self.layout.dtype,
        layout=layout,
        device=device,
        requires_grad=requires_grad,
    )


METHODS = {
    "new_zeros": _new("new_zeros", 0),
    "new_ones": _new("new_ones", 1),
    "new_empty": _new("new_empty", None),
    "new_full": _new_full,
    "new_empty_strided": _new_empty_strided,
}


def install():
    """Puts the methods on the class."""
    for name, method in METHODS.items():
        setattr(Tensor, name, method)


PUBLIC = (
    "arange",
    "empty",
    "empty_like",
    "empty_permuted",
    "empty_strided",
    "eye",
    "full",
    "full_like",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "scalar_tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
    "zeros_like",
)
