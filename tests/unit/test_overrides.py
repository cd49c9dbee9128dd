"""Subclasses of Tensor and ``__torch_function__``: a program sees what it sees in PyTorch (parity
tests run the same on both), and plain tensors pay nothing.
"""

import copy
import pickle

import pytest

import flambeau
from flambeau.ops import overrides

PRESERVE = """
s+1; s+p; p+s; 1-s; s[0]; s[0, 1]; s[:, None]; s.sum(); torch.add(s, s); s.max(0)
torch.cat([p[None].expand(2, 3), s]); s.to(torch.float64); s.T; s.data; s.detach(); s.view(-1)
s.unbind(0); torch.nn.functional.relu(s); torch.nn.functional.softmax(s, 0); s.clone()
s.new_zeros(2); s.new_tensor([1]); torch.zeros_like(s); s.float(); s.contiguous(); s.mean(dim=1)
s @ p; torch.where(s > 1, s, 0); s.add_(1); p.add_(s[0]); s.requires_grad_()
torch.nn.Linear(3, 2)(s); torch.stack([s, s]); s.split(1); s.real; s.reshape(3, 2); s.shape; s.dtype
s.tolist(); s.dim(); s.is_contiguous(); torch.nn.Parameter(s.detach()); s.permute(1, 0); s.numel()
torch.einsum("ij->i", s); s.sort(); s.masked_fill(s > 1, 0.0); iter(s); list(s)[0]; s.layout
"""


class Sub(flambeau.Tensor):
    pass


def classes(value):
    """The class of a value, and of the items of a list or tuple of tensors."""
    if isinstance(value, list | tuple) and any(hasattr(item, "requires_grad") for item in value):
        return [type(item).__name__ for item in value]
    return "other" if not hasattr(value, "requires_grad") else type(value).__name__


def preserved(torch):
    """The classes of the results of many calls with a subclass."""
    sub = type("Sub", (torch.Tensor,), {})
    found = {}
    for text in PRESERVE.replace("\n", ";").split(";"):
        if text := text.strip():
            names = {"s": torch.arange(6.0).view(2, 3).as_subclass(sub), "p": torch.ones(3)}
            found[text] = classes(eval(text, names | {"torch": torch}))
    return found


def test_results_are_of_the_subclass():
    found = preserved(flambeau)
    others = {"s.shape", "s.dtype", "s.tolist()", "s.dim()", "s.is_contiguous()", "s.numel()"}
    others |= {"iter(s)", "s.layout"}
    assert {text for text, kind in found.items() if kind == "other"} == others
    assert all("Tensor" not in kind for kind in found.values())


@pytest.mark.parity
def test_the_same_results_are_of_the_subclass_in_pytorch():
    import torch

    assert preserved(flambeau) == preserved(torch)


