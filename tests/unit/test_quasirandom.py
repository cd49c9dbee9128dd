"""Sobol' points: SciPy's as reference, and the properties that define the sequence."""

import copy

import numpy as np
import pytest
from scipy.stats import qmc

import flambeau as torch
from flambeau.quasirandom import SobolEngine


@pytest.mark.parametrize("dimension", [1, 2, 6, 40, 1111, 21201])
def test_points_are_those_of_scipy(dimension):
    expected = qmc.Sobol(dimension, scramble=False, bits=30).random_base2(6)
    assert np.array_equal(SobolEngine(dimension).draw(64, dtype=torch.float64).numpy(), expected)


def test_the_sequence_may_be_drawn_in_pieces():
    whole = SobolEngine(4).draw(40)
    engine = SobolEngine(4)
    pieces = [engine.draw(n) for n in (1, 0, 5, 2)] + [engine.fast_forward(7).draw(25)]
    assert torch.equal(torch.cat([*pieces[:4], whole[8:15], pieces[4]]), whole)
    assert engine.num_generated == 40 and torch.equal(engine.reset().draw(3), whole[:3])
    out = torch.empty(0)
    assert copy.deepcopy(engine).draw(2, out=out) is out and torch.equal(out, engine.draw(2))


def test_scrambling_keeps_the_balance():
    engine = SobolEngine(5, scramble=True, seed=3)
    points = engine.draw_base2(8, dtype=torch.float64).numpy()
    # Each of the 256 intervals of each coordinate has one point.
    assert np.array_equal(np.sort((points * 256).astype(int), 0), np.tile(np.arange(256), (5, 1)).T)
    assert np.array_equal(
        points, SobolEngine(5, scramble=True, seed=3).draw(256, dtype=torch.float64)
    )
    assert not np.array_equal(points, SobolEngine(5, scramble=True, seed=4).draw(256).numpy())
    torch.manual_seed(1)
    first = SobolEngine(3, scramble=True).draw(4)
    torch.manual_seed(1)
    assert torch.equal(first, SobolEngine(3, scramble=True).draw(4))


def test_what_is_refused():
    for dimension in (0, 21202):
        with pytest.raises(ValueError, match="Supported range of dimensionality"):
            SobolEngine(dimension)
    engine = SobolEngine(2).fast_forward(3)
    with pytest.raises(ValueError, match="balance properties"):
        engine.draw_base2(2)
    with pytest.raises(ValueError, match=r"2\*\*30 points"):
        engine.fast_forward(2**30).draw()
    with pytest.raises(NotImplementedError, match="float32 or float64"):
        engine.draw(dtype=torch.float16)
    assert repr(SobolEngine(2, True, 5)) == "SobolEngine(dimension=2, scramble=True, seed=5)"


@pytest.mark.parity
@pytest.mark.parametrize("scramble, seed", [(False, None), (True, 7), (True, None)])
def test_points_are_those_of_pytorch(scramble, seed):
    reference = pytest.importorskip("torch")
    reference.manual_seed(2)
    torch.manual_seed(2)
    theirs = reference.quasirandom.SobolEngine(50, scramble, seed)
    ours = SobolEngine(50, scramble, seed)
    for n in (3, 1, 30):
        assert np.array_equal(ours.draw(n).numpy(), theirs.draw(n).numpy())
