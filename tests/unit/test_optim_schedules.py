"""Learning-rate schedules against closed forms."""

import math

import pytest

import flambeau
from flambeau import optim
from flambeau.optim import lr_scheduler as schedules

BASE = 0.4


def rates(make, steps=20, **options):
    parameter = flambeau.zeros(1, requires_grad=True)
    optimizer = optim.SGD([parameter], lr=BASE, **options)
    schedule = make(optimizer)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def ratio(low, high, share):
    return low + (high - low) * share


CLOSED = {
    "step": (lambda o: schedules.StepLR(o, 3, 0.5), lambda e: BASE * 0.5 ** (e // 3)),
    "multistep": (
        lambda o: schedules.MultiStepLR(o, [2, 2, 9], 0.5),
        lambda e: BASE * 0.5 ** (2 * (e >= 2) + (e >= 9)),
    ),
    "constant": (lambda o: schedules.ConstantLR(o, 0.5, 4), lambda e: BASE * (0.5 if e < 4 else 1)),
    "linear": (
        lambda o: schedules.LinearLR(o, 0.2, 0.8, 6),
        lambda e: BASE * ratio(0.2, 0.8, min(e, 6) / 6),
    ),
    "exponential": (lambda o: schedules.ExponentialLR(o, 0.9), lambda e: BASE * 0.9**e),
    "polynomial": (
        lambda o: schedules.PolynomialLR(o, 10, 2.0),
        lambda e: BASE * (1 - min(e, 10) / 10) ** 2,
    ),
    "cosine": (
        lambda o: schedules.CosineAnnealingLR(o, 7, 0.1),
        lambda e: ratio(0.1, BASE, (1 + math.cos(math.pi * e / 7)) / 2),
    ),
    "restarts": (
        lambda o: schedules.CosineAnnealingWarmRestarts(o, 5, eta_min=0.1),
        lambda e: ratio(0.1, BASE, (1 + math.cos(math.pi * (e % 5) / 5)) / 2),
    ),
    "lambda": (lambda o: schedules.LambdaLR(o, lambda e: 1 / (1 + e)), lambda e: BASE / (1 + e)),
    "multiplicative": (
        lambda o: schedules.MultiplicativeLR(o, lambda e: 0.5 if e == 3 else 1),
        lambda e: BASE * (0.5 if e >= 3 else 1),
    ),
    "sequential": (
        lambda o: schedules.SequentialLR(
            o, [schedules.ConstantLR(o, 0.1, 99), schedules.ExponentialLR(o, 0.9)], [4]
        ),
        lambda e: BASE * (0.1 if e < 4 else 0.9 ** (e - 4)),
    ),
    "chained": (
        lambda o: schedules.ChainedScheduler(
            [schedules.ConstantLR(o, 0.1, 4), schedules.ExponentialLR(o, 0.9)]
        ),
        lambda e: BASE * (0.1 if e < 4 else 1) * 0.9**e,
    ),
    "triangular": (
        lambda o: schedules.CyclicLR(o, 0.1, 0.5, 4, cycle_momentum=False),
        lambda e: ratio(0.1, 0.5, 1 - abs(e % 8 - 4) / 4),
    ),
    "triangular2": (
        lambda o: schedules.CyclicLR(o, 0.1, 0.5, 4, mode="triangular2", cycle_momentum=False),
        lambda e: ratio(0.1, 0.5, (1 - abs(e % 8 - 4) / 4) / 2 ** (e // 8)),
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_schedule_follows_its_closed_form(name):
    make, formula = CLOSED[name]
    expected = [formula(epoch) for epoch in range(20)]
    assert rates(make) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_one_cycle_rises_then_falls_and_moves_momentum_against_it():
    parameter = flambeau.zeros(1, requires_grad=True)
    optimizer = optim.SGD([parameter], lr=BASE, momentum=0.9)
    schedule = schedules.OneCycleLR(optimizer, 1.0, total_steps=20, pct_start=0.25)
    seen = []
    for _ in range(19):
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["momentum"]))
        optimizer.step()
        schedule.step()
    lr = [each[0] for each in seen]
    assert lr[0] == pytest.approx(1 / 25) and max(lr) == lr[4] == pytest.approx(1.0)
    assert schedule.get_last_lr()[0] == pytest.approx(1 / 25 / 1e4)
    assert seen[0][1] == 0.95 and seen[4][1] == pytest.approx(0.85)


def test_plateau_waits_reduces_and_stops_at_the_least_rate():
    parameter = flambeau.zeros(1, requires_grad=True)
    optimizer = optim.SGD([parameter], lr=1.0)
    schedule = schedules.ReduceLROnPlateau(optimizer, factor=0.1, patience=1, min_lr=0.05)
    seen = []
    for metric in (1.0, 0.5, 0.5, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4):
        schedule.step(metric)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05])


def test_wrong_order_of_calls_warns():
    optimizer = optim.SGD([flambeau.zeros(1, requires_grad=True)], lr=1.0)
    schedule = schedules.StepLR(optimizer, 1)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        schedule.step()


def test_state_dict_resumes_the_sequence():
    def make():
        optimizer = optim.SGD([flambeau.zeros(1, requires_grad=True)], lr=BASE)
        return optimizer, schedules.CosineAnnealingLR(optimizer, 9)

    first, schedule = make()
    for _ in range(4):
        first.step()
        schedule.step()
    second, resumed = make()
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    for optimizer, each in ((first, schedule), (second, resumed)):
        optimizer.step()
        each.step()
    assert resumed.get_last_lr() == schedule.get_last_lr()
    assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"]