def logged(torch):
    """What ``__torch_function__`` is told of some calls."""
    calls = []

    class Log(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            kinds = [type(a).__name__.lower() for a in args]
            calls.append((func.__name__, [t.__name__ for t in types], kinds, dict(kwargs or {})))
            return super().__torch_function__(func, types, args, kwargs)

    class More(Log):
        pass

    a, b, p = torch.ones(2, 2).as_subclass(Log), torch.ones(2, 2).as_subclass(More), torch.ones(2)
    torch.add(a, 1), torch.add(p, a, alpha=2), torch.mul(a, b), a.sum(), a.item if p is None else 0
    torch.cat([p[None], a]), torch.nn.functional.linear(a, p[None]), a.add_(p), torch.stack([a, b])
    a.to(torch.float64), a.tolist(), torch.relu(b), a.flatten(), a.data.copy_(b)
    return [call for call in calls if call[0] != "__get__" or call[2] == ["log"]]


def test_what_a_class_is_told():
    assert logged(flambeau)[:3] == [
        ("add", ["Log"], ["log", "int"], {}),
        ("add", ["Log"], ["tensor", "log"], {"alpha": 2}),
        ("mul", ["More", "Log"], ["log", "more"], {}),
    ]


@pytest.mark.parity
def test_a_class_is_told_the_same_in_pytorch():
    import torch

    assert logged(flambeau) == logged(torch)


class Scalar:
    """No tensor, but taken for one: a number times the identity."""

    def __init__(self, value):
        self.value = value

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is flambeau.mean:
            return args[0].value
        if func is flambeau.add:
            return "sum"
        if func is flambeau.cat:
            return len(args[0])
        return NotImplemented


def test_classes_that_are_no_tensors():
    ones, scalar = flambeau.ones(1), Scalar(3)
    assert flambeau.mean(scalar) == 3 and flambeau.cat([scalar, scalar]) == 2
    assert flambeau.add(scalar, 1) == flambeau.add(ones, scalar) == ones + scalar == "sum"
    with pytest.raises(TypeError, match=r"no implementation found for 'torch.sub' on types that"):
        flambeau.sub(scalar, 1)
    with pytest.raises(TypeError):
        flambeau.add(object(), 1)


def test_gradients_pass_through_subclasses():
    leaf = flambeau.tensor([1.0, 2.0]).as_subclass(Sub).requires_grad_()
    view = flambeau.tensor([1.0, 2.0], requires_grad=True)
    (leaf * leaf).sum().backward()
    (view.as_subclass(Sub) * 3).sum().backward()
    assert leaf.grad.tolist() == [2, 4] and view.grad.tolist() == [3, 3]
    assert type((leaf * 2).grad_fn).__name__ == "MulBackward0"
    filled = flambeau.zeros(3).as_subclass(Sub)
    filled[1:] = leaf
    filled.sum().backward()
    assert leaf.grad.tolist() == [3, 5]


def test_attributes_copies_and_pickles():
    class Tagged(flambeau.Tensor):
        def __new__(cls, data, tag=None):
            made = flambeau.as_tensor(data).as_subclass(cls)
            made.tag = tag
            return made

    tagged = Tagged([1.0, 2.0], tag=3)
    assert copy.deepcopy(tagged).tag == 3 and type(copy.deepcopy(tagged)) is Tagged
    assert type(tagged * 2) is Tagged and not hasattr(tagged * 2, "tag")
    assert repr(tagged) == "Tagged([1., 2.])"
    back = pickle.loads(pickle.dumps(flambeau.ones(2).as_subclass(Sub)))
    assert type(back) is Sub and back.tolist() == [1, 1]
    made = Sub._make_subclass(Sub, flambeau.ones(2), True)
    assert type(made) is Sub and made.requires_grad and made.is_leaf


def test_a_class_may_take_nothing_over():
    class Quiet(flambeau.Tensor):
        __torch_function__ = flambeau._C._disabled_torch_function_impl

    quiet = flambeau.ones(2).as_subclass(Quiet)
    assert type(quiet + 1) is type(quiet[0]) is type(quiet.data) is flambeau.Tensor
    parameter = flambeau.nn.Parameter(flambeau.ones(2))
    assert type(parameter * 2) is type(parameter.data) is flambeau.Tensor
    with flambeau._C.DisableTorchFunctionSubclass():
        assert type(flambeau.ones(2).as_subclass(Sub) + 1) is flambeau.Tensor


def seen(torch):
    """What a mode sees."""
    calls = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            calls.append((func.__name__, dict(kwargs or {})))
            return func(*args, **(kwargs or {}))

    ones, watch = torch.ones(2), Watch()
    with watch:
        torch.add(ones, 1, alpha=2)
        torch.nn.functional.linear(ones, ones)
        with watch:
            torch.mul(ones, 2)
        with torch._C.DisableTorchFunction():
            torch.mul(ones, 2)
        torch.cat([ones, ones])
    torch.sub(ones, 1)
    return calls


def test_modes():
    assert seen(flambeau) == [
        ("add", {"alpha": 2}),
        ("linear", {}),
        ("mul", {}),
        ("mul", {}),
        ("cat", {}),
    ]


@pytest.mark.parity
def test_modes_see_the_same_in_pytorch():
    import torch

    assert seen(flambeau) == seen(torch)


def test_a_mode_may_answer_by_itself():
    class Constant(flambeau.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return 7 if func is flambeau.sin else func(*args, **(kwargs or {}))

    with Constant():
        assert flambeau.sin(flambeau.ones(1)) == 7 and flambeau.cos(flambeau.zeros(1)) == 1


def test_functions_of_the_users_own():
    @flambeau.overrides.wrap_torch_function(lambda value, extra=None: (value,))
    def double(value, extra=None):
        return value + value

    class Counting(flambeau.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return (func is double, args[1:], kwargs)

    assert double(3) == 6
    counting = flambeau.ones(1).as_subclass(Counting)
    assert double(counting, extra=1) == (True, (), {"extra": 1})
    assert flambeau.overrides.has_torch_function((1, counting))
    assert not flambeau.overrides.has_torch_function((1, flambeau.ones(1)))
    assert not flambeau.overrides.has_torch_function_unary(flambeau.nn.Parameter(flambeau.ones(1)))


def test_functions_are_listed_by_their_public_names():
    functions = flambeau.overrides.get_overridable_functions()
    assert flambeau.add in functions["torch"] and flambeau.Tensor.add_ in functions["torch.Tensor"]
    assert flambeau.nn.functional.linear in functions["torch.nn.functional"]
    assert flambeau.overrides.resolve_name(flambeau.add) == "torch.add"
    assert flambeau.overrides.resolve_name(flambeau.linalg.norm) == "torch.linalg.norm"
    assert flambeau.overrides.is_tensor_method_or_property(flambeau.Tensor.to)
    assert flambeau.overrides.is_tensor_method_or_property(flambeau.Tensor.data.__get__)
    assert not flambeau.overrides.is_tensor_method_or_property(len)
    assert flambeau.overrides.is_tensor_like(Scalar(1)) and not flambeau.overrides.is_tensor_like(1)


def test_plain_tensors_never_get_there(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a plain tensor was asked")

    ones, parameter = flambeau.ones(2), flambeau.nn.Parameter(flambeau.ones(2))
    ones + parameter, ones.add_(1), ones[0], flambeau.cat([ones, ones])  # makes the plans
    monkeypatch.setattr(overrides, "takes_over", refuse)
    ones + parameter, ones.add_(1), ones[0], flambeau.cat([ones, ones]), parameter * 2


class Named:
    """No tensor: answers every call by the name of the function."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func.__name__


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("torch.linalg.solve(named, ones)", "solve"),
        ("torch.linalg.cholesky(named)", "cholesky"),
        ("torch.logdet(named)", "logdet"),
        ("torch.addmm(ones, named, ones)", "addmm"),
        ("torch.max(named, 0)", "max"),
        ("torch.vstack([ones, named])", "vstack"),
        ("torch.nn.functional.conv2d(named, ones)", "conv2d"),
        ("torch.nn.functional.dropout(named)", "dropout"),
        ("ones.mul_(named)", "mul_"),
        ("ones.copy_(named)", "copy_"),
    ],
)
def test_all_kinds_of_ops_ask_classes_that_are_no_tensors(text, name):
    found = eval(text, {"torch": flambeau, "ones": flambeau.ones(2, 2), "named": Named()})
    assert found == name
