"""Conjugate and negative views: what keeps the bit, what drops it, and who must never lose it.

Values come from NumPy; what is lazy is what is lazy in PyTorch 2.13, unless said otherwise.
"""

import copy
import io
import pickle

import numpy as np
import pytest

import flambeau as torch
from flambeau import runtime

VALUES = np.array([1 + 2j, 3 - 4j, -1 + 0.5j], np.complex64)
MATRIX = np.array([[1 + 2j, 3j], [4 - 1j, 5]], np.complex64)


@pytest.fixture
def x():
    return torch.from_numpy(VALUES.copy())


@pytest.fixture
def m():
    return torch.from_numpy(MATRIX.copy())


def values(tensor):
    return np.array(tensor.tolist())


def allocated(action):
    """Bytes that a second call of `action` allocates."""
    action()
    runtime.take_events()
    runtime.log_events(True)
    try:
        kept = action()
    finally:
        runtime.log_events(False)
    found = sum(size for size, _ in runtime.take_events() if size > 0)
    return found if kept is not None else 0


def first_line(kind, action):
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value).splitlines()[0]


def test_conj_is_an_alias_without_memory(x):
    c = x.conj()
    assert c.is_conj() and torch.is_conj(c) and not x.is_conj()
    assert c.data_ptr() == x.data_ptr() and c._is_view() and not c.conj().is_conj()
    assert allocated(lambda: x.conj()) == 0
    for real in (torch.ones(3), torch.arange(3), torch.tensor([True])):
        assert real.conj() is real and torch.conj_physical(real) is real


def test_resolving(x):
    c, n = x.conj(), torch._neg_view(x)
    assert x.resolve_conj() is x and x.resolve_neg() is x and c.resolve_neg() is c
    assert not c.resolve_conj().is_conj() and c.resolve_conj().data_ptr() != x.data_ptr()
    assert np.array_equal(values(c.resolve_conj()), VALUES.conj())
    assert not torch.resolve_neg(n).is_neg() and np.array_equal(values(n.resolve_neg()), -VALUES)


def test_conj_physical(x):
    assert not x.conj_physical().is_conj() and not x.conj().conj_physical().is_conj()
    assert np.array_equal(values(x.conj_physical()), VALUES.conj())
    c = x.conj()
    assert c.conj_physical_().is_conj()  # what flips is the memory
    assert np.array_equal(values(x), VALUES.conj()) and np.array_equal(values(c), VALUES)


def test_imag_of_a_conj_view_is_a_neg_view(x):
    imag, real = x.conj().imag, x.conj().real
    assert imag.is_neg() and not imag.is_conj() and imag._is_view()
    assert imag.data_ptr() - x.data_ptr() == 4 and imag.dtype is torch.float32
    assert not real.is_neg() and real.data_ptr() == x.data_ptr()
    assert np.array_equal(values(imag), -VALUES.imag)
    assert not torch._neg_view(x).conj().imag.is_neg()


def test_neg_is_never_lazy(x):
    assert not x.neg().is_neg() and not (-x).is_neg() and not torch.neg(x.real).is_neg()
    n = torch._neg_view(x)
    assert n.is_neg() and n.data_ptr() == x.data_ptr() and not torch._neg_view(n).is_neg()
    assert np.array_equal(values(n), -VALUES) and not n.neg().is_neg()


