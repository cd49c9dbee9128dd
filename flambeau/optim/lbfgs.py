"""LBFGS: limited-memory BFGS (Nocedal, Wright 2006, chapters 3 and 7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.tensor import Tensor, enable_grad, function_of, no_grad

from .kernels import number
from .optimizer import Optimizer, check_range


def _cubic_minimum(
    x1: float, f1: float, g1: float, x2: float, f2: float, g2: float, bounds: Any = None
) -> float:
    """The minimum between two points of the cubic through their values and slopes."""
    low, high = bounds if bounds is not None else sorted((x1, x2))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1**2 - g1 * g2
    if square < 0:
        return (low + high) / 2.0
    d2 = square**0.5
    if x1 <= x2:
        place = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        place = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(place, low), high)


class _Point:
    """A step length with the loss, the gradient and the slope there."""

    __slots__ = ("gradient", "loss", "slope", "t")

    def __init__(self, t: float, loss: float, gradient: Tensor, slope: float) -> None:
        self.t, self.loss, self.gradient, self.slope = t, loss, gradient, slope


def _strong_wolfe(
    evaluate: Callable[[float], _Point],
    start: _Point,
    t: float,
    direction_size: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_steps: int = 25,
) -> tuple[_Point, int]:
    """A step length that meets the strong Wolfe conditions, and the number of evaluations."""

    def too_high(point: _Point) -> bool:
        return point.loss > start.loss + c1 * point.t * start.slope

    point = evaluate(t)
    evaluations, steps, previous = 1, 0, start
    bracket: list[_Point] | None = None
    done = False
    while steps < max_steps:
        if too_high(point) or (steps > 1 and point.loss >= previous.loss):
            bracket = [previous, point]
            break
        if abs(point.slope) <= -c2 * start.slope:
            bracket, done = [point], True
            break
        if point.slope >= 0:
            bracket = [previous, point]
            break
        least = point.t + 0.01 * (point.t - previous.t)
        following = _cubic_minimum(
            previous.t, previous.loss, previous.slope, point.t, point.loss, point.slope,
            bounds=(least, point.t * 10),
        )  # fmt: skip
        previous, point = point, evaluate(following)
        evaluations += 1
        steps += 1
    if bracket is None:
        bracket = [start, point]
    if done:
        return bracket[0], evaluations
    return _zoom(
        evaluate, too_high, bracket, start, direction_size, c2, tolerance_change,
        (steps, max_steps, evaluations),
    )  # fmt: skip


def _zoom(
    evaluate: Callable[[float], _Point],
    too_high: Callable[[_Point], bool],
    bracket: list[_Point],
    start: _Point,
    direction_size: float,
    c2: float,
    tolerance_change: float,
    counts: tuple[int, int, int],
) -> tuple[_Point, int]:
    """Shrink a bracket until a point meets the conditions or the bracket is tiny."""
    steps, max_steps, evaluations = counts
    low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
    stuck = False
    while steps < max_steps:
        ends = bracket[0].t, bracket[1].t
        width = max(ends) - min(ends)
        if width * direction_size < tolerance_change:
            break
        first, second = bracket
        t = _cubic_minimum(first.t, first.loss, first.slope, second.t, second.loss, second.slope)
        # A point too close to an end twice running, or outside, is moved inwards.
        margin = 0.1 * width
        if min(max(ends) - t, t - min(ends)) < margin:
            if stuck or t >= max(ends) or t <= min(ends):
                near_high = abs(t - max(ends)) < abs(t - min(ends))
                t = max(ends) - margin if near_high else min(ends) + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        point = evaluate(t)
        evaluations += 1
        steps += 1
        if too_high(point) or point.loss >= bracket[low].loss:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        if abs(point.slope) <= -c2 * start.slope:
            bracket[low] = point
            break
        if point.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
    return bracket[low], evaluations


class LBFGS(Optimizer):
    """Limited-memory BFGS; `step` needs a closure that computes loss and gradients.

    One parameter group only. `line_search_fn` is None or "strong_wolfe".
    """

    _number_state = ()

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_range(lr, "learning rate")
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    def _gather_flat_grad(self) -> Tensor:
        pieces = [
            parameter.new_zeros(parameter.numel())
            if parameter.grad is None
            else parameter.grad.reshape(-1)
            for parameter in self._params
        ]
        return function_of("cat")(pieces, 0)

    def _move(self, values: list[Tensor] | None, t: float, direction: Tensor) -> None:
        """Set the parameters to `values`, or leave them, and go `t` along the direction."""
        start = 0
        for place, parameter in enumerate(self._params):
            count = parameter.numel()
            if values is not None:
                parameter.copy_(values[place])
            parameter.add_(direction[start : start + count].view_as(parameter), alpha=t)
            start += count

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Take up to `max_iter` quasi-Newton steps; returns the first loss."""

        def loss_of() -> Any:
            with enable_grad():
                return closure()

        with no_grad():
            return self._minimise(loss_of)

    def _minimise(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        lr = number(group["lr"])
        first_loss = closure()
        loss = float(first_loss)
        evaluations = 1
        state["func_evals"] += 1
        gradient = self._gather_flat_grad()
        if float(gradient.abs().max()) <= group["tolerance_grad"]:
            return first_loss
        t = state.get("t")
        direction = state.get("d")
        before, before_loss = state.get("prev_flat_grad"), state.get("prev_loss")
        steps = 0
        while steps < group["max_iter"]:
            steps += 1
            state["n_iter"] += 1
            direction = self._direction(state, gradient, before, direction, t)
            before = gradient.clone()
            before_loss = loss
            if state["n_iter"] == 1:
                t = min(1.0, 1.0 / float(gradient.abs().sum())) * lr
            else:
                t = lr
            slope = float(gradient.dot(direction))
            if slope > -group["tolerance_change"]:
                break
            used = 0
            if group["line_search_fn"] is not None:
                if group["line_search_fn"] != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                loss, gradient, t, used = self._search(
                    closure, t, direction, _Point(0.0, loss, gradient, slope)
                )
            else:
                self._move(None, t, direction)
                if steps != group["max_iter"]:
                    loss = float(closure())
                    gradient = self._gather_flat_grad()
                    used = 1
            evaluations += used
            state["func_evals"] += used
            if self._finished(group, evaluations, gradient, direction, t, loss - before_loss):
                break
        state["d"], state["t"] = direction, t
        state["prev_flat_grad"], state["prev_loss"] = before, before_loss
        return first_loss

    def _finished(
        self,
        group: dict[str, Any],
        evaluations: int,
        gradient: Tensor,
        direction: Tensor,
        t: float,
        change: float,
    ) -> bool:
        return (
            evaluations >= group["max_eval"]
            or float(gradient.abs().max()) <= group["tolerance_grad"]
            or float(direction.mul(t).abs().max()) <= group["tolerance_change"]
            or abs(change) < group["tolerance_change"]
        )

    def _direction(
        self, state: dict, gradient: Tensor, before: Any, direction: Any, t: Any
    ) -> Tensor:
        """The quasi-Newton direction by the two-loop recursion (algorithm 7.4)."""
        if state["n_iter"] == 1:
            state["old_dirs"], state["old_stps"], state["ro"] = [], [], []
            state["H_diag"] = 1
            return gradient.neg()
        changes, moves, inverses = state["old_dirs"], state["old_stps"], state["ro"]
        change = gradient.sub(before)
        move = direction.mul(t)
        product = float(change.dot(move))
        if product > 1e-10:
            if len(changes) == self.param_groups[0]["history_size"]:
                changes.pop(0)
                moves.pop(0)
                inverses.pop(0)
            changes.append(change)
            moves.append(move)
            inverses.append(1.0 / product)
            state["H_diag"] = product / float(change.dot(change))
        q = gradient.neg()
        weights = [0.0] * len(changes)
        for place in reversed(range(len(changes))):
            weights[place] = float(moves[place].dot(q)) * inverses[place]
            q.add_(changes[place], alpha=-weights[place])
        q = q.mul(state["H_diag"])
        for place in range(len(changes)):
            share = float(changes[place].dot(q)) * inverses[place]
            q.add_(moves[place], alpha=weights[place] - share)
        return q

    def _search(
        self, closure: Callable[[], Any], t: float, direction: Tensor, start: _Point
    ) -> tuple[float, Tensor, float, int]:
        values = [parameter.clone() for parameter in self._params]

        def evaluate(length: float) -> _Point:
            self._move(values, length, direction)
            loss = float(closure())
            gradient = self._gather_flat_grad()
            return _Point(length, loss, gradient, float(gradient.dot(direction)))

        size = float(direction.abs().max())
        point, evaluations = _strong_wolfe(evaluate, start, t, size)
        self._move(values, point.t, direction)
        return point.loss, point.gradient, point.t, evaluations
