"""Fixed composites: the ops of their bodies depend on layouts and plain values alone.

So a body runs once for each kind of arguments, under an interpreter that notes the plans of its
ops. What the plan of the composite does is to call these, one after the other: Python's arithmetic
on shapes is not done again.
"""

import contextlib
import functools

from flambeau import runtime

from .. import door
from ..modes import inference_enabled, interpreting, set_grad, set_inference, state
from ..op import Composite, Op, is_tensor, needs_grad


class Fixed(Composite):
    """A composite whose plan is the sequence of its parts' plans."""

    bakes_numbers = True

    def make_door(self, slow=None):
        return door.make(self, slow)

    def _planned(self, raw):
        if state.stack:  # interpreters see the parts, and may make others of them
            return Composite._planned(self, raw)
        return Op._planned(self, raw)

    def plan(self, args):
        args = _distinct(args, set())
        noted = _Noted(args)
        with interpreting(noted), _unrecorded():
            made = self.body(*args)
        run = noted.function(made) or self.body
        recording = bool(self.gradients)

        def plan(*args):
            if recording and state.grad and needs_grad(args):
                made = self.recorded(run, args)
            else:
                made = run(*args)
            if made.__class__ is tuple or made._base is not None:
                self.own(made, args)
            return made

        return plan


@contextlib.contextmanager
def _unrecorded():
    """This run of the body is nobody's. But constants that it makes are kept, and may later be
    saved for backward: they are made outside inference mode.
    """
    recording, inferring, asked = state.grad, inference_enabled(), state.asked_grad
    if inferring:
        set_inference(False)
    set_grad(False)
    try:
        yield
    finally:
        if inferring:
            set_inference(True)
            state.asked_grad = asked
        elif recording:
            set_grad(True)


def _distinct(args, seen):
    """The arguments, a tensor that comes twice replaced by another on the same memory: the plan is
    for all arguments of these layouts.
    """
    made: list = []
    for a in args:
        if is_tensor(a) and id(a) in seen:
            a = runtime.alias(a, a.layout, a._offset)
        elif isinstance(a, tuple) and any(map(is_tensor, a)):
            a = tuple(_distinct(a, seen))
        seen.add(id(a))
        made.append(a)
    return made


class _Noted:
    """An interpreter that notes what is performed, as lines of a function. Tensors that arguments
    and ops give are variables, everything else is a constant.
    """

    def __init__(self, args):
        self.names: dict[int, str] = {}
        self.alive: list = []  # while an object is alive, its id is its own
        self.lines: list[str] = []
        self.constants: list = []
        self.fails = False
        self.parameters = [self._define(a, f"a{i}") for i, a in enumerate(args)]

    def process(self, op, args, target):
        if type(op) in (Composite, Fixed) and not op.gradients and target is None:
            with interpreting(self):
                return op.body(*op.schema.normalise(args))
        given = args if target is not None else op.schema.normalise(args)
        self.fails |= target is not None and id(args[0]) not in self.names
        made = door.plainly(op, given, target)
        plan = op.plans.get(op.key(given)) if target is None else None
        if plan is None:
            plan = functools.partial(_perform, op, target)
        call = f"{self._constant(plan)}({', '.join(map(self._use, given))})"
        self.lines.append(f"{self._define(made, f'v{len(self.lines)}')} = {call}")
        return made

    def _define(self, value, name):
        """The target that a value, or each tensor of a tuple, is assigned to."""
        if isinstance(value, tuple | list) and all(map(is_tensor, value)):
            parts = [self._define(v, f"{name}_{k}") for k, v in enumerate(value)]
            return f"({', '.join(parts)},)" if parts else name
        if is_tensor(value):
            self.names[id(value)] = name
            self.alive.append(value)
        return name

    def _use(self, value):
        if isinstance(value, tuple | list) and any(map(is_tensor, value)):
            return f"({', '.join(map(self._use, value))},)"
        if not is_tensor(value):
            return self._constant(value)
        return self.names.get(id(value)) or self._constant(value)

    def _constant(self, value):
        self.constants.append(value)
        return f"c{len(self.constants) - 1}"

    def function(self, made):
        """The function of what was noted, which returns `made`; None where that is a tensor that
        came from elsewhere, or one was written to.
        """
        parts = made if isinstance(made, tuple | list) else (made,)
        if self.fails or not all(id(t) in self.names for t in parts):
            return None
        result = self._use(made)
        parameters = ", ".join(f"a{i}" for i in range(len(self.parameters)))
        unpacked = [
            f"{target} = a{i}" for i, target in enumerate(self.parameters) if target != f"a{i}"
        ]
        source = "\n    ".join(
            [f"def run({parameters}):", *unpacked, *self.lines, f"return {result}"]
        )
        scope = {f"c{i}": value for i, value in enumerate(self.constants)}
        exec(_code(source), scope)
        return scope["run"]


@functools.lru_cache(1024)
def _code(source):
    return compile(source, "<flambeau composite>", "exec")


def _perform(op, target, *args):
    return door.plainly(op, args, target)


def fixed(schema: str, *, grad=None, **options):
    """Decorator: declares the function as a fixed composite, as `composite` does."""
    return lambda body: Fixed(schema, body, grad, **options)
