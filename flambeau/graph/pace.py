"""Numbers that change from step to step: what optimizers compute in Python for their updates."""

from __future__ import annotations

from typing import Any


class Pace:
    """Parameters of a group that made as many steps: their update takes the same numbers."""

    def __init__(self, optimizer: Any, group: Any, first: int):
        self.optimizer, self.group, self.first = optimizer, group, first
        self.states: list[Any] = []

    def numbers(self) -> tuple[float, ...]:
        """The numbers of the next step, which is made with this."""
        first = self.states[0]
        made = self.optimizer._numbers(first, self.group)
        if "step" in first:
            step = first["step"]
            for state in self.states:
                state["step"] = step
        return made


class Paces:
    """All paces of a capture."""

    def __init__(self) -> None:
        self._paces: dict[Any, Pace] = {}

    def start(self, capture: Any, watch: Any) -> None:
        """Says which capture asks, and who knows the optimizer that is stepping."""
        self._capture, self._watch = capture, watch

    def numbers_of(self, op: Any, args: Any) -> dict[int, int] | None:
        """For the op of an update: the slot of each of its numbers, by argument."""
        if op.family != "update" or self._watch.stepping is None:
            return None
        optimizer, parameter = self._watch.stepping, args[0]
        for group in optimizer.param_groups:
            if any(p is parameter for p in group["params"]):
                return self._slots(optimizer, group, optimizer.state[parameter], op, args)
        return None

    def _slots(self, optimizer, group, state, op, args):
        places = [
            k
            for k, (a, v) in enumerate(zip(op.schema.arguments, args, strict=True))
            if a.type == "Scalar" and v is not None
        ]
        key = id(optimizer), id(group), state.get("step")
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = Pace(optimizer, group, self._capture.numbers)
            self._capture.numbers += len(places)
        pace.states.append(state)
        return {place: pace.first + k for k, place in enumerate(places)}

    def numbers(self) -> tuple[float, ...]:
        """The numbers of the next step of all optimizers."""
        made: tuple[float, ...] = ()
        for pace in self._paces.values():
            made += pace.numbers()
        return made

    def step_back(self) -> None:
        """Takes back the step that was made while capturing."""
        for pace in self._paces.values():
            for state in pace.states:
                if "step" in state:
                    state["step"] -= 1