KEEP = {
    "slice": lambda c: c[1:],
    "reshape": lambda c: c.reshape(3, 1),
    "view": lambda c: c.view(3, 1),
    "expand": lambda c: c.expand(2, 3),
    "transpose": lambda c: c.unsqueeze(0).t(),
    "detach": lambda c: c.detach(),
    "data": lambda c: c.data,
    "contiguous": lambda c: c.contiguous(),
    "to": lambda c: c.to(c.dtype),
    "as_strided": lambda c: c.as_strided((2,), (1,)),
    "split": lambda c: c.split(1)[0],
    "unbind": lambda c: c.unbind()[0],
    "diagonal": lambda c: c.expand(2, 3).diagonal(),
    "share_memory_": lambda c: c.share_memory_(),
    "pickle": lambda c: pickle.loads(pickle.dumps(c)),
}
DROP = {
    "index": lambda c: c[torch.tensor([0, 1])],
    "mask": lambda c: c[torch.tensor([True, False, True])],
    "clone": lambda c: c.clone(),
    "contiguous of a copy": lambda c: c.expand(2, 3).t().contiguous(),
    "cat": lambda c: torch.cat([c, c]),
    "stack": lambda c: torch.stack([c, c]),
    "to": lambda c: c.to(torch.complex128),
    "mul": lambda c: c * 1,
    "add": lambda c: c + 0,
    "copy_": lambda c: torch.zeros(3, dtype=c.dtype).copy_(c),
    "deepcopy": lambda c: copy.deepcopy(c),
    "flip": lambda c: c.flip(0),
    "gather": lambda c: c.gather(0, torch.tensor([0])),
    "numpy": lambda c: torch.from_numpy(c.numpy(force=True)),
    "zeros_like": lambda c: torch.zeros_like(c),
    "empty_like": lambda c: torch.empty_like(c),
    "sum": lambda c: c.sum(),
    "cumsum": lambda c: c.cumsum(0),
}


@pytest.mark.parametrize("name", KEEP)
@pytest.mark.parametrize("bit", ["conj", "neg"])
def test_views_keep_the_bit(x, name, bit):
    lazy = x.conj() if bit == "conj" else torch._neg_view(x)
    found = KEEP[name](lazy)
    assert (found.is_conj(), found.is_neg()) == (bit == "conj", bit == "neg")
    assert np.array_equal(values(found), values(KEEP[name](lazy.clone())))


@pytest.mark.parametrize("name", DROP)
@pytest.mark.parametrize("bit", ["conj", "neg"])
def test_what_makes_memory_drops_the_bit(x, name, bit):
    lazy = x.conj() if bit == "conj" else torch._neg_view(x)
    found = DROP[name](lazy)
    assert not found.is_conj() and not found.is_neg()
    if name != "empty_like":
        assert np.array_equal(values(found), values(DROP[name](lazy.clone())))


def test_set_takes_the_bit_along(x):
    # PyTorch drops it, and so shows other values than those of the tensor it was given.
    assert np.array_equal(values(torch.zeros(3, dtype=x.dtype).set_(x.conj())), VALUES.conj())


def test_writes_go_through(x):
    c = x.conj()
    c.mul_(2j)
    assert c.is_conj() and np.allclose(values(c), VALUES.conj() * 2j)
    assert np.allclose(values(x), (VALUES.conj() * 2j).conj())
    x[0] = 7 + 1j
    assert c[0].item() == 7 - 1j
    c[1] = 1j
    assert x[1].item() == -1j
    c.fill_(2 + 3j)
    assert x[2].item() == 2 - 3j
    torch.add(torch.from_numpy(VALUES), 1, out=c)
    assert c.is_conj() and np.allclose(values(c), VALUES + 1)
    c.imag = torch.ones(3)
    assert np.allclose(values(x.imag), -1)
    c.imag.add_(1)
    assert np.allclose(values(c.imag), 2)


def test_adjoints(m):
    for found in (m.mH, m.H, m.adjoint(), torch.adjoint(m)):
        assert found.is_conj() and found.data_ptr() == m.data_ptr() and found._is_view()
        assert np.array_equal(values(found), MATRIX.conj().T)
    real = torch.ones(2, 3)
    assert real.H.shape == real.mH.shape == real.adjoint().shape == (3, 2)
    assert torch.ones(4, 2, 3).mH.shape == torch.ones(4, 2, 3).adjoint().shape == (4, 3, 2)


@pytest.mark.parametrize(
    ("message", "action"),
    [
        (
            "tensor.H is only supported on matrices (2-D tensors). Got 1-D tensor.",
            lambda: torch.ones(3).H,
        ),
        (
            "tensor.H is only supported on matrices (2-D tensors). Got 3-D tensor. For batches of "
            "matrices, consider using tensor.mH",
            lambda: torch.ones(2, 2, 2).H,
        ),
        (
            "tensor.mH is only supported on matrices or batches of matrices. Got 1-D tensor.",
            lambda: torch.ones(3).mH,
        ),
        (
            "tensor.adjoint() is only supported on matrices or batches of matrices. Got 1-D "
            "tensor.",
            lambda: torch.ones(3).adjoint(),
        ),
    ],
)
def test_adjoints_of_what_is_no_matrix(message, action):
    assert first_line(RuntimeError, action) == message


