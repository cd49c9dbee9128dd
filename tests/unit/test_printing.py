"""How tensors look as text. The expected texts were observed with PyTorch 2.13."""

import math
import textwrap

import ml_dtypes
import numpy as np
import pytest

from flambeau.tensor import printing
from flambeau.tensor.printing import (
    get_printoptions,
    printoptions,
    set_printoptions,
    tensor_repr,
)

NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True)
def default_options():
    set_printoptions(profile="default")
    yield
    set_printoptions(profile="default")


def float32(values, **how):
    return tensor_repr(np.asarray(values, dtype=np.float32), "float32", **how)


def block(text):
    return textwrap.dedent(text).strip("\n")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (3.5, "tensor(3.5000)"),
        (-0.0, "tensor(-0.)"),
        (NAN, "tensor(nan)"),
        (123456789.0, "tensor(1.2346e+08)"),
        (12345.678, "tensor(12345.6777)"),
        (1e-5, "tensor(1.0000e-05)"),
        ([1e-4], "tensor([1.0000e-04])"),  # the float32 nearest to 1e-4 lies below it
        ([1e8], "tensor([100000000.])"),
        ([1.5e8], "tensor([1.5000e+08])"),
        ([1e8, 1e5 + 0.5], "tensor([100000000.0000,    100000.5000])"),
        ([1.5, 0.001], "tensor([1.5000e+00, 1.0000e-03])"),
        ([1.5, 0.0015], "tensor([1.5000, 0.0015])"),
        ([0.0, 1e-5], "tensor([0.0000e+00, 1.0000e-05])"),
        ([1.0, 1000.0], "tensor([   1., 1000.])"),
        ([1.0, 1001.0], "tensor([1.0000e+00, 1.0010e+03])"),
        ([1.0, INF, 1e9], "tensor([1.0000e+00,        inf, 1.0000e+09])"),
        ([NAN, 0.5, 123456.0], "tensor([       nan, 5.0000e-01, 1.2346e+05])"),
        ([-INF, -1.0], "tensor([-inf, -1.])"),
        ([1.5, -INF], "tensor([1.5000,   -inf])"),
        ([-0.0, 0.5], "tensor([-0.0000, 0.5000])"),
        ([], "tensor([])"),
        (np.zeros((2, 0)), "tensor([], size=(2, 0))"),
    ],
)
def test_reals(values, expected):
    assert float32(values) == expected


@pytest.mark.parametrize(
    ("array", "dtype_name", "expected"),
    [
        (np.array(5), "int64", "tensor(5)"),
        (np.array([-5, 10]), "int64", "tensor([-5, 10])"),
        (np.array([5], np.int8), "int8", "tensor([5], dtype=torch.int8)"),
        (np.array([2**64 - 1], np.uint64), "uint64", f"tensor([{2**64 - 1}], dtype=torch.uint64)"),
        (np.array([True, False]), "bool", "tensor([ True, False])"),
        (np.zeros(0, np.int64), "int64", "tensor([], dtype=torch.int64)"),
        (np.zeros(0, np.complex64), "complex64", "tensor([], dtype=torch.complex64)"),
        (
            np.array([-0.824, 2.4], ml_dtypes.bfloat16),
            "bfloat16",
            "tensor([-0.8242,  2.4062], dtype=torch.bfloat16)",
        ),
        (np.array(INF, np.float16), "float16", "tensor(inf, dtype=torch.float16)"),
        (
            np.zeros(2, ml_dtypes.float8_e4m3fn),
            "float8_e4m3fn",
            "tensor([0., 0.], dtype=torch.float8_e4m3fn)",
        ),
        (
            np.array([1e-309, 1e-308]),
            "float64",
            "tensor([1.0000e-309, 1.0000e-308], dtype=torch.float64)",
        ),
    ],
)
def test_other_dtypes(array, dtype_name, expected):
    assert tensor_repr(array, dtype_name) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (2 + 1e-9j, "tensor(2.+1.0000e-09j)"),
        ([1 + 2j], "tensor([1.+2.j])"),
        ([complex(1, NAN), complex(0, -INF)], "tensor([1.+nanj, 0.-infj])"),
        ([complex(1, 2), complex(NAN, 1)], "tensor([1.+2.j, nan+1.j])"),
        ([1.5 + 2j, -3 - 1e5j], "tensor([ 1.5000+2.0000e+00j, -3.0000-1.0000e+05j])"),
    ],
)
def test_complex(values, expected):
    assert tensor_repr(np.asarray(values, dtype=np.complex64), "complex64") == expected


