"""`Op`: one object that carries all rules of one operation, and the registry of them.

A family (pointwise, reduction, view, …) is a subclass that knows how to turn arguments into a plan:
a callable on the op's positional arguments with everything that layouts decide already decided.
"""

import contextlib
import functools
import os
import re
import sys

from flambeau import runtime
from flambeau.types import PLAIN, Schema

from . import door, facts, overrides
from .fitting import fitting
from .modes import set_grad, state
from .promotion import FLOAT, HALVES
from .tape import Rule

registry: "dict[str, list[Op]]" = {}


class Op:
    """One operation.

    `name` and `overload` are PyTorch's; `schema` is parsed on first use; `gradients` maps argument
    names to functions (see `tape.Rule`); `plans` is the cache that the door looks into.
    """

    family = "op"
    inplace_form = False
    unkeyed: frozenset = frozenset()  # arguments that plans do not depend on: they come as they are
    mixes_devices = False  # whether tensor arguments may lie on different devices: copies
    exact_out = False  # whether `out` must have the result's dtype: no cast on the way
    apart = False  # whether the in-place form may not be told to read what it writes
    apart_out = False  # whether `out` may not even be an argument itself: it is read out of order
    holds = ""  # the argument that, where it is a number, must fit the dtype of the first one
    # Whether the values of numbers are part of the plan, not only their types; or which values.
    bakes_numbers: bool | frozenset = False
    older: tuple[str, ...] = ()  # numbers that may stand, unnamed, before the tensors

    def __init__(self, schema: str, doc: str | None, gradients=None, *, method=True, function=True):
        self.text, self.doc = schema, doc
        head = schema.partition("(")[0]
        # "aten", or the public module: nn, linalg, special, fft.
        self.namespace, _, head = head.rpartition("::")
        self.name, _, self.overload = head.partition(".")
        self.gradients = gradients or {}
        self.method, self.function = method, function
        self.plans: dict = {}
        self.inplace_plans: dict = {}
        self._rules: dict = {}
        plain = self.namespace in ("", "aten")
        self.method = self.method and plain
        registry.setdefault(self.name if plain else f"{self.namespace}.{self.name}", []).append(
            self
        )

    def __repr__(self):
        return f"<op {self.name}{'.' + self.overload if self.overload else ''}: {self.family}>"

    def __call__(self, *args, **kwargs):
        return self.door(*args, **kwargs)

    @functools.cached_property
    def schema(self) -> Schema:
        return Schema(self.text)

    @functools.cached_property
    def door(self):
        """The Python function that users call; generated from the schema on first use."""
        return self.make_door()

    def make_door(self, slow=None):
        """A new door; `slow` replaces the way that is taken on a miss."""
        return door.make(self, slow)

    @functools.cached_property
    def inplace(self):
        """The `name_` form: writes the result into `self`."""
        return door.make_inplace(self)

    @property
    def __doc__(self):
        return self.doc

    @property
    def __name__(self):
        return self.name

    # What a family supplies.

    def plan(self, args):
        """A callable on the positional arguments, for arguments like `args` (normalised)."""
        raise NotImplementedError(f"{self.name} has no plan")

    def rule(self, args) -> Rule | None:
        """How results are recorded for arguments of these kinds; None if no gradient can be
        asked.
        """
        tensors = frozenset(
            a.name for a, v in zip(self.schema.arguments, args, strict=True) if is_tensor(v)
        )
        lists = frozenset(a.name for a in self.schema.arguments if a.is_tensor and a.list)
        found = self._rules.get(tensors)
        if found is None:
            names = [a.name for a in self.schema.arguments]
            gradients = {n: f for n, f in self.gradients.items() if n in tensors or n in lists}
            results = [r or "result" for r in self.schema.returns]
            node_name = self.name.strip("_").title().replace("_", "") + "Backward0"
            found = self._rules[tensors] = Rule(
                node_name, names, tensors, lists, results, gradients
            )
        return found

    def recorder(self, args, shapes=None):
        """record(result, *args) for a plan with these arguments. `shapes`: layouts that gradients
        are brought to.
        """
        return self.rule(args).recorder(shapes)

    def describe(self) -> list[str]:
        """What the family adds to `explain`."""
        return []

    def key(self, args):
        """What a plan depends on: must equal what the generated door computes."""
        return tuple(
            door.part(self, a, v) for a, v in zip(self.schema.arguments, args, strict=True)
        )

    def known(self, args):
        """The plan for arguments like these, as the door finds it; None where there is none yet."""
        try:
            return self.plans.get(self.key(args))
        except (TypeError, AttributeError, overrides.Overridden):
            return None

    def slow(self, raw):
        """The door's other way: checks and normalises, makes the plan, calls it. Errors get their
        facts here.
        """
        try:
            return self._planned(raw)
        except Exception as error:
            if overrides.overloaded(raw):
                return overrides.performed(self, raw, None)
            told = facts.tell(self, raw, error)
            if told is error:
                raise
            raise told from error

    def held(self, plan, args):
        """`plan` behind the check that `holds` asks for."""
        if not self.holds:
            return plan
        position = next(i for i, a in enumerate(self.schema.arguments) if a.name == self.holds)
        return fitting(self, plan, position, type(args[position]), args[0].layout.dtype)

    def _planned(self, raw):
        args = self.schema.normalise(raw)
        numbers = door.check_devices(self, args)
        key = self.key(args)
        plan = self.plans.get(key)
        if plan is None:
            if len(self.plans) > LIMIT:
                self.plans.clear()
            plan = self.plans[key] = self.held(self.plan(door.on_meta(args, numbers)), args)
        if all(_is_plain(v) for v in raw):
            with contextlib.suppress(TypeError):  # an unhashable list: the door makes a tuple of it
                self.plans[self.key(raw)] = plan
        return plan(*args)


