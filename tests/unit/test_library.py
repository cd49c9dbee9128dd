"""`torch.library`: ops of the user's own; their kernels are NumPy here: nobody sees inside."""

import copy
import itertools
import pickle
from collections.abc import Sequence
from typing import Optional

import numpy as np
import pytest

import flambeau as torch
from flambeau import Tensor

library = torch.library
_names = (f"testing{number}::op" for number in itertools.count())


@pytest.fixture
def name():
    """A name that no op has; the op of the test is forgotten afterwards."""
    given = next(_names)
    yield given
    torch.ops.registry.pop(given.replace("::", "."), None)


def sine(name, **options):
    @library.custom_op(name, mutates_args=(), **options)
    def op(x: Tensor, factor: float = 1.0) -> Tensor:
        return torch.tensor(np.sin(x.numpy(force=True)) * factor)

    return op


def with_gradient(op):
    def setup(ctx, inputs, output):
        x, ctx.factor = inputs
        ctx.save_for_backward(x)

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x.cos() * ctx.factor, None

    op.register_autograd(backward, setup_context=setup)
    return op


DEVICE = torch.device("cpu")
X = np.linspace(-2, 3, 5)


def test_it_is_called_as_the_function_is_and_by_name(name):
    op = sine(name)
    namespace = name.partition("::")[0]
    by_name = getattr(torch.ops, namespace).op
    x = torch.tensor(X)
    for call in (op, by_name, by_name.default):
        assert np.array_equal(call(x, 2).numpy(), np.sin(X) * 2)
        assert np.array_equal(call(x, factor=3.0).numpy(), np.sin(X) * 3)
    assert repr(op) == f"<CustomOpDef({name})>"
    assert copy.deepcopy(op) is pickle.loads(pickle.dumps(op)) is op
    with pytest.raises(TypeError, match=r"argument 'x' .* must be Tensor, not str"):
        op("a")
    with pytest.raises(AttributeError, match="has no op 'opp'"):
        _ = getattr(torch.ops, namespace).opp


def test_gradients_are_the_users(name):
    op = sine(name)
    x = torch.tensor(X, requires_grad=True)
    result = op(x)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        result.sum().backward()
    with_gradient(op)
    assert torch.autograd.gradcheck(lambda x: op(x, 1.5), (x,))
    assert torch.autograd.gradgradcheck(lambda x: op(x, 1.5), (x,))
    assert not op(x.detach()).requires_grad
    with torch.no_grad():
        assert not op(x).requires_grad


