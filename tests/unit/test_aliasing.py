"""Which results share memory with what, and how results lie: a table of PyTorch's answers.

Each line of tests/golden/aliasing.txt is ``operation | layout of x | facts of each result``; the
facts are shape, strides, offset and one word: `same` (the tensor itself), `view` (of x, in its
memory), `memory` (x's memory, but no view for backward), `own`. The table is what PyTorch 2.13
says; where that is installed, the table itself is tested (and with UPDATE_GOLDEN=1 written).
"""

import os
import pathlib

import pytest

import flambeau

TABLE = pathlib.Path(__file__).parent.parent / "golden" / "aliasing.txt"

LAYOUTS = {
    "number": lambda t, x: x(1).reshape(()),
    "vector": lambda t, x: x(6),
    "strided vector": lambda t, x: x(12)[::2],
    "matrix": lambda t, x: x(3, 4),
    "transposed": lambda t, x: x(4, 3).t(),
    "row": lambda t, x: x(1, 4),
    "gaps": lambda t, x: x(3, 8)[:, ::2],
    "inner": lambda t, x: x(5, 6)[1:4, 1:5],
    "expanded": lambda t, x: x(4).expand(3, 4),
    "empty": lambda t, x: x(0, 4),
    "cube": lambda t, x: x(2, 3, 4),
    "permuted": lambda t, x: x(4, 2, 3).permute(1, 2, 0),
    "image": lambda t, x: x(2, 3, 4, 5),
    "channels last": lambda t, x: x(2, 3, 4, 5).contiguous(memory_format=t.channels_last),
    "some channels": lambda t, x: x(2, 6, 4, 5).contiguous(memory_format=t.channels_last)[:, 1:4],
    "complex": lambda t, x: t.complex(x(3, 4), x(3, 4)),
    "conjugate": lambda t, x: t.complex(x(3, 4), x(3, 4)).conj(),
}

OPERATIONS = """
x.reshape(-1)  x.reshape(3, 4)  x.reshape(2, 6)  x.reshape(4, 3)  x.reshape(2, 3, -1)
x.view(-1)  x.view(3, 2, 2)  x.view(2, 3, -1)  x.view(t.float32)  x.view(t.int32)  x.view(t.uint8)
x.contiguous()  x.contiguous(memory_format=t.channels_last)
x.to(x.dtype)  x.to(x.dtype, copy=True)  x.to(t.float64)  x.to(memory_format=t.channels_last)
x.to(t.float64, memory_format=t.contiguous_format)  x.cpu()  x.float()  x.type_as(x)
x.flatten()  x.flatten(1)  x.flatten(0, 1)  x.squeeze()  x.squeeze(0)
x.unsqueeze(0)  x.unsqueeze(1)  x.unsqueeze(-1)
x.expand(2, *x.shape)  x.expand_as(x)  x.broadcast_to((2, *x.shape))  t.broadcast_tensors(x, x)
x.movedim(0, -1)  x.movedim(0, 0)  x.moveaxis(0, 1)  x.transpose(0, 1)  x.swapaxes(0, -1)
x.permute(*range(x.dim()))  x.T  x.mT  x.H  x.mH  x.t()  x.adjoint()
x.unfold(0, 2, 1)  x.unfold(-1, 2, 2)  x.diagonal()  x.diagonal(1)  x.diagonal(-9)
t.linalg.diagonal(x)  x.split(2)  x.split([1, 2])  x.chunk(2)  x.chunk(1)  x.chunk(3, -1)
x.tensor_split(2)  x.tensor_split([1, 5])  x.hsplit(2)  x.vsplit([1])  x.unbind()  x.unbind(-1)
x.real  x.imag  t.real(x)  t.view_as_real(x)  t.view_as_complex(x)  x.conj()  x.conj_physical()
x.resolve_conj()  x.resolve_neg()  x._neg_view()  +x
x.narrow(0, 0, 1)  x.narrow(-1, 1, 2)  x.narrow(0, x.shape[0], 0)  x.narrow_copy(0, 0, 1)
x.select(0, 0)  x.select(-1, -1)  x.unflatten(-1, (2, -1))  x.unflatten(0, (-1, 1))
t.atleast_1d(x)  t.atleast_2d(x)  t.atleast_3d(x)  x.detach()  x.data  x.view_as(x)
x[...]  x[:]  x[0]  x[None]  x[1:]  x[::2]  x[..., 0]  x[99:]  x[:, None]  x[x == x]
x.as_strided((2,), (1,))  x.as_strided((1, 2), (2, 1), 1)
t.cat([x])  t.cat([x, x])  t.hstack([x])  x.flip(0)  x.repeat(*[1] * x.dim())
x.clone()  x.clone(memory_format=t.contiguous_format)  x.clone(memory_format=t.channels_last)
t.empty_like(x)  t.zeros_like(x)  t.ones_like(x, memory_format=t.contiguous_format)
t.full_like(x, 1, dtype=t.float64)  x.new_zeros(x.shape)
t.permute_copy(x, [1, 0])  t.view_copy(x, (-1,))  t.select_copy(x, 0, 0)  t.unbind_copy(x)
t.sin(x)  -x  x.abs()  x + 1  x + x  x + x.contiguous()  x.contiguous() + x  x == x  x > 1
x * t.ones(x.shape[-1:])  t.ones(x.shape[-1:]) * x  x.unsqueeze(-1) + t.ones(2)
x + t.ones(2, *x.shape)  x + t.tensor(1.0)  t.where(x == x, x, t.zeros(()))  t.lerp(x, x, 0.5)
x[:1] + x[:, :1]  x ** 2  x / 2  x.round()  x.clamp(0, 2)  t.nn.functional.relu(x)  x.cumsum(0)
x.softmax(-1)  x.sum(0)  x.sum(0, keepdim=True)  x.mean((0, 1))  x.var(0)
t.einsum("...->...", x)  t.einsum("ij->ji", x)  x.sum_to_size(x.shape)  x @ t.ones(x.shape[-1], 2)
F.conv2d(x, t.ones(6, 3, 2, 2))  F.conv2d(x, t.ones(6, 3, 1, 1), t.ones(6))
F.conv2d(x, last(t.ones(6, 3, 2, 2)))  F.conv2d(x, t.ones(3, 1, 2, 2), groups=3, padding="same")
F.conv_transpose2d(x, t.ones(3, 6, 2, 2))  F.conv_transpose2d(x, last(t.ones(3, 6, 2, 2)))
F.max_pool2d(x, 2)  F.max_pool2d(x, 2, return_indices=True)  F.avg_pool2d(x, 2)
F.adaptive_avg_pool2d(x, 3)  F.adaptive_max_pool2d(x, 3, return_indices=True)  F.relu(x)
F.max_unpool2d(x, t.arange(120).view(2, 3, 4, 5) % 20, 2, output_size=(9, 9))
F.pad(x, (1, 1))  F.pad(x, (1, 0, 2, 1))  F.pad(x, (-1, -1))  F.pad(x, (1, 1, 1, 1, 1, 1))
F.pad(x, (1, 1, 1, 1), mode="reflect")  F.pad(x, (1, 2), mode="replicate")
F.interpolate(x, scale_factor=2)  F.interpolate(x, scale_factor=2, mode="bilinear")
F.batch_norm(x, None, None, training=True)
F.group_norm(x, 3)  F.dropout(x)  F.gelu(x)  F.log_softmax(x, 1)
x.roll(1, 1)  x.roll(1)  x[t.tensor([1, 0])]  x[:, t.tensor([1, 0])]  x[..., t.tensor([1, 0])]
x.index_put((t.tensor([1]),), x[:1])  t.histogram(x, t.tensor([0.0, 4.0, 9.0]))
t.linalg.inv(regular(x))  t.linalg.solve(regular(x), x[:3])  t.linalg.qr(x)
t.linalg.lu_factor(regular(x))  t.linalg.inv(regular(x).mT)
t.linalg.cholesky(x.mT @ x + 9 * t.eye(x.shape[-1]))  t.linalg.eigh(x[:3, :3])
t.linalg.eig(x[:3, :3])  t.linalg.svd(x)  t.linalg.pinv(x)  t.linalg.ldl_factor(regular(x))
t.linalg.solve_triangular(regular(x), x[:3], upper=True)
"""


