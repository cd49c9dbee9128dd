"""`torch.func`, and `autograd.functional` by forward mode: against closed forms and each other."""

import pytest

import flambeau as torch
from flambeau import func
from flambeau.autograd.functional import hessian, jacobian

X, V = (1.0, 2.0, 3.0), (1.0, 0.0, 2.0)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def message(kind, action):
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value).splitlines()[0]


def cubes(x):
    return x.pow(3).sum()


def curve(x):
    return torch.stack([x.sin().sum(), (x * x.exp())[0], x.prod()])


def close(a, b):
    assert a.shape == b.shape and torch.allclose(a, b), (a, b)
    assert not a.requires_grad
    return True


@pytest.mark.parametrize("strategy", ["forward-mode", "reverse-mode"])
def test_jacobian(strategy):
    x, y = vector(*X), vector(*V)
    squares = jacobian(lambda x: x**2, x, strategy=strategy, vectorize=True)
    assert close(squares, torch.diag(2 * x))
    rows = jacobian(lambda x, y: (x * y, x.sum()), (x, y), strategy=strategy)
    assert isinstance(rows, tuple) and close(rows[0][0], torch.diag(y))
    assert close(rows[0][1], torch.diag(x)) and close(rows[1][0], torch.ones(3).double())
    assert close(rows[1][1], torch.zeros(3).double())
    matrix = jacobian(lambda x: x[:, None] * x, x, strategy=strategy)
    assert matrix.shape == (3, 3, 3) and matrix[1, 2].tolist() == [0.0, 3.0, 2.0]
    empty = jacobian(lambda x: x * 2, torch.zeros(0), strategy=strategy)
    assert empty.shape == (0, 0)


@pytest.mark.parametrize("strategy", ["forward-mode", "reverse-mode"])
def test_hessian(strategy):
    x, y = vector(*X), vector(*V)
    assert close(hessian(cubes, x, outer_jacobian_strategy=strategy), torch.diag(6 * x))
    found = hessian(lambda x, y: (x * y).sum() ** 2, (x, y), outer_jacobian_strategy=strategy)
    total = (x * y).sum()
    assert close(found[0][0], 2 * y[:, None] * y)
    assert close(found[0][1], 2 * y[:, None] * x + 2 * total * torch.eye(3).double())


def test_what_forward_mode_refuses():
    x = vector(*X)
    assert message(
        NotImplementedError,
        lambda: jacobian(cubes, x, strategy="forward-mode", create_graph=True),
    ) == (
        'torch.autograd.functional.jacobian: `create_graph=True` and `strategy="forward-mode"` '
        "are not supported together (yet). Please either set `create_graph=False` or "
        '`strategy="reverse-mode"`.'
    )
    assert message(
        RuntimeError, lambda: jacobian(cubes, x, strategy="forward-mode", strict=True)
    ) == (
        'torch.autograd.functional.jacobian: `strict=True` and `strategy="forward-mode"` are not '
        "supported together (yet). Please either set `strict=False` or "
        '`strategy="reverse-mode"`.'
    )
    assert message(RuntimeError, lambda: jacobian(cubes, x, vectorize=True, strict=True)) == (
        "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported "
        "together. Please either set `strict=False` or `vectorize=False`."
    )
    assert message(AssertionError, lambda: jacobian(cubes, x, strategy="x")) == (
        'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function '
        'has more outputs than inputs, "forward-mode" tends to be more performant. Otherwise, '
        'prefer to use "reverse-mode".'
    )
    assert message(AssertionError, lambda: hessian(cubes, x, outer_jacobian_strategy="q")) == (
        'Expected strategy to be either "forward-mode" or "reverse-mode".'
    )


def test_jvp():
    x, v = vector(*X), vector(*V)
    value, tangent = func.jvp(torch.sin, (x,), (v,))
    assert close(value, x.sin()) and close(tangent, x.cos() * v)
    value, tangent = func.jvp(lambda a, b: {"s": a * b, "t": (a,)}, (x, v), (v, x))
    assert close(value["s"], x * v) and close(tangent["s"], v * v + x * x)
    assert close(tangent["t"][0], v)
    value, tangent, aux = func.jvp(lambda a: (a * 2, a.sum()), (x,), (v,), has_aux=True)
    assert close(tangent, 2 * v) and aux.item() == 6.0
    assert func.jvp(lambda a: torch.ones(2), (x,), (v,))[1].tolist() == [0.0, 0.0]


def test_vjp():
    x, v = vector(*X), vector(*V)
    value, pull = func.vjp(lambda a: a**2, x)
    assert close(value, x * x) and close(pull(v)[0], 2 * x * v) and close(pull(v)[0], 2 * x * v)
    (_, first), pull = func.vjp(lambda a, b: (a * b, a), x, v)
    assert close(first, x) and close(pull((v, v))[0], v * v + v) and close(pull((v, v))[1], x * v)
    _, pull, aux = func.vjp(lambda a: (a * 2, a.sum()), x, has_aux=True)
    assert aux.item() == 6.0 and not aux.requires_grad and close(pull(v)[0], 2 * v)