def test_adjoint_of_a_number_warns():
    z = torch.tensor(1 + 2j)
    for name, get in (
        ("adjoint()", lambda: z.adjoint()),
        ("Tensor.H", lambda: z.H),
        ("Tensor.mH", lambda: z.mH),
    ):
        with pytest.warns(UserWarning, match="deprecated on 0-D tensors") as caught:
            assert get().item() == 1 - 2j
        assert str(caught[0].message).startswith(name)


N = 48
PRODUCTS = {
    "mm": lambda a, b, u: a @ b,
    "mm of a transpose": lambda a, b, u: a.mT @ b,
    "bmm": lambda a, b, u: torch.bmm(a.expand(3, N, N), b.expand(3, N, N)),
    "mv": lambda a, b, u: a @ u,
    "vm": lambda a, b, u: u @ b,
    "dot": lambda a, b, u: torch.dot(a.view(-1), b.view(-1)),
    "vdot": lambda a, b, u: torch.vdot(a.view(-1), b.view(-1)),
    "einsum": lambda a, b, u: torch.einsum("ij,kj->ik", a, b),
    "einsum dot": lambda a, b, u: torch.einsum("ij,ij->", a, b),
    "addmm": lambda a, b, u: torch.addmm(a, a, b),
    "tensordot": lambda a, b, u: torch.tensordot(a, b, 1),
    "linear": lambda a, b, u: torch.nn.functional.linear(a, b),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("which", ["left", "right", "both"])
def test_products_fold_the_bit(name, which):
    torch.manual_seed(0)
    a, b = (torch.randn(N, N, dtype=torch.complex64) for _ in range(2))
    u = torch.randn(N, dtype=torch.complex64)
    product = PRODUCTS[name]
    left, right = which != "right", which != "left"

    def lazily():
        return product(a.conj() if left else a, b.conj() if right else b, u)

    found = lazily()
    assert not found.is_conj()
    expected = product(
        a.conj().resolve_conj() if left else a, b.conj().resolve_conj() if right else b, u
    )
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert allocated(lazily) <= allocated(lambda: product(a, b, u))


def test_view_as_real_and_other_types(x):
    lazy, negative = x.conj(), torch._neg_view(x)
    assert first_line(RuntimeError, lambda: torch.view_as_real(lazy)) == (
        "view_as_real doesn't work on unresolved conjugated tensors.  To resolve the conjugate "
        "tensor so you can view it as real, use self.resolve_conj(); however, be warned that the "
        "resulting tensor will NOT alias the original."
    )
    assert torch.view_as_real(negative).is_neg()
    assert torch.view_as_real(negative).tolist()[0] == [-1.0, -2.0]
    assert first_line(RuntimeError, lambda: lazy.view(torch.float32)) == (
        "torch.Tensor.view is not supported for conjugate view tensors when converting to a "
        "different dtype."
    )
    assert first_line(RuntimeError, lambda: lazy.imag.view(torch.int32)) == (
        "torch.Tensor.view is not supported for tensors with negative bit set when converting to a "
        "different dtype."
    )


def test_numpy_does_not_see_the_bit(x):
    lazy, negative = x.conj(), x.conj().imag
    message = "Can't call numpy() on Tensor that has {} bit set. Use tensor.{}().numpy() instead."
    for action in (lazy.numpy, lambda: np.asarray(lazy), lambda: np.sin(lazy)):
        assert first_line(RuntimeError, action) == message.format("conjugate", "resolve_conj")
    for action in (negative.numpy, lambda: np.asarray(negative)):
        assert first_line(RuntimeError, action) == message.format("negative", "resolve_neg")
    assert np.array_equal(lazy.numpy(force=True), VALUES.conj())
    assert np.array_equal(negative.numpy(force=True), -VALUES.imag)


@pytest.mark.parametrize(
    "export",
    [torch.from_dlpack, torch.utils.dlpack.to_dlpack, np.from_dlpack],
    ids=["from_dlpack", "to_dlpack", "numpy"],
)
def test_dlpack_refuses_the_bit(x, export):
    # PyTorch's to_dlpack, and its from_dlpack of a neg view, hand out wrong values silently.
    message = "Can't export tensors with the {} bit set"
    assert first_line(BufferError, lambda: export(x.conj())) == message.format("conjugate")
    assert first_line(BufferError, lambda: export(x.conj().imag)) == message.format("negative")
    export(x.conj().resolve_conj())


def test_dlpack_by_the_old_names(x):
    again = torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(x))
    assert again.data_ptr() == x.data_ptr() and np.array_equal(values(again), VALUES)


