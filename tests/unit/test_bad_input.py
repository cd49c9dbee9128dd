"""What users get wrong: the error's type, PyTorch's first line, the facts below it.

Also memory that cannot be had, sizes that overflow, signals, threads and forks.
"""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import flambeau as ft

F = ft.nn.functional
TENSORS = "Tensor or scalar, but you passed in a <class 'str'>."
SHAPES = "The size of tensor a (3) must match the size of tensor b (5) at non-singleton dimension 1"


def a():
    return ft.zeros(2, 3)


def endless():
    """A list that holds itself."""
    made = []
    made.append(made)
    return made


def own_gradient():
    x = a().requires_grad_()
    x.grad = x


def b():
    return ft.zeros(4, 5)


# Each: a call, the type of its error, and the first line as PyTorch 2.13 prints it.
WRONG = [
    (
        lambda: ft.nn.Linear(3, 2)(a().double()),
        RuntimeError,
        "mat1 and mat2 must have the same dtype, but got Double and Float",
    ),
    (
        lambda: ft.atan2(a(), a() * 1j),
        NotImplementedError,
        "\"atan2_cpu\" not implemented for 'ComplexFloat'",
    ),
    (lambda: "a" in a(), RuntimeError, f"Tensor.__contains__ only supports {TENSORS}"),
    (lambda: ft.tensor([1, "a"]), TypeError, "new(): invalid data type 'str'"),
    *[
        (call, RuntimeError, f"value cannot be converted to type {name} without overflow")
        for call, name in [
            (lambda: ft.full((2,), 300, dtype=ft.uint8), "uint8_t"),
            (lambda: ft.zeros(2, dtype=ft.int8).fill_(200), "int8_t"),
            (lambda: ft.zeros(2, dtype=ft.int32).fill_(float("nan")), "int"),
            (lambda: ft.zeros(2, dtype=ft.int64).new_full((2,), 1e20), "int64_t"),
            (lambda: ft.zeros(2).half().masked_fill_(ft.tensor([True, False]), -1e9), "c10::Half"),
            (lambda: ft.zeros(2, dtype=ft.uint8).scatter(0, ft.tensor([0]), -256), "uint8_t"),
            (lambda: ft.zeros(2, dtype=ft.uint8).index_fill(0, ft.tensor([0]), 300), "uint8_t"),
            (lambda: int(ft.tensor(1j)), "int64_t"),
            (lambda: float(ft.tensor(1j)), "double"),
        ]
    ],
    (
        lambda: ft.mm(a(), b()),
        RuntimeError,
        "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)",
    ),
    (lambda: ft.mm(a(), ft.zeros(3)), RuntimeError, "mat2 must be a matrix"),
    (
        lambda: ft.nn.Linear(4, 2)(a()),
        RuntimeError,
        "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x2)",
    ),
    (lambda: a() + b(), RuntimeError, SHAPES),
    (lambda: a().add_(b()), RuntimeError, SHAPES),
    (lambda: ft.where(a() > 0, a(), b()), RuntimeError, SHAPES),
    (
        lambda: a().add_(ft.zeros(2, 2, 3)),
        RuntimeError,
        "output with shape [2, 3] doesn't match the broadcast shape [2, 2, 3]",
    ),
    (
        lambda: ft.zeros(2, dtype=ft.int64).add_(1.5),
        RuntimeError,
        "result type Float can't be cast to the desired output type Long",
    ),
    (lambda: a().view(7), RuntimeError, "shape '[7]' is invalid for input of size 6"),
    (lambda: a().view(-1, -1), RuntimeError, "only one dimension can be inferred"),
    (
        lambda: a().sum(5),
        IndexError,
        "Dimension out of range (expected to be in range of [-2, 1], but got 5)",
    ),
    (
        lambda: a().transpose(0, 4),
        IndexError,
        "Dimension out of range (expected to be in range of [-2, 1], but got 4)",
    ),
    (lambda: a()[5], IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    (lambda: a()[0, 0, 0], IndexError, "too many indices for tensor of dimension 2"),
    (lambda: a().index_select(0, ft.tensor([9])), IndexError, "index out of range in self"),
    (
        lambda: ft.cat([a(), ft.zeros(2)]),
        RuntimeError,
        "Tensors must have same number of dimensions: got 2 and 1",
    ),
    (
        lambda: a().expand(3, 3),
        RuntimeError,
        "The expanded size of the tensor (3) must match the existing size (2) at non-singleton "
        "dimension 0.  Target sizes: [3, 3].  Tensor sizes: [2, 3]",
    ),
    (lambda: ft.zeros(-1), RuntimeError, "zeros: Dimension size must be non-negative."),
    (
        lambda: ft.zeros(2, 3, 4).t(),
        RuntimeError,
        "t() expects a tensor with <= 2 dimensions, but self is 3D",
    ),
    (
        lambda: ft.exp("x"),
        TypeError,
        "exp(): argument 'input' (position 1) must be Tensor, not str",
    ),
    (lambda: ft.exp(3), TypeError, "exp(): argument 'input' (position 1) must be Tensor, not int"),
    (
        lambda: F.relu("x"),
        TypeError,
        "relu(): argument 'input' (position 1) must be Tensor, not str",
    ),
    (lambda: ft.exp(a(), out=3), TypeError, "exp(): argument 'out' must be Tensor, not int"),
    (
        lambda: a() + ft.zeros(2, 3, device="meta"),
        RuntimeError,
        "Tensor on device meta is not on the expected device cpu!",
    ),
    (
        lambda: a().copy_(ft.zeros(2, 3, device="meta")),
        NotImplementedError,
        "Cannot copy out of meta tensor; no data!",
    ),
    (
        lambda: ft.group_norm(ft.zeros(2, 3), 0),
        RuntimeError,
        "Expected num groups to be greater than 0, got 0",
    ),
    (
        lambda: F.batch_norm(ft.zeros(2, 3), ft.zeros(5), ft.ones(5), training=True),
        RuntimeError,
        "running_mean should contain 3 elements not 5",
    ),
    (
        lambda: a().set_(ft.zeros(2).untyped_storage(), 1, (2,)),
        RuntimeError,
        "setStorage: sizes [2], strides [1], storage offset 1, and itemsize 4 requiring a storage "
        "size of 12 are out of bounds for storage of size 8",
    ),
    (
        lambda: ft.ones(2, dtype=ft.int64).add(1, alpha=1.5),
        RuntimeError,
        "For integral input tensors, argument alpha must not be a floating point number.",
    ),
    (lambda: int(a()), ValueError, "only one element tensors can be converted to Python scalars"),
    (
        lambda: ft.rand(2, generator="x"),
        TypeError,
        "uniform_(): argument 'generator' (position 4) must be torch.Generator",
    ),
    (lambda: a().item(), RuntimeError, "a Tensor with 6 elements cannot be converted to Scalar"),
    (
        lambda: bool(a()),
        RuntimeError,
        "Boolean value of Tensor with more than one value is ambiguous",
    ),
    (
        lambda: a().backward(),
        RuntimeError,
        "element 0 of tensors does not require grad and does not have a grad_fn",
    ),
    (lambda: F.cross_entropy(a(), ft.tensor([5, 0])), IndexError, "Target 5 is out of bounds."),
    (lambda: ~a(), TypeError, "~ (operator.invert) is only implemented on integer and Boolean"),
    (lambda: ft.maximum(a(), 1), TypeError, "maximum(): argument 'other' (position 2) must be T"),
    (lambda: ft.eq(1, a()), TypeError, "eq(): argument 'input' (position 1) must be Tensor, not"),
    (lambda: ft.pow(2, 3), TypeError, "pow(): argument 'input' (position 1) must be Tensor, not"),
    (lambda: ft.argmax(ft.zeros(0)), IndexError, "argmax(): Expected reduction dim to be speci"),
    (lambda: ft.floor(a() * 1j), NotImplementedError, "floor is not supported for complex inputs"),
    (lambda: ft.erfinv(a() * 1j), NotImplementedError, '"erfinv_cpu" not implemented for \'Comp'),
    (lambda: ft.frac(a().int()), NotImplementedError, "\"frac_cpu\" not implemented for 'Int'"),
    (lambda: F.softplus(ft.arange(3)), NotImplementedError, '"softplus_cpu" not implemented for'),
    (lambda: ft.histc(ft.arange(3)), NotImplementedError, '"histogram_cpu" not implemented for'),
    (
        lambda: ft.addmm(ft.zeros(7), a(), ft.zeros(3, 4)),
        RuntimeError,
        "The expanded size of the tensor (4) must match the existing size (7) at non-singleton "
        "dimension 1.",
    ),
    (
        lambda: ft.mm(a(), ft.zeros(3, 3).double()),
        RuntimeError,
        "expected m1 and m2 to have the same dtype, but got: float != double",
    ),
    (
        lambda: F.linear(a(), ft.zeros(4, 3), ft.zeros(4).double()),
        RuntimeError,
        "self and mat2 must have the same dtype, but got Double and Float",
    ),
    (
        lambda: F.max_pool2d(a(), 2),
        RuntimeError,
        "non-empty 3D or 4D (batch mode) tensor expected for input",
    ),
    (
        lambda: F.avg_pool2d(ft.zeros(1, 1, 4, 4), (1, 2, 3)),
        RuntimeError,
        "avg_pool2d: kernel_size must either be a single int, or a tuple of two ints",
    ),
    (
        lambda: F.conv2d(ft.zeros(1, 3, 4, 4), ft.zeros(2, 3, 3, 3), stride=(1, 2, 3)),
        RuntimeError,
        "expected stride to be a single integer value or a list of 2 values to match the",
    ),
    (lambda: F.embedding(a(), ft.zeros(3)), RuntimeError, "'weight' must be 2-D"),
    (
        lambda: F.embedding(a(), a()),
        RuntimeError,
        "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
        "Long, Int; but got torch.FloatTensor instead",
    ),
    (
        lambda: F.cross_entropy(a(), ft.zeros(2, dtype=ft.int32)),
        RuntimeError,
        "expected target dtype to be Long or Byte, but got Int",
    ),
    (
        lambda: F.binary_cross_entropy(a() + 2, a()),
        RuntimeError,
        "all elements of input should be between 0 and 1",
    ),
    (
        lambda: a().index_add(0, ft.tensor([0, 9]), a()),
        RuntimeError,
        "index 9 is out of bounds for dimension 0 with size 2",
    ),
    (
        lambda: a().index_copy(0, ft.tensor([0, 1]), ft.zeros(1, 3)),
        IndexError,
        "index_copy_(): Number of indices (2) should be equal to source.size(dim) (1)",
    ),
    (
        lambda: a().index_put((ft.tensor([9]),), ft.zeros(3)),
        IndexError,
        "index 9 is out of bounds for dimension 0 with size 2",
    ),
    (
        lambda: ft.linalg.inv(ft.zeros(2, 2)),
        ft.linalg.LinAlgError,
        "linalg.inv: The diagonal element 1 is zero, the inversion could not be completed because",
    ),
    (
        lambda: ft.linalg.cholesky(-ft.eye(2)),
        ft.linalg.LinAlgError,
        "linalg.cholesky: The factorization could not be completed because the input is not "
        "positive-definite (the leading minor of order 1 is not positive-definite).",
    ),
    (
        lambda: ft.linalg.solve(ft.zeros(2, 2), ft.zeros(2)),
        ft.linalg.LinAlgError,
        "torch.linalg.solve: The solver failed because the input matrix is singular.",
    ),
    (
        lambda: ft.gather(a(), 1, ft.zeros(2, 2).long(), out=ft.zeros(2, 2).double()),
        RuntimeError,
        "Expected out tensor to have dtype float, but got double instead",
    ),
    (
        lambda: ft.exp(a(), out=ft.zeros(3).expand(2, 3)),
        RuntimeError,
        "unsupported operation: more than one element of the written-to tensor refers to a single",
    ),
    (
        lambda: ft.Size([1.5]),
        TypeError,
        "torch.Size() takes an iterable of 'int' (item 0 is 'float')",
    ),
    (lambda: a().expand(-3, 2, 3), RuntimeError, "numel: integer multiplication overflow"),
    (lambda: a().expand(), TypeError, 'expand() missing 1 required positional arguments: "size"'),
    (lambda: a().chunk(2**63), ValueError, "Overflow when unpacking long long"),
    (
        lambda: ft.cat([a(), None]),
        TypeError,
        "expected Tensor as element 1 in argument 0, but got NoneType",
    ),
    (
        lambda: ft.clamp(a(), np.zeros(2)),
        TypeError,
        "clamp(): argument 'min' (position 2) must be Tensor, not ndarray",
    ),
    (
        lambda: a() - True,
        RuntimeError,
        "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to "
        "invert a mask, use the `~` or `logical_not()` operator instead.",
    ),
    (
        lambda: ft.add(a(), a(), alpha=1j),
        RuntimeError,
        "For non-complex input tensors, argument alpha must not be a complex number.",
    ),
    (
        lambda: ft.addcmul(a(), a(), a(), value=1j),
        RuntimeError,
        "value cannot be converted to type float without overflow",
    ),
    (
        lambda: ft.addmm(ft.zeros(3).half(), a(), ft.zeros(3, 3)),
        RuntimeError,
        "self and mat2 must have the same dtype, but got Half and Float",
    ),
    (
        lambda: ft.linalg.cross(ft.zeros(3), ft.zeros(3).int()),
        RuntimeError,
        "expected scalar type Float but found Int",
    ),
    (
        lambda: ft.zeros((), device="meta").item(),
        RuntimeError,
        "Tensor.item() cannot be called on meta tensors",
    ),
    (
        lambda: ft.tensor(1.0).add_(ft.zeros((), device="meta")),
        RuntimeError,
        "Tensor on device cpu is not on the expected device meta!",
    ),
    (
        lambda: ft.linalg.lu_solve(ft.eye(3), ft.zeros(3).long(), ft.zeros(3, 1)),
        RuntimeError,
        "linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32",
    ),
    (lambda: ft.device("cpu", -1), RuntimeError, "Device index must not be negative"),
    (lambda: ft.load(3), AttributeError, "'int' object has no attribute 'read'"),
    *[
        (call, NotImplementedError, f"\"{name}\" not implemented for '{kind}'")
        for call, name, kind in [
            (lambda: ft.median(a() * 1j, 1), "median_cpu", "ComplexFloat"),
            (lambda: ft.kthvalue(a() * 1j, 1), "kthvalue_cpu", "ComplexFloat"),
            (lambda: F.mse_loss(a() * 1j, a()), "mse_cpu", "ComplexFloat"),
            (lambda: F.mse_loss(a().long(), a().long()), "mse_cpu", "Long"),
            (lambda: F.gelu(a() * 1j), "GeluKernelImpl", "ComplexFloat"),
            (lambda: F.layer_norm(a() * 1j, (3,)), "LayerNormKernelImpl", "ComplexFloat"),
            (lambda: F.batch_norm(a().long(), None, None, training=True), "batch_norm", "Long"),
            (lambda: ft.hypot(a().long(), a().long()), "hypot_cpu", "Long"),
        ]
    ],
    (lambda: F.relu(a() > 0), RuntimeError, "Boolean inputs not supported for relu"),
    (lambda: (a() * 1j).argmax(), RuntimeError, "argmax(): does not support complex input"),
    (lambda: (a() * 1j).max(1), RuntimeError, "max(): does not support complex input"),
    (lambda: (a() * 1j).sort(), RuntimeError, " Sort does not support complex dtypes on CPU"),
    (
        lambda: F.linear(a(), ft.ones(4, 3), ft.ones(5)),
        RuntimeError,
        "The expanded size of the tensor (4) must match the existing size (5)",
    ),
    (
        lambda: F.linear(a(), ft.ones(4, 3), ft.ones(2, 1, 4)),
        RuntimeError,
        "expand(torch.FloatTensor{[2, 1, 4]}, size=[2, 4])",
    ),
    (
        lambda: F.adaptive_avg_pool2d(a(), 2),
        RuntimeError,
        "adaptive_avg_pool2d(): Expected 3D",
    ),
    (
        lambda: F.interpolate(ft.ones(1, 1, 2), scale_factor=float("nan")),
        RuntimeError,
        "value cannot be converted to type int64_t without overflow",
    ),
    *[
        (
            call,
            TypeError,
            f"zeros(): argument 'size' (position 1) must be tuple of ints, not {kind}",
        )
        for call, kind in [
            (lambda: ft.zeros(None), "NoneType"),
            (lambda: ft.zeros(True), "bool"),
            (lambda: ft.zeros(ft.tensor([2, 3])), "Tensor"),
            (lambda: ft.zeros(ft.tensor(3.0)), "Tensor"),
        ]
    ],
    (lambda: ft.tensor(b"abc"), TypeError, "new(): invalid data type 'bytes'"),
    (lambda: ft.tensor(endless()), ValueError, "too many dimensions 'list'"),
    (lambda: ft.stack([a(), endless()]), TypeError, "stack(): argument 'tensors'"),
    (lambda: ft.tensor(1j, dtype=ft.float32), TypeError, "must be real number, not complex"),
    (lambda: ft.poisson(a() * float("nan")), RuntimeError, "invalid Poisson rate"),
    (
        lambda: a().bernoulli_(ft.ones(4)),
        RuntimeError,
        "The expanded size of the tensor (3) must match the existing size (4)",
    ),
    (lambda: ft.from_dlpack(3), RuntimeError, "from_dlpack received an invalid capsule."),
    (
        lambda: ft.frombuffer(3, dtype=ft.uint8),
        ValueError,
        "object does not implement Python buffer protocol.",
    ),
    (lambda: a().type(3), TypeError, "dtype must be a type, str, or dtype object"),
    (
        lambda: ft.promote_types(ft.float32, 1),
        TypeError,
        "promote_types(): argument 'type2' (position 2) must be torch.dtype, not int",
    ),
    (
        lambda: ft.autograd.grad(a().requires_grad_().sum(), "x"),
        RuntimeError,
        "all inputs have to be Tensors or GradientEdges, but got str",
    ),
    (lambda: own_gradient(), RuntimeError, "can't assign Variable as its own grad"),
    (
        lambda: setattr(a().requires_grad_(), "data", ft.ones(2, dtype=ft.int64)),
        RuntimeError,
        "data set to a tensor that requires gradients must be floating point",
    ),
]


@pytest.mark.parametrize(("call", "kind", "line"), WRONG, ids=[line[:40] for _, _, line in WRONG])
def test_first_lines(call, kind, line):
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value).splitlines()[0].startswith(line)


