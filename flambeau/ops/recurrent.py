"""Recurrent cells: one step as an op, and the kernels that the layers' loops run on their buffers.

The cells are those of Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000, and
of Cho et al. 2014 with the reset gate behind the product.
"""

from flambeau import ir, runtime
from flambeau.ir import math

from .contraction import linear, work
from .family.product import BLAS_TYPES, blas_form, product_stage
from .op import Op, composite
from .updates import Update


class _AddProduct(Op):
    """self += a @ b in one call of BLAS."""

    family = "contraction"

    def plan(self, args):
        out, a, b = (x.layout for x in args)
        direct = (
            out.dtype.name in BLAS_TYPES
            and out.device.type == "cpu"
            and a.dtype is out.dtype
            and b.dtype is out.dtype
            and (out.strides[1] == 1 and out.strides[0] >= out.shape[1])
            and not (out.conj or out.neg)
            and blas_form(a) is not None
            and blas_form(b) is not None
        )
        if not direct:
            return lambda out, a, b: out.add_(a.mm(b))
        stages = (product_stage(out, a, b, True),)
        sizes = (out.itemsize,) * 3
        busy = work(out, a.shape[1])
        return runtime.launcher(runtime.Launch("mtt", sizes, (), stages, busy, None, None))


add_product_ = _AddProduct(
    "aten::_add_product_(Tensor self, Tensor mat1, Tensor mat2) -> Tensor",
    """``self += mat1 @ mat2`` for matrices.""",
    method=False,
    function=False,
)


def _lstm(self, forget, candidate, output, cell, new_cell, hidden):
    enter, keep = math.sigmoid(self), math.sigmoid(forget)
    candidate, output = math.tanh(candidate), math.sigmoid(output)
    new_cell = keep * cell + enter * candidate
    return {
        "self": enter,
        "forget": keep,
        "candidate": candidate,
        "output": output,
        "new_cell": new_cell,
        "hidden": output * math.tanh(new_cell),
    }


lstm_step_ = Update(
    "aten::_lstm_step_(Tensor self, Tensor forget, Tensor candidate, Tensor output, Tensor cell, "
    "Tensor new_cell, Tensor hidden) -> Tensor",
    """The gates of an LSTM, in place, and the states that they make.""",
    ("self", "forget", "candidate", "output", "new_cell", "hidden"),
    _lstm,
)


def _lstm_back(self, forget, candidate, output, grad_cell, i, f, g, o, cell, new_cell, grad_hidden):
    squashed = math.tanh(new_cell)
    grad = grad_cell + grad_hidden * o * (1 - squashed * squashed)
    return {
        "self": grad * g * i * (1 - i),
        "forget": grad * cell * f * (1 - f),
        "candidate": grad * i * (1 - g * g),
        "output": grad_hidden * squashed * o * (1 - o),
        "grad_cell": grad * f,
    }


lstm_step_back_ = Update(
    "aten::_lstm_step_back_(Tensor self, Tensor forget, Tensor candidate, Tensor output, Tensor "
    "grad_cell, Tensor i, Tensor f, Tensor g, Tensor o, Tensor cell, Tensor new_cell, Tensor "
    "grad_hidden) -> Tensor",
    """Gradients of the inputs of an LSTM's gates; `grad_cell` becomes that of the old cell.""",
    ("self", "forget", "candidate", "output", "grad_cell"),
    _lstm_back,
)


def _gru(self, update, candidate, more_reset, more_update, more_candidate, hidden, new_hidden):
    reset, update = math.sigmoid(self + more_reset), math.sigmoid(update + more_update)
    candidate = math.tanh(candidate + reset * more_candidate)
    return {
        "self": reset,
        "update": update,
        "candidate": candidate,
        "new_hidden": candidate + update * (hidden - candidate),
    }


gru_step_ = Update(
    "aten::_gru_step_(Tensor self, Tensor update, Tensor candidate, Tensor more_reset, Tensor "
    "more_update, Tensor more_candidate, Tensor hidden, Tensor new_hidden) -> Tensor",
    """The gates of a GRU, in place (`self` is the reset gate), and the state that they make.""",
    ("self", "update", "candidate", "new_hidden"),
    _gru,
)


