"""Optimizer updates: parameter, gradient and state in one pass over memory."""

from flambeau import ir

from .family.launch import Slots, launch
from .op import Op, is_tensor
from .promotion import compute_type


class Update(Op):
    """A pointwise kernel that writes several of its operands, given by `writes`; numbers are
    run-time scalars.

    `step(arrays, numbers, flags)` takes the operands' expressions by name and returns the new
    values of `writes`.
    """

    family = "update"

    def __init__(self, schema, doc, writes, step):
        super().__init__(schema, doc, method=False, function=False)
        self.writes, self.step = writes, step

    def plan(self, args):
        named = {a.name: v for a, v in zip(self.schema.arguments, args, strict=True)}
        target = named["self"].layout
        slots, values = Slots(), {}
        inner = compute_type(target.dtype)
        for name, value in named.items():
            if is_tensor(value):
                self._check(name, value, target)
                values[name] = ir.cast(slots.tensor(value.layout), inner)
            elif value is None or isinstance(value, bool):
                slots.skip()
                values[name] = value
            else:
                values[name] = ir.cast(slots.number(type(value)), inner)
        written = [w for w in self.writes if named[w] is not None]
        results = self.step(**values)
        positions = [i for i, a in enumerate(self.schema.arguments) if a.name in written]
        layouts = [named[w].layout for w in written]
        kernel = ir.Pointwise(
            self.name,
            [i.dtype for i in slots.inputs],
            [y.dtype for y in layouts],
            [results[w] for w in written],
        )
        return launch(kernel, slots, layouts, tuple(positions))

    def _check(self, name, value, target):
        if value.layout.shape != target.shape or value.layout.conj or value.layout.neg:
            raise RuntimeError(
                f"{self.name}: {name} has shape {list(value.shape)}, the parameter "
                f"{list(target.shape)}"
            )


def _sgd(self, grad, momentum_buffer, lr, momentum, dampening, weight_decay, nesterov):
    grad = grad + self * weight_decay
    results = {}
    if momentum_buffer is not None:
        buffer = results["momentum_buffer"] = momentum_buffer * momentum + grad * (1 - dampening)
        grad = grad + buffer * momentum if nesterov else buffer
    return results | {"self": self - grad * lr}


fused_sgd_ = Update(
    "aten::_sgd_(Tensor self, Tensor grad, Tensor? momentum_buffer, Scalar lr, Scalar momentum, "
    "Scalar dampening, "
    "Scalar weight_decay, bool nesterov) -> Tensor",
    """One step of stochastic gradient descent.""",
    ("self", "momentum_buffer"),
    _sgd,
)


def _adam(
    self,
    grad,
    exp_avg,
    exp_avg_sq,
    max_exp_avg_sq,
    beta1,
    beta2,
    weight_decay,
    shrink,
    step_size,
    correction,
    eps,
):
    grad = grad + self * weight_decay
    average = exp_avg + (grad - exp_avg) * (1 - beta1)
    square = exp_avg_sq * beta2 + grad * grad * (1 - beta2)
    results = {"exp_avg": average, "exp_avg_sq": square}
    if max_exp_avg_sq is not None:
        square = results["max_exp_avg_sq"] = ir.maximum(max_exp_avg_sq, square)
    return results | {
        "self": self * shrink - average / (ir.sqrt(square) / correction + eps) * step_size
    }


fused_adam_ = Update(
    "aten::_adam_(Tensor self, Tensor grad, Tensor exp_avg, Tensor exp_avg_sq, Tensor? "
    "max_exp_avg_sq, Scalar beta1, "
    "Scalar beta2, Scalar weight_decay, Scalar shrink, Scalar step_size, Scalar correction, Scalar "
    "eps) -> Tensor",
    """One step of Adam (Kingma & Ba, 2014): `shrink` multiplies the parameter first, `step_size` is
    lr / (1 - beta1^t),
    `correction` is sqrt(1 - beta2^t).""",
    ("self", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    _adam,
)
