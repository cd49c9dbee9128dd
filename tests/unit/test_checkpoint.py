"""`torch.utils.checkpoint`: what runs how often, what is kept, PyTorch 2.13's messages."""

import contextlib

import pytest

import flambeau as torch
from flambeau import runtime
from flambeau.utils.checkpoint import (
    CheckpointError,
    checkpoint,
    checkpoint_sequential,
    set_checkpoint_debug_enabled,
    set_checkpoint_early_stop,
)


def leaf():
    return torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)


def wave(x, k=1.0):
    return (x * x).sin().exp() * k


def expected(k=1.0):
    x = leaf()
    wave(x, k).sum().backward()
    return x.grad.tolist()


class Counted:
    def __init__(self, *functions):
        self.functions, self.calls = functions, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.functions[(self.calls - 1) % len(self.functions)](*args, **kwargs)


def backward(function, **options):
    x = leaf()
    checkpoint(function, x, use_reentrant=False, **options).sum().backward()
    return x.grad.tolist()


def message(kind, action):
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradients_by_a_second_run(reentrant):
    function, x = Counted(wave), leaf()
    y = checkpoint(function, x, use_reentrant=reentrant)
    assert y.requires_grad and function.calls == 1
    y.sum().backward()
    assert function.calls == 2 and x.grad.tolist() == expected()


def test_the_default_is_undecided():
    x = leaf()
    with pytest.warns(UserWarning) as caught:
        checkpoint(wave, x).sum().backward()
    assert str(caught[0].message).startswith(
        "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly."
    )
    assert x.grad.tolist() == expected()


def test_keywords_and_structures():
    assert backward(wave, k=2.0) == expected(2.0)
    x = leaf()
    checkpoint(lambda d: {"a": wave(d["x"])}, {"x": x}, use_reentrant=False)["a"].sum().backward()
    assert x.grad.tolist() == expected()
    y, number = checkpoint(lambda x, n: (x * n, n), x, 3, use_reentrant=True)
    assert number == 3 and y.tolist() == [3.0, 6.0, 9.0]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Unexpected keyword arguments: k", {"use_reentrant": True, "k": 2}),
        (
            "Passing `context_fn` or `debug` is only supported when use_reentrant=False.",
            {"use_reentrant": True, "debug": True},
        ),
        (
            "determinism_check should be one of ['default', 'none'], but got x",
            {"use_reentrant": False, "determinism_check": "x"},
        ),
        (
            "debug=True is incompatible with non-default context_fn",
            {"use_reentrant": False, "debug": True, "context_fn": lambda: None},
        ),
    ],
)
def test_what_is_refused(text, options):
    assert message(ValueError, lambda: checkpoint(wave, leaf(), **options)) == text


