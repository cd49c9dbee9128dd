"""Writing to memory that is read by the same call, and results that go where arguments lie."""

import pytest

import flambeau as ft

OVERLAP = "some elements of the input tensor and the written-to tensor refer to a single memory"


def square():
    return ft.arange(9.0).view(3, 3)


def cycle():
    """Places that each name the next one."""
    return ft.arange(6).roll(-1)


FILLED = ft.full((6,), 1 << 40)
READ_WHILE_WRITTEN = {
    "copy of the transpose": (square, lambda x: x.copy_(x.t())),
    "copy to the transpose": (square, lambda x: x.t().copy_(x)),
    "add": (square, lambda x: x.add_(x.t())),
    "addcmul": (square, lambda x: x.addcmul_(x, x.t())),
    "lerp": (square, lambda x: x.lerp_(x.t(), 0.5)),
    "assignment": (square, lambda x: x.__setitem__(slice(None), x.t())),
    "out": (square, lambda x: ft.add(x, x.t(), out=x)),
    "out of a scan": (square, lambda x: ft.cumsum(x.t(), 0, out=x)),
    "a row": (square, lambda x: x.add_(x[0])),
    "shifted": (square, lambda x: x.view(-1)[1:].add_(x.view(-1)[:-1])),
    "index_fill": (cycle, lambda x: x.index_fill_(0, x, 1 << 40)),
    "index_fill with a part": (cycle, lambda x: x.index_fill_(0, x[1:], 1 << 40)),
    "index_add": (cycle, lambda x: x.index_add_(0, x, FILLED)),
    "index_add of itself": (cycle, lambda x: x.index_add_(0, ft.arange(6), x)),
    "index_copy": (cycle, lambda x: x.index_copy_(0, x, FILLED)),
    "index_put": (cycle, lambda x: x.index_put_((x,), FILLED)),
    "index_put of itself": (cycle, lambda x: x.index_put_((ft.arange(6),), x)),
    "assignment at places": (cycle, lambda x: x.__setitem__(x, 1 << 40)),
    "put": (cycle, lambda x: x.put_(x, FILLED)),
    "scatter": (cycle, lambda x: x.scatter_(0, x, FILLED)),
    "scatter of a number": (cycle, lambda x: x.scatter_(0, x, 1 << 40)),
    "scatter_add": (cycle, lambda x: x.scatter_add_(0, x, FILLED)),
}


@pytest.mark.parametrize("case", READ_WHILE_WRITTEN)
def test_what_is_written_may_not_be_read_meanwhile(case):
    make, call = READ_WHILE_WRITTEN[case]
    x = make()
    with pytest.raises(RuntimeError, match=OVERLAP):
        call(x)
    assert x.equal(make())


def test_the_same_elements_in_the_same_order_may_be_read():
    x = square()
    x.t().mul_(x.t())
    assert x.equal(square() ** 2)
    x[::2].add_(x[1:2])
    assert x[0].tolist() == [9.0, 17.0, 29.0]
    mask = ft.tensor([True, False])
    assert mask.masked_fill_(mask, False).tolist() == [False, False]


def test_edges_of_a_histogram_are_no_alias_of_the_bins_given():
    bins = ft.tensor([0.0, 1.0, 2.0])
    edges = ft.histogram(ft.rand(4), bins).bin_edges
    bins.zero_()
    assert edges.tolist() == [0.0, 1.0, 2.0]


def test_changes_of_shape_in_place_count_as_writes():
    x = ft.arange(12.0).reshape(3, 1, 4)
    for n, change in enumerate([
        lambda: x.squeeze_(), lambda: x.t_(), lambda: x.transpose_(0, 1), lambda: x.unsqueeze_(0),
        lambda: x.swapaxes_(0, 1), lambda: x.squeeze_(1), lambda: x.as_strided_((2,), (1,)),
    ]):  # fmt: skip
        change()
        assert x._version == n + 1
    y = ft.ones(3, requires_grad=True).exp()
    z = y * y
    y.unsqueeze_(0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


@pytest.mark.parametrize("cut", ["unsafe_chunk", "unsafe_split"])
def test_pieces_that_may_be_written_in_place(cut):
    x = ft.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    first, second = getattr(x * 1, cut)(2)
    first.mul_(10)
    (first * second).sum().backward()
    assert x.grad.tolist() == [30.0, 40.0, 10.0, 20.0]
