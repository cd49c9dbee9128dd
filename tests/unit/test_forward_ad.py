"""Forward mode: tangents against PyTorch's rules and closed forms; messages are PyTorch 2.13's."""

import threading

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import forward_ad as fw


@pytest.fixture
def level():
    with fw.dual_level():
        yield


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


X, V = (1.0, 2.0, 3.0), (1.0, 0.0, 2.0)


def dual():
    return fw.make_dual(vector(*X), vector(*V))


def tangent(tensor):
    found = fw.unpack_dual(tensor).tangent
    return None if found is None else found.tolist()


def message(kind, action):
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value).splitlines()[0]


def test_levels():
    x = vector(*X)
    assert message(RuntimeError, lambda: fw.make_dual(x, x)) == (
        "Trying to create a dual Tensor for forward AD but no level exists, make sure to "
        "enter_dual_level() first."
    )
    assert message(RuntimeError, fw.exit_dual_level) == "Dual level must be a positive number."
    assert fw.unpack_dual(x) == (x, None)
    with fw.dual_level() as number:
        assert number == 0
        d = dual()
        assert (
            message(RuntimeError, fw.enter_dual_level)
            == "Nested forward mode AD is not supported at the moment"
        )
        assert message(RuntimeError, lambda: fw.exit_dual_level(level=3)) == (
            "Trying to exit a forward AD level that was not the last one that was created. This is "
            "not supported."
        )
    assert fw.unpack_dual(d).tangent is None
    assert (d * 2).tolist() == [2.0, 4.0, 6.0]


def test_dual_tensors(level):
    x = vector(*X)
    d = fw.make_dual(x, vector(*V))
    assert d.data_ptr() == x.data_ptr() and d._is_view() and not d.requires_grad
    found = fw.unpack_dual(d)
    assert isinstance(found, fw.UnpackedDualTensor) and found._fields == ("primal", "tangent")
    assert found.primal.tolist() == list(X) and found.tangent.tolist() == list(V)
    assert tangent(x) is None and tangent(found.primal) is None
    single = fw.make_dual(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0]))
    assert repr(single) == "tensor([1., 2.], tangent=tensor([3., 0.]))"
    assert message(ValueError, lambda: fw.make_dual(torch.tensor([1]), x)) == (
        "Expected primal to be floating point or complex, but got: torch.int64"
    )
    assert message(ValueError, lambda: fw.make_dual(x, torch.tensor([1]))) == (
        "Expected tangent to be floating point or complex, but got: torch.int64"
    )
    assert message(RuntimeError, lambda: fw.make_dual(x, vector(1.0, 2.0))) == (
        "Trying to set a forward gradient that has a different size than that of the original "
        "Tensor, this is not supported. Tensor is of size [3] while the given forward gradient is "
        "of size [2]."
    )
    assert message(RuntimeError, lambda: fw.make_dual(d, x)) == (
        "Making a dual Tensor based on a Tensor that already has a forward gradient at the same "
        "level 0 is not supported."
    )
    assert message(NotImplementedError, lambda: torch.add(d, 1, out=torch.zeros(3).double())) == (
        "Trying to use forward AD with add_out that does not support it because it is an out= "
        "function"
    )


OPS = {
    "sin": (lambda x: x.sin(), lambda x, v: np.cos(x) * v),
    "product": (lambda x: x.sin() * x, lambda x, v: (np.cos(x) * x + np.sin(x)) * v),
    "constant": (lambda x: x + 1, lambda x, v: v),
    "floor": (lambda x: x.floor(), lambda x, v: 0 * v),
    "sum": (lambda x: x.pow(3).sum(), lambda x, v: (3 * x**2 * v).sum()),
    "softmax": (lambda x: x.softmax(0), None),
    "view": (lambda x: x[1:], lambda x, v: v[1:]),
    "split": (lambda x: x.split(1)[2], lambda x, v: v[2:]),
    "cat": (lambda x: torch.cat([x, x * x]), lambda x, v: np.concatenate([v, 2 * x * v])),
    "outer": (lambda x: x[:, None] @ x[None], lambda x, v: np.outer(x, v) + np.outer(v, x)),
    "cumsum": (lambda x: x.cumsum(0), lambda x, v: v.cumsum()),
    "max": (lambda x: x.max(0).values, lambda x, v: v[2]),
    "sort": (lambda x: x.flip(0).sort().values, lambda x, v: v),
    "gelu": (torch.nn.functional.gelu, None),
    "index": (lambda x: x[torch.tensor([2, 2])], lambda x, v: v[[2, 2]]),
    "solve": (
        lambda x: torch.linalg.solve(torch.diag(x), x * x),
        lambda x, v: v,
    ),
    "layer_norm": (lambda x: torch.nn.functional.layer_norm(x, (3,)), None),
    "where": (
        lambda x: torch.where(x > 1.5, x * 2, x * 3),
        lambda x, v: np.where(x > 1.5, 2, 3) * v,
    ),
    "clone": (lambda x: x.clone(), lambda x, v: v),
}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("recording", [True, False])
def test_tangents(level, name, recording):
    function, rule = OPS[name]
    x, v = np.array(X), np.array(V)
    with torch.set_grad_enabled(recording):
        found = function(dual())
    assert not found.requires_grad
    if rule is None:
        step = 1e-6
        above, below = (function(torch.from_numpy(x + s * v)).numpy() for s in (step, -step))
        expected = (above - below) / (2 * step)
    else:
        expected = rule(x, v)
    assert np.allclose(tangent(found), expected, atol=1e-8)


