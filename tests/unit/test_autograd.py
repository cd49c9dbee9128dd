"""Backward: accumulation, hooks, freeing of memory, depth, threads, errors."""

import gc
import threading
import weakref

import numpy
import pytest

import flambeau as torch
from flambeau.autograd import graph


def leaf(*values, dtype=None):
    return torch.tensor(list(values), dtype=dtype or torch.float64).requires_grad_()


def values(tensor):
    return tensor.detach().numpy().tolist()


def test_two_leaves_never_share_a_gradient():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a + b).sum().backward()
    a.grad.mul_(2)
    assert values(b.grad) == [1, 1]
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64)
    c = leaf(1.0, 1.0)
    (c + 0).backward(weight)
    c.grad.mul_(0)
    assert values(weight) == [1, 2]


def test_a_gradient_that_a_hook_kept_is_not_the_leafs():
    a, kept = leaf(1.0, 2.0), []
    a.register_hook(kept.append)
    (a * 3).sum().backward()
    (a * 3).sum().backward()
    assert values(kept[0]) == [3, 3] and values(a.grad) == [6, 6]


def test_accumulation_is_in_place_unless_the_graph_is_wanted():
    a = leaf(2.0)
    (a * a).sum().backward()
    first = a.grad
    (a * a).sum().backward()
    assert a.grad is first and values(first) == [8]
    (a * a).sum().backward(create_graph=True)
    assert a.grad is not first and values(first) == [8] and values(a.grad) == [12]
    a.grad.sum().backward()
    assert values(a.grad) == [14]


def test_diamonds_wait_for_all_contributions():
    a, calls = leaf(3.0), []
    b = a * 2
    b.register_hook(lambda g: calls.append(g.item()))
    (b * b + b * a + b).sum().backward()
    assert calls == [16.0] and values(a.grad) == [16 * 2 + 6]


def test_values_saved_by_nodes_die_with_the_loss():
    gc.disable()
    try:
        a = leaf(1.0, 2.0)
        middle = a * a
        result = (middle * middle).reciprocal()
        references = [weakref.ref(middle), weakref.ref(result.grad_fn), weakref.ref(middle.grad_fn)]
        loss = result.sum()
        del middle, result
        assert references[0]() is not None
        loss.backward()
        assert references[0]() is None  # freed by backward, before the graph is
        del loss
        assert all(r() is None for r in references)
        loss = (a * a).reciprocal().sum()
        reference = weakref.ref(loss.grad_fn)
        del loss
        assert reference() is None
    finally:
        gc.enable()


def test_graphs_may_be_deep():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1
    y.sum().backward()
    assert values(x.grad) == [1]
    del y
    y = x
    for _ in range(100_000):
        y = y * 1
    del y  # never run backward: destroyed without recursion


def test_backward_runs_in_several_threads_at_once():
    shared, found = leaf(1.0, 2.0), []

    def work():
        own = leaf(1.0, 3.0)
        for _ in range(50):
            assert torch.is_grad_enabled()
            (own * shared * 2).sum().backward(inputs=[own])
        found.append(values(own.grad))

    threads = [threading.Thread(target=work) for _ in range(4)]
    with torch.no_grad():  # of this thread alone
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert found == [[100, 200]] * 4


def test_an_error_in_a_hook_leaves_everything_usable():
    a = leaf(1.0)
    y = a * 2

    def refuse(grad):
        raise KeyError("mine")

    handle = y.register_hook(refuse)
    with pytest.raises(KeyError, match="mine"):
        y.sum().backward(retain_graph=True)
    assert torch.is_grad_enabled()
    handle.remove()
    y.sum().backward()
    assert values(a.grad) == [2]


def test_freed_graphs_say_so_and_graphs_that_saved_nothing_run_again():
    a = leaf(2.0)
    y = (a * a).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.backward()
    z = (a + 1).sum()
    z.backward()
    z.backward()
    assert values(a.grad) == [10]


