"""Gradients against finite differences."""

import warnings

from flambeau._base import numpy
from flambeau.ops import find, ndarray

from ..tensor import Tensor
from . import engine
from .grad_mode import enable_grad, no_grad


class GradcheckError(RuntimeError):
    """What `gradcheck` and `gradgradcheck` raise where gradients are wrong."""


def _tuple(values):
    return tuple(values) if isinstance(values, tuple | list) else (values,)


def _check_inputs(inputs):
    """Raises, or warns, where finite differences could not work."""
    wanted = [(i, t) for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them "
            "have requires_grad=True."
        )
    for i, t in wanted:
        if t.dtype.name not in ("float64", "complex128"):
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or "
                "complex. This check "
                "will likely fail if all the inputs are not of double precision floating point or "
                "complex. ",
                stacklevel=4,
            )
        if any(stride == 0 and n > 1 for n, stride in zip(t.layout.shape, t.layout.strides)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs "
                "that are "
                "non-overlapping to be able to compute the numerical gradients correctly. You "
                "should call "
                ".contiguous on the input before passing it to gradcheck."
            )
    return [t for _, t in wanted]


def _outputs(func, inputs):
    return [
        o for o in _tuple(func(*inputs)) if isinstance(o, Tensor) and o.layout.dtype.kind in "fc"
    ]


def _values(tensor):
    """The elements as a flat array of real numbers: a complex one is two."""
    array = numpy.array(ndarray(tensor.detach())).reshape(-1)
    if tensor.layout.dtype.name == "bfloat16":
        array = array.astype(numpy.float32)
    return array.view(array.real.dtype) if array.dtype.kind == "c" else array


def _numerical(func, inputs, tensor, eps):
    """For each output, the derivatives of its real numbers (columns) by those of `tensor`
    (rows).
    """
    memory = ndarray(tensor)
    rows: list = []
    units = (1, 1j) if tensor.layout.dtype.kind == "c" else (1,)
    with no_grad():
        for place in numpy.ndindex(*memory.shape):
            for unit in units:
                before = memory[place].copy() if memory.ndim else memory[()].copy()
                memory[place] = before + eps * unit
                above = [_values(o) for o in _outputs(func, inputs)]
                memory[place] = before - eps * unit
                below = [_values(o) for o in _outputs(func, inputs)]
                memory[place] = before
                rows.append([(a - b) / (2 * eps) for a, b in zip(above, below)])
    count = len(rows[0]) if rows else len(_outputs(func, inputs))
    return [
        numpy.stack([r[k] for r in rows]) if rows else numpy.zeros((0, 0)) for k in range(count)
    ]


def _analytical(output, inputs, check_dtypes):
    """The same by backward, for all `inputs`: weights 1 and 1j give real and imaginary part of a
    complex output.
    """
    units = (1, 1j) if output.layout.dtype.kind == "c" else (1,)
    columns: list = [[] for _ in inputs]
    zeros = find("zeros_like").door
    for place in numpy.ndindex(*output.shape):
        for unit in units:
            weight = zeros(output.detach())
            ndarray(weight)[place] = unit
            found = engine.grad(output, inputs, weight, retain_graph=True, allow_unused=True)
            for column, tensor, grad in zip(columns, inputs, found):
                column.append(
                    _values(
                        _checked(
                            zeros(tensor.detach()) if grad is None else grad, tensor, check_dtypes
                        )
                    )
                )
    return [numpy.stack(c, 1) if c else None for c in columns]


def _checked(grad, tensor, check_dtypes):
    if check_dtypes and grad.dtype is not tensor.dtype:
        raise GradcheckError("Gradient has dtype mismatch")
    if grad.shape != tensor.shape:
        raise GradcheckError("Analytical gradient has incorrect size")
    return grad


def _compare(output_index, input_index, numerical, analytical, tolerances):
    rtol, atol = tolerances
    if numerical.size == 0 or analytical is None:
        return
    if not numpy.allclose(analytical, numerical, rtol=rtol, atol=atol, equal_nan=False):
        raise GradcheckError(
            f"Jacobian mismatch for output {output_index} with respect to input {input_index},\n"
            f"numerical:{numerical}\nanalytical:{analytical}\n"
        )