def test_facts_name_the_call_and_the_line():
    left, right = ft.zeros(2, 3), ft.zeros(4, 5)
    with pytest.raises(RuntimeError) as caught:
        ft.mm(left, right)
    first, call, where = str(caught.value).splitlines()
    assert first == "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"
    assert call == "  mm(self: float32[2, 3], mat2: float32[4, 5])"
    assert (
        where.startswith("  at ")
        and where.endswith("ft.mm(left, right)")
        and "test_bad_input.py:" in where
    )


def test_facts_name_the_ops_around():
    with pytest.raises(RuntimeError) as caught:
        ft.matmul(ft.zeros(2, 2, 3), ft.zeros(2, 4, 5).transpose(1, 2))
    lines = str(caught.value).splitlines()
    assert any(
        "matmul(self: float32[2, 2, 3], other: float32[2, 5, 4], strides=[20, 1, 5])" in line
        for line in lines
    )
    assert sum(line.startswith("  at ") for line in lines) == 1


def test_programs_that_match_messages_still_work():
    """The first line is in str(e), as in PyTorch: `in`, `startswith` and re.search find it."""
    with pytest.raises(RuntimeError, match=r"^shape '\[7\]' is invalid for input of size 6"):
        a().view(7)


def test_factors_that_lapack_would_follow_out_of_bounds():
    """Pivots come from the user: LAPACK itself does not check them."""
    matrix = ft.eye(4) + 1
    factors, pivots = ft.linalg.ldl_factor(matrix)
    assert (matrix @ ft.linalg.ldl_solve(factors, pivots, ft.ones(4, 1)) - 1).abs().max() < 1e-5
    for wrong in (pivots * 0 + 9, pivots[:2], -pivots.abs()[[0, 1, 2, 3]] * 9):
        with pytest.raises(RuntimeError):
            ft.linalg.ldl_solve(factors, wrong, ft.ones(4, 1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ft.empty(2**46),
        lambda: ft.zeros(2**46),
        lambda: ft.ones(2**46),
        lambda: ft.rand(2**46),
        lambda: ft.zeros(1).expand(2**46).contiguous(),
        lambda: ft.zeros(1).expand(2**46) + 1,
        lambda: ft.full((2**46,), 3),
        lambda: ft.arange(2**46),
        lambda: ft.zeros(1).expand(2**46).clone(),
        lambda: ft.eye(2**23),
        lambda: ft.vander(ft.ones(2), 2**45),
        lambda: ft.zeros(2**23, 1) @ ft.zeros(1, 2**23),
        lambda: ft.cat([ft.zeros(1).expand(2**45)] * 2),
    ],
)
def test_memory_that_cannot_be_had(make):
    before = ft.ones(3)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        make()
    assert (before + 1).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: ft.empty(2**40, 2**40), RuntimeError),
        (lambda: ft.zeros(2**63), (RuntimeError, TypeError)),
        (lambda: ft.zeros(2, -3), RuntimeError),
        (lambda: ft.zeros(1).expand(2**62).expand(4, 2**62), RuntimeError),
        (lambda: ft.zeros(2).as_strided((2,), (2**62,)), RuntimeError),
        (lambda: ft.zeros(2).repeat(2**62), RuntimeError),
        (lambda: ft.zeros(2).view(2**63), (RuntimeError, TypeError)),
        (lambda: ft.zeros(2)[2**63], (IndexError, ValueError)),
        (lambda: ft.zeros(2).as_strided((3,), (1,)), RuntimeError),
        (lambda: ft.zeros(2).as_strided((1,), (1,), 5), RuntimeError),
        (lambda: ft.zeros(2).as_strided((1,), (-1,)), RuntimeError),
        (lambda: ft.zeros(4)[2:].as_strided((1,), (1,), -1), RuntimeError),
        (lambda: ft.zeros(2).unfold(0, 1, 0), RuntimeError),
        (lambda: ft.zeros(2).sum(-(2**63)), IndexError),
        (lambda: ft.bincount(ft.tensor([2**62])), RuntimeError),
        (lambda: ft.combinations(ft.arange(100), 60), RuntimeError),
    ],
)
def test_sizes_that_overflow(make, kind):
    with pytest.raises(kind):
        make()
    assert ft.ones(2).sum().item() == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.add_(ft.zeros(7)),
        lambda x: x.copy_(ft.zeros(7)),
        lambda x: x.mul_(1j),
        lambda x: x.index_add_(0, ft.tensor([0, 9]), ft.ones(2, 3)),
        lambda x: x.index_copy_(0, ft.tensor([0, 9]), ft.ones(2, 3)),
        lambda x: x.scatter_(0, ft.tensor([[0, 0, 9]]), 1.0),
        lambda x: x.index_fill_(0, ft.tensor([0, 9]), 1.0),
        lambda x: x.index_put_((ft.tensor([0, 9]),), ft.tensor(1.0)),
        lambda x: x.__setitem__(ft.tensor([0, 9]), 1.0),
        lambda x: x.masked_fill_(ft.ones(2, 3), 1.0),
        lambda x: x.put_(ft.tensor([0, 99]), ft.ones(2)),
        lambda x: ft.exp(ft.ones(2, 3, dtype=ft.complex64), out=x),
        lambda x: x.normal_(0, -1),
        lambda x: x.clamp_(),
        lambda x: x.scatter_add_(0, ft.tensor([[0, 0, -9]]), ft.ones(1, 3)),
        lambda x: x.bernoulli_(2),
        lambda x: x.masked_scatter_(ft.tensor([True, True, True]), ft.ones(1)),
        lambda x: x.index_copy_(0, ft.tensor([0, 1]), ft.ones(1, 3)),
        lambda x: x.index_add_(0, ft.tensor([0, 1]), ft.ones(2, 5)),
        lambda x: x.addmm_(ft.ones(2, 2), ft.ones(2, 3).double()),
        lambda x: x.resize_(2, -3),
        lambda x: ft.gather(x, 1, ft.zeros(2, 3).long(), out=x),
        lambda x: ft.cat([x[:1], x[1:]], out=x[:1]),
        lambda x: ft.mm(x, x, out=x),
        lambda x: ft.sort(x, out=(x, x > 0)),
        lambda x: ft.add(x.view(-1)[1:], 1, out=x.view(-1)[:5]),
    ],
)
def test_what_fails_changes_nothing(change):
    x = ft.arange(6.0).view(2, 3)
    version = x._version
    with pytest.raises((RuntimeError, IndexError, TypeError, ValueError)):
        change(x)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]] and x._version == version