def test_grad_and_higher_order():
    x = leaf()
    y = checkpoint(wave, x, use_reentrant=False).sum()
    (first,) = torch.autograd.grad(y, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    z = leaf()
    (plain,) = torch.autograd.grad(wave(z).sum(), z, create_graph=True)
    assert torch.allclose(second, torch.autograd.grad(plain.sum(), z)[0])
    function = Counted(wave)
    y = checkpoint(function, x, use_reentrant=False).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert function.calls == 3 and x.grad.tolist() == [2 * g for g in expected()]


def test_what_the_reentrant_form_cannot_do():
    text = (
        "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing "
        "an `inputs` parameter to .backward(). To resolve this error, you can either set "
        "use_reentrant=False, or call .backward() without passing the `inputs` argument."
    )
    x = leaf()
    for action in (
        lambda y: torch.autograd.grad(y, x),
        lambda y: y.backward(inputs=[x]),
    ):
        y = checkpoint(wave, x, use_reentrant=True).sum()
        with pytest.raises(RuntimeError) as caught:
            action(y)
        assert str(caught.value).splitlines()[0] == text
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True. Gradients"):
        checkpoint(wave, torch.ones(3), use_reentrant=True)
    y = checkpoint(lambda x: x.detach(), x, use_reentrant=True).sum()
    assert message(RuntimeError, y.backward).startswith(
        "none of output has requires_grad=True, this checkpoint() is not necessary"
    )


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("preserve", [True, False])
def test_random_numbers(reentrant, preserve):
    torch.manual_seed(0)
    x = torch.ones(64, requires_grad=True)
    y = checkpoint(
        lambda x: torch.nn.functional.dropout(x, 0.5) * x,
        x,
        use_reentrant=reentrant,
        preserve_rng_state=preserve,
    )
    after = torch.rand(3)
    y.sum().backward()
    assert torch.equal(x.grad, 2 * y.detach()) == preserve
    torch.manual_seed(0)
    torch.nn.functional.dropout(torch.ones(64), 0.5)
    assert torch.equal(after, torch.rand(3))  # nor do later runs disturb other draws
    if preserve:
        assert torch.equal(torch.rand(2), _after_five())


def _after_five():
    torch.manual_seed(0)
    torch.nn.functional.dropout(torch.ones(64), 0.5)
    torch.rand(3)
    return torch.rand(2)


def test_early_stop():
    def function(x):
        seen.append("first")
        z = (x * x).sin()
        z = z + 1  # saves nothing
        seen.append("last")
        return z

    for option, mode, runs in ((True, None, 3), (False, None, 4), (True, False, 4)):
        seen = []
        with contextlib.nullcontext() if mode is None else set_checkpoint_early_stop(mode):
            backward(function, early_stop=option)
        assert len(seen) == runs


def test_runs_that_differ():
    more, fewer = (lambda x: (x * x).sin()), (lambda x: x * x)
    shape = Counted(lambda x: (x * x).sum(), lambda x: (x[:1] * x[:1]).sum())
    found = message(CheckpointError, lambda: backward(Counted(more, fewer)))
    assert found.startswith(
        "torch.utils.checkpoint: A different number of tensors was saved during the original "
        "forward and recomputation.\nNumber of tensors saved during forward: 3\nNumber of tensors "
        "saved during recomputation: 2.\n"
    )
    assert backward(Counted(fewer, more)) == [2.0, 4.0, 6.0]  # all that is needed, and no more
    assert message(
        CheckpointError, lambda: backward(Counted(fewer, more), early_stop=False)
    ).startswith(
        "torch.utils.checkpoint: trying to save more tensors during recomputation than during the "
        "original forward pass."
    )
    assert message(CheckpointError, lambda: backward(shape)).startswith(
        "torch.utils.checkpoint: Recomputed values for the following tensors have different "
        "metadata than during the forward pass.\ntensor at position 0:\nsaved metadata: {'shape': "
        "torch.Size([3]), 'dtype': torch.float64, 'device': device(type='cpu')}\nrecomputed "
        "metadata: {'shape': torch.Size([1]), 'dtype': torch.float64, 'device': "
        "device(type='cpu')}\n"
    )
    half = Counted(lambda x: (x * x).sum(), lambda x: (x * x + 0 * x.float()).sum())
    assert backward(half, determinism_check="none") == [2.0, 4.0, 6.0]


def test_debug_lists_both_runs():
    more, fewer = (lambda x: (x * x).sin()), (lambda x: x * x)
    with set_checkpoint_debug_enabled(True):
        found = message(CheckpointError, lambda: backward(Counted(more, fewer)))
    first, _, second = found.partition("The recomputation:")
    assert "sin(float64[3])" in first and "mul(float64[3], float64[3])" in second
    assert "sin(" not in second.replace(".sin(", "") and "test_checkpoint.py" in second


def test_values_are_unpacked_once():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return ctx.saved_tensors[0] * ctx.saved_tensors[0]

    assert message(CheckpointError, lambda: backward(Twice.apply)) == (
        "torch.utils.checkpoint: Unpack is being triggered for a tensor that was already unpacked "
        "once. If you are calling ctx.saved_tensors in backward, make sure to do so only once. "
        "Otherwise please open an issue with details on your use case."
    )


@pytest.mark.parametrize("reentrant", [True, False])
def test_arguments_that_were_modified(reentrant):
    x = leaf()
    h = x * 1
    y = checkpoint(wave, h, use_reentrant=reentrant)
    h.add_(1)
    assert message(RuntimeError, y.sum().backward).startswith(
        "one of the variables needed for gradient computation has been modified by an inplace "
        "operation: [torch.DoubleTensor [3]]"
    )


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_nest(reentrant):
    def inner(x):
        return checkpoint(wave, x * 2, use_reentrant=reentrant).sin()

    x, plain = leaf(), leaf()
    checkpoint(inner, x, use_reentrant=reentrant).sum().backward()
    wave(plain * 2).sin().sum().backward()
    assert torch.allclose(x.grad, plain.grad)


def test_closures_and_no_grad():
    w = leaf()
    checkpoint(lambda x: x * w, torch.full((3,), 2.0), use_reentrant=False).sum().backward()
    assert w.grad.tolist() == [2.0] * 3
    with torch.no_grad():
        for reentrant in (True, False):
            assert not checkpoint(wave, leaf(), use_reentrant=reentrant).requires_grad


def test_contexts():
    log = []

    @contextlib.contextmanager
    def noted(name):
        log.append(name)
        yield

    function = Counted(wave)
    backward(function, context_fn=lambda: (noted("first"), noted("later")))
    assert log == ["first", "later"]


def test_memory_is_not_kept():
    def layers(x):
        for _ in range(8):
            x = x.sin()
        return x

    def held(function):
        x = torch.ones(1 << 16, requires_grad=True)
        before = runtime.memory().allocated
        y = function(x)
        return runtime.memory().allocated - before, y

    plain, kept = held(layers)
    saved, also = held(lambda x: checkpoint(layers, x, use_reentrant=False))
    assert plain >= 8 * (1 << 18) and saved < 2 * (1 << 18)
    assert kept.shape == also.shape


@pytest.mark.parametrize("reentrant", [True, False])
def test_sequential(reentrant):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 3), torch.nn.ReLU(), torch.nn.Linear(3, 3), torch.nn.Tanh()]
    counted = [Counted(layer) for layer in layers]
    x = torch.ones(2, 3, requires_grad=True)
    y = checkpoint_sequential(counted, 2, x, use_reentrant=reentrant)
    assert torch.allclose(y, torch.nn.Sequential(*layers)(x))
    y.sum().backward()
    grad, x.grad = x.grad, None
    torch.nn.Sequential(*layers)(x).sum().backward()
    assert torch.allclose(grad, x.grad)
    assert [c.calls for c in counted] == [2, 2, 1, 1]
    model = torch.nn.Sequential(*layers)
    assert torch.equal(checkpoint_sequential(model, 2, x, use_reentrant=reentrant), y)
    text = "Unexpected keyword arguments: foo"
    assert text == message(
        ValueError, lambda: checkpoint_sequential(model, 2, x, use_reentrant=reentrant, foo=1)
    )
    with pytest.warns(UserWarning, match="checkpoint_sequential: the use_reentrant parameter"):
        checkpoint_sequential(model, 2, x)
