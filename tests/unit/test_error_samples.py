"""PyTorch's own error samples: every op refuses them with the same type of exception.

Its operator database carries them, so this runs where PyTorch is installed (`./dev parity`). Ops
that flambeau does not have are passed over here; the ratchet counts them.
"""

import re
import types

import pytest

import flambeau as ft

# Samples whose first line is another one here, and why.
OTHER_TEXT = {
    ("amax", 5): "one rule for out= of all reductions",
    ("amin", 5): "one rule for out= of all reductions",
    ("complex", 2): "one text for all ops whose out= must have the dtype of the result",
    ("multinomial", 2): "one text for all ops whose out= must have the dtype of the result",
    ("narrow_copy", 1): "PyTorch prints a C++ expression",
    ("hsplit", 2): "names the argument that does not fit",
    ("vsplit", 2): "names the argument that does not fit",
    ("linspace", 1): "names the argument that does not fit",
    ("logspace", 1): "names the argument that does not fit",
}


class Unknown(Exception):
    """A value of PyTorch that has no counterpart: a sparse tensor, a dtype for bits."""


class Bridge:
    """Carries one sample over: tensors that share memory, overlap or have gaps still do."""

    def __init__(self, torch):
        self.torch, self.storages = torch, {}

    def push(self, value):
        torch = self.torch
        if isinstance(value, torch.Tensor):
            return self.tensor(value)
        if isinstance(value, torch.Size):
            return tuple(value)
        if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
            return self.named(value)
        if isinstance(value, torch.device):
            return ft.device(str(value))
        if isinstance(value, list | tuple):
            return type(value)(self.push(v) for v in value)
        if isinstance(value, dict):
            return {k: self.push(v) for k, v in value.items()}
        return value

    def named(self, value):
        name = str(value).removeprefix("torch.")
        if not hasattr(ft, name):
            raise Unknown(name)
        return getattr(ft, name)

    def tensor(self, tensor):
        torch = self.torch
        if tensor.layout is not torch.strided or tensor.device.type not in ("cpu", "meta"):
            raise Unknown(str(tensor.layout))
        dtype, shape, strides = self.named(tensor.dtype), tuple(tensor.shape), tensor.stride()
        if tensor.device.type == "meta":
            return ft.empty_strided(shape, strides, dtype=dtype, device="meta")
        storage = tensor.untyped_storage()
        key = storage.data_ptr() or id(tensor)
        if key not in self.storages:
            memory = torch.empty(0, dtype=torch.uint8).set_(storage).clone().numpy()
            self.storages[key] = ft.from_numpy(memory).untyped_storage()
        out = ft.empty(0, dtype=dtype)
        out.set_(self.storages[key], tensor.storage_offset(), shape, strides)
        return out.requires_grad_(tensor.requires_grad)


def ours(op):
    """The function of flambeau that stands for an entry of the database; None without one."""
    function = op.op
    module = getattr(function, "__module__", None) or ""
    if isinstance(function, types.FunctionType) and ("testing" in module or "opinfo" in module):
        scope = {**function.__globals__, "torch": ft, "F": ft.nn.functional}
        return types.FunctionType(
            function.__code__, scope, "", function.__defaults__, function.__closure__
        )
    found = ft
    for part in op.name.split("."):
        found = getattr(found, part, None)
    return found or getattr(ft.Tensor, op.name, None)


def raised(function, sample):
    """The exception of a call; None where it returns."""
    value, args, kwargs = sample
    try:
        function(value, *args, **kwargs)
    except Exception as error:
        return error
    return None


def verdict(torch, op, function, place, error):
    """What is wrong with flambeau's answer to one sample, or ""."""
    sample = (error.sample_input.input, error.sample_input.args, error.sample_input.kwargs)
    try:
        pushed = Bridge(torch).push(sample)
    except Unknown:
        return ""
    theirs = raised(op.op, sample)
    if theirs is None:  # the database is behind PyTorch
        return ""
    mine = raised(function, pushed)
    if type(mine).__name__ != type(theirs).__name__:
        return f"{op.name} {place}: {mine!r}, PyTorch {theirs!r}"
    if (op.name, place) not in OTHER_TEXT and not re.search(error.error_regex, str(mine)):
        return f"{op.name} {place}: {str(mine).splitlines()[0]}, PyTorch {error.error_regex}"
    return ""


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_pytorchs_error_samples_are_refused_alike():
    torch = pytest.importorskip("torch")
    database = pytest.importorskip("torch.testing._internal.common_methods_invocations")
    wrong, counted = [], 0
    for op in database.op_db:
        function = ours(op)
        if op.error_inputs_func is None or function is None:
            continue
        for place, error in enumerate(op.error_inputs("cpu")):
            counted += 1
            wrong.append(verdict(torch, op, function, place, error))
    assert counted > 500
    assert not list(filter(None, wrong)), "\n".join(filter(None, wrong))
