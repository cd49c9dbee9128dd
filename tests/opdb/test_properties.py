"""Properties that hold for every op, on the calls of `samples`. Ops for which one makes no sense
are named beside it, with the reason.
"""

import inspect

import numpy
import pytest
from samples import LINES, OPS, Call, calls, derived, make

import flambeau as torch
from flambeau._base import knobs
from flambeau.tensor import Tensor

CASES = [(key, text) for key in OPS for text in calls(key)]

# What the memory of these holds is not defined.
UNWRITTEN = {"empty", "empty_like", "empty_strided", "new_empty"}
# These are about memory, not about values, go through it in its order, or need one that BLAS reads.
OF_MEMORY = {
    "as_strided", "as_strided_copy", "as_strided_scatter", "_view_dtype", "view", "view_as",
    "view_as_complex", "view_as_complex_copy", "view_as_real", "view_as_real_copy", "view_copy",
    "contiguous", "_box_muller", "bernoulli.p", "_attention", "_attention_tiles",
    "_attention_tiles_backward", "_normalize_rows_backward",
}  # fmt: skip
# Their results have a type of their own: that of the integers, of a pair, of an argument.
OWN_TYPE = {"ldexp", "complex", "_to_copy"}
# Gradients that are not those of the op alone: of draws, of eigenvectors' free phases, where
# arguments have to fit each other. Those of `struve` and `betainc` are tested, those of their
# slopes would take a minute to compile.
PECULIAR = {
    "_normal", "_leaks", "poisson", "linalg.eig", "linalg._eig", "_ctc_loss", "ctc_loss.IntList",
    "ctc_loss.Tensor", "_ctc_loss_backward", "_normalize_backward", "_rms_normalize_backward",
    "_resample", "binomial", "_standard_gamma", "_sample_dirichlet", "_normalize_rows_backward",
    "_normalize_even_backward",
    "special._struve_slope", "special._betainc_slope",
}  # fmt: skip
# Arguments (among those of floating type) that are constants to the op.
CONSTANT = {
    "nn.nll_loss_nd": {1}, "nn._nll_slope": {1}, "nn.cross_entropy_loss": {1},
    "nn._linear_cross_entropy": {3},
}  # fmt: skip
# Matrices of which the op reads a half: steps are of the same kind.
HALF = {
    "cholesky": "S", "linalg.cholesky": "S", "linalg.cholesky_ex": "S", "linalg._cholesky": "S",
    "linalg.eigh": "S", "linalg.eigvalsh": "S", "linalg._eigh": "S", "linalg._eigvalsh": "S",
    "cholesky_inverse": "L", "cholesky_solve": "L",
}  # fmt: skip


def each(keep):
    """Runs a test on the calls of all ops that `keep` keeps."""
    cases = [pytest.param(*case, id=": ".join(case)) for case in CASES if keep(*case)]
    return pytest.mark.parametrize(("key", "text"), cases)


