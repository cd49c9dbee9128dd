"""Counts of floating-point operations against what the shapes say."""

import pytest

import flambeau as torch
from flambeau.utils.flop_counter import FlopCounterMode, register_flop_formula

nn = torch.nn


def counted(function, **options):
    with FlopCounterMode(display=False, **options) as counter:
        function()
    return counter


def test_products():
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    x, y = torch.randn(2, 3, 4), torch.randn(2, 4, 5)
    compiled = torch.compile(torch.matmul)
    for _ in range(3):
        compiled(a, b)
    for function, count in (
        (lambda: a @ b, 2 * 3 * 4 * 5),
        (lambda: a.double() @ b.double(), 2 * 3 * 4 * 5),
        (lambda: a.half() @ b.half(), 2 * 3 * 4 * 5),
        (lambda: torch.addmm(torch.ones(5), a, b), 2 * 3 * 4 * 5),
        (lambda: x @ y, 2 * 2 * 3 * 4 * 5),
        (lambda: torch.einsum("abc,acd->abd", x, y), 2 * 2 * 3 * 4 * 5),
        (lambda: torch.baddbmm(torch.ones(5), x, y), 2 * 2 * 3 * 4 * 5),
        (lambda: nn.functional.linear(x, torch.ones(7, 4)), 2 * 2 * 3 * 4 * 7),
        (lambda: x + x, 0),
        (lambda: compiled(a, b), 2 * 3 * 4 * 5),
    ):
        assert counted(function).get_total_flops() == count


@pytest.mark.parametrize("stride, groups", [(1, 1), (2, 3)])
def test_convolutions(stride, groups):
    for layer, spatial in (
        (nn.Conv2d(3, 6, 3, stride, groups=groups), None),
        (nn.ConvTranspose2d(3, 6, 3, stride, groups=groups), 81),
    ):
        x = torch.randn(2, 3, 9, 9, requires_grad=True)
        forward = counted(lambda: layer(x))  # noqa: B023
        places = spatial or ((9 - 3) // stride + 1) ** 2
        assert forward.get_total_flops() == 2 * 2 * places * layer.weight.numel()
        both = counted(lambda: layer(x).sum().backward())  # noqa: B023
        assert both.get_total_flops() == 3 * forward.get_total_flops()


def test_attention_and_recurrent_layers():
    q, k, v = (torch.randn(2, 4, n, 8, requires_grad=True) for n in (5, 7, 7))
    attention = nn.functional.scaled_dot_product_attention
    scores = 2 * 4 * 5 * 7
    assert counted(lambda: attention(q, k, v)).get_total_flops() == scores * 2 * 16
    both = counted(lambda: attention(q, k, v).sum().backward())
    assert both.get_total_flops() == scores * 2 * 16 + scores * 2 * 40
    for layer, gates in ((nn.LSTM(3, 6), 4), (nn.GRU(3, 6), 3), (nn.RNN(3, 6), 1)):
        x = torch.randn(10, 2, 3, requires_grad=True)
        forward = 2 * 20 * gates * 6 * (3 + 6)
        assert counted(lambda: layer(x)).get_total_flops() == forward  # noqa: B023
        both = counted(lambda: layer(x)[0].sum().backward())  # noqa: B023
        # The gradient of the first state is a product of its own.
        assert both.get_total_flops() == pytest.approx(3 * forward, rel=0.05)


def test_modules():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.inner = nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 2, bias=False))

        def forward(self, x):
            return self.inner(self.first(x).relu())

    model, x = Model(), torch.randn(3, 4, requires_grad=True)
    counts = counted(lambda: model(x).sum().backward()).get_flop_counts()
    mm, addmm = torch.ops.aten.mm, torch.ops.aten.addmm
    first, second = 2 * 3 * 4 * 8, 2 * 3 * 8 * 2
    assert counts["Model.first"] == {addmm: first, mm: 2 * first}
    assert counts["Model.inner"] == counts["Model.inner.0"] == {mm: 3 * second}
    assert counts["Model"] == counts["Global"] == {addmm: first, mm: 2 * first + 3 * second}


def test_the_table(capsys):
    with FlopCounterMode(depth=1) as counter:
        nn.Sequential(nn.Linear(1000, 1000), nn.Linear(1000, 500))(torch.ones(1, 1000))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Module", "FLOP", "%", "Total"]
    assert lines[2].split() == ["Global", "3.000M", "100.00%"]
    assert not any("Sequential.0" in line for line in lines)
    table = counter.get_table(depth=2)
    assert any(line.split() == ["Sequential.0", "2.000M", "66.67%"] for line in table.splitlines())


def test_formulas_of_ones_own():
    aten = torch.ops.aten
    x = torch.ones(3, 4)
    counter = counted(x.sin, custom_mapping={aten.sin: lambda x, out_shape: 7 * x[0] * x[1]})
    assert counter.get_flop_counts()["Global"] == {aten.sin: 84}
    library = torch.library

    @library.custom_op("flops_of_mine::op", mutates_args=())
    def op(x: torch.Tensor, times: int) -> torch.Tensor:
        return x @ x * times

    @register_flop_formula(torch.ops.flops_of_mine.op)
    def formula(x, times, out_shape):
        return out_shape[0] * times

    try:
        counter = counted(lambda: op(torch.ones(4, 4), 5))
        assert counter.get_total_flops() == 20
        assert [str(op) for op in counter.get_flop_counts()["Global"]] == ["flops_of_mine.op"]
    finally:
        torch.ops.registry.pop("flops_of_mine.op")


def test_the_report_of_an_environment(capsys):
    from flambeau.utils import collect_env

    collect_env.main()
    text = capsys.readouterr().out
    assert f"torch version: {torch.torch_version.__version__}" in text and "numpy==" in text
    assert "LLVM" in text and "python version: 3." in text
    info = collect_env.get_env_info()
    assert info.is_cuda_available == "False" and collect_env.pretty_str(info) in text
