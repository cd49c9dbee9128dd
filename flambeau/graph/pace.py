"""Numbers that change from step to step: what optimizers compute in Python for their updates."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor


class Pace:
    """Parameters of a group that made as many steps: their update takes the same numbers."""

    def __init__(self, optimizer: Any, group: Any, first: int):
        self.optimizer, self.group, self.first = optimizer, group, first
        self.states: list[Any] = []

    def numbers(self) -> tuple[float, ...]:
        """The numbers of the next step, which is made with this."""
        first = self.states[0]
        made = self.optimizer._numbers(first, self.group)
        advanced = _plain(first)
        for state in self.states[1:] if advanced else ():
            state.update(advanced)
        return made


class Paces:
    """All paces of a capture."""

    def __init__(self) -> None:
        self._paces: dict[Any, Pace] = {}
        self._before: list[tuple[Any, Any, dict[str, Any]]] = []  # optimizer, parameter, state
        self._stepping: Any = None

    def start(self, capture: Any) -> None:
        """Says which capture asks."""
        self._capture = capture

    def begin(self, optimizer: Any) -> None:
        """An optimizer is about to step."""
        if any(group.get("differentiable") for group in optimizer.param_groups):
            self._capture.end("a differentiable step of an optimizer")
        self._stepping = optimizer
        states = optimizer.state
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                self._before.append((optimizer, parameter, dict(states.get(parameter) or {})))

    def numbers_of(self, op: Any, args: Any) -> dict[int, int] | None:
        """For the op of an update: the slot of each of its numbers, by argument."""
        if op.family != "update" or self._stepping is None:
            return None
        optimizer = self._stepping
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if any(_is_of(a, parameter, optimizer.state[parameter]) for a in args[:1]):
                    return self._slots(optimizer, group, parameter, op, args)
        self._capture.end(f"{op.name} of what is no parameter")
        return None

    def _slots(self, optimizer, group, parameter, op, args):
        scalars = [(k, a.name) for k, a in enumerate(op.schema.arguments) if a.type == "Scalar"]
        names = optimizer._number_names or [name for _, name in scalars]
        before = next(s for o, p, s in self._before if o is optimizer and p is parameter)
        key = id(optimizer), id(group), tuple(sorted(_plain(before).items()))
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = Pace(optimizer, group, self._capture.numbers)
            self._capture.numbers += len(names)
        state = optimizer.state[parameter]
        if not any(state is s for s in pace.states):
            pace.states.append(state)
        return {k: pace.first + names.index(n) for k, n in scalars if n in names}

    def made_state(self) -> bool:
        """Whether an optimizer made its state while capturing: the next step is another."""
        return any(
            {n for n, v in before.items() if v is not None}
            != {n for n, v in (optimizer.state.get(parameter) or {}).items() if v is not None}
            for optimizer, parameter, before in self._before
            if parameter.grad is not None or before
        )

    def numbers(self) -> tuple[float, ...]:
        """The numbers of the next step of all optimizers."""
        made: tuple[float, ...] = ()
        for pace in self._paces.values():
            made += pace.numbers()
        return made

    def step_back(self) -> None:
        """Takes back the step that was made while capturing."""
        for optimizer, parameter, before in reversed(self._before):
            state = optimizer.state.get(parameter)
            if state is not None:
                state.update(_plain(before))


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a parameter's state."""
    return {n: v for n, v in state.items() if isinstance(v, int | float)}


def _is_of(tensor: Any, parameter: Any, state: dict[str, Any]) -> bool:
    """Whether a tensor is a parameter or part of its state, or lies in their memory."""
    values = (parameter, *(v for v in state.values() if isinstance(v, Tensor)))
    return any(tensor.storage is v.storage for v in values)
