"""The pointwise family: every element of the result from the elements at the same place.

The family supplies broadcasting, type promotion, memory order, in-place forms and the reduction of
gradients to the shapes of broadcast operands. A declaration supplies the scalar body and its
gradients.
"""

from flambeau import ir
from flambeau.types import (
    DType,
    Layout,
    by_name,
    can_cast,
    dense_like,
    dense_order,
    layout,
    row_major,
)

from ..door import check_places
from ..facts import tell, type_name
from ..modes import defaults
from ..op import Op, is_tensor
from ..promotion import compute_type, result_type
from .launch import Slots, broadcast, expand, launch, same_device

BOOL, FLOAT32 = by_name("bool"), by_name("float32")


# dtype rules: common dtype of the operands -> (dtype that the body computes in, dtype of the
# result)


def same(common: DType):
    """Computes in the common type and returns it."""
    return common, common


def int_to_float(common: DType):
    """Integers and bool become the default dtype."""
    wide = common if common.kind in "fc" else defaults.dtype
    return wide, wide


def to_bool(common: DType):
    """Comparisons: computes in the common type, returns bool."""
    return common, BOOL


def to_real(common: DType):
    """Complex in, real out (abs, angle)."""
    return common, common.to_real()


class Pointwise(Op):
    """An op of one scalar body. `promotes` names the arguments that take part in promotion."""

    family = "pointwise"
    inplace_form = True
    of_numbers = False  # whether all operands may be numbers: torch.add(1, 2) is a tensor

    def __init__(
        self, schema, doc, scalar, dtype, gradients, promotes, check, refuses=None, refusal=None,
        **options,
    ):  # fmt: skip
        super().__init__(schema, doc, gradients, **options)
        self.scalar, self.dtype, self.promotes, self.check = scalar, dtype, promotes, check
        self.refuses, self.refusal = refuses, refusal or _zero_divisor

    def analyse(self, args):
        """(operand layouts or number types by argument name, common dtype, compute dtype, result
        dtype).
        """
        operands = {}
        for a, v in zip(self.schema.arguments, args, strict=True):
            if a.is_tensor and v is not None:
                operands[a.name] = v.layout if is_tensor(v) else type(v)
            elif a.type == "Scalar" and v is not None and self.promotes and a.name in self.promotes:
                operands[a.name] = type(v)
        chosen = [o for n, o in operands.items() if not self.promotes or n in self.promotes]
        common = result_type(chosen)
        if self.check is not None:
            self.check(common, *args)
        if common.kind != "c" and any([v.__class__ is complex for v in args]):
            raise RuntimeError("value cannot be converted to type float without overflow")
        compute, result = self.dtype(common)
        return operands, common, compute, result

    def body(self, args, compute, slots):
        """The scalar body on the arguments' expressions, and where a value is refused (or None)."""
        inner = compute_type(compute)
        values = []
        for a, v in zip(self.schema.arguments, args, strict=True):
            if v is None or not (a.is_tensor or a.type == "Scalar"):
                slots.skip()
                values.append(v)
                continue
            promoted = not self.promotes or a.name in self.promotes
            if not is_tensor(v) and self.bakes_numbers and v in self.bakes_numbers:
                slots.skip()
                values.append(ir.const(v, inner))
            elif not is_tensor(v):
                values.append(ir.cast(slots.number(type(v)), inner))
            else:
                raw = slots.tensor(v.layout)
                values.append(ir.cast(raw, inner if promoted else compute_type(raw.dtype)))
        condition = self.refuses(*values) if self.refuses is not None else None
        results = self.scalar(*values)
        return results if isinstance(results, tuple) else (results,), condition

    def fail(self, code, *args):
        """What the kernel's check found."""
        raise tell(self, args[: len(self.schema.arguments)], self.refusal(*args))

    def plan(self, args):
        operands, _, compute, result = self.analyse(args)
        layouts = [o for o in operands.values() if isinstance(o, Layout)]
        if not layouts and not self.of_numbers:
            found = type(args[0]).__name__
            raise TypeError(
                f"{self.name}(): argument 'input' (position 1) must be Tensor, not {found}"
            )
        shape = broadcast([o.shape for o in layouts])
        device = same_device(layouts, self.name)
        slots = Slots()
        body, condition = self.body(args, compute, slots)
        results = result if isinstance(result, tuple) else (result,) * len(body)
        memory_order = order(shape, operands.values())
        out = [layout(shape, memory_order, r, device) for r in results]
        kernel = ir.Pointwise(self.name, [i.dtype for i in slots.inputs], results, body, condition)
        record = self._recorder(args, operands, out[0])
        return launch(kernel, slots, out, shape=shape, record=record, fail=self.fail)

    def _recorder(self, args, operands, out):
        if not self.gradients or not any(
            o.dtype.kind in "fc" for o in operands.values() if isinstance(o, Layout)
        ):
            return None
        names = [a.name for a, v in zip(self.schema.arguments, args, strict=True) if is_tensor(v)]
        shapes = tuple(
            None
            if operands[n].shape == out.shape and operands[n].dtype is out.dtype
            else operands[n]
            for n in names
        )
        return self.recorder(args, None if not any(shapes) else shapes)

    def plan_inplace(self, args):
        """As `plan`, but the result is written into the first argument."""
        operands, _, compute, result = self.analyse(args)
        target = args[0].layout
        shape = broadcast([o.shape for o in operands.values() if isinstance(o, Layout)])
        check_target(target, shape, result)
        slots = Slots()
        body, condition = self.body(args, compute, slots)
        if target.conj:
            body = tuple(ir.cast(b, target.dtype).conj() for b in body)
        if target.neg:
            body = tuple(-b for b in body)
        kernel = ir.Pointwise(
            self.name, [i.dtype for i in slots.inputs], [target.dtype], body, condition
        )
        return launch(kernel, slots, [target], (0,), shape=shape, fail=self.fail)

    def describe(self):
        rule = f"dtype rule   {self.dtype.__name__}: {(self.dtype.__doc__ or '').strip()}"
        return [rule, *self._describe_body()]

    def _describe_body(self):
        """The scalar body for float32 operands, where default values suffice for everything
        else.
        """
        values, count = [], 0
        for a in self.schema.arguments:
            if a.is_tensor and not (a.has_default and a.default is None):
                values.append(ir.load(count, FLOAT32))
                count += 1
            elif a.type == "Scalar" and a.default is not None:
                values.append(ir.const(a.default, FLOAT32))
            elif a.has_default:
                values.append(a.default)
            else:
                return []
        body = self.scalar(*values)
        shown = [ir.show(v) for v in (body if isinstance(body, tuple) else (body,))]
        return [f"float32 body {line}" for text in shown for line in text.splitlines()]