def test_inputs_restrict_backward_also_to_computed_tensors():
    a, b = leaf(2.0), leaf(5.0)
    y = a * b
    (y * y).sum().backward(inputs=[a, y])
    assert values(a.grad) == [100] and b.grad is None and values(y.grad) == [20]
    with pytest.raises(RuntimeError, match=r"`inputs` argument to `backward\(\)` cannot be empty."):
        (a * b).sum().backward(inputs=[])


def test_grad_of_unused_inputs():
    a, b = leaf(2.0), leaf(5.0, 6.0)
    with pytest.raises(RuntimeError, match="The differentiated Tensor at index 1 appears to not"):
        torch.autograd.grad((a * a).sum(), (a, b))
    assert torch.autograd.grad((a * a).sum(), (a, b), allow_unused=True)[1] is None
    assert values(torch.autograd.grad((a * a).sum(), (a, b), materialize_grads=True)[1]) == [0, 0]
    assert a.grad is None


def test_batched_weights():
    a = leaf(2.0, 3.0)
    weights = torch.tensor([[1.0, 0], [0, 1], [1, 1]], dtype=torch.float64)
    (found,) = torch.autograd.grad(a * a, a, weights, is_grads_batched=True)
    assert values(found) == [[4, 0], [0, 6], [4, 6]]


def test_hooks_replace_gradients_in_order_and_can_be_removed():
    a = leaf(1.0)
    y = a * 3
    y.retain_grad()
    first = y.register_hook(lambda g: g * 2)
    y.register_hook(lambda g: g + 1)
    y.grad_fn.register_prehook(lambda grads: (grads[0] * 10,))
    y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] + outputs[0], *inputs[1:]))
    y.sum().backward(retain_graph=True)
    assert values(y.grad) == [3] and values(a.grad) == [3 * 30 + 30]
    first.remove()
    a.grad = y.grad = None
    y.sum().backward()
    assert values(y.grad) == [2] and values(a.grad) == [2 * 40]


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (lambda g: g[:1], RuntimeError, "has changed the size of value"),
        (lambda g: 3, TypeError, "expected Variable, but hook returned 'int'"),
        (
            lambda g: g.to(torch.float32),
            RuntimeError,
            "was torch.DoubleTensor got torch.FloatTensor",
        ),
    ],
)
def test_hooks_must_answer_gradients(answer, error, text):
    y = leaf(1.0, 2.0) * 2
    y.register_hook(answer)
    with pytest.raises(error, match=text):
        y.sum().backward()


def test_post_accumulate_hooks_see_the_sum():
    a, seen = leaf(1.0), []
    a.register_post_accumulate_grad_hook(
        lambda t: (seen.append(values(t.grad)), setattr(t, "grad", None))
    )
    (a * 2 + a * 3).sum().backward()
    assert seen == [[5]] and a.grad is None
    with pytest.raises(RuntimeError, match="cannot be registered on non-leaf"):
        (a * 2).register_post_accumulate_grad_hook(print)


def test_hooks_over_several_tensors():
    a, b, c, seen, first = leaf(1.0), leaf(2.0), leaf(3.0), [], []
    with graph.register_multi_grad_hook((a, b, c), seen.append):
        graph.register_multi_grad_hook((a, b), first.append, mode="any")
        (a * b).sum().backward()
        (a * b * c).sum().backward()
    (a * b * c).sum().backward()
    assert [[None if g is None else g.item() for g in gs] for gs in seen] == [
        [2, 1, None],
        [6, 3, 2],
    ]
    assert len(first) == 3


def test_saved_tensor_hooks():
    a, log = leaf(2.0, 3.0), []

    def pack(tensor):
        assert not tensor.requires_grad
        log.append("pack")
        return tensor.numpy().copy()

    def unpack(packed):
        log.append("unpack")
        return torch.from_numpy(packed * 10)

    with graph.saved_tensors_hooks(pack, unpack):
        y = (a * a).sum()
    assert log == ["pack", "pack"]
    y.backward()
    assert values(a.grad) == [40, 60] and log[2:] == ["unpack"] * 2
    with graph.save_on_cpu():
        z = a * a * a
    (gradient,) = torch.autograd.grad(z.sum(), a, create_graph=True)
    gradient.sum().backward()
    assert values(a.grad) == [40 + 12, 60 + 18]
    with (
        graph.disable_saved_tensors_hooks("not here"),
        pytest.raises(RuntimeError, match="not here"),
    ):
        graph.saved_tensors_hooks(pack, unpack).__enter__()