def _check_repeated(first, second, nondet_tol):
    for a, b in zip(first, second):
        if a is not None and a.size and numpy.abs(a - b).max() > nondet_tol:
            raise GradcheckError(
                "Backward is not reentrant, i.e., running backward with same input and grad_output "
                "multiple times "
                "gives different values, although analytical gradient matches numerical "
                "gradient.The tolerance for "
                f"nondeterminism was {nondet_tol}."
            )


def _check_linear(outputs, inputs):
    """A backward that forgets to multiply by the gradient of its result gives something for
    zero.
    """
    zeros = find("zeros_like").door
    for output in outputs:
        for grad in engine.grad(
            output, inputs, zeros(output.detach()), retain_graph=True, allow_unused=True
        ):
            if grad is not None and numpy.any(_values(grad) != 0):
                raise GradcheckError("backward not multiplied by grad_output")


def gradcheck(
    func,
    inputs,
    *,
    eps=1e-6,
    atol=1e-5,
    rtol=1e-3,
    raise_exception=True,
    nondet_tol=0.0,
    check_undefined_grad=True,
    check_grad_dtypes=False,
    check_batched_grad=False,
    check_batched_forward_grad=False,
    check_forward_ad=False,
    check_backward_ad=True,
    fast_mode=False,
    masked=None,
):
    """Compares gradients by backward with central differences, for the inputs that require
    gradients.

    Inputs should be float64 or complex128. True where all agree within ``atol + rtol * |difference
    quotient|``;
    otherwise raises `GradcheckError`, or returns False without `raise_exception`. Complex values
    are compared by their
    real and imaginary parts. `fast_mode` makes no difference: every element is checked.
    """
    inputs = _tuple(inputs)
    wanted = _check_inputs(inputs)
    try:
        _check_all(func, inputs, wanted, eps, (rtol, atol), nondet_tol, check_grad_dtypes)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check_all(func, inputs, wanted, eps, tolerances, nondet_tol, check_dtypes):
    outputs = _outputs(func, inputs)
    numerical = [_numerical(func, inputs, t, eps) for t in wanted]
    places = [next(i for i, t in enumerate(inputs) if t is w) for w in wanted]
    for k, output in enumerate(outputs):
        if output._node is None:
            for table in numerical:
                if table[k].size and numpy.abs(table[k]).max() > tolerances[1]:
                    raise GradcheckError("Numerical gradient for function expected to be zero")
            continue
        analytical = _analytical(output, wanted, check_dtypes)
        for i, table, found in zip(places, numerical, analytical):
            _compare(k, i, table[k], found, tolerances)
        _check_repeated(analytical, _analytical(output, wanted, False), nondet_tol)
    _check_linear([o for o in outputs if o._node is not None], wanted)


def gradgradcheck(
    func,
    inputs,
    grad_outputs=None,
    *,
    eps=1e-6,
    atol=1e-5,
    rtol=1e-3,
    gen_non_contig_grad_outputs=False,
    raise_exception=True,
    nondet_tol=0.0,
    check_undefined_grad=True,
    check_grad_dtypes=False,
    check_batched_grad=False,
    check_fwd_over_rev=False,
    check_rev_over_rev=True,
    fast_mode=False,
    masked=False,
):
    """As `gradcheck`, for the second derivatives: of the gradients by the inputs and by
    `grad_outputs` (random ones by
    default)."""
    inputs = _tuple(inputs)
    if grad_outputs is None:
        outputs = [o for o in _outputs(func, inputs) if o._node is not None]
        grad_outputs = tuple(_random_like(o) for o in outputs)
    else:
        grad_outputs = _tuple(grad_outputs)
    count = len(grad_outputs)

    @enable_grad()
    def gradients(*values):
        given = values[:-count]
        outputs = [o for o in _outputs(func, given) if o._node is not None]
        wanted = [t for t in given if isinstance(t, Tensor) and t.requires_grad]
        found = engine.grad(
            outputs, wanted, list(values[-count:]), create_graph=True, allow_unused=True
        )
        return tuple(g for g in found if g is not None)

    return gradcheck(
        gradients,
        (*inputs, *grad_outputs),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_grad_dtypes=check_grad_dtypes,
    )


def _random_like(output):
    """Weights that require gradients, from a fixed stream."""
    weight = find("zeros_like").door(output.detach())
    memory, stream = ndarray(weight), numpy.random.default_rng(output.layout.numel)
    values = stream.standard_normal(memory.shape)
    memory[...] = (
        values + 1j * stream.standard_normal(memory.shape) if memory.dtype.kind == "c" else values
    )
    return weight.requires_grad_()