def check_target(target: Layout, shape, result: DType):
    """Raises where a result of `shape` and dtype `result` may not be written to `target`."""
    can_write(result, target.dtype)
    if shape != target.shape:
        raise RuntimeError(
            f"output with shape {list(target.shape)} doesn't match the broadcast shape "
            f"{list(shape)}"
        )
    check_places(target)


def can_write(result: DType, target: DType) -> None:
    """Raises where a result of one dtype may not be written to memory of the other."""
    if not can_cast(result, target):
        raise RuntimeError(
            f"result type {type_name(result)} can't be cast to the desired output type "
            f"{type_name(target)}"
        )


def order(shape, operands):
    """Strides of the result for operands that are layouts or numbers: the memory order of PyTorch's
    iterator.
    """
    if all(isinstance(o, Layout) and o.shape == shape for o in operands):
        if all(o.contiguous for o in operands):
            return row_major(shape)
        strides = {o.strides for o in operands}
        if len(strides) == 1:
            return dense_like(shape, *strides)
    return dense_order(shape, [expand(o, shape).strides for o in operands if isinstance(o, Layout)])


def pointwise(
    schema, doc, *, scalar, dtype=same, grad=None, promotes=(), check=None, refuses=None,
    refusal=None, **options,
) -> Pointwise:  # fmt: skip
    """Declares a pointwise op.

    `scalar` takes the schema's arguments in order: tensors and Scalars as expressions of the
    compute type, everything else as Python values. `promotes` names the arguments that decide the
    dtype (default: all in tensor position). `check(common, *args)` raises on what the op refuses;
    `refuses` gives, on expressions, where a value is refused, or None, and `refusal(*args)` the
    error that is raised then: by default, that of a zero divisor.
    """
    return Pointwise(
        schema, doc, scalar, dtype, grad, tuple(promotes), check, refuses, refusal,
        **options,
    )  # fmt: skip


def _zero_divisor(*args):
    return RuntimeError("ZeroDivisionError")