def test_saved_tensor_hooks_that_do_wrong():
    a = leaf(2.0)
    with (
        graph.saved_tensors_hooks(lambda t: t.add_(1), lambda t: t),
        pytest.raises(RuntimeError, match="in place"),
    ):
        a * a
    with graph.saved_tensors_hooks(lambda t: 3, lambda packed: packed):
        y = a * a
    with pytest.raises(TypeError, match="expected to be a Tensor but got result of type int"):
        y.sum().backward()


def test_anomaly_mode_names_the_line():
    a = leaf(0.0)
    with torch.autograd.set_detect_anomaly(True):
        y = a / a  # the culprit
        with pytest.raises(
            RuntimeError, match=r"Function 'DivBackward0' returned nan values"
        ) as caught:
            y.sum().backward()
        assert "the culprit" in str(caught.value)
        z = a * 2
        w = (z * z).sum()  # saved here
        z.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation") as caught:
            w.backward()
        assert "saved here" in str(caught.value)
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        mode = torch.autograd.detect_anomaly(check_nan=False)
    with mode:
        (a / a).sum().backward()
    (a * a).sum().backward()
    assert (a * a).grad_fn.line is None


def test_what_nodes_tell():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    node = (a * b).grad_fn
    assert node.name() == type(node).__name__ == "MulBackward0" and repr(node).startswith(
        "<MulBackward0 object at 0x"
    )
    assert [(n.name(), i) for n, i in node.next_functions] == [("AccumulateGrad", 0)] * 2
    assert node.next_functions[0][0].variable is a
    assert node._saved_self is a and isinstance(node, graph.Node)
    node.metadata["mine"] = 1
    assert node.metadata == {"mine": 1}
    with pytest.raises(AttributeError):
        _ = node._saved_nothing
    assert graph.get_gradient_edge(a * b).output_nr == 0
    edge = graph.get_gradient_edge(a)
    assert values(torch.autograd.grad((a * b).sum(), [edge])[0]) == [3, 4]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda a: (a * 2).backward(), "grad can be implicitly created only for scalar outputs"),
        (lambda a: a.detach().sum().backward(), "element 0 of tensors does not require grad"),
        (lambda a: (a * 2).backward(a.detach()[:1]), "Mismatch in shape: grad_output"),
        (lambda a: torch.autograd.grad(a.sum(), a.detach()), "does not require grad"),
        (
            lambda a: (a * 2).requires_grad_(False),
            "you can only change requires_grad flags of leaf",
        ),
        (lambda a: (a > 0).requires_grad_(), "only Tensors of floating point dtype"),
        (lambda a: a.detach().register_hook(print), "cannot register a hook on a tensor"),
    ],
)
def test_errors(make, text):
    with pytest.raises(RuntimeError, match=text):
        make(leaf(1.0, 2.0))


def test_complex_roots_need_a_weight():
    a = torch.tensor(1 + 2j).requires_grad_()
    with pytest.raises(RuntimeError, match=r"real scalar outputs but got torch\.complex64"):
        (a * a).backward()
    (a * a).backward(torch.tensor(1 + 0j))
    numpy.testing.assert_allclose(a.grad.item(), 2 - 4j)


def test_arguments_of_the_first_releases():
    x = torch.ones(2, requires_grad=True)
    with pytest.warns(FutureWarning, match="grad_variables"):
        torch.autograd.backward(x * 2, grad_variables=torch.tensor([1.0, 3.0]))
    assert x.grad.tolist() == [2, 6]
    with pytest.warns(FutureWarning), pytest.raises(RuntimeError, match="both passed"):
        torch.autograd.backward(x.sum(), torch.ones(()), grad_variables=torch.ones(()))
    with pytest.warns(FutureWarning, match="only_inputs"):
        torch.autograd.grad(x.sum(), x, only_inputs=False)