LIMIT = 20_000  # plans of one op; more means that something unbounded is in the key


def _is_plain(value):
    if type(value) in PLAIN or is_tensor(value):
        return True
    return isinstance(value, tuple | list) and all(type(v) in PLAIN or is_tensor(v) for v in value)


def is_tensor(value) -> bool:
    return door.is_tensor(value)


class Composite(Op):
    """An op that is written in other ops: needs only schema, docstring and body.

    Its gradients are its parts'. With gradients of its own, the parts are run unrecorded, and it is
    one node. With `rounds_once`, half types are computed in float32 throughout and the results
    rounded at the end, not after each part.
    """

    family = "composite"

    def __init__(self, schema, body, gradients=None, *, rounds_once=False, **options):
        super().__init__(schema, body.__doc__, gradients, **options)
        self.body = rounded_once(body) if rounds_once else body

    def make_door(self, slow=None):
        return door.make_composite(self, slow)

    def _planned(self, raw):
        args = self.schema.normalise(raw)
        if self.gradients and state.grad and needs_grad(args):
            made = self.recorded(self.body, args)
        else:
            made = self.body(*args)
        self.own(made, args)
        return made

    def own(self, made, args):
        """A view of memory that the body made itself is nobody's view: in-place changes are its
        own.
        """
        for t in made if isinstance(made, tuple) else (made,):
            base = getattr(t, "_base", None)
            if base is not None and not _shared(base, args):
                t._base = None

    def recorded(self, body, args):
        """The result of `body` as one node, with the gradients declared."""
        set_grad(False)
        try:
            result = body(*args)
        finally:
            set_grad(True)
        if any(result is a for a in args):
            result = runtime.alias(result, result.layout, result._offset)
        self.rule(args).record(None, result, *args)
        return result


def _shared(base, args):
    """Whether an argument is `base` or a view of it."""
    for a in args:
        if a is base or getattr(a, "_base", None) is base:
            return True
        if a.__class__ is tuple or a.__class__ is list:
            if _shared(base, a):
                return True
    return False


