"""Products with Jacobians and Hessians, and these matrices themselves, by backward."""

from flambeau.ops import find, modes

from ..tensor import Tensor
from . import engine, forward
from .grad_mode import enable_grad

state = modes.state


def _tuple(values, what, function):
    """(whether `values` was a tuple, the values as a tuple); an error where one is no tensor."""
    many = isinstance(values, tuple | list)
    found = tuple(values) if many else (values,)
    for i, v in enumerate(found):
        if not isinstance(v, Tensor):
            place = f"value at index {i} in {what}" if many else f"{what}"
            raise TypeError(
                f"The {what} given to {function} must be either a Tensor or a tuple of Tensors but "
                f"the {place} has type {type(v)}."
            )
    return many, found


def _inputs(inputs, create_graph):
    """Copies to differentiate by: with `create_graph` they continue the history of what was
    given.
    """
    if create_graph:
        return tuple(
            t.view(t.shape) if t.requires_grad else t.detach().requires_grad_() for t in inputs
        )
    return tuple(t.detach().requires_grad_() for t in inputs)


def _check_weights(v, others, many):
    if len(v) != len(others):
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(others)} but got {len(v)}."
        )
    for i, (a, b) in enumerate(zip(v, others)):
        if a.shape != b.shape:
            entry = f"Entry {i} in " if many else ""
            raise RuntimeError(f"{entry}v has invalid size: should be {b.shape} but got {a.shape}.")


def _weights(v, others, many, what):
    if v is None:
        if len(others) != 1 or others[0].numel() != 1:
            raise RuntimeError(
                f"The vector v can only be None if the {what} a single Tensor with a single "
                "element."
            )
        return (find("ones_like").door(others[0]),)
    _, v = _tuple(v, "v", "vjp")
    v = tuple(t.detach() if not state.grad else t for t in v)
    _check_weights(v, others, many)
    return v


def _grad(outputs, inputs, weights=None, create_graph=False, strict=None):
    """Gradients, zeros where there is no dependence (an error with `strict`, which names the
    function).
    """
    reaching = [
        (o, None if weights is None else w)
        for o, w in zip(outputs, weights or outputs)
        if o._node is not None
    ]
    if not reaching:
        found = (None,) * len(inputs)
    else:
        outs, ws = zip(*reaching)
        found = engine.grad(
            outs,
            inputs,
            None if weights is None else ws,
            allow_unused=True,
            create_graph=create_graph,
            retain_graph=True,
        )
    if strict and any(g is None for g in found):
        i = [g is None for g in found].index(True)
        raise RuntimeError(
            f"The output of the user-provided function is independent of input {i}. This is not "
            "allowed in strict mode."
        )
    return tuple(find("zeros_like").door(t) if g is None else g for g, t in zip(found, inputs))


def _finished(values, create_graph, many):
    values = tuple(v if create_graph else v.detach() for v in values)
    return values if many else values[0]


def _scalar(func, inputs, name):
    outputs = func(*inputs)
    many, outs = _tuple(outputs, "outputs of the user-provided function", name)
    if many or outs[0].numel() != 1:
        raise RuntimeError(
            "The output of the user-provided function should be a single Tensor with a single "
            f"element, for {name}"
            if many
            else "The Tensor returned by the function given to hessian should contain a single "
            "element"
        )
    return outs[0].reshape(())


def vjp(func, inputs, v=None, create_graph=False, strict=False):
    """(func(*inputs), v times the Jacobian of `func` at `inputs`)."""
    with enable_grad():
        many, given = _tuple(inputs, "inputs", "vjp")
        copies = _inputs(given, create_graph)
        outs_many, outs = _tuple(func(*copies), "outputs of the user-provided function", "vjp")
        weights = _weights(v, outs, outs_many, "user-provided function returns")
        grads = _grad(outs, copies, weights, create_graph, strict)
    return _finished(outs, create_graph, outs_many), _finished(grads, create_graph, many)


def jvp(func, inputs, v=None, create_graph=False, strict=False):
    """(func(*inputs), the Jacobian of `func` at `inputs` times v), by two backwards: v times J is
    linear in v, and its derivative by v is J.
    """
    with enable_grad():
        many, given = _tuple(inputs, "inputs", "jvp")
        copies = _inputs(given, create_graph)
        weights = _weights(v, copies, many, "input to the user-provided function is")
        outs_many, outs = _tuple(func(*copies), "outputs of the user-provided function", "jvp")
        dummies = tuple(find("zeros_like").door(o).requires_grad_() for o in outs)
        grads = _grad(outs, copies, dummies, True, strict)
        products = _grad(grads, dummies, weights, create_graph)
    return _finished(outs, create_graph, outs_many), _finished(products, create_graph, outs_many)


def vhp(func, inputs, v=None, create_graph=False, strict=False):
    """(func(*inputs), v times the Hessian of the scalar `func`)."""
    with enable_grad():
        many, given = _tuple(inputs, "inputs", "vhp")
        copies = _inputs(given, create_graph)
        weights = _weights(v, copies, many, "input to the user-provided function is")
        out = _scalar(func, copies, "vhp")
        first = _grad((out,), copies, None, True, strict)
        products = _grad(first, copies, weights, create_graph)
    return _finished((out,), create_graph, False), _finished(products, create_graph, many)