def operations():
    lines = [line for line in OPERATIONS.splitlines() if line]
    return [o.strip() for line in lines for o in line.split("  ") if o.strip()]


def counting(t):
    def x(*shape):
        count = 1
        for n in shape:
            count *= n
        return t.arange(1, count + 1, dtype=t.float32).reshape(shape).clone()

    return x


def last(weight):
    return weight.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def regular(x):
    return x[:3, :3] + 9 * x.new_ones(3).diag()


def relation(x, made):
    if made is x:
        return "same"
    if made._base is not None and (made._base is x or made._base is x._base):
        return "view"
    mine, its = x.untyped_storage(), made.untyped_storage()
    return "memory" if made.numel() and mine.data_ptr() == its.data_ptr() else "own"


def facts(t, layout, operation):
    """The facts of each result as text, or None where PyTorch refuses."""
    x = LAYOUTS[layout](t, counting(t))
    made = eval(operation, {"x": x, "t": t, "F": t.nn.functional, "last": last, "regular": regular})
    told = []
    for m in made if isinstance(made, tuple | list) else (made,):
        if isinstance(m, t.Tensor):
            word = relation(x, m)
            told.append(f"{tuple(m.shape)} {tuple(m.stride())} {m.storage_offset()} {word}")
    return "; ".join(told)


def rows():
    lines = TABLE.read_text(encoding="utf-8").splitlines() if TABLE.exists() else []
    return [tuple(line.split(" | ")) for line in lines]


@pytest.mark.filterwarnings("ignore:.*deprecated on 0-D")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_lie_as_pytorchs(layout):
    wanted = {operation: told for operation, name, told in rows() if name == layout}
    assert wanted
    assert {o: facts(flambeau, layout, o) for o in wanted} == wanted


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_the_table_is_pytorchs():
    import torch

    found = []
    for operation in operations():
        for layout in LAYOUTS:
            try:
                told = facts(torch, layout, operation)
            except (RuntimeError, IndexError, TypeError, ValueError):
                continue
            if told:
                found.append((operation, layout, told))
    if os.environ.get("UPDATE_GOLDEN") == "1":
        TABLE.write_text("".join(" | ".join(row) + "\n" for row in found), encoding="utf-8")
    assert set(rows()) == set(found)