def test_rows_and_blank_lines():
    assert float32(np.arange(12).reshape(2, 2, 3) * 1.5) == block(
        """
        tensor([[[ 0.0000,  1.5000,  3.0000],
                 [ 4.5000,  6.0000,  7.5000]],

                [[ 9.0000, 10.5000, 12.0000],
                 [13.5000, 15.0000, 16.5000]]])
        """
    )


def test_summarised_dimensions():
    assert tensor_repr(np.arange(1200), "int64") == (
        "tensor([   0,    1,    2,  ..., 1197, 1198, 1199])"
    )
    assert tensor_repr(np.zeros((500, 3)), "float64") == block(
        """
        tensor([[0., 0., 0.],
                [0., 0., 0.],
                [0., 0., 0.],
                ...,
                [0., 0., 0.],
                [0., 0., 0.],
                [0., 0., 0.]], dtype=torch.float64)
        """
    )
    assert tensor_repr(np.arange(1200).reshape(2, 2, 300), "int64") == block(
        """
        tensor([[[   0,    1,    2,  ...,  297,  298,  299],
                 [ 300,  301,  302,  ...,  597,  598,  599]],

                [[ 600,  601,  602,  ...,  897,  898,  899],
                 [ 900,  901,  902,  ..., 1197, 1198, 1199]]])
        """
    )


def test_a_summary_reads_only_what_it_shows():
    endless = np.broadcast_to(np.float32(1.5), (10**6, 10**6, 10**6))  # 4 EB: nobody reads all
    assert float32(endless).count("1.5000") == 6**3


def test_lines_break_at_the_width():
    set_printoptions(linewidth=20)
    assert float32(np.zeros((2, 6))) == block(
        """
        tensor([[0., 0., 0., 0.,
                 0., 0.],
                [0., 0., 0., 0.,
                 0., 0.]])
        """
    )
    assert float32(np.zeros((2, 0))) == "tensor([],\n       size=(2, 0))"
    assert tensor_repr(np.array(1.5), "float64", requires_grad=True) == block(
        """
        tensor(1.5000,
               dtype=torch.float64,
               requires_grad=True)
        """
    )


@pytest.mark.parametrize(
    ("shape", "narrowest"), [((), 32), ((1,), 34), ((2, 1), 36), ((2, 1, 1), 38), ((30,), 150)]
)
def test_a_suffix_moves_to_its_own_line_where_pytorch_moves_it(shape, narrowest):
    set_printoptions(linewidth=narrowest)
    assert "\n       dtype" not in tensor_repr(np.zeros(shape), "float64")
    set_printoptions(linewidth=narrowest - 1)
    assert "\n       dtype" in tensor_repr(np.zeros(shape), "float64")


def test_suffixes():
    assert float32([1.0], requires_grad=True) == "tensor([1.], requires_grad=True)"
    assert (
        float32([1.0], requires_grad=True, grad_fn_name="AddBackward0")
        == "tensor([1.], grad_fn=<AddBackward0>)"
    )
    assert float32([1.0], device="cuda:0") == "tensor([1.], device='cuda:0')"
    assert (
        float32([1.0], requires_grad=True, is_parameter=True)
        == "Parameter containing:\ntensor([1.], requires_grad=True)"
    )
    assert float32([1.0], class_name="Masked") == "Masked([1.])"
    assert float32([1.5], contents="XX") == "tensor(XX)"
    assert float32([1.0], extra=["tangent=2"]) == "tensor([1.], tangent=2)"