def tensors(value):
    """All tensors in arguments or results, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [t for v in value for t in tensors(v)] if isinstance(value, tuple | list) else []


def mapped(function, value):
    """Arguments with `function` applied to each tensor."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Call):
        return Call(*(mapped(function, part) for part in value))
    if isinstance(value, dict):
        return {name: mapped(function, v) for name, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(mapped(function, v) for v in value)
    return value


def run(key, call):
    """The results of the op as a flat list; random ones from one seed."""
    torch.manual_seed(0)
    return flat(OPS[key].door(*call.args, **call.kwargs))


def flat(result):
    if isinstance(result, tuple | list):
        return [r for part in result for r in flat(part)]
    return [result]


def agree(found, expected, places=1e-12):
    """The same dtypes, shapes and values up to `places`."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        if not isinstance(b, Tensor):
            assert a == b
            continue
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        numpy.testing.assert_allclose(array(a), array(b), rtol=places, atol=places)


def array(tensor):
    tensor = tensor.detach().resolve_conj().resolve_neg()
    wide = tensor.double() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
    return wide.numpy()


def spread(tensor):
    """The same values, neither contiguous nor dense."""
    shape = tensor.shape
    wide = torch.zeros(*shape[::-1], 2, dtype=tensor.dtype)
    view = wide[..., 1].permute(tuple(reversed(range(len(shape)))))
    return view.copy_(tensor)


def behind(tensor):
    """The same values, contiguous, behind others in memory."""
    whole = torch.zeros(3 + tensor.numel(), dtype=tensor.dtype)
    return whole[3:].view(tensor.shape).copy_(tensor)


def fresh(key, text, dtype=torch.float64):
    return make(key, text, dtype)


def known(key, text):
    """Whether the op is a function of its arguments' values alone."""
    return key not in UNWRITTEN | OF_MEMORY and OPS[key].family not in ("random", "update")


@pytest.mark.parametrize("key", OPS)
def test_every_op_has_a_sample(key):
    assert calls(key), f"add a line for {OPS[key].text}"
    assert calls(key) != [derived(OPS[key])] or key not in LINES, "this line is derived anyway"


@each(lambda key, text: True)
def test_results_are_those_declared(key, text):
    made = OPS[key].door(*(call := fresh(key, text)).args, **call.kwargs)
    declared = OPS[key].schema.returns
    if len(declared) > 1:
        assert len(made) == len(declared)
        assert all(getattr(made, name) is part for name, part in zip(declared, made, strict=True)
                   if name and hasattr(made, "_fields"))  # fmt: skip


@each(known)
def test_strided_arguments(key, text):
    expected = run(key, fresh(key, text))
    for elsewhere in (spread, behind):
        agree(run(key, mapped(elsewhere, fresh(key, text))), expected)


@each(known)
def test_negated_views(key, text):
    def negated(tensor):
        return torch._neg_view(-tensor) if tensor.is_floating_point() else tensor

    agree(run(key, mapped(negated, fresh(key, text))), run(key, fresh(key, text)))


def takes_complex(key, text):
    try:
        call = fresh(key, text, torch.complex128)
        run(key, call)
    except (TypeError, RuntimeError, NotImplementedError):
        return None
    return call


@each(known)
def test_conjugate_views(key, text):
    if takes_complex(key, text) is None:
        pytest.skip("for real numbers")

    def conjugated(tensor):
        return tensor.resolve_conj().conj_physical().conj() if tensor.is_complex() else tensor

    found = run(key, mapped(conjugated, fresh(key, text, torch.complex128)))
    agree(found, run(key, fresh(key, text, torch.complex128)))


def writes_out(key, text):
    return (
        key not in UNWRITTEN | {"histogramdd"}
        and "out" in inspect.signature(OPS[key].door).parameters
    )


@each(writes_out)
def test_out(key, text):
    expected = run(key, fresh(key, text))
    if not all(isinstance(r, Tensor) for r in expected):
        pytest.skip("gives no tensor")
    out = [torch.empty(0, dtype=r.dtype) for r in expected]
    call = fresh(key, text)
    given = out[0] if len(OPS[key].schema.returns) == 1 and len(out) == 1 else tuple(out)
    found = run(key, Call(call.args, {**call.kwargs, "out": given}))
    assert all(a is b for a, b in zip(found, out, strict=True))
    agree(found, expected)


@each(lambda key, text: OPS[key].inplace_form and OPS[key].method)
def test_in_place(key, text):
    call = fresh(key, text)
    [expected] = run(key, call)
    target = call.args[0]
    if (target.shape, target.dtype) != (expected.shape, expected.dtype):
        pytest.skip("the result does not fit into the first argument")
    version = target._version
    assert OPS[key].inplace(*call.args, **call.kwargs) is target
    assert target._version > version
    agree([target], [expected])


@each(lambda key, text: OPS[key].family not in ("random", "update"))
def test_meta(key, text):
    call = fresh(key, text)
    if not tensors(call):
        pytest.skip("no tensor")
    expected = run(key, fresh(key, text))
    try:
        found = run(key, mapped(lambda t: t.to("meta"), call))
    except NotImplementedError:
        pytest.skip("the result depends on values, or no kernel of ours makes it")
    except RuntimeError as error:
        assert "cannot be called on meta tensors" in str(error)
        pytest.skip("the result depends on values")
    for a, b in zip(found, expected, strict=True):
        if isinstance(b, Tensor):
            assert (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
            assert a.is_meta


HALVES = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float32: 1e-4}


def narrows(key, text):
    return (
        known(key, text)
        and key not in OWN_TYPE
        and OPS[key].family in ("pointwise", "fused composite")
    )


@each(narrows)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_narrow_types(key, text, dtype):
    """The result has the arguments' type, and the value that float64 gives, rounded."""
    call = fresh(key, text, dtype)
    try:
        found = run(key, call)
    except (NotImplementedError, RuntimeError) as error:
        assert "not implemented for" in str(error)
        return
    wide = mapped(lambda t: t.double() if t.is_floating_point() else t, call)
    expected = run(key, wide)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == (dtype if b.is_floating_point() else b.dtype)
        numpy.testing.assert_allclose(array(a), array(b), rtol=HALVES[dtype], atol=HALVES[dtype])


def promotes(key, text):
    call = fresh(key, text)
    return (
        narrows(key, text)
        and OPS[key].family == "pointwise"
        and OPS[key].function
        and len(call.args) == 2 == len(tensors(call))
        and all(t.dtype == torch.float64 and t.ndim == 2 for t in call.args)
    )


PROMOTIONS = [
    ("float32", "float64", "float64"),
    ("float16", "bfloat16", "float32"),
    ("int64", "float32", "float32"),
    ("bool", "float16", "float16"),
    ("float32", "a float64 number", "float32"),
    ("int64", "a float64 number", "float64"),
]


@each(promotes)
def test_promotion(key, text):
    """Arguments of two dtypes give the dtype that the rules of promotion say, in either order. A
    tensor without dimensions counts only where it is of a higher kind."""
    kept = run(key, fresh(key, text))[0].dtype
    for *pair, expected in PROMOTIONS:
        if "bool" in pair and key in ("sub", "rsub"):
            continue  # refused
        made = []
        for argument, name in zip(fresh(key, text).args, pair, strict=True):
            number = argument.abs().mean() if name.startswith("a ") else argument
            made.append(number.to(getattr(torch, name.split()[-2 if number.ndim == 0 else 0])))
        for args in (made, made[::-1]):
            found = run(key, Call(tuple(args), {}))[0].dtype
            assert found == (getattr(torch, expected) if kept == torch.float64 else kept), pair


# ---- derivatives


def differentiable(key, text):
    return (
        known(key, text)
        and key not in PECULIAR
        and not key.endswith("_")
        and OPS[key].family != "create"
    )


def step_of(inputs, source, key=""):
    step = [torch.tensor(source.standard_normal(t.shape)).to(t.dtype) for t in inputs]
    for k, part in enumerate(step):
        if k in CONSTANT.get(key, ()):
            step[k] = torch.zeros_like(part)
        if key in HALF and part.shape[-1] == part.shape[-2]:
            step[k] = part + part.mH if HALF[key] == "S" else part.tril()
    return step


def inner(pairs):
    return sum((a * b.conj()).real.sum() if a.is_complex() else (a * b).sum() for a, b in pairs)


class Weighed:
    """The op as a function of its floating arguments to one number: results weighed at random."""

    def __init__(self, key, call):
        self.key, self.call = key, call
        self.inputs = [t for t in tensors(call) if t.is_floating_point() or t.is_complex()]
        self.weights = {}

    def __call__(self, inputs):
        given = iter(inputs)
        changes = {id(old): next(given) for old in self.inputs}
        results = run(self.key, mapped(lambda t: changes.get(id(t), t), self.call))
        total = []
        for k, result in enumerate(results):
            if isinstance(result, Tensor) and result.requires_grad:
                if k not in self.weights:
                    source = numpy.random.default_rng(k)
                    self.weights[k] = step_of([result], source)[0]
                total.append((result, self.weights[k]))
        return inner(total) if total else None

    def gradients(self, inputs, **options):
        value = self(inputs)
        if value is None or not value.requires_grad:
            return None
        made = torch.autograd.grad(value, inputs, allow_unused=True, **options)
        return [torch.zeros_like(t) if g is None else g for g, t in zip(made, inputs, strict=True)]


def leaves(inputs):
    return [t.detach().clone().requires_grad_() for t in inputs]


def moved(inputs, step, by):
    return [(t.detach() + by * s).requires_grad_() for t, s in zip(inputs, step, strict=True)]


def slope(function, inputs, step, by=1e-5):
    """The central difference of a function along `step`."""
    ends = [function(moved(inputs, step, sign * by)) for sign in (1, -1)]
    return float(ends[0] - ends[1]) / (2 * by)


@each(differentiable)
def test_derivatives(key, text):
    """First and second derivatives along random directions are those of central differences."""
    weighed = Weighed(key, fresh(key, text))
    inputs = leaves(weighed.inputs)
    gradients = weighed.gradients(inputs, create_graph=True) if inputs else None
    if gradients is None:
        pytest.skip("no gradient")
    source = numpy.random.default_rng(1)
    step, other = step_of(inputs, source, key), step_of(inputs, source, key)
    expected = slope(weighed, inputs, step)
    found = float(inner(zip(gradients, step, strict=True)))
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)

    def first(at):
        return inner(zip(weighed.gradients(at, create_graph=True), step, strict=True))

    along = first(inputs)
    if not along.requires_grad:
        return
    seconds = torch.autograd.grad(along, inputs, allow_unused=True)
    found = sum(
        float(inner([(g, o)])) for g, o in zip(seconds, other, strict=True) if g is not None
    )
    assert found == pytest.approx(slope(first, inputs, other), rel=1e-4, abs=1e-5)