def test_grad():
    x, v = vector(*X), vector(*V)
    assert close(func.grad(cubes)(x), 3 * x * x)
    found = func.grad(lambda a, b: (a * b * b).sum(), argnums=(0, 1))(x, v)
    assert close(found[0], v * v) and close(found[1], 2 * x * v)
    assert close(func.grad(lambda a, b: (a * b).sum(), argnums=-1)(x, v), x)
    found, aux = func.grad(lambda a: (a.sum(), a * 2), has_aux=True)(x)
    assert close(aux, 2 * x)
    found, value = func.grad_and_value(cubes)(x)
    assert close(found, 3 * x * x) and value.item() == 36.0
    tree = func.grad(lambda p: (p["a"] * p["b"]).sum())({"a": x, "b": v})
    assert close(tree["a"], v) and close(tree["b"], x)
    assert close(func.grad(lambda a: func.grad(cubes)(a).sum())(x), 6 * x)


def test_grad_continues_the_history_around_it():
    w = vector(*X).requires_grad_()
    found = func.grad(cubes)(w)
    found.sum().backward()
    assert w.grad.tolist() == [6.0, 12.0, 18.0]
    scale = vector(2.0).requires_grad_()  # reaches the function as a closure
    found = func.grad(lambda x: (x * scale).sum())(vector(*X))
    assert torch.autograd.grad(found.sum(), scale)[0].tolist() == [3.0]
    with torch.no_grad():
        assert close(func.grad(cubes)(w), 3 * w.detach() ** 2)


@pytest.mark.parametrize("outer", [func.jacfwd, func.jacrev])
@pytest.mark.parametrize("inner", [func.jacfwd, func.jacrev])
def test_jacobians_nest(outer, inner):
    x = vector(*X)
    assert close(inner(curve)(x), jacobian(curve, x))
    assert close(outer(inner(cubes))(x), torch.diag(6 * x))
    expected = torch.stack([hessian(lambda x, k=k: curve(x)[k], x) for k in range(3)])
    assert close(outer(inner(curve))(x), expected)
    third = func.grad(lambda x: outer(inner(cubes))(x).sum())(x)
    assert close(third, torch.full((3,), 6.0).double())


@pytest.mark.parametrize("transform", [func.jacfwd, func.jacrev])
def test_jacobians_of_trees(transform):
    x, v = vector(*X), vector(*V)
    found = transform(lambda a, b: (a * b, b), argnums=(0, 1))(x, v)
    assert close(found[0][0], torch.diag(v)) and close(found[0][1], torch.diag(x))
    assert close(found[1][0], torch.zeros(3, 3).double())
    found, aux = transform(lambda a: (a * 2, a.sum()), has_aux=True)(x)
    assert close(found, 2 * torch.eye(3).double()) and aux.item() == 6.0
    assert close(transform(lambda a: {"o": a * 2})(x)["o"], 2 * torch.eye(3).double())
    assert transform(lambda a: torch.ones(2))(x).tolist() == [[0.0] * 3] * 2


def test_hessian_of_a_layer():
    weight = torch.randn(3, 3, dtype=torch.float64)

    def energy(x):
        return torch.nn.functional.softmax(torch.tanh(weight @ x), 0).log().sum()

    x = vector(*X)
    assert close(func.hessian(energy)(x), hessian(energy, x))


MESSAGES = [
    (
        "jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to "
        "call f(*primals).",
        lambda x: func.jvp(torch.sin, x, x),
    ),
    (
        "jvp(f, primals, tangents): Expected primals to contain at least one Tensor.",
        lambda x: func.jvp(torch.sin, (), ()),
    ),
    (
        "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. "
        "This is not allowed with strict=True.",
        lambda x: func.jvp(lambda a: torch.ones(2), (x,), (x,), strict=True),
    ),
    (
        "jvp(f, primals, tangents): expected f(*primals) to return only tensors, got unsupported "
        "type <class 'float'>",
        lambda x: func.jvp(lambda a: 1.0, (x,), (x,)),
    ),
    (
        "Expected pytree structure of cotangents to be the same as pytree structure of outputs to "
        "the function. cotangents: (*, *), primal output: *",
        lambda x: func.vjp(lambda a: a**2, x)[1]((x, x)),
    ),
    (
        "vjp(f, *primals): expected f(*primals) to return only tensors, got unsupported type "
        "<class 'float'>",
        lambda x: func.vjp(lambda a: 1.0, x),
    ),
    (
        "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with 1 "
        "dims. Maybe you wanted to use the vjp or jacrev APIs instead?",
        lambda x: func.grad(lambda a: a * 2)(x),
    ),
    (
        "grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got <class 'float'>",
        lambda x: func.grad(lambda a: 1.0)(x),
    ),
    (
        "grad_and_value(f)(*args): output of function f should be a tuple: (output, aux) if "
        "has_aux is True",
        lambda x: func.grad(lambda a: a.sum(), has_aux=True)(x),
    ),
    ("Got argnum=1, but only 1 positional inputs", lambda x: func.grad(cubes, argnums=1)(x)),
    ("argnums must be non-empty", lambda x: func.grad(cubes, argnums=())(x)),
    (
        "only Tensors of floating point dtype can require gradients",
        lambda x: func.grad(cubes)(torch.tensor([1])),
    ),
    (
        "Only allowed values for randomness are 'error', 'different', or 'same'. Got x",
        lambda x: func.jacfwd(cubes, randomness="x")(x),
    ),
]