def hvp(func, inputs, v=None, create_graph=False, strict=False):
    """(func(*inputs), the Hessian of the scalar `func` times v)."""
    with enable_grad():
        many, given = _tuple(inputs, "inputs", "hvp")
        copies = _inputs(given, create_graph)
        weights = _weights(v, copies, many, "input to the user-provided function is")
        out = _scalar(func, copies, "hvp")
        first = _grad((out,), copies, None, True, strict)
        dummies = tuple(find("zeros_like").door(t).requires_grad_() for t in first)
        second = _grad(first, copies, dummies, True)
        products = _grad(second, dummies, weights, create_graph)
    return _finished((out,), create_graph, False), _finished(products, create_graph, many)


def jacobian(
    func, inputs, create_graph=False, strict=False, vectorize=False, strategy="reverse-mode"
):
    """The derivatives of each element of what `func` returns by each element of `inputs`.

    For one output and one input: a tensor of shape output + input. Several inputs make it a tuple,
    several outputs a tuple of these. "reverse-mode" runs `func` once and backward for each element
    of the outputs, "forward-mode" runs `func` for each element of the inputs; `vectorize` is
    accepted, and changes nothing.
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your '
            'function has more outputs than inputs, "forward-mode" tends to be more performant. '
            'Otherwise, prefer to use "reverse-mode".'
        )
    if strategy == "forward-mode":
        _check_forward(create_graph, strict)
        many, given = _tuple(inputs, "inputs", "jacobian")
        return _by_columns(func, tuple(t.detach() for t in given), many)
    if strict and vectorize:
        raise RuntimeError(
            "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not "
            "supported together. Please either set `strict=False` or `vectorize=False`."
        )
    with enable_grad():
        many, given = _tuple(inputs, "inputs", "jacobian")
        copies = _inputs(given, create_graph)
        outs_many, outs = _tuple(func(*copies), "outputs of the user-provided function", "jacobian")
        rows = tuple(
            _finished(_rows(o, copies, create_graph, strict), create_graph, many) for o in outs
        )
    return rows if outs_many else rows[0]


def _check_forward(create_graph, strict):
    if create_graph:
        raise NotImplementedError(
            "torch.autograd.functional.jacobian: `create_graph=True` and "
            '`strategy="forward-mode"` are not supported together (yet). Please either set '
            '`create_graph=False` or `strategy="reverse-mode"`.'
        )
    if strict:
        raise RuntimeError(
            'torch.autograd.functional.jacobian: `strict=True` and `strategy="forward-mode"` are '
            "not supported together (yet). Please either set `strict=False` or "
            '`strategy="reverse-mode"`.'
        )


def _by_columns(func, inputs, many):
    """The Jacobian by forward mode."""
    outs_many, columns = False, []

    def push(*values):
        nonlocal outs_many
        outs_many, outs = _tuple(func(*values), "outputs of the user-provided function", "jacobian")
        return outs

    values = None
    for i, t in enumerate(inputs):
        columns.append([])
        for unit in forward.units(t):
            values, tangents = forward.push(push, inputs, {i: unit})
            columns[-1].append(tangents)
    if values is None:  # no input has any element
        values = push(*inputs)
    rows = tuple(
        _finished(
            [_joined([c[k] for c in column], o, t) for column, t in zip(columns, inputs)],
            False,
            many,
        )
        for k, o in enumerate(values)
    )
    return rows if outs_many else rows[0]


def _joined(tangents, out, tensor):
    """The derivatives of `out` by each element of `tensor` as one, of shape out + tensor."""
    shape = (*out.shape, *tensor.shape)
    if not tangents:
        return out.new_zeros(shape)
    return find("stack").door(tangents, -1).reshape(shape)


def _rows(out, inputs, create_graph, strict):
    """The Jacobian of one output: one backward for each of its elements."""
    columns = [[] for _ in inputs]
    flat = out.reshape((-1,))
    for k in range(out.numel()):
        for column, grad in zip(columns, _grad((flat[k],), inputs, None, create_graph, strict)):
            column.append(grad)
    stack, zeros = find("stack").door, find("zeros_like").door
    shape = tuple(out.shape)
    return [
        stack(c).reshape(shape + tuple(t.shape))
        if c
        else zeros(t).sum().expand((0,)).reshape(shape + tuple(t.shape))
        for c, t in zip(columns, inputs)
    ]


def hessian(
    func,
    inputs,
    create_graph=False,
    strict=False,
    vectorize=False,
    outer_jacobian_strategy="reverse-mode",
):
    """The second derivatives of a scalar `func` by each pair of elements of `inputs`.

    They are the Jacobian of the gradient, by `outer_jacobian_strategy`.
    """
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    many, given = _tuple(inputs, "inputs", "hessian")
    outer = outer_jacobian_strategy == "reverse-mode"

    def gradient(*values):
        with enable_grad():
            values = tuple(v if v.requires_grad else v.requires_grad_() for v in values)
            out = _scalar(func, values, "hessian")
            found = _grad((out,), values, None, outer, strict)
        return found if many else found[0]

    return jacobian(
        gradient,
        given if many else given[0],
        create_graph,
        strict,
        vectorize,
        outer_jacobian_strategy,
    )


__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]