def test_what_has_no_tangent(level):
    d = dual()
    with torch.inference_mode():
        inside = d * 2
    for found in (d.detach(), d.data, d > 1, d.argmax(), torch.zeros_like(d), inside):
        assert tangent(found) is None
    assert d.numpy().tolist() == list(X)


def test_writes_in_place(level):
    e = dual().clone()
    e.mul_(2)
    assert tangent(e) == [2.0, 0.0, 4.0] and e.tolist() == [2.0, 4.0, 6.0]
    view = e[1:]
    e[2] = 5.0
    assert tangent(e) == [2.0, 0.0, 0.0] and tangent(view) == [0.0, 0.0]
    view.add_(dual()[:2])
    assert tangent(e) == [2.0, 1.0, 0.0] and e.tolist() == [2.0, 5.0, 7.0]
    e.zero_()
    assert tangent(e) == [0.0] * 3
    plain = torch.zeros(3).double()
    plain[0:2] = dual()[1:]
    assert tangent(plain) == [0.0, 2.0, 0.0] and plain.tolist() == [2.0, 3.0, 0.0]
    other = torch.zeros(2, 3).double().copy_(dual())
    assert tangent(other) == [list(V)] * 2
    z = torch.zeros(3, dtype=torch.complex128)
    z.imag = dual()
    assert tangent(z) == [1j * v for v in V]
    e = dual().clone()
    e.uniform_()
    assert tangent(e) == [0.0] * 3


def test_complex_tangents(level):
    x, v = np.array([1 + 2j, 3 - 1j]), np.array([1j, 2 - 1j])
    d = fw.make_dual(torch.from_numpy(x), torch.from_numpy(v))
    for function, expected in (
        (lambda z: z * z, 2 * x * v),
        (lambda z: z.conj() * z, v.conj() * x + x.conj() * v),
        (lambda z: z.abs(), (x.conj() * v).real / np.abs(x)),
        (lambda z: z.conj().imag, -v.imag),
        (lambda z: z.exp(), np.exp(x) * v),
        (lambda z: torch.view_as_real(z), np.stack([v.real, v.imag], -1)),
    ):
        assert np.allclose(tangent(function(d)), expected)


def test_reverse_over_forward_and_forward_over_reverse(level):
    w = vector(*X).requires_grad_()
    d = fw.make_dual(w, vector(*V))
    assert d.requires_grad and not d.is_leaf
    second = [6 * x * v for x, v in zip(X, V, strict=True)]
    out = (d**3).sum()
    (found,) = torch.autograd.grad(fw.unpack_dual(out).tangent, w, retain_graph=True)
    assert found.tolist() == second
    for wanted in (w, d):
        (grad,) = torch.autograd.grad((d**3).sum(), wanted, create_graph=True)
        assert grad.tolist() == [3.0, 12.0, 27.0] and tangent(grad) == second
    (grad,) = torch.autograd.grad(d.exp().sum(), d)  # exp saves its own result
    assert np.allclose(tangent(grad), np.exp(X) * np.array(V))
    e = d * 1
    e.mul_(d)  # in place, and still differentiable
    (found,) = torch.autograd.grad(fw.unpack_dual(e.sum()).tangent, w)
    assert found.tolist() == [2 * v for v in V]


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_forward(x)
        return x * x, y > 0

    @staticmethod
    def jvp(ctx, x, y):
        (saved,) = ctx.saved_tensors
        assert y.tolist() == [0.0] * 3  # zeros for what has no tangent
        return 2 * saved * x, None


def returning(value):
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def jvp(ctx, x):
            return value

    return Wrong.apply


class NoRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * x


def test_functions_of_the_user(level):
    square, positive = Square.apply(dual(), vector(*X))
    assert tangent(square) == [2 * x * v for x, v in zip(X, V, strict=True)]
    assert tangent(positive) is None
    assert message(NotImplementedError, lambda: NoRule.apply(dual())) == (
        "You must implement the jvp function for custom autograd.Function to use it with forward "
        "mode AD."
    )
    one = vector(*X)
    assert message(RuntimeError, lambda: returning((one, one))(dual())) == (
        "Function's jvp returned an invalid number of forward gradients (expected 1 but got 2)"
    )
    assert "different size" in message(RuntimeError, lambda: returning(one.sum())(dual()))


def test_other_threads_see_no_level(level):
    found = []

    def work():
        x = vector(*X)
        found.append((x * 2).tolist())
        found.append(message(RuntimeError, lambda: fw.make_dual(x, x)))
        with fw.dual_level():
            found.append(tangent(dual() * 2))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0] == [2.0, 4.0, 6.0] and "no level exists" in found[1]
    assert found[2] == [2.0, 0.0, 4.0]
    assert tangent(dual() * 2) == [2.0, 0.0, 4.0]


def test_tangents_die_with_their_tensors(level):
    level = torch.autograd.forward_ad._made.state.dual.interpreter
    kept = dual()
    for _ in range(5):
        (kept * 2).sin().sum()
    assert len(level._by_object) == 1 and not level._by_node
