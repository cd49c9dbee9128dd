"""Scenarios of compiled functions: what changes between two calls, as eagerly and compiled."""

import random

import numpy

import flambeau as torch


def values(result):
    """What is compared of a result."""
    if isinstance(result, torch.Tensor):
        return (
            result.dtype, tuple(result.shape), result.stride(), result.requires_grad,
            result.detach().tolist(),
        )  # fmt: skip
    if isinstance(result, tuple | list):
        return [values(r) for r in result]
    if isinstance(result, dict):
        return {k: values(v) for k, v in result.items()}
    return result


def often(function, *args, times=4):
    """The values of some calls."""
    found = []
    for _ in range(times):
        try:
            found.append(values(function(*args)))
        except (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError) as error:
            found.append((type(error).__name__, str(error).partition("\n")[0]))
    return found


def x4():
    return torch.arange(4.0)


def same_as_eager(scenario):
    """A scenario, given what compiles a function, makes the results that it makes without."""
    found = []
    for compile in (lambda function: function, torch.compile):
        torch.set_default_dtype(torch.float32)
        torch.set_default_device("cpu")
        torch.use_deterministic_algorithms(False)
        torch.manual_seed(0)
        random.seed(0)
        numpy.random.seed(0)
        found.append(scenario(compile))
    want, got = found
    assert len(got) == len(want)
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        assert repr(a) == repr(b), f"result {k}"