def test_without_data():
    def meta(shape, dtype_name):
        return tensor_repr(None, dtype_name, shape=shape, device="meta")

    assert meta((2, 3), "float32") == "tensor(..., device='meta', size=(2, 3))"
    assert meta((), "bool") == "tensor(..., device='meta', size=(), dtype=torch.bool)"
    with pytest.raises(ValueError, match="shape"):
        tensor_repr(None, "float32")


def test_default_dtype_goes_without_saying():
    one, imaginary = np.ones(1), np.array([1j])
    assert tensor_repr(one, "float64", default_dtype="float64") == "tensor([1.])"
    assert (
        tensor_repr(one, "float32", default_dtype="float64") == "tensor([1.], dtype=torch.float32)"
    )
    assert tensor_repr(imaginary, "complex128", default_dtype="float64") == "tensor([0.+1.j])"
    assert (
        tensor_repr(imaginary, "complex64", default_dtype="float64")
        == "tensor([0.+1.j], dtype=torch.complex64)"
    )


def test_print_options():
    set_printoptions(precision=2)
    assert float32([1.23456, 2]) == "tensor([1.23, 2.00])"
    set_printoptions(precision=0)
    assert float32([1.5, 2.5]) == "tensor([2, 2])"
    set_printoptions(profile="short", sci_mode=True)
    assert float32([0, 1]) == "tensor([0.00e+00, 1.00e+00])"
    assert float32([0, 0]) == "tensor([0., 0.])"
    set_printoptions(sci_mode=False)
    assert float32([2.0**33, 0.001]) == "tensor([8589934592.00,          0.00])"
    set_printoptions(profile="full")
    assert tensor_repr(np.arange(1001), "int64").count(",") == 1000
    set_printoptions(profile="default", threshold=0, edgeitems=1)
    assert tensor_repr(np.arange(9), "int64") == "tensor([0,  ..., 8])"
    set_printoptions(edgeitems=0)
    assert tensor_repr(np.arange(9), "int64") == "tensor([...], size=(9,))"


def test_sci_mode_returns_to_automatic_unless_given():
    set_printoptions(sci_mode=True)
    set_printoptions(precision=2)
    assert get_printoptions() == {
        "precision": 2,
        "threshold": 1000,
        "edgeitems": 3,
        "linewidth": 80,
        "sci_mode": None,
    }


def test_options_within_a_block():
    before = get_printoptions()
    with pytest.raises(KeyError), printoptions(precision=1, linewidth=30):
        assert float32([1.25]) == "tensor([1.2])"
        raise KeyError
    assert get_printoptions() == before


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"profile": "long"}, ValueError),
        ({"precision": -1}, ValueError),
        ({"precision": "4"}, TypeError),
        ({"edgeitems": -1}, ValueError),
        ({"linewidth": 0}, ValueError),
        ({"threshold": "all"}, TypeError),
    ],
)
def test_wrong_options_change_nothing(wrong, error):
    before = get_printoptions()
    with pytest.raises(error):
        set_printoptions(**{"linewidth": 99, **wrong})
    assert get_printoptions() == before


