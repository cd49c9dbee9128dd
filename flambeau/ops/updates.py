"""Optimizer updates: parameter, gradient and state in one pass over memory."""

from flambeau import ir

from .family.launch import Slots, launch
from .op import Op, find, is_tensor
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
    "Scalar dampening, Scalar weight_decay, bool nesterov) -> Tensor",
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
    eps,
):
    grad = grad + self * weight_decay
    average = exp_avg + (grad - exp_avg) * (1 - beta1)
    square = exp_avg_sq * beta2 + grad * grad * (1 - beta2)
    results = {"exp_avg": average, "exp_avg_sq": square}
    if max_exp_avg_sq is not None:
        square = results["max_exp_avg_sq"] = ir.maximum(max_exp_avg_sq, square)
    return results | {"self": self * shrink - average / (ir.sqrt(square) + eps) * step_size}


fused_adam_ = Update(
    "aten::_adam_(Tensor self, Tensor grad, Tensor exp_avg, Tensor exp_avg_sq, Tensor? "
    "max_exp_avg_sq, Scalar beta1, "
    "Scalar beta2, Scalar weight_decay, Scalar shrink, Scalar step_size, Scalar eps) -> Tensor",
    """One step of Adam (Kingma & Ba, 2014), in the order of the end of its section 2: `step_size`
    and `eps` hold the corrections of both averages. `shrink` multiplies the parameter first.""",
    ("self", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    _adam,
)


# The formulas below serve kernels and tensors alike: where an update is itself differentiated, the
# optimizer performs them on tensors.


def _sqrt(x):
    return x.sqrt() if is_tensor(x) else ir.sqrt(x)


def _maximum(x, y):
    return x.maximum(y) if is_tensor(x) else ir.maximum(x, y)


def _where(condition, x, y):
    if isinstance(condition, bool):
        return x if condition else y
    return (
        find("where").door(condition, x, y) if is_tensor(condition) else ir.select(condition, x, y)
    )


def _declare(name, tensors, numbers, writes, doc, step):
    """An update of `self` by `grad` and these state tensors (those with ? may be None)."""
    listed = [f"Tensor? {t[:-1]}" if t.endswith("?") else f"Tensor {t}" for t in tensors]
    listed += [f"Scalar {n}" for n in numbers]
    schema = f"aten::{name}({', '.join(['Tensor self', 'Tensor grad', *listed])}) -> Tensor"
    return Update(schema, doc, ("self", *writes), step)


def _rmsprop(
    self, grad, square_avg, grad_avg, momentum_buffer, lr, alpha, eps, weight_decay, momentum
):
    grad = grad + self * weight_decay
    square = square_avg * alpha + grad * grad * (1 - alpha)
    made = {"square_avg": square}
    if grad_avg is not None:
        mean = made["grad_avg"] = grad_avg + (grad - grad_avg) * (1 - alpha)
        square = square - mean * mean
    change = grad / (_sqrt(square) + eps)
    if momentum_buffer is not None:
        change = made["momentum_buffer"] = momentum_buffer * momentum + change
    return made | {"self": self - change * lr}


fused_rmsprop_ = _declare(
    "_rmsprop_",
    ("square_avg", "grad_avg?", "momentum_buffer?"),
    ("lr", "alpha", "eps", "weight_decay", "momentum"),
    ("square_avg", "grad_avg", "momentum_buffer"),
    "One step of RMSprop; with `grad_avg`, of the centered one.",
    _rmsprop,
)


def _adagrad(self, grad, sum, rate, eps, weight_decay):
    grad = grad + self * weight_decay
    total = sum + grad * grad
    return {"sum": total, "self": self - grad / (_sqrt(total) + eps) * rate}


fused_adagrad_ = _declare(
    "_adagrad_", ("sum",), ("rate", "eps", "weight_decay"), ("sum",), "One step of Adagrad.",
    _adagrad,
)  # fmt: skip


def _adadelta(self, grad, square_avg, acc_delta, lr, rho, eps, weight_decay):
    grad = grad + self * weight_decay
    square = square_avg * rho + grad * grad * (1 - rho)
    delta = _sqrt(acc_delta + eps) / _sqrt(square + eps) * grad
    past = acc_delta * rho + delta * delta * (1 - rho)
    return {"square_avg": square, "acc_delta": past, "self": self - delta * lr}


fused_adadelta_ = _declare(
    "_adadelta_", ("square_avg", "acc_delta"), ("lr", "rho", "eps", "weight_decay"),
    ("square_avg", "acc_delta"), "One step of Adadelta.", _adadelta,
)  # fmt: skip


def _adamax(self, grad, exp_avg, exp_inf, step_size, beta1, beta2, eps, weight_decay):
    grad = grad + self * weight_decay
    average = exp_avg + (grad - exp_avg) * (1 - beta1)
    largest = _maximum(exp_inf * beta2, _maximum(grad, -grad) + eps)
    return {"exp_avg": average, "exp_inf": largest, "self": self - average / largest * step_size}


fused_adamax_ = _declare(
    "_adamax_", ("exp_avg", "exp_inf"), ("step_size", "beta1", "beta2", "eps", "weight_decay"),
    ("exp_avg", "exp_inf"), "One step of Adamax: `step_size` is lr / (1 - beta1^t).", _adamax,
)  # fmt: skip


def _nadam(
    self, grad, exp_avg, exp_avg_sq, beta1, beta2, eps, weight_decay, shrink, correction, rate,
    rate_next,
):  # fmt: skip
    grad = grad + self * weight_decay
    average = exp_avg + (grad - exp_avg) * (1 - beta1)
    square = exp_avg_sq * beta2 + grad * grad * (1 - beta2)
    root = _sqrt(square / correction) + eps
    moved = self * shrink - grad / root * rate - average / root * rate_next
    return {"exp_avg": average, "exp_avg_sq": square, "self": moved}


fused_nadam_ = _declare(
    "_nadam_",
    ("exp_avg", "exp_avg_sq"),
    ("beta1", "beta2", "eps", "weight_decay", "shrink", "correction", "rate", "rate_next"),
    ("exp_avg", "exp_avg_sq"),
    "One step of NAdam: `rate` goes with the gradient, `rate_next` with its average.",
    _nadam,
)


def _radam(self, grad, exp_avg, exp_avg_sq, beta1, beta2, eps, weight_decay, shrink, rate, adapts):
    grad = grad + self * weight_decay
    average = exp_avg + (grad - exp_avg) * (1 - beta1)
    square = exp_avg_sq * beta2 + grad * grad * (1 - beta2)
    change = _where(adapts > 0, average / (_sqrt(square) + eps), average)
    return {"exp_avg": average, "exp_avg_sq": square, "self": self * shrink - change * rate}


fused_radam_ = _declare(
    "_radam_",
    ("exp_avg", "exp_avg_sq"),
    ("beta1", "beta2", "eps", "weight_decay", "shrink", "rate", "adapts"),
    ("exp_avg", "exp_avg_sq"),
    "One step of RAdam; `adapts` is 0 as long as the variance is not tractable.",
    _radam,
)


def _asgd(self, grad, ax, rate, shrink, share, weight_decay):
    grad = grad + self * weight_decay
    moved = self * shrink - grad * rate
    return {"self": moved, "ax": _where(share >= 1, moved, ax + (moved - ax) * share)}


fused_asgd_ = _declare(
    "_asgd_", ("ax",), ("rate", "shrink", "share", "weight_decay"), ("ax",),
    "One step of averaged SGD: `share` is the weight of the newest in the average.", _asgd,
)  # fmt: skip


def _rprop(self, grad, prev, step_size, shrink, grow, least, most):
    agreement = grad * prev
    turned = agreement < 0
    factor = _where(turned, step_size * shrink, step_size)
    size = _where(agreement > 0, step_size * grow, factor)
    size = _where(size < least, size * 0 + least, _where(size > most, size * 0 + most, size))
    grad = _where(turned, grad * 0, grad)
    change = _where(grad > 0, size, _where(grad < 0, -size, grad * 0))
    return {"prev": grad, "step_size": size, "self": self - change}


fused_rprop_ = _declare(
    "_rprop_", ("prev", "step_size"), ("shrink", "grow", "least", "most"), ("prev", "step_size"),
    "One step of Rprop.", _rprop,
)  # fmt: skip


fused_descend_ = _declare(
    "_descend_", (), ("shrink", "rate"), (),
    "`self` becomes ``self * shrink - grad * rate``.",
    lambda self, grad, shrink, rate: {"self": self * shrink - grad * rate},
)  # fmt: skip

fused_blend_ = _declare(
    "_blend_", (), ("weight",), (), "`self` moves towards `grad` by this share of the way.",
    lambda self, grad, weight: {"self": self + (grad - self) * weight},
)  # fmt: skip
