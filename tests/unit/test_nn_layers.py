"""Layers: what they print, what they keep, how they are initialised, what they refuse."""

import math

import numpy as np
import pytest

import flambeau
from flambeau import nn
from flambeau.nn import functional as F
from flambeau.nn import init

PRINTED = {
    "Linear(in_features=3, out_features=4, bias=False)": lambda: nn.Linear(3, 4, bias=False),
    "Conv2d(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), groups=2, bias=False)": (
        lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)
    ),
    "Conv1d(4, 6, kernel_size=(3,), stride=(1,), padding=same, padding_mode=circular)": (
        lambda: nn.Conv1d(4, 6, 3, padding="same", padding_mode="circular")
    ),
    "ConvTranspose2d(4, 6, kernel_size=(3, 3), stride=(2, 2), output_padding=(1, 1))": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1)
    ),
    "MaxPool2d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)": (
        lambda: nn.MaxPool2d(3, 2, 1)
    ),
    "AvgPool1d(kernel_size=(3,), stride=(3,), padding=(0,))": lambda: nn.AvgPool1d(3),
    "AdaptiveAvgPool2d(output_size=(1, 1))": lambda: nn.AdaptiveAvgPool2d((1, 1)),
    "ReLU(inplace=True)": lambda: nn.ReLU(True),
    "ReLU6()": lambda: nn.ReLU6(),
    "GELU(approximate='none')": lambda: nn.GELU(),
    "LeakyReLU(negative_slope=0.01)": lambda: nn.LeakyReLU(),
    "Softmax(dim=1)": lambda: nn.Softmax(1),
    "Dropout(p=0.1, inplace=False)": lambda: nn.Dropout(0.1),
    "Embedding(5, 3, padding_idx=4)": lambda: nn.Embedding(5, 3, padding_idx=-1),
    "LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)": lambda: nn.LayerNorm(4),
    "ConstantPad1d(padding=(1, 2), value=3)": lambda: nn.ConstantPad1d((1, 2), 3),
    "ZeroPad2d((1, 1, 1, 1))": lambda: nn.ZeroPad2d(1),
    "Upsample(scale_factor=2.0, mode='nearest')": lambda: nn.Upsample(scale_factor=2),
    "Flatten(start_dim=1, end_dim=-1)": lambda: nn.Flatten(),
    "CrossEntropyLoss()": lambda: nn.CrossEntropyLoss(),
}


@pytest.mark.parametrize("text", PRINTED)
def test_repr(text):
    assert repr(PRINTED[text]()) == text


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (lambda: nn.Linear(3, 4), {"weight": (4, 3), "bias": (4,)}),
        (lambda: nn.Bilinear(2, 3, 4), {"weight": (4, 2, 3), "bias": (4,)}),
        (lambda: nn.Conv2d(4, 6, (3, 5), groups=2), {"weight": (6, 2, 3, 5), "bias": (6,)}),
        (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), {"weight": (4, 3, 3), "bias": (6,)}),
        (lambda: nn.Embedding(5, 3), {"weight": (5, 3)}),
        (lambda: nn.LayerNorm((2, 3), bias=False), {"weight": (2, 3)}),
        (lambda: nn.PReLU(4), {"weight": (4,)}),
        (
            lambda: nn.BatchNorm2d(3),
            {
                "weight": (3,),
                "bias": (3,),
                "running_mean": (3,),
                "running_var": (3,),
                "num_batches_tracked": (),
            },
        ),
        (lambda: nn.InstanceNorm2d(3), {}),
        (lambda: nn.BCEWithLogitsLoss(pos_weight=flambeau.ones(2)), {"pos_weight": (2,)}),
    ],
)
def test_state(make, shapes):
    assert {name: tuple(each.shape) for name, each in make().state_dict().items()} == shapes


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels must be divisible"),
        (lambda: nn.Conv1d(2, 2, 3, stride=2, padding="same"), ValueError, "strided convolutions"),
        (lambda: nn.ConvTranspose1d(2, 2, 3, padding_mode="reflect"), ValueError, 'Only "zeros"'),
        (lambda: nn.Dropout(1.5), ValueError, "has to be between 0 and 1, but got 1.5"),
        (lambda: nn.GroupNorm(2, 3), ValueError, "must be divisible by num_groups"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), AssertionError, "within num_embeddings"),
        (lambda: nn.MSELoss(reduction="max")(*_two()), ValueError, "max is not a valid value"),
        (lambda: nn.BatchNorm2d(3)(_two()[0]), ValueError, r"expected 4D input \(got 1D input\)"),
        (lambda: F.batch_norm(flambeau.ones(1, 2), None, None, training=True), ValueError, "1 val"),
        (lambda: F.interpolate(flambeau.ones(1, 1, 2)), ValueError, "either size or scale_factor"),
        (lambda: init.calculate_gain("sin"), ValueError, "Unsupported nonlinearity sin"),
        (lambda: init.xavier_uniform_(flambeau.ones(2)), ValueError, "fewer than 2 dimensions"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def _two():
    return flambeau.ones(3), flambeau.ones(3)


@pytest.mark.parametrize(
    ("fill", "bound"),
    [
        (lambda t: init.xavier_uniform_(t, gain=2), 2 * math.sqrt(6 / 300)),
        (lambda t: init.kaiming_uniform_(t, nonlinearity="relu"), math.sqrt(6 / 200)),
        (
            lambda t: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="linear"),
            math.sqrt(3 / 100),
        ),
        (lambda t: init.uniform_(t, -0.25, 0.25), 0.25),
    ],
)
def test_uniform_initialisers_fill_their_range(fill, bound):
    flambeau.manual_seed(0)
    tensor = flambeau.zeros(100, 200, requires_grad=True)
    assert fill(tensor) is tensor and tensor.is_leaf
    values = tensor.detach().numpy()
    assert np.abs(values).max() <= bound
    np.testing.assert_allclose(values.var(), bound**2 / 3, rtol=0.05)


def test_normal_initialisers_have_their_spread():
    flambeau.manual_seed(0)
    tensor = flambeau.zeros(100, 200)
    assert init.xavier_normal_(tensor).numpy().std() == pytest.approx(math.sqrt(2 / 300), rel=0.05)
    spread = init.kaiming_normal_(tensor, nonlinearity="relu").numpy().std()
    assert spread == pytest.approx(math.sqrt(2 / 200), rel=0.05)


def test_embedding_padding_row_is_zero():
    table = nn.Embedding(4, 3, padding_idx=1)
    assert table.weight[1].tolist() == [0, 0, 0]
    assert np.abs(table.weight.detach().numpy()[[0, 2, 3]]).min() > 0


def test_dirac_keeps_the_input():
    kernel = init.dirac_(flambeau.ones(4, 2, 3, 3), groups=2).numpy()
    expected = np.zeros((4, 2, 3, 3))
    for group in range(2):
        for channel in range(2):
            expected[group * 2 + channel, channel, 1, 1] = 1
    np.testing.assert_array_equal(kernel, expected)


def test_losses_warn_of_different_sizes():
    with pytest.warns(UserWarning, match="different to the input size"):
        loss = F.mse_loss(flambeau.zeros(2, 3), flambeau.ones(3))
    assert loss.item() == 1
