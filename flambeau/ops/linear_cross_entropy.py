"""The cross entropy of a linear layer's outputs, without all of the outputs at once."""

from .arithmetic import masked
from .contraction import linear
from .op import composite, find


def _shares(logits, target, weight, ignore_index, label_smoothing):
    """[N, C]: by what the logarithms of the probabilities are multiplied, in the loss of a row."""
    share = target
    kept = None
    if target.layout.ndim == 1:
        kept = target.ne(ignore_index)
        places = masked(target, kept).unsqueeze(1)
        share = find("zeros_like").door(logits).scatter(1, places, 1.0)
    if label_smoothing:
        share = share * (1 - label_smoothing) + label_smoothing / logits.layout.shape[1]
    if weight is not None:
        share = share * weight
    return share if kept is None else masked(share, kept.unsqueeze(1))


def _chunks(rows, *tensors):
    """The tensors in pieces of so many rows."""
    count = tensors[0].layout.shape[0]
    for start in range(0, count, rows):
        yield [t.narrow(0, start, min(rows, count - start)) for t in tensors]


def _slopes(grad, input, linear_weight, target, linear_bias, rows, *settings):
    """For each chunk of rows: its input, and the gradient of its logits."""
    for g, x, t in _chunks(rows, grad, input, target):
        logits = linear(x, linear_weight, linear_bias)
        share = _shares(logits, t, *settings)
        yield x, g.unsqueeze(1) * (logits.softmax(1) * share.sum(1, True) - share)


def _input_slope(
    grad, input, linear_weight, target, linear_bias, rows, weight, ignore_index, label_smoothing
):
    settings = target, linear_bias, rows, weight, ignore_index, label_smoothing
    slopes = _slopes(grad, input, linear_weight, *settings)
    return find("cat").door([slope.matmul(linear_weight) for _, slope in slopes])


def _weight_slope(
    grad, input, linear_weight, target, linear_bias, rows, weight, ignore_index, label_smoothing
):
    settings = target, linear_bias, rows, weight, ignore_index, label_smoothing
    slopes = _slopes(grad, input, linear_weight, *settings)
    return sum(slope.t().matmul(x) for x, slope in slopes)


def _bias_slope(
    grad, input, linear_weight, target, linear_bias, rows, weight, ignore_index, label_smoothing
):
    settings = target, linear_bias, rows, weight, ignore_index, label_smoothing
    return sum(slope.sum(0) for _, slope in _slopes(grad, input, linear_weight, *settings))


@composite(
    "nn::_linear_cross_entropy(Tensor input, Tensor linear_weight, Tensor target, Tensor? "
    "linear_bias, int rows, Tensor? weight, int ignore_index, float label_smoothing) -> Tensor",
    grad=dict(input=_input_slope, linear_weight=_weight_slope, linear_bias=_bias_slope),
    function=False,
)
def linear_cross_entropy(
    input, linear_weight, target, linear_bias, rows, weight, ignore_index, label_smoothing
):
    """The cross entropy of each row of ``input @ linear_weight.T + linear_bias``, for `rows` of
    them at a time, in backward too.
    """
    losses = []
    for x, t in _chunks(rows, input, target):
        logits = linear(x, linear_weight, linear_bias)
        share = _shares(logits, t, weight, ignore_index, label_smoothing)
        losses.append(-(logits.log_softmax(1) * share).sum(1))
    return find("cat").door(losses)