def _gru_back(self, update, candidate, gated, grad, r, z, n, more_candidate, hidden):
    inner = grad * (1 - z) * (1 - n * n)
    return {
        "self": inner * more_candidate * r * (1 - r),
        "update": grad * (hidden - n) * z * (1 - z),
        "candidate": inner,
        "gated": inner * r,
        "grad": grad * z,
    }


gru_step_back_ = Update(
    "aten::_gru_step_back_(Tensor self, Tensor update, Tensor candidate, Tensor gated, Tensor "
    "grad, Tensor r, Tensor z, Tensor n, Tensor more_candidate, Tensor hidden) -> Tensor",
    """Gradients of the inputs of a GRU's gates; `gated` is that of the recurrent part of the
    candidate, and `grad` becomes the direct part of the old state's.""",
    ("self", "update", "candidate", "gated", "grad"),
    _gru_back,
)

tanh_step_back_ = Update(
    "aten::_tanh_step_back_(Tensor self, Tensor result) -> Tensor",
    """The gradient of tanh, in place.""",
    ("self",),
    lambda self, result: {"self": self * (1 - result * result)},
)
relu_step_back_ = Update(
    "aten::_relu_step_back_(Tensor self, Tensor result) -> Tensor",
    """The gradient of relu, in place.""",
    ("self",),
    lambda self, result: {"self": ir.select(result > 0, self, ir.const(0, self.dtype))},
)


def _check_cell(input, hidden, w_ih, w_hh):
    rows, features = input.layout.shape
    if features != w_ih.layout.shape[1]:
        raise RuntimeError(
            f"input has inconsistent input_size: got {features} expected {w_ih.layout.shape[1]}"
        )
    if rows != hidden.layout.shape[0]:
        raise RuntimeError(
            f"Input batch size {rows} doesn't match hidden0 batch size {hidden.layout.shape[0]}"
        )
    if hidden.layout.shape[1] != w_hh.layout.shape[1]:
        raise RuntimeError(
            f"hidden0 has inconsistent hidden_size: got {hidden.layout.shape[1]}, "
            f"expected {w_hh.layout.shape[1]}"
        )


@composite(
    "aten::lstm_cell(Tensor input, Tensor[] hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
    "Tensor? b_hh=None) -> (Tensor, Tensor)",
    method=False,
)
def lstm_cell(input, hx, w_ih, w_hh, b_ih, b_hh):
    """One step of an LSTM: input [N, in], hx two states [N, hidden]; the new two states."""
    hidden, cell = hx
    _check_cell(input, hidden, w_ih, w_hh)
    gates = linear(input, w_ih, b_ih) + linear(hidden, w_hh, b_hh)
    enter, keep, candidate, output = gates.chunk(4, 1)
    cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
    return output.sigmoid() * cell.tanh(), cell


@composite(
    "aten::gru_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
    "Tensor? b_hh=None) -> Tensor",
    method=False,
)
def gru_cell(input, hx, w_ih, w_hh, b_ih, b_hh):
    """One step of a GRU: input [N, in], hx [N, hidden]; the new state."""
    _check_cell(input, hx, w_ih, w_hh)
    reset, update, candidate = linear(input, w_ih, b_ih).chunk(3, 1)
    more_reset, more_update, more_candidate = linear(hx, w_hh, b_hh).chunk(3, 1)
    reset, update = (reset + more_reset).sigmoid(), (update + more_update).sigmoid()
    candidate = (candidate + reset * more_candidate).tanh()
    return candidate + update * (hx - candidate)


@composite(
    "aten::rnn_tanh_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
    "Tensor? b_hh=None) -> Tensor",
    method=False,
)
def rnn_tanh_cell(input, hx, w_ih, w_hh, b_ih, b_hh):
    """One step of an Elman network with tanh: input [N, in], hx [N, hidden]; the new state."""
    _check_cell(input, hx, w_ih, w_hh)
    return (linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh)).tanh()


@composite(
    "aten::rnn_relu_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
    "Tensor? b_hh=None) -> Tensor",
    method=False,
)
def rnn_relu_cell(input, hx, w_ih, w_hh, b_ih, b_hh):
    """One step of an Elman network with relu: input [N, in], hx [N, hidden]; the new state."""
    _check_cell(input, hx, w_ih, w_hh)
    return (linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh)).relu()