def rounded_once(body):
    """`body` on float32 where an argument is of a half type, its float32 results brought to that
    type."""

    def run(*args):
        kinds = {t.layout.dtype for t in _tensors(args)}
        half = next((k for k in kinds if k in HALVES), None)
        if half is None or FLOAT in kinds:  # beside float32, the body says what it takes
            return body(*args)
        made = body(*(a.to(FLOAT) if is_tensor(a) and a.layout.dtype is half else a for a in args))
        if made.__class__ is tuple:
            return tuple(t.to(half) if t.layout.dtype is FLOAT else t for t in made)
        return made.to(half)

    return run


def needs_grad(args) -> bool:
    """Whether one of the tensors among the arguments has a node."""
    return any([t._node is not None for t in _tensors(args)])


def _tensors(args):
    for a in args:
        if is_tensor(a):
            yield a
        elif a.__class__ is tuple:
            yield from (t for t in a if is_tensor(t))


def composite(schema: str, *, grad=None, **options):
    """Decorator: declares the function as a composite op, with `grad` as gradients of its own where
    given.
    """
    return lambda body: Composite(schema, body, grad, **options)


def also(op: Op, *names: str) -> None:
    """Further names of an op."""
    for name in names:
        registry.setdefault(name, []).append(op)


def forget_plans() -> None:
    """Drops what was planned for all ops: something changed that plans depend on and their keys do
    not name.
    """
    for declared in registry.values():
        for op in declared:
            op.plans.clear()
            op.inplace_plans.clear()


def find(name: str) -> Op:
    """The (first) op of that name, with or without ``aten::``. Raises KeyError where none is
    declared.
    """
    name = name.removeprefix("aten::").replace("::", ".")
    for key in (name, f"nn.{name}"):
        if key in registry:
            return registry[key][0]
    base, _, overload = name.rpartition(".")
    found = next((op for op in registry.get(base, ()) if op.overload == overload), None)
    if found is None:
        raise KeyError(f"no op named {name}")
    return found


def declared_at(op: Op) -> str:
    """The file of an op's declaration and, where it is plain to see, the line. It is searched for,
    so that declaring costs nothing.
    """
    name = f"{op.name}.{op.overload}" if op.overload else op.name
    head = re.compile(rf'"(\w*::)?{re.escape(name)}\((?!\))')
    modules = [sys.modules[n] for n in sorted(sys.modules) if n.startswith(f"{__package__}.")]
    for path in (str(module.__file__) for module in modules):
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if head.search(line):
                    return f"{_shown(path)}:{number}"
    code = getattr(getattr(op, "body", None), "__code__", None)
    if code is not None:
        return f"{_shown(code.co_filename)}:{code.co_firstlineno}"
    holder = next(m for m in modules if any(v is op for v in vars(m).values()))
    return _shown(str(holder.__file__))


def _shown(path: str) -> str:
    """A module's path from the folder of the whole package on."""
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return os.path.relpath(path, top).replace(os.sep, "/")


_HOMES = {"": "torch", "aten": "torch", "nn": "torch.nn.functional"}


def explain(name: str) -> str:
    """Everything that the declarations of a name imply, as text. Raises KeyError where none is
    there.
    """
    first = find(name)
    declared = next(ops for ops in registry.values() if first in ops)
    return "\n\n".join("\n".join(_explain_one(op)) for op in declared)


def _explain_one(op: Op) -> list[str]:
    home = _HOMES.get(op.namespace, f"torch.{op.namespace}")
    forms = [f"{home}.{op.name}"] if op.function else []
    forms += [f"Tensor.{op.name}"] if op.method else []
    forms += [f"Tensor.{op.name}_"] if op.method and op.inplace_form else []
    lines = [op.schema.text, "", f"  {(op.doc or '').strip()}", "", f"family       {op.family}"]
    lines.append(f"forms        {', '.join(forms) or 'none: other ops use it'}")
    lines.append(f"declared     {declared_at(op)}")
    lines += [f"argument     {a!r}" for a in op.schema.arguments]
    for argument, function in op.gradients.items():
        reads = function.__code__.co_varnames[: function.__code__.co_argcount]
        lines.append(f"gradient     of {argument}, from {', '.join(reads)}")
    if not op.gradients:
        lines.append("gradient     " + ("its parts'" if "composite" in op.family else "none"))
    return lines + op.describe()
