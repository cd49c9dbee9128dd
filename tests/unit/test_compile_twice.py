"""Compiled functions whose gradients are differentiated again, and gradients that users write."""

import pytest

import flambeau as torch

nn = torch.nn
compile = torch.compile


def penalty(critic, x):
    """What a critic of images is trained with: the norm of its gradient is to be 1."""
    out = critic(x)
    [grad] = torch.autograd.grad(out.sum(), x, create_graph=True)
    return ((grad.norm(dim=1) - 1) ** 2).mean() + out.mean()


def test_a_penalty_of_a_compiled_critic_trains_it():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(8)  # whose statistics move once
    critic = nn.Sequential(nn.Linear(4, 8), norm, nn.LeakyReLU(0.2), nn.Linear(8, 1))
    compiled = compile(critic)
    for k in range(4):
        x = torch.randn(6, 4, generator=torch.Generator().manual_seed(k), requires_grad=True)
        found = []
        for callee in (critic, compiled):
            critic.zero_grad()
            norm.reset_running_stats()
            penalty(callee, x).backward()
            found.append([*(p.grad for p in critic.parameters()), norm.running_mean.clone()])
        for want, got in zip(*found, strict=True):
            torch.testing.assert_close(got, want)


def test_three_derivatives_through_arguments_of_which_one_depends_on_another():
    def function(xs, scale=1.0):
        return {"a": xs[0].sin() * scale, "b": [xs[1]["y"].cos() * xs[0]]}

    def derivatives(function):
        x = torch.linspace(0, 1, 4, requires_grad=True)
        out = function([x, {"y": x * 2}], scale=3.0)
        value = out["a"].sum() + out["b"][0].exp().sum()
        found = []
        for _ in range(3):
            [value] = torch.autograd.grad(value.sum(), x, create_graph=True)
            found.append(value.detach())
        return found

    compiled = compile(function)
    for _ in range(4):
        torch.testing.assert_close(derivatives(compiled), derivatives(function))


def test_gradients_of_random_programs_are_final():
    compiled = compile(lambda x: torch.dropout(x.exp(), 0.5, True))
    x = torch.ones(4, requires_grad=True)
    for _ in range(3):
        compiled(x)
    [grad] = torch.autograd.grad(compiled(x).sum(), x, create_graph=True)
    assert grad.requires_grad
    with pytest.raises(RuntimeError, match="differentiated once only"):
        grad.sum().backward()


class Own(torch.autograd.Function):
    """Its backward draws, says, counts or reads: `kind`."""

    kind = factor = None
    seen: list = []

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, grad):
        if Own.kind == "draws":
            return grad * torch.rand(4)
        if Own.kind == "says":
            print("backward")
        if Own.kind == "appends":
            Own.seen.append(1)
        if Own.kind == "counts":
            Own.factor[0] += 1
        if Own.kind == "raises" and not grad.isfinite().all():
            raise ValueError("not finite")
        return grad * Own.factor[0]


@pytest.mark.parametrize("kind", ["draws", "says", "appends", "counts", "raises", "reads"])
def test_a_backward_of_the_users_runs_when_it_is_asked_for(kind, capsys):
    def run(compile):
        torch.manual_seed(0)
        Own.kind, Own.factor, Own.seen = kind, [1.0], []
        function = compile(lambda x: Own.apply(x.sin()).sum())
        found = []
        for k in range(9):
            if kind == "reads":
                Own.factor[0] = 1.0 + k // 3
            x = torch.ones(4, requires_grad=True)
            function(x).backward()
            found.append((x.grad.tolist(), torch.rand(1).item(), len(Own.seen)))
        return found, capsys.readouterr().out

    assert run(compile) == run(lambda function: function)


def test_what_a_backward_reads_through_closures_is_compared():
    factor = [1.0]

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            return grad * factor[0]

    function = compile(lambda x: Scaled.apply(x).sum())
    for k in range(9):
        factor[0] = 1.0 + k // 3
        x = torch.ones(4, requires_grad=True)
        function(x).backward()
        assert x.grad.tolist() == [factor[0]] * 4


def test_checkpoints_that_enter_again():
    layer = nn.Linear(3, 3)
    compiled = compile(lambda x: torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=True))
    for k in range(5):
        x = torch.full((2, 3), float(k), requires_grad=True)
        compiled(x).sum().backward()
        torch.testing.assert_close(x.grad, layer.weight.sum(0).detach().expand(2, 3))


def test_backward_of_what_autocast_computed_is_not_cast():
    def attend(x):
        heads = (t.view(3, 5, 2, 4).transpose(1, 2) for t in x.split(8, 2))
        return torch.nn.functional.scaled_dot_product_attention(*heads, dropout_p=0.1)

    def trained(compile):
        torch.manual_seed(0)
        layer, function = nn.Linear(8, 24), compile(attend)
        for k in range(4):
            torch.manual_seed(k)
            layer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = function(layer(torch.randn(3, 5, 8)))
            out.float().square().sum().backward()
        return layer.weight.grad

    assert torch.equal(trained(compile), trained(lambda function: function))