FLOATS = ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
INTEGERS = ("int8", "uint8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "bool")
COMPLEXES = ("complex64", "complex128")


def random_reals(random, count):
    """Reals of one of the kinds that printing treats differently, some of them special."""
    normal = random.standard_normal(count)
    kinds = (
        lambda: normal,
        lambda: normal * 10.0 ** random.integers(-12, 12),
        lambda: normal * 10.0 ** random.integers(-6, 6, count),
        lambda: np.zeros(count),
        lambda: random.integers(-5, 2000, count).astype(float),
        lambda: random.integers(1, 10, count) * 1e8,
        lambda: random.choice([1e-4, 1.0, 1000.0, 0.1, 1e8, 100000.5], count),
        lambda: random.integers(0, 3, count) * 0.5,
        lambda: normal * 1e-310,
        lambda: 10.0 ** random.uniform(-300, 300, count),
    )
    values = kinds[random.integers(len(kinds))]()
    if random.random() < 0.7:
        return values
    special = random.choice([NAN, INF, -INF, 0.0, -0.0], count)
    return np.where(random.random(count) < random.choice([0.1, 0.9, 1]), special, values)


def random_shape(random):
    sizes = random.choice([0, 1, 1, 2, 3, 4, 6, 7, 8, 13, 60, 300], random.integers(0, 5)).tolist()
    while math.prod(sizes) > 60000:
        sizes.pop()
    return tuple(sizes)


def random_values(random, name, shape):
    """An array (float64, int64 or complex128) that dtype `name` can hold more or less."""
    count = math.prod(shape)
    if name in INTEGERS:
        low = 0 if name.startswith("u") or name == "bool" else -128
        values = random.integers(low, 128, count) * random.choice([0, 1, 1, 1000])
    elif name in COMPLEXES:
        # not re + 1j * im, which would lose signs of zeros and make nan of inf
        values = np.empty(count, dtype=np.complex128)
        values.real, values.imag = random_reals(random, count), random_reals(random, count)
    else:
        values = random_reals(random, count)
    return values.reshape(shape)


def random_options(random):
    if random.random() < 0.5:
        return {}
    return {
        "precision": int(random.integers(0, 9)),
        "threshold": int(random.choice([0, 5, 50, 1000, 1000])),
        "edgeitems": int(random.choice([0, 1, 2, 3, 3, 5])),
        "linewidth": int(random.choice([1, 10, 40, 80, 120])),
        "sci_mode": (None, None, True, False)[random.integers(4)],
    }


def random_suffixes(torch, random, tensor):
    """The tensor, perhaps part of a graph or on another device, and what tensor_repr is told."""
    differentiable = tensor.is_floating_point() or tensor.is_complex()
    how = random.choice(["leaf", "node", "parameter", "meta", "plain", "plain", "plain"])
    if how == "meta":
        return tensor.to("meta"), {"device": "meta", "shape": tuple(tensor.shape)}
    if not differentiable or how == "plain":
        return tensor, {}
    if how == "parameter":
        return torch.nn.Parameter(tensor), {"requires_grad": True, "is_parameter": True}
    tensor.requires_grad_()
    if how == "leaf":
        return tensor, {"requires_grad": True}
    tensor = tensor.view(tensor.shape)
    return tensor, {"requires_grad": True, "grad_fn_name": "ViewBackward0"}


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(8))
def test_same_text_as_pytorch(seed):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(seed)
    default_dtype = torch.get_default_dtype()
    try:
        for _ in range(250):
            compare_once(torch, random)
    finally:
        torch.set_default_dtype(default_dtype)
        torch.set_printoptions(profile="default")


def compare_once(torch, random):
    options = random_options(random)
    for module in (torch, printing):
        module.set_printoptions(profile="default")
        module.set_printoptions(**options)
    default_dtype = str(random.choice(["float32", "float32", "float64", "float16", "bfloat16"]))
    torch.set_default_dtype(getattr(torch, default_dtype))
    kind = random.choice([0, 0, 0, 1, 2])
    name = str(random.choice((FLOATS, INTEGERS, COMPLEXES)[kind]))
    tensor = torch.from_numpy(random_values(random, name, random_shape(random)))
    wide = tensor.dtype
    tensor = tensor.to(getattr(torch, name))
    array = tensor.to(wide).numpy() if name != "bool" else tensor.numpy()
    tensor, how = random_suffixes(torch, random, tensor)
    array = None if how.get("device") == "meta" else array
    assert tensor_repr(array, name, default_dtype=default_dtype, **how) == repr(tensor), options