def test_files_keep_bit_and_value(x):
    for lazy in (x.conj(), x.conj().imag, torch._neg_view(x), torch.nn.Parameter(x.conj())):
        file = io.BytesIO()
        torch.save({"lazy": lazy, "plain": lazy.detach().clone()}, file)
        file.seek(0)
        found = torch.load(file)
        assert found["lazy"].is_conj() == lazy.is_conj()
        assert found["lazy"].is_neg() == lazy.is_neg()
        assert np.array_equal(values(found["lazy"]), values(lazy))
        assert np.array_equal(values(found["plain"]), values(lazy))


def test_files_keep_sharing(x):
    file = io.BytesIO()
    torch.save([x, x.conj()], file)
    file.seek(0)
    plain, lazy = torch.load(file)
    assert plain.data_ptr() == lazy.data_ptr() and lazy.is_conj()
    assert np.array_equal(values(lazy), VALUES.conj())


@pytest.mark.parity
def test_files_of_pytorch_and_for_pytorch(x, tmp_path):
    import torch as reference

    theirs = reference.from_numpy(VALUES.copy())
    made = [theirs.conj(), reference._neg_view(theirs), reference.nn.Parameter(theirs.conj())]
    reference.save(made, tmp_path / "theirs.pt")
    for found, expected in zip(torch.load(tmp_path / "theirs.pt"), made, strict=True):
        assert (found.is_conj(), found.is_neg()) == (expected.is_conj(), expected.is_neg())
        assert found.tolist() == expected.tolist()
    ours = [x.conj(), torch._neg_view(x)]
    torch.save(ours, tmp_path / "ours.pt")
    for found, expected in zip(reference.load(tmp_path / "ours.pt"), ours, strict=True):
        assert (found.is_conj(), found.is_neg()) == (expected.is_conj(), expected.is_neg())
        assert found.tolist() == expected.tolist()


def test_printing_and_numbers_are_resolved(x):
    lazy = x.conj()
    assert lazy[0].item() == 1 - 2j and complex(lazy[1]) == 3 + 4j
    assert float(lazy.imag[0]) == -2.0 and lazy.imag[0].item() == -2.0
    assert lazy.tolist() == VALUES.conj().tolist()
    assert repr(lazy) == repr(lazy.resolve_conj())
    assert repr(lazy.imag) == repr(lazy.imag.resolve_neg())
    assert bool(lazy[0] == 1 - 2j) and torch.equal(lazy, x.conj_physical())


def test_gradients(x):
    def grad(function):
        leaf = torch.from_numpy(VALUES.copy()).requires_grad_()
        result = function(leaf)
        weight = (1 + 2j) if result.is_complex() else 1
        return values(torch.autograd.grad(result, leaf, torch.ones_like(result) * weight)[0])

    assert np.allclose(grad(lambda t: t.conj()), 1 - 2j)
    assert np.allclose(grad(lambda t: t.resolve_conj()), 1 + 2j)
    assert np.allclose(grad(lambda t: t.conj().resolve_conj()), 1 - 2j)
    assert np.allclose(grad(lambda t: t.conj_physical()), 1 - 2j)
    assert np.allclose(grad(lambda t: t.conj().imag), -1j)
    assert np.allclose(grad(lambda t: t.conj().real), 1)
    assert np.allclose(grad(lambda t: torch._neg_view(t)), -1 - 2j)
    double = torch.from_numpy(VALUES.astype(np.complex128)).requires_grad_()
    for function in (lambda t: t.conj() * t, lambda t: torch._neg_view(t) * t, lambda t: t.mH @ t):
        leaf = double.detach().reshape(3, 1).requires_grad_()
        assert torch.autograd.gradcheck(function, (leaf,))
        assert torch.autograd.gradgradcheck(function, (leaf,))