def python(program, **options):
    """Runs a program in a process of its own; its output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to send")
@pytest.mark.parametrize(
    "work", ["x = x * 1.0001 + 0.5", "big.sin_()", "(big * 2).sum().backward()"]
)
def test_interrupts_arrive_and_leave_the_library_working(work):
    out = python(f"""
        import os, signal, threading, time
        import flambeau as ft
        x, big = ft.ones(10), ft.ones(300_000)
        if "backward" in {work!r}:
            big.requires_grad_()
        {work}
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        started = time.monotonic()
        try:
            while time.monotonic() - started < 20:
                {work}
            print("never")
        except KeyboardInterrupt:
            print("soon" if time.monotonic() - started < 5 else "late")
        y = ft.ones(3, requires_grad=True)
        (y * 2).sum().backward()
        print(y.grad.tolist(), ft.is_grad_enabled(), ft.ones(300_000).sum().item())
    """)
    assert out.split("\n")[:2] == ["soon", "[2.0, 2.0, 2.0] True 300000.0"]


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to send")
@pytest.mark.parametrize(
    "work", ["ft.sort(big)", "square @ square", "big.lgamma()", "changed.sin_()", "big.cumsum(0)"]
)
def test_an_interrupt_within_one_kernel_comes_at_its_end(work):
    """Nothing is left half-written, no lock is held, and other threads go on."""
    out = python(f"""
        import os, signal, threading, time
        import flambeau as ft
        big = ft.rand(3_000_000)
        square, changed, earlier = big[:1_440_000].view(1200, 1200), big.clone(), big + 1
        expected = big.sin()
        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            {work}
            time.sleep(20)
            print("never")
        except KeyboardInterrupt:
            print("soon")
        whole = changed.equal(expected) or changed.equal(big)
        print(whole, earlier.equal(big + 1), ft.is_grad_enabled())
        sums = []
        other = threading.Thread(target=lambda: sums.append(ft.ones(3_000_000).sum().item()))
        other.start()
        other.join(20)
        product = ft.ones(300, 300) @ ft.ones(300)
        print(sums, ft.ones(3_000_000).sum().item(), product.sum().item())
    """)
    assert out.split("\n")[:3] == ["soon", "True True True", "[3000000.0] 3000000.0 90000.0"]


def test_an_output_that_has_another_shape_is_resized_with_a_warning():
    out = ft.zeros(5)
    with pytest.warns(UserWarning, match=r"resized since it had shape \[5\]"):
        assert ft.exp(ft.zeros(2), out=out) is out
    assert out.tolist() == [1, 1]
    ft.exp(ft.zeros(2), out=ft.zeros(0))  # nothing is lost here


def test_threads_compute_at_once():
    wrong = []

    def work(seed):
        try:
            generator = np.random.default_rng(seed)
            for n in range(1, 40):
                w = generator.standard_normal((n, 7))
                x = ft.from_numpy(w).requires_grad_()
                (x.exp() * seed + x @ x.new_ones(7, 1)).sum().backward()
                np.testing.assert_allclose(x.grad.numpy(), np.exp(w) * seed + 7, rtol=1e-6)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 7)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not wrong and not any(t.is_alive() for t in threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_computes():
    out = python("""
        import os, warnings
        import flambeau as ft
        warnings.simplefilter("ignore")
        big = ft.ones(2_000_000)
        big.sum().item(), (ft.ones(300, 300) @ ft.ones(300, 300)).sum().item()
        for _ in range(3):
            child = os.fork()
            if child == 0:
                x = ft.ones(2_000_000, requires_grad=True)
                (x * 2 + big).sum().backward()
                product = ft.ones(300, 300) @ ft.ones(300, 300)
                good = x.grad[5].item() == 2 and product.sum().item() == 300.0**3
                os._exit(0 if good and big.sum().item() == 2_000_000 else 1)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), big.sum().item())
    """)
    assert out == "0 2000000.0\n" * 3


@pytest.mark.filterwarnings("ignore:This overload")
def test_numbers_before_tensors_as_first_releases_had_it():
    a, b, v = ft.ones(2, 2), ft.full((2, 2), 3.0), ft.ones(2)
    assert ft.equal(ft.add(a, 2, b), a + 2 * b)
    assert ft.equal(a.clone().sub_(2, b), a - 2 * b)
    assert ft.equal(a.clone().addcmul_(2, b, b), a + 2 * b * b)
    assert ft.equal(ft.addmm(2, a, 3, b, b), 2 * a + 3 * (b @ b))
    assert ft.equal(a.addmm(2, b, b), 2 * a + b @ b)
    assert ft.equal(v.addmv(2, 3, b, v), 2 * v + 3 * (b @ v))
    assert ft.equal(ft.add(a, 2, b, out=ft.empty(2, 2)), a + 2 * b)
    for wrong in (lambda: a.add(b, 2), lambda: ft.add(a, 1, 2, b)):
        with pytest.raises(TypeError, match="positional argument"):
            wrong()
    with pytest.warns(UserWarning, match="This overload of add is deprecated: give alpha by name"):
        a.add(2, b)