# ---- sizes: ops whose elements or rows do not know of each other

# Threads share compiled kernels: what is interpreted need not be long.
ROWS, COLUMNS = (300, 700) if knobs.backend == "llvm" else (12, 20)


def by_elements(key, text):
    shapes = set(t.split(")")[0] for t in text.split("(")[1:])
    return (
        OPS[key].family in ("pointwise", "fused composite", "scan", "reduction", "chain")
        and known(key, text)
        and shapes == {"3, 4"}
    )


def large(key, text):
    return fresh(key, text.replace("3, 4", f"{ROWS}, {COLUMNS}"))


@each(by_elements)
def test_results_do_not_depend_on_the_number_of_threads(key, text):
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(run(key, large(key, text)))
    finally:
        torch.set_num_threads(before)
    agree(found[1], found[0], 0)
    agree(found[2], found[0], 0)


def by_rows(key, text):
    return by_elements(key, text) and (
        OPS[key].family in ("pointwise", "fused composite") or text.endswith(", 1")
    )


@each(by_rows)
def test_a_row_alone_is_the_row_among_others(key, text):
    call = large(key, text)
    whole = run(key, call)
    alone = run(key, mapped(lambda t: t[7:8], call))
    agree(alone, [t[7:8] for t in whole], 0)


@each(by_rows)
def test_no_rows(key, text):
    call = fresh(key, text)
    some = run(key, call)
    none = run(key, mapped(lambda t: t[:0], call))
    for a, b in zip(none, some, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, (0, *b.shape[1:]))


@pytest.mark.parametrize("key", [key for key in OPS if OPS[key].method or OPS[key].function])
def test_missing_arguments_are_named(key):
    """A call without arguments is a TypeError that says which op and which argument."""
    required = [a for a in OPS[key].schema.arguments if not a.has_default]
    if not required:
        pytest.skip("all arguments have defaults")
    with pytest.raises(TypeError, match=OPS[key].name):
        OPS[key].door()
