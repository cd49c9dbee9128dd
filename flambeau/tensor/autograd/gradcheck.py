"""Gradients against finite differences.

Complex numbers count as two real ones everywhere, so that each Jacobian is a real matrix: rows by
the numbers of an input, columns by those of an output.
"""

import warnings

from flambeau._base import numpy
from flambeau.ops import Output, adopt, find, ndarray

from ..tensor import Tensor
from . import engine, forward
from .function import FunctionCtx
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
                "complex. This check will likely fail if all the inputs are not of double "
                "precision floating point or complex. ",
                stacklevel=4,
            )
        if any(stride == 0 and n > 1 for n, stride in zip(t.layout.shape, t.layout.strides)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs "
                "that are non-overlapping to be able to compute the numerical gradients "
                "correctly. You should call .contiguous on the input before passing it to "
                "gradcheck."
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


def _length(tensor):
    """How many real numbers a tensor is."""
    return tensor.numel() * (2 if tensor.is_complex() else 1)


def _like(tensor, values):
    """A tensor of the kind of another with these real numbers as its elements."""
    made = find("zeros_like").door(tensor.detach())
    memory = ndarray(made)
    numbers = values.view(numpy.complex128) if tensor.is_complex() else values
    memory[...] = numbers.reshape(memory.shape)
    return made


class _Check:
    """One function and its inputs, and how to compare."""

    def __init__(self, func, inputs, wanted, eps, tolerances):
        self.func, self.inputs, self.wanted = func, inputs, wanted
        self.eps = eps
        self.rtol, self.atol = tolerances
        self.places = [next(i for i, t in enumerate(inputs) if t is w) for w in wanted]

    def outputs(self):
        """(position, output) of those that require grad."""
        found = list(enumerate(_outputs(self.func, self.inputs)))
        return [(k, o) for k, o in found if o._node is not None]

    # Directions are arrays of real numbers, one for each row of a Jacobian.

    def numerical(self, tensor, direction):
        """The derivative of each output's numbers in a direction, by central differences."""
        memory = ndarray(tensor)
        step = self.eps * direction
        step = (step.view(numpy.complex128) if tensor.is_complex() else step).reshape(memory.shape)
        before = memory.copy()
        try:
            with no_grad():
                memory[...] = before + step
                above = [_values(o) for o in _outputs(self.func, self.inputs)]
                memory[...] = before - step
                below = [_values(o) for o in _outputs(self.func, self.inputs)]
        finally:
            memory[...] = before
        return [(a - b) / (2 * self.eps) for a, b in zip(above, below)]

    def pulled(self, output, weight, check_dtypes=False):
        """The gradients of ``weight * output``'s numbers by those of each wanted input."""
        grads = engine.grad(
            output, self.wanted, _like(output, weight), retain_graph=True, allow_unused=True
        )
        found = []
        for grad, tensor in zip(grads, self.wanted):
            if grad is None:
                found.append(numpy.zeros(_length(tensor)))
                continue
            if check_dtypes and grad.dtype is not tensor.dtype:
                raise GradcheckError("Gradient has dtype mismatch")
            if grad.shape != tensor.shape:
                raise GradcheckError("Analytical gradient has incorrect size")
            found.append(_values(grad))
        return found

    def pushed(self, place, direction, check_dtypes=False, zeros=()):
        """The derivative of each output's numbers in a direction of one input, by forward mode.
        Inputs at the places `zeros` have tangents, too, which are zero.
        """
        tangents = {place: _like(self.inputs[place], direction)}
        tangents |= {p: find("zeros_like").door(self.inputs[p].detach()) for p in zeros}
        values, found = forward.push(
            lambda *given: _outputs(self.func, given), self.inputs, tangents
        )
        if check_dtypes and any(t.dtype is not v.dtype for t, v in zip(found, values)):
            raise GradcheckError("Forward AD gradient has dtype mismatch.")
        return [_values(t) for t in found]

    def differ(self, numerical, analytical, scale=1.0):
        """Whether two Jacobians, or projections of them, disagree."""
        return not numpy.allclose(
            analytical, numerical, rtol=self.rtol, atol=self.atol * scale, equal_nan=False
        )

    def full(self, tensor):
        """For each output, the Jacobian by one wanted input, by differences."""
        rows = [self.numerical(tensor, unit) for unit in numpy.eye(_length(tensor))]
        count = len(rows[0]) if rows else len(_outputs(self.func, self.inputs))
        return [
            numpy.stack([r[k] for r in rows]) if rows else numpy.zeros((0, 0)) for k in range(count)
        ]


def _mismatch(k, i, numerical, analytical, how="", more=""):
    shown = [adopt(numpy.array(a)) if isinstance(a, numpy.ndarray) else a
             for a in (numerical, analytical)]  # fmt: skip
    return GradcheckError(
        f"Jacobian {how}mismatch for output {k} with respect to input {i},\n"
        f"numerical:{shown[0]}\nanalytical:{shown[1]}\n{more}"
    )


FORWARD = "computed with forward mode "


def _slow(check, options):
    """Compares every element."""
    outputs = check.outputs()
    numerical = [check.full(t) for t in check.wanted]
    if options.backward:
        for k, output in outputs:
            units = numpy.eye(_length(output))
            found = _columns(check, output, units, options.grad_dtypes)
            again = _columns(check, output, units, False)
            for i, table, first, second in zip(check.places, numerical, found, again):
                _check_repeated(first, second, options.nondet_tol)
                if table[k].size and check.differ(table[k], first):
                    raise _mismatch(k, i, table[k], first)
    if options.forward:
        for i, tensor, table in zip(check.places, check.wanted, numerical):
            rows = [check.pushed(i, u, options.grad_dtypes) for u in numpy.eye(_length(tensor))]
            for k, _ in outputs:
                found = numpy.stack([r[k] for r in rows]) if rows else table[k]
                if check.differ(table[k], found):
                    raise _mismatch(k, i, table[k], found, FORWARD)


def _columns(check, output, units, check_dtypes):
    columns = [check.pulled(output, unit, check_dtypes) for unit in units]
    if not columns:
        return [numpy.zeros((_length(t), 0)) for t in check.wanted]
    return [numpy.stack(c, 1) for c in zip(*columns)]


def _check_repeated(first, second, nondet_tol):
    if first.size and numpy.abs(first - second).max() > nondet_tol:
        raise GradcheckError(
            "Backward is not reentrant, i.e., running backward with same input and grad_output "
            "multiple times gives different values, although analytical gradient matches numerical "
            f"gradient.The tolerance for nondeterminism was {nondet_tol}."
        )


def _fast(check, options):
    """Compares projections of the Jacobians on random positive directions: u on the side of the
    inputs, v on that of the outputs. A difference of `atol` in each element makes one of
    ``atol * sum(u) * sum(v)``.
    """
    stream = numpy.random.default_rng(0)
    outputs = check.outputs()
    right = [_direction(stream, t) for t in check.wanted]
    left = {k: _direction(stream, o) for k, o in outputs}
    numerical = [check.numerical(t, u) for t, u in zip(check.wanted, right)]
    for k, output in outputs if options.backward else ():
        found = check.pulled(output, left[k], options.grad_dtypes)
        again = check.pulled(output, left[k])
        for i, table, u, first, second in zip(check.places, numerical, right, found, again):
            _check_repeated(first, second, options.nondet_tol)
            by_difference, by_backward = float(table[k] @ left[k]), float(first @ u)
            if check.differ(by_difference, by_backward, u.sum() * left[k].sum()):
                raise _mismatch(k, i, by_difference, by_backward, "", _in_full(check, options))
    for i, table, u in zip(check.places, numerical, right) if options.forward else ():
        found = check.pushed(i, u, options.grad_dtypes)
        for k, _ in outputs:
            if check.differ(table[k], found[k], u.sum()):
                raise _mismatch(k, i, table[k], found[k], FORWARD, _in_full(check, options))


def _direction(stream, tensor):
    values = stream.random(_length(tensor))
    return values / max(numpy.linalg.norm(values), 1e-300)


def _in_full(check, options):
    """What comparing every element says, for the error of fast mode."""
    try:
        _slow(check, options)
    except GradcheckError as error:
        return f"\nThese are projections on random directions (fast mode). In full:\n{error}"
    return (
        "\nThese are projections on random directions (fast mode). Element by element, all "
        "differences are small: slow mode (`fast_mode=False`) passes."
    )


def _check_constant(check, fast):
    """Where no output requires grad, the differences must be zero."""
    stream = numpy.random.default_rng(0)
    for tensor in check.wanted:
        units = [_direction(stream, tensor)] if fast else numpy.eye(_length(tensor))
        for unit in units:
            if any(numpy.abs(v).max(initial=0) > check.atol for v in check.numerical(tensor, unit)):
                raise GradcheckError("Numerical gradient for function expected to be zero")


def _check_linear(check):
    """A backward that forgets to multiply by the gradient of its result gives something for
    zero.
    """
    for _, output in check.outputs():
        if any(numpy.any(g != 0) for g in check.pulled(output, numpy.zeros(_length(output)))):
            raise GradcheckError("backward not multiplied by grad_output")


def _check_undefined(check):
    """A backward of the user's must give nothing, or zeros, where no gradient came."""
    for _, output in check.outputs():
        node = output._node.node if output._node.__class__ is Output else output._node
        if not isinstance(node, FunctionCtx) or node._materialize:
            continue
        try:
            grads = node.run(None if node.results == 1 else [None] * node.results, True)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise GradcheckError(
                "Expected backward function to handle undefined output grads. Please look at "
                '"Notes about undefined output gradients" in "tools/autograd/derivatives.yaml"'
            ) from error
        if any(g is not None and numpy.any(_values(g) != 0) for g in grads):
            raise GradcheckError(
                "Expected all input grads to be undefined or zero when all output grads are "
                'undefined or zero. Please look at "Notes about undefined output gradients" in '
                '"tools/autograd/derivatives.yaml"'
            )


def _check_undefined_tangents(check):
    """An input without a tangent counts as one whose tangent is zero."""
    stream = numpy.random.default_rng(0)
    for i, tensor in zip(check.places, check.wanted):
        others = [p for p in check.places if p != i]
        u = _direction(stream, tensor)
        without, given = check.pushed(i, u), check.pushed(i, u, False, others)
        for k, (a, b) in enumerate(zip(without, given)):
            if not numpy.allclose(a, b):
                raise GradcheckError(
                    f"Mismatch in tangent values for output with index: {k} when other inputs than "
                    f"{i} have an undefined tangent value. Got: {a} but expected: {b}"
                )


def _check_batched(check):
    """Several weights at once must give what they give one by one."""
    stream = numpy.random.default_rng(0)
    stack = find("stack").door
    for k, output in check.outputs():
        weights = [_like(output, stream.standard_normal(_length(output))) for _ in range(10)]
        single = [
            engine.grad(output, check.wanted, w, retain_graph=True, allow_unused=True)
            for w in weights
        ]
        batched = engine.grad(
            output,
            check.wanted,
            stack(weights),
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=True,
        )
        for i, found, rows in zip(check.places, batched, zip(*single)):
            expected = None if rows[0] is None else stack(list(rows))
            same = found is expected or numpy.allclose(_values(found), _values(expected))
            if not same:
                raise GradcheckError(
                    f"For output {k} and input {i}:\n\ngradcheck or gradgradcheck failed while "
                    f"testing batched gradient computation.\nGot:\n{found}\n\n"
                    f"Expected:\n{expected}\n"
                )


class _Options:
    """Which checks are wanted."""

    def __init__(self, backward, forward, grad_dtypes, nondet_tol):
        self.backward, self.forward = backward, forward
        self.grad_dtypes, self.nondet_tol = grad_dtypes, nondet_tol


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
    """Compares derivatives with central differences, for the inputs that require gradients: those
    by backward, and with `check_forward_ad` those by forward mode.

    Inputs should be float64 or complex128. True where all agree within ``atol + rtol * |difference
    quotient|``; otherwise raises `GradcheckError`, or returns False without `raise_exception`.
    Complex values are compared by their real and imaginary parts.

    `fast_mode` compares projections of the Jacobians on random directions, which takes a few runs
    however large they are. `nondet_tol` bounds the difference of two backwards; `check_grad_dtypes`
    demands the dtype of the input; `check_undefined_grad` runs a user's backward without gradients,
    and forward mode without some of the tangents; `check_batched_grad` tries ``is_grads_batched``.
    `masked` is about sparse tensors, and changes nothing.
    """
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError(
            "Expected at least one of check_forward_ad or check_backward_ad to be True"
        )
    if check_batched_grad and not check_backward_ad:
        raise AssertionError(
            "Setting check_batched_grad=True requires check_backward_ad to be True"
        )
    if check_batched_forward_grad and not check_forward_ad:
        raise AssertionError(
            "Setting check_batched_forward_grad=True requires check_forward_ad to be True"
        )
    if check_batched_forward_grad:
        raise NotImplementedError("check_batched_forward_grad needs vmap, which is not there yet")
    inputs = _tuple(inputs)
    check = _Check(func, inputs, _check_inputs(inputs), eps, (rtol, atol))
    options = _Options(check_backward_ad, check_forward_ad, check_grad_dtypes, nondet_tol)
    try:
        _run(check, options, fast_mode, check_undefined_grad, check_batched_grad)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _run(check, options, fast, undefined, batched):
    if not check.outputs():
        _check_constant(check, fast)
        return
    (_fast if fast else _slow)(check, options)
    if options.forward and undefined:
        _check_undefined_tangents(check)
    if not options.backward:
        return
    if batched:
        _check_batched(check)
    _check_linear(check)
    if undefined:
        _check_undefined(check)


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
    `grad_outputs` (random ones by default, strided with `gen_non_contig_grad_outputs`); by
    backward, and with `check_fwd_over_rev` by forward mode.
    """
    if not (check_fwd_over_rev or check_rev_over_rev):
        raise AssertionError(
            "Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True"
        )
    for name, on in (
        ("check_undefined_grad", check_undefined_grad),
        ("check_batched_grad", check_batched_grad),
    ):
        if on and not check_rev_over_rev:
            raise AssertionError(f"Setting {name}=True requires check_rev_over_rev to be True")
    inputs = _tuple(inputs)
    if grad_outputs is None:
        outputs = [o for o in _outputs(func, inputs) if o._node is not None]
        grad_outputs = tuple(_random_like(o, gen_non_contig_grad_outputs) for o in outputs)
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
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
        check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev,
        fast_mode=fast_mode,
        masked=masked,
    )


def _random_like(output, strided):
    """Weights that require gradients, from a fixed stream; `strided`: with gaps between them."""
    stream = numpy.random.default_rng(output.layout.numel)
    weight = _like(output, stream.standard_normal(_length(output)))
    if strided:
        weight = find("stack").door([weight, weight], -1).select(-1, 0)
    return weight.requires_grad_()
