"""Numbers that change from step to step: what optimizers compute in Python for their updates."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor


class Pace:
    """Parameters of a group that made as many steps: their update takes the same numbers."""

    def __init__(self, optimizer: Any, group: Any, first: int):
        self.optimizer, self.group, self.first = optimizer, group, first
        self.states: list[Any] = []
        self._names: tuple[str, ...] = ()  # of what a state counts, which is the same in all
        self._before: dict[str, Any] = {}  # the first state before the latest step
        self._known: set[int] = set()

    def add(self, state: Any) -> None:
        """The state of one of the parameters."""
        if id(state) not in self._known:
            self._known.add(id(state))
            self.states.append(state)
            self._names = tuple(_plain(state))

    def numbers(self) -> tuple[float, ...]:
        """The numbers of the next step, which is made with this."""
        first = self.states[0]
        self._before = first.copy()
        made: tuple[float, ...] = self.optimizer._numbers(first, self.group)
        self._spread(first)
        return made

    def take_back(self) -> None:
        """The next step is the latest one again."""
        self._spread(self._before)

    def _spread(self, counts: dict[str, Any]) -> None:
        """Gives all states these counts."""
        for name in self._names:
            value = counts[name]
            for state in self.states:
                state[name] = value


class Paces:
    """All paces of a capture."""

    def __init__(self) -> None:
        self._paces: dict[Any, Pace] = {}
        self._before: list[tuple[Any, Any, dict[str, Any]]] = []  # optimizer, parameter, state
        self._first: dict[tuple[int, int], dict[str, Any]] = {}  # the first state of each
        self._owners: dict[int, tuple[Any, Any]] = {}  # group and parameter, by their memory
        self._stepping: Any = None

    def start(self, capture: Any) -> None:
        """Says which capture asks."""
        self._capture = capture

    def begin(self, optimizer: Any) -> None:
        """An optimizer is about to step."""
        if any(group.get("differentiable") for group in optimizer.param_groups):
            self._capture.end("a differentiable step of an optimizer")
        self._stepping, self._owners = optimizer, {}
        states = optimizer.state
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = dict(states.get(parameter) or {})
                self._before.append((optimizer, parameter, state))
                self._first.setdefault((id(optimizer), id(parameter)), state)
        self._own(optimizer)

    def stop(self) -> None:
        """The capture is over; nothing of it is kept."""
        del self._capture
        self._before.clear()

    def numbers_of(self, op: Any, args: Any) -> dict[int, int] | None:
        """For the op of an update: the slot of each of its numbers, by argument."""
        if op.family != "update" or self._stepping is None:
            return None
        optimizer = self._stepping
        memory = id(args[0]._storage)
        if memory not in self._owners:
            self._own(optimizer)
        if memory in self._owners:
            return self._slots(optimizer, *self._owners[memory], op)
        self._capture.end(f"{op.name} of what is no parameter")
        return None

    def _own(self, optimizer: Any) -> None:
        """Notes whose memory the parameters and their states are."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = (optimizer.state.get(parameter) or {}).values()
                for tensor in (parameter, *(v for v in state if isinstance(v, Tensor))):
                    self._owners[id(tensor._storage)] = group, parameter

    def _slots(self, optimizer, group, parameter, op):
        scalars = [(k, a.name) for k, a in enumerate(op.schema.arguments) if a.type == "Scalar"]
        names = optimizer._number_names or [name for _, name in scalars]
        before = self._first[id(optimizer), id(parameter)]
        key = id(optimizer), id(group), tuple(sorted(_plain(before).items()))
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = Pace(optimizer, group, self._capture.numbers)
            self._capture.numbers += len(names)
        pace.add(optimizer.state[parameter])
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

    def take_back(self) -> None:
        """The numbers that were given last are those of the next step: it failed."""
        for pace in self._paces.values():
            pace.take_back()

    def step_back(self) -> None:
        """Takes back the step that was made while capturing."""
        for optimizer, parameter, before in reversed(self._before):
            state = optimizer.state.get(parameter)
            if state is not None:
                state.update(_plain(before))


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a parameter's state."""
    return {n: v for n, v in state.items() if isinstance(v, int | float)}