def test_lists_and_keywords_have_gradients_too(name):
    @library.custom_op(name, mutates_args=())
    def op(
        parts: Sequence[Tensor],
        weight: Optional[Tensor] = None,  # noqa: UP045
        *,
        scale: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        total = sum(part.numpy(force=True) for part in parts) * scale
        other = total if weight is None else total * weight.numpy(force=True)
        return torch.tensor(total), torch.tensor(other)

    seen = []

    def setup(ctx, inputs, keyword_only_inputs, output):
        seen.append(ctx.needs_input_grad)
        ctx.weight, ctx.scale, ctx.count = inputs[1], keyword_only_inputs["scale"], len(inputs[0])
        ctx.save_for_backward(output[0])

    def backward(ctx, first, second):
        (total,) = ctx.saved_tensors
        if ctx.weight is None:
            return [(first + second) * ctx.scale] * ctx.count, None
        return [(first + second * ctx.weight) * ctx.scale] * ctx.count, second * total

    op.register_autograd(backward, setup_context=setup)
    a, b, w = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(lambda a, b, w: op([a, b], w, scale=2.0), (a, b, w))
    seen.clear()
    op([a.detach(), b])
    assert seen == [([False, True], False)]
    assert str(op.schema).endswith(
        "(Tensor[] parts, Tensor? weight=None, *, float scale=1.0) -> (Tensor, Tensor)"
    )


def test_an_op_may_write_to_its_arguments(name):
    @library.custom_op(name, mutates_args={"x"})
    def op(x: Tensor, by: float) -> None:
        np.add(x.numpy(), by, out=x.numpy())

    x = torch.zeros(3)
    version = x._version
    assert op(x, 2.0) is None and x.tolist() == [2, 2, 2] and x._version > version
    with pytest.raises(RuntimeError, match="requires grad"):
        op(torch.zeros(2, requires_grad=True), 1.0)
    with pytest.raises(RuntimeError, match="non-functional operator"):
        op.register_autograd(lambda ctx: None)
    compiled = torch.compile(lambda x: (op(x, 3.0), x * 2)[1], fullgraph=True)
    for _ in range(3):
        x = torch.zeros(3)
        assert compiled(x).tolist() == [6, 6, 6] and x.tolist() == [3, 3, 3]


def test_results_are_memory_of_their_own(name):
    @library.custom_op(name, mutates_args=())
    def op(x: Tensor, kind: int) -> Sequence[Tensor]:
        y = x.clone()
        return [[x], [x[1:]], [y, y], [y, x + 1]][kind]

    for kind in range(3):
        with pytest.raises(RuntimeError, match="may not alias any inputs"):
            op(torch.ones(3), kind)
    assert [t.tolist() for t in op(torch.ones(2), 3)] == [[1, 1], [2, 2]]


def test_shapes_without_values(name):
    op = sine(name)
    with pytest.raises(RuntimeError, match="no fake impl registered"):
        op(torch.empty(2, device="meta"))
    op.register_fake(lambda x, factor=1.0: torch.empty_like(x))
    assert op(torch.empty(2, 3, device="meta")).shape == (2, 3)


def test_a_compiled_program_keeps_it_whole(name):
    op = with_gradient(sine(name))
    calls = []

    @op.register_kernel("cpu")
    def counted(x, factor=1.0):
        calls.append(x.shape)
        return torch.tensor(np.sin((x * 1).numpy(force=True)) * factor)

    compiled = torch.compile(lambda x: (op(x * 2, 0.5) + 1).exp(), fullgraph=True)
    for values in (X, X + 1, X - 1):
        assert np.allclose(
            compiled(torch.tensor(values)).numpy(), np.exp(np.sin(values * 2) / 2 + 1)
        )
    assert len(calls) == 3
    for values in (X, X + 1, X - 1):
        x = torch.tensor(values, requires_grad=True)
        compiled(x).sum().backward()
        inner = np.exp(np.sin(values * 2) / 2 + 1)
        assert np.allclose(x.grad.numpy(), inner * np.cos(values * 2))


def test_traced_programs_call_it_by_name(name):
    op = sine(name)
    namespace = name.partition("::")[0]
    by_name = getattr(torch.ops, namespace).op
    for call in (op, by_name):
        program = torch.fx.symbolic_trace(lambda x: call(x, factor=2.0) + 1)  # noqa: B023
        assert f"torch.ops.{namespace}.op.default(x, factor = 2.0)" in program.code
        assert np.array_equal(program(torch.tensor(X)).numpy(), np.sin(X) * 2 + 1)
        assert pickle.loads(pickle.dumps(program)).code == program.code
        assert copy.deepcopy(program)(torch.ones(1)).shape == (1,)


def test_kernels_for_devices(name):
    op = sine(name, device_types="cuda")
    with pytest.raises(NotImplementedError, match="no kernel was registered"):
        op(torch.ones(1))
    op.register_kernel("cpu", lambda x, factor: x * factor)
    op.register_kernel(None, lambda x, factor: x - factor)
    assert op(torch.ones(1), 5.0).item() == 5
    with op.set_kernel_enabled("cpu", False):
        assert op(torch.ones(1), 5.0).item() == -4
    assert op(torch.ones(1), 5.0).item() == 5


def test_under_autocast(name):
    op, seen = sine(name), []
    op.register_kernel("cpu", lambda x, factor: (seen.append(x.dtype), x * 1)[1])
    op.register_autocast("cpu", torch.bfloat16)
    op(torch.ones(2))
    with torch.autocast("cpu"):
        op(torch.ones(2))
    assert seen == [torch.float32, torch.bfloat16]


def test_declared_by_schema(name):
    namespace = name.partition("::")[0]
    lib = library.Library(namespace, "DEF")
    assert lib.define("op(Tensor x, int[] dims, str mode='a') -> Tensor") == "op"
    lib.impl(
        "op",
        lambda x, dims, mode: x.sum(dims) * (2 if mode == "b" else 1),
        "CompositeImplicitAutograd",
    )
    call = getattr(torch.ops, namespace).op
    x = torch.ones(2, 3, requires_grad=True)
    call(x, [0, 1], mode="b").backward()
    assert x.grad.tolist() == [[2, 2, 2]] * 2
    assert call(torch.empty(2, 3, device="meta"), [1]).shape == (2,)
    with pytest.raises(NotImplementedError, match="no kernels for Autograd"):
        lib.impl("op", lambda: None, "Autograd")
    library.define(name, "(Tensor x) -> Tensor")
    library.impl(name, "cpu")(lambda x: x * 3)
    library.register_fake(name)(lambda x: torch.empty_like(x))
    library.register_autograd(name, lambda ctx, grad: grad * 3)
    call = getattr(torch.ops, namespace).op
    x = torch.ones(2, requires_grad=True)
    call(x).sum().backward()
    assert x.grad.tolist() == [3, 3] and call(torch.empty(4, device="meta")).shape == (4,)


def test_registered_before_it_is_declared(name):
    library.register_fake(name)(lambda x, factor: torch.empty_like(x))
    namespace = name.partition("::")[0]
    library.Library(namespace, "IMPL", "CPU").impl("op", lambda x, factor: x * factor)
    op = sine(name)
    assert op(torch.ones(2), 5.0).tolist() == [5, 5]
    assert op(torch.empty(3, device="meta")).shape == (3,)


def test_schemas_from_annotations():
    def f(
        x: Tensor, a: int, b: float | None = None, *, c: "Sequence[bool]",
        d: torch.dtype = torch.float32, e: torch.device = DEVICE,
        s: str = "z", n: int | float | bool = 1,
    ) -> tuple[Tensor, list[Tensor], int]: ...  # fmt: skip

    assert library.infer_schema(f, mutates_args={"x"}, op_name="f") == (
        "f(Tensor(a0!) x, SymInt a, float? b=None, *, bool[] c, ScalarType d=float32, "
        'Device e="cpu", str s="z", Scalar n=1) -> (Tensor, Tensor[], SymInt)'
    )

    def untyped(x): ...
    def strange(x: dict) -> Tensor: ...
    def several(*x: Tensor) -> Tensor: ...
    def nothing(x: Tensor): ...

    for function, message in (
        (untyped, "must have a type annotation"),
        (strange, "unsupported type"),
        (several, "args or"),
        (nothing, "No return type"),
    ):
        with pytest.raises(ValueError, match=message):
            library.infer_schema(function, mutates_args=())
    with pytest.raises(ValueError, match="another meaning"):
        library.define("random::op", "(Tensor x) -> Tensor")
    with pytest.raises(ValueError, match="namespace of its own"):
        library.custom_op("bare", lambda x: x, mutates_args=(), schema="(Tensor x) -> Tensor")