@pytest.mark.parametrize(("text", "action"), MESSAGES, ids=[t[:30] for t, _ in MESSAGES])
def test_messages(text, action):
    assert message(RuntimeError, lambda: action(vector(*X))) == text


def test_messages_of_other_kinds():
    text = "jacrev: `chunk_size` should be greater than 0."
    assert message(ValueError, lambda: func.jacrev(cubes, chunk_size=0)) == text
    text = "Expected primal to be floating point or complex, but got: torch.int64"
    assert message(ValueError, lambda: func.jacfwd(cubes)(torch.tensor([1]))) == text


def test_functional_call():
    layer = torch.nn.Linear(3, 1)
    ones = {name: torch.ones_like(p) for name, p in layer.named_parameters()}
    x = torch.tensor([1.0, 2.0, 3.0])
    before = layer.weight
    for args, kwargs in (((x,), None), (x, None), ((), {"input": x}), (None, {"input": x})):
        assert func.functional_call(layer, ones, args, kwargs).item() == 7.0
    assert func.functional_call(layer, ({"weight": ones["weight"]}, {"bias": ones["bias"]}), x) == 7
    assert layer.weight is before
    found = func.grad(lambda p: func.functional_call(layer, p, (x,)).sum())(ones)
    assert found["weight"].tolist() == [[1.0, 2.0, 3.0]] and found["bias"].tolist() == [1.0]
    assert message(ValueError, lambda: func.functional_call(layer, (ones, ones), x)) == (
        "['weight', 'bias'] appeared in multiple dictionaries; behavior of functional call is "
        "ambiguous"
    )
    with pytest.raises(RuntimeError) as caught:
        func.functional_call(layer, {"weight": ones["weight"], "q": x}, x, strict=True)
    assert str(caught.value) == (
        "Error(s) in reparametrizing for Linear:\n\tUnexpected key(s): 'q'.\n\tMissing key(s): "
        "'bias'."
    )


def test_functional_call_ties_weights():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.zeros(2))
            self.b = self.a

        def forward(self):
            return self.a + self.b

    found = [
        func.functional_call(Tied(), {"a": torch.ones(2)}, tie_weights=tie) for tie in (True, False)
    ]
    assert [f.tolist() for f in found] == [[2.0, 2.0], [1.0, 1.0]]


def test_functional_call_by_its_earlier_names():
    model = torch.nn.Linear(2, 2)
    call = torch.nn.utils.stateless.functional_call
    given = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    assert call(model, parameters_and_buffers=given, args=(torch.ones(2),)).tolist() == [0, 0]


def test_a_linearized_function_runs_once():
    runs = []

    def program(x, y):
        runs.append(1)
        return {"a": x.sin() * y, "b": x.sum() * 2, "c": torch.ones(2)}

    x, y = torch.randn(3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    output, tangent = torch.func.linearize(program, x, y)
    for seed in range(2):
        torch.manual_seed(seed)
        directions = torch.randn_like(x), torch.randn_like(y)
        expected, derivative = torch.func.jvp(program, (x, y), directions)
        found = tangent(*directions)
        for name in "abc":
            assert torch.allclose(output[name], expected[name])
            assert torch.allclose(found[name], derivative[name])
    assert len(runs) == 3 and not output["a"].requires_grad
    with pytest.raises(RuntimeError, match="same argspec"):
        tangent(x)
    with pytest.raises(RuntimeError, match="doesn't match the shape"):
        tangent(x, torch.ones(2))


def test_models_as_one():
    models = [torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)) for _ in range(4)]
    parameters, buffers = torch.func.stack_module_state(models)
    assert parameters["0.weight"].shape == (4, 3, 2) and parameters["0.weight"].is_leaf
    assert torch.equal(parameters["0.weight"][2], models[2][0].weight)
    assert parameters["0.bias"].requires_grad and buffers["1.running_mean"].shape == (4, 3)
    with pytest.raises(RuntimeError, match="same training/eval mode"):
        torch.func.stack_module_state([models[0], models[1].eval()])
    with pytest.raises(RuntimeError, match="at least one"):
        torch.func.stack_module_state([])
    assert torch.func.replace_all_batch_norm_modules_(models[0])[1].running_mean is None
    models[0](torch.randn(5, 2))
