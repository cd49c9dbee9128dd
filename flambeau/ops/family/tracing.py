"""Fused composites: bodies of pointwise ops that, run on scalar expressions, are their own
kernel.
"""

from flambeau import ir
from flambeau.types import contiguous

from .. import modes
from ..modes import state
from ..op import Composite, is_tensor, registry
from ..promotion import compute_type, result_type
from .pointwise import Pointwise


class Fused(Pointwise):
    """A composite that is one kernel where no gradient is wanted; its parts are recorded one by one
    otherwise.
    """

    family = "fused composite"
    bakes_numbers = True

    def __init__(self, schema, body, **options):
        super().__init__(schema, body.__doc__, self._trace, None, None, (), None, **options)
        self.tensor_body = body

    def analyse(self, args):
        operands = {
            a.name: v.layout if is_tensor(v) else type(v)
            for a, v in zip(self.schema.arguments, args, strict=True)
            if a.is_tensor and v is not None
        }
        traced = self._run(args, None)
        return operands, traced.dtype, traced.dtype, traced.dtype

    def _run(self, args, slots):
        """The body on traced scalars: with `slots`, on loads and parameters; without, for the dtype
        only.
        """
        values = []
        for v in args:
            if is_tensor(v):
                raw = slots.tensor(v.layout) if slots else ir.cast(ir.const(0, v.dtype), v.dtype)
                rank = 1 if v.layout.ndim else 0
                values.append(Traced(ir.cast(raw, compute_type(v.dtype)), v.dtype, rank))
            else:
                if slots:
                    slots.skip()
                values.append(v)
        with modes.interpreting(Tracer()):
            return self.tensor_body(*values)

    def body(self, args, compute, slots):
        return (self._run(args, slots).value,), None

    def _trace(self, *values):
        raise AssertionError("a fused op has no scalar body of its own")

    def plan(self, args):
        launcher, body = super().plan(args), self.tensor_body

        def plan(*args):
            if state.grad and any([is_tensor(a) and a._node is not None for a in args]):
                return body(*args)
            return launcher(*args)

        return plan

    def describe(self):
        return ["fused        one kernel where no gradient is wanted"]


def fused(schema: str, **options):
    """Decorator: declares a composite of pointwise ops whose kernel is its body run on scalar
    expressions.
    """
    return lambda body: Fused(schema, body, **options)


class Traced:
    """A scalar of a fused body: an expression in its compute type, and what promotion needs to
    know.
    """

    __slots__ = ("dtype", "layout", "value")

    def __init__(self, value, dtype, rank):
        self.value, self.dtype = value, dtype
        self.layout = contiguous((1,) * rank, dtype)

    def __getattr__(self, name):
        for op in registry.get(name, ()):
            if op.method:
                return lambda *args, **kwargs: op.door(self, *args, **kwargs)
        raise AttributeError(f"a fused body has no {name}")

    def __neg__(self):
        return registry["neg"][0].door(self)

    def __invert__(self):
        return registry["bitwise_not"][0].door(self)

    def __abs__(self):
        return registry["abs"][0].door(self)

    __hash__ = object.__hash__


def _binary(name):
    return lambda self, other: registry[name][0].door(self, other)


def _reflected(name):
    return lambda self, other: registry[name][0].door(other, self)


for _dunder, _name in {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "pow": "pow", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor",
}.items():  # fmt: skip
    setattr(Traced, f"__{_dunder}__", _binary(_name))
    setattr(Traced, f"__r{_dunder}__", _reflected(_name))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Traced, f"__{_name}__", _binary(_name))


class Tracer:
    """The interpreter that runs pointwise ops on traced scalars."""

    def process(self, op, args, target):
        if isinstance(op, Fused | Composite):
            body = op.tensor_body if isinstance(op, Fused) else op.body
            with modes.interpreting(self):
                return body(*args)
        if not isinstance(op, Pointwise):
            raise TypeError(f"{op.name} is not pointwise, so it cannot be part of a fused body")
        named = list(zip(op.schema.arguments, args, strict=True))
        chosen = [
            v.layout if isinstance(v, Traced) else type(v)
            for a, v in named
            if v is not None and (a.is_tensor or (a.type == "Scalar" and a.name in op.promotes))
            and (not op.promotes or a.name in op.promotes)
        ]  # fmt: skip
        compute, result = op.dtype(result_type(chosen))
        inner = compute_type(compute)
        values = []
        for a, v in named:
            if isinstance(v, Traced):
                promoted = not op.promotes or a.name in op.promotes
                values.append(ir.cast(v.value, inner if promoted else compute_type(v.dtype)))
            elif v is None or not (a.is_tensor or a.type == "Scalar"):
                values.append(v)
            else:
                values.append(ir.const(v, inner))
        value = op.scalar(*values)
        rank = max((v.layout.ndim for _, v in named if isinstance(v, Traced)), default=0)
        return Traced(ir.cast(value, compute_type(result)), result, rank)
