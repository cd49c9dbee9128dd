"""Doors: the Python functions through which every op is called, generated from the op's schema.

A door computes the plan's key from its arguments, looks it up, and calls the plan. All else is
elsewhere: a miss goes to `Op.slow`, an active interpreter to `perform`.
"""

import keyword
import warnings

from flambeau import runtime
from flambeau.types import TENSOR_TYPES, cpu, is_dense, layout, meta

from . import facts, modes, overrides

MISSING = type("Missing", (), {"__repr__": lambda self: "<not given>"})()


class _Unbound:
    pass


# What generated doors see; the tensor layer fills in its class.
scope: dict = {
    "Tensor": _Unbound,
    "interpreters": modes.interpreters,
    "MISSING": MISSING,
    "INPLACE": modes.INPLACE,
    "state": modes.state,
    "taking": overrides.taking,
    "Overridden": overrides.Overridden,
    "taken": overrides.taken,
    "overridden": overrides.performed,
}


def bind(tensor_type, writers):
    """Told once by the tensor layer: its class, and how results are written into existing
    tensors.
    """
    scope["Tensor"] = tensor_type
    TENSOR_TYPES.add(tensor_type)
    scope.update(writers)
    scope["is_tensor"] = is_tensor


def is_tensor(value) -> bool:
    """Whether `value` is a Tensor (or of a subclass)."""
    return isinstance(value, scope["Tensor"])


_NUMBERS = {float: float, int: int, bool: bool, complex: complex, type(None): None}


def kind(value):
    """The key of an argument in tensor position that is no plain Tensor: a subclass, a number, or
    None. `Overridden` where its class takes over.
    """
    cls = value.__class__
    if cls in overrides.plain:
        return value.layout
    if cls in _NUMBERS:
        return _NUMBERS[cls]
    if is_tensor(value):
        if modes.state.overrides and overrides.takes_over(cls):
            raise overrides.Overridden
        return value.layout
    if isinstance(value, bool | int | float | complex):
        return next(k for k in (bool, int, float, complex) if isinstance(value, k))
    raise TypeError(f"not a tensor: {type(value).__name__}")


def kinds(values):
    """The key of a list of tensors that is neither list nor tuple: none at all, or a subclass."""
    if values is None:
        return ()
    if isinstance(values, list | tuple):
        return tuple(map(kind, values))
    raise TypeError(f"not a list of tensors: {type(values).__name__}")


scope.update(kind=kind, kinds=kinds, lists=(list, tuple))


def number_part(op, value):
    """A number's part of a plan's key: its value where the plan is made for that."""
    bakes = op.bakes_numbers
    if not bakes:
        return value.__class__
    return value.__class__, value if bakes is True or value in bakes else None


def part(op, argument, value):
    """One argument's part of a plan's key."""
    if argument.name in op.unkeyed:
        return None
    if argument.is_tensor:
        if argument.list:
            return kinds(value)
        is_number = value is None or isinstance(value, bool | int | float | complex)
        return number_part(op, value) if op.bakes_numbers and is_number else kind(value)
    if argument.type == "Scalar" and not argument.list:
        return number_part(op, value)
    if argument.type == "Generator":
        return None
    return tuple(value) if value.__class__ is list else value


def _number_source(op, name):
    """What `number_part` computes."""
    if not op.bakes_numbers:
        return f"{name}.__class__"
    value = name if op.bakes_numbers is True else f"{name} if {name} in op.bakes_numbers else None"
    return f"({name}.__class__, {value})"


def _part_source(op, argument):
    name = _identifier(argument)
    if argument.name in op.unkeyed:
        return "None"
    if argument.is_tensor and argument.list:
        return f"(tuple([kind(t) for t in {name}]) if {name}.__class__ in lists else kinds({name}))"
    if argument.is_tensor:
        number = _number_source(op, name)
        other = f"{number} if not is_tensor({name}) else " if op.bakes_numbers else ""
        return f"({name}.layout if {name}.__class__ is Tensor else {other}kind({name}))"
    if argument.type == "Scalar" and not argument.list:
        return _number_source(op, name)
    if argument.type == "Generator":
        return "None"
    if argument.list:
        return f"({name} if {name}.__class__ is not list else tuple({name}))"
    return name


def _identifier(argument):
    """PyTorch calls a function's first argument `input` where its schema says `self`."""
    if argument.name == "self":
        return "input"
    return argument.name + "_" if keyword.iskeyword(argument.name) else argument.name


# NumPy's names for the same arguments, which PyTorch takes as well.
_ALIASES = {"dim": "axis", "keepdim": "keepdims"}


def signature(op, *, out=True):
    """(parameter list, argument names, alias assignments) of the op's Python function."""
    parameters, names, starred, aliases = [], [], False, []
    for a in op.schema.arguments:
        if a.name == op.schema.variadic:
            parameters.append(f"*{_identifier(a)}")
            starred = True
        else:
            if (a.keyword) and not starred:
                parameters.append("*older" if op.older else "*")
                starred = True
            default = f"=default_{a.name}" if a.has_default else ""
            alias = _ALIASES.get(a.name)
            if alias and len(op.schema.arguments) > 1:
                aliases.append((_identifier(a), alias, a))
                default = default or "=MISSING"
            elif any(p.endswith("=MISSING") for p in parameters) and not default and not starred:
                default = "=MISSING"
            parameters.append(_identifier(a) + default)
        names.append(_identifier(a))
    extra = ["out=None"] if out else []
    extra += [f"{alias}=MISSING" for _, alias, _ in aliases]
    extra += ["**named"] if op.schema.variadic else []
    if extra and not starred:
        parameters.append("*")
    return ", ".join(parameters + extra), names, aliases


def _prelude(op, aliases, names, *, out=True, ending=""):
    lines = []
    if op.older:
        lines.append(
            f"    if older: return earlier(op, {_function_name(op)}{ending}, "
            f"({', '.join(names[: _positional(op)])}, *older){', out' if out else ''})"
        )
    if op.schema.variadic:
        v = op.schema.variadic
        lines.append(f"    if not {v} and not named: raise TypeError(missing(op, {v!r}))")
        lines.append(f"    if named: {v} = by_name(op, {v}, named)")
        lines += [
            f"    if len({v}) == 1 and ({v}_ := {v}[0]).__class__ is not int:",
            f"        {v} = {v}_ if {v}_.__class__ is tuple else unstar({v}_)",
        ]
    for name, alias, argument in aliases:
        lines.append(f"    if {alias} is not MISSING: {name} = {alias}")
        if not argument.has_default:
            lines.append(
                f"    if {name} is MISSING: raise TypeError(missing(op, {argument.name!r}))"
            )
    return lines


def by_name(op, given, named):
    """A list that may be given as separate arguments, given by its name."""
    name = op.schema.variadic
    if given or len(named) > 1 or name not in named:
        extra = next((k for k in named if k != name), name)
        raise TypeError(f"{op.name}() got an unexpected keyword argument '{extra}'")
    return (named[name],)


def earlier(op, door, args, out=None):
    """A call with numbers before tensors, as PyTorch's first releases had it: ``add(a, alpha, b)``,
    ``addmm(beta, a, alpha, b, c)``, as a method ``a.addmm(beta, alpha, b, c)``.
    """
    tensors = [v for v in args if is_tensor(v)]
    factors = [v for v in args if not is_tensor(v)]
    needed = _positional(op)
    last = all(map(is_tensor, args[1 - needed :]))
    if len(tensors) != needed or len(factors) > len(op.older) or not last:
        raise TypeError(
            f"{door.__name__}() takes {needed} positional arguments but {len(args)} were given"
        )
    named = dict(zip(op.older, factors, strict=False))
    warnings.warn(
        f"This overload of {door.__name__} is deprecated: give {', '.join(named)} by name, last",
        stacklevel=3,
    )
    return door(*tensors, **named, **({} if out is None else {"out": out}))


def unstar(value):
    """The one argument given in place of several: a list, or a single tensor or NumPy integer."""
    if isinstance(value, list | tuple):
        return value if value.__class__ is tuple else tuple(value)
    return (value,)


def missing(op, name):
    return f'{op.name}() missing 1 required positional arguments: "{name}"'


def _compile(op, name, lines, extra):
    defaults = {f"default_{a.name}": a.default for a in op.schema.arguments if a.has_default}
    names = {
        "op": op,
        "plans": op.plans,
        "slow": op.slow,
        "unstar": unstar,
        "missing": missing,
        "perform": perform,
        "by_name": by_name,
        "earlier": earlier,
    }
    local = scope | defaults | names | extra
    exec(compile("\n".join(lines), f"<flambeau {op.name}>", "exec"), local)
    function = local[name]
    function.__doc__ = op.doc
    function.__module__ = "torch"
    function.__qualname__ = name
    return function if "slow" in extra else announced(function)


# The public functions that were generated, and who wants to hear of new ones: who watches calls.
generated: list = []
listeners: list = []


def announced(function):
    """The function, after all listeners have heard of it."""
    generated.append(function)
    for listener in listeners:
        listener(function)
    return function


def make(op, slow=None):
    """The door of an op with plans. `slow` replaces `Op.slow`, for operators."""
    has_out = _takes_out(op)
    parameters, names, aliases = signature(op, out=has_out)
    name, call = _function_name(op), ", ".join(names)
    tuple_of = f"({call},)" if len(names) == 1 else f"({call})"
    keys = [_part_source(op, a) for a in op.schema.arguments]
    out = ", out" if has_out else ""
    lines = [f"def {name}({parameters}):", *_prelude(op, aliases, names)]
    lines.append(f"    if interpreters and state.stack: return perform(op, {tuple_of}{out})")
    if has_out:
        lines.append(f"    if out is not None: return into(op, {tuple_of}, out)")
    lines += [
        "    try:",
        f"        plan = plans[{', '.join(keys)},]",
        # an operator asks the other operand first: `slow` decides
        f"    except Overridden: return {'slow' if slow else 'overridden'}"
        f"({tuple_of if slow else f'op, {tuple_of}, None'})",
        "    except (KeyError, TypeError, AttributeError):",
        f"        return slow({tuple_of})",
        f"    return plan({call})",
    ]
    return _compile(op, name, lines, {"into": into} | ({"slow": slow} if slow else {}))


def _takes_out(op) -> bool:
    """Ops named with an underscore write into their first argument and nowhere else."""
    return not op.name.endswith("_") and not any(a.name == "out" for a in op.schema.arguments)


def make_composite(op, slow=None):
    """The door of a composite: its body; where that fails on arguments, the schema's error."""
    has_out = _takes_out(op)
    parameters, names, aliases = signature(op, out=has_out)
    name, call = _function_name(op), ", ".join(names)
    tuple_of = f"({call},)" if len(names) == 1 else f"({call})"
    out = ", out" if has_out else ""
    lines = [f"def {name}({parameters}):", *_prelude(op, aliases, names)]
    lines.append(f"    if interpreters and state.stack: return perform(op, {tuple_of}{out})")
    if has_out:
        lines.append(f"    if out is not None: return into(op, {tuple_of}, out)")
    lines += [] if slow else _look(tuple_of, None)
    if slow or op.gradients:
        lines.append(f"    return slow({tuple_of})")
        return _compile(op, name, lines, {"into": into} | ({"slow": slow} if slow else {}))
    lines += [
        "    try:",
        f"        made = body(*normalise({call}))",
        "    except Exception as error:",
        f"        if foreign({tuple_of}): return overridden(op, {tuple_of}, None)",
        f"        told = tell(op, {tuple_of}, error)",
        "        if told is error: raise",
        "        raise told from error",
        "    if made.__class__ is not Tensor or made._base is not None:",
        f"        op.own(made, {tuple_of})",
        "    return made",
    ]
    found = {"body": op.body, "normalise": op.schema.normaliser(), "tell": facts.tell}
    found["foreign"] = overrides.foreign
    return _compile(op, name, lines, {"into": into} | found)


def make_plain(op):
    """The door of an op that is looked up nowhere, and whose parameters may have any names."""
    arguments = op.schema.arguments
    places = {a.name: a.position for a in arguments}
    count = sum(not a.keyword for a in arguments)

    def bound(args, kwargs):
        if len(args) > count:
            raise TypeError(
                f"{op.name}() takes {count} positional arguments but {len(args)} were given"
            )
        raw = [*args, *(a.default if a.has_default else MISSING for a in arguments[len(args) :])]
        for name, value in kwargs.items():
            if places.get(name, -1) < len(args) and name in places:
                raise TypeError(f"{op.name}() got multiple values for argument '{name}'")
            if name not in places:
                raise TypeError(f"{op.name}() got an unexpected keyword argument '{name}'")
            raw[places[name]] = value
        lacking = next((a.name for a, v in zip(arguments, raw, strict=True) if v is MISSING), None)
        if lacking is not None:
            raise TypeError(missing(op, lacking))
        return tuple(raw)

    def door(*args, **kwargs):
        raw = bound(args, kwargs)
        if modes.interpreters and modes.state.stack:
            return perform(op, raw)
        if overrides.taking and overrides.taken(raw):
            return overrides.performed(op, raw, None)
        return op.slow(raw)

    door.__name__ = door.__qualname__ = op.name
    door.__module__, door.op = "torch", op
    return announced(door)


def _look(tuple_of, target):
    """Lines for doors without keys: whether a class takes over."""
    look = f"taking and taken({tuple_of})"
    return [f"    if {look}: return overridden(op, {tuple_of}, {target})"]


def make_inplace(op):
    """The door of `name_`: as the op's own, with the result written into `self`."""
    parameters, names, aliases = signature(op, out=False)
    name, call = _function_name(op) + "_", ", ".join(names)
    tuple_of = f"({call},)" if len(names) == 1 else f"({call})"
    keys = [_part_source(op, a) for a in op.schema.arguments]
    tensors = [_identifier(a) for a in op.schema.arguments if a.is_tensor and not a.list]
    lines = [f"def {name}({parameters}):", *_prelude(op, aliases, names, out=False, ending="_")]
    lines.append(f"    if interpreters and state.stack: return perform(op, {tuple_of}, INPLACE)")
    if not hasattr(op, "plan_inplace"):
        lines += [*_look(tuple_of, "INPLACE"), f"    return write_back(op, {tuple_of})"]
        return _compile(op, name, lines, {})
    plans = op.inplace_plans
    lines += [
        "    try:",
        f"        plan = plans[{', '.join(keys)},]",
        f"    except Overridden: return overridden(op, {tuple_of}, INPLACE)",
        "    except (KeyError, TypeError, AttributeError):",
        f"        plan = inplace_plan(op, plans, {tuple_of})",
    ]
    first = names[0]
    grads = " or ".join(
        [f"{first}._node is not None"]
        + [
            f"({t}.__class__ is not float and is_tensor({t}) and {t}._node is not None)"
            for t in tensors[1:]
        ]
    )
    lines += _overlap_checks(op, first, tensors[1:])
    lines.append(f"    if ({grads}) and state.grad: return write_back(op, {tuple_of})")
    lines.append(
        f"    if {first}._base is not None and {first}._base._node is not None: "
        f"check_writable({first})"
    )
    lines.append(f"    return plan({call})")
    return _compile(
        op,
        name,
        lines,
        {
            "plans": plans,
            "inplace_plan": inplace_plan,
            "check_overlap": check_overlap,
            "check_apart": check_apart,
        },
    )


def _overlap_checks(op, first, tensors):
    """Lines that raise where memory is read that is written meanwhile."""
    check = "check_apart" if op.apart else "check_overlap"
    other = "" if op.apart else f" and {{0}} is not {first}"
    wrong = f"{{0}}.__class__ is Tensor{other} and {{0}}._storage is {first}._storage"
    lines = [f"    if {wrong.format(t)}: {check}({first}, {t})" for t in tensors]
    for argument in op.schema.arguments if op.apart else ():
        if argument.is_tensor and argument.list:
            lines.append(f"    for _t in {_identifier(argument)}:")
            lines.append(f"        if {wrong.format('_t')}: {check}({first}, _t)")
    return lines


def inplace_plan(op, plans, raw):
    """The plan of the in-place form for these arguments, made on the first call."""
    try:
        return _inplace_plan(op, plans, raw)
    except Exception as error:
        if overrides.overloaded(raw):
            return lambda *_: overrides.performed(op, raw, modes.INPLACE)
        told = facts.tell(op, raw, error, "_")
        if told is error:
            raise
        raise told from error


def _inplace_plan(op, plans, raw):
    args = op.schema.normalise(raw)
    if not is_tensor(args[0]):
        raise TypeError(
            f"{op.name}_(): argument 'input' (position 1) must be Tensor, not "
            f"{type(args[0]).__name__}"
        )
    numbers = check_devices(op, args)
    if any(args[0] is v for v in numbers):
        raise RuntimeError(f"Tensor on device {cpu} is not on the expected device {meta}!")
    key = op.key(args)
    plan = plans.get(key)
    if plan is None:
        plan = plans[key] = op.held(op.plan_inplace(on_meta(args, numbers)), args)
    normal = list(raw) == args or all(a is b for a, b in zip(raw, args, strict=True))
    return plan if normal else lambda *_: plan(*args)


def check_devices(op, args):
    """Raises where tensors lie on different devices. 0-dim tensors of the cpu go with all: they
    count as numbers, and are what is returned.
    """
    found = [v for v in args if is_tensor(v)]
    found += [t for v in args if v.__class__ is tuple for t in v if is_tensor(t)]
    if op.mixes_devices or len({t.layout.device for t in found}) < 2:
        return ()
    placed = [t.layout.device for t in found if t.layout.ndim or t.layout.device is not cpu]
    home = placed[0]
    for device in placed:
        if device is not home:
            raise RuntimeError(f"Tensor on device {device} is not on the expected device {home}!")
    return [t for t in found if t.layout.device is not home]


def on_meta(args, numbers):
    """The arguments for a plan, `numbers` on meta like the rest: it must not touch memory."""
    if not numbers:
        return args
    nothing = runtime.foreign(0, 0, None)
    made = {id(t): runtime.wrap(nothing, layout((), (), t.layout.dtype, meta), 0) for t in numbers}
    return [
        tuple([made.get(id(t), t) for t in v]) if v.__class__ is tuple else made.get(id(v), v)
        for v in args
    ]


SHARED = (
    "unsupported operation: more than one element of the written-to tensor refers to a single "
    "memory location. Please clone() the tensor before performing the operation."
)


def check_places(layout):
    """Raises where elements of what is to be written are one place in memory, as after `expand`."""
    if any([s == 0 and n > 1 for n, s in zip(layout.shape, layout.strides, strict=True)]):
        raise RuntimeError(SHARED)


OVERLAP = (
    "unsupported operation: some elements of the input tensor and the written-to tensor refer to "
    "a single memory location. Please clone() the tensor before performing the operation."
)


def check_overlap(written, read, a=None):
    """Raises where `read` shares part of its memory with `written`, which may have the layout `a`
    then; the very same elements in the same order may.
    """
    a, b = a or written.layout, read.layout
    start_a, start_b = written._offset * a.itemsize, read._offset * b.itemsize
    if not a.numel or not b.numel or (written._offset == read._offset and a is b):
        return
    if start_a + a.nbytes <= start_b or start_b + b.nbytes <= start_a:
        return
    alike = start_a == start_b and a.strides == b.strides and a.shape == b.shape
    plain = start_a == start_b and a.contiguous and b.contiguous and a.nbytes == b.nbytes
    if (alike or plain) and a.itemsize == b.itemsize:
        return
    if alike or (is_dense(a.shape, a.strides) and is_dense(b.shape, b.strides)):
        raise RuntimeError(OVERLAP)


def check_apart(written, read):
    """Raises where `read` is the same memory as `written`, or part of it."""
    if read.layout.numel and read._offset == written._offset and read.layout is written.layout:
        raise RuntimeError(OVERLAP)
    check_overlap(written, read)


def into(op, args, out):
    """The `out=` form: the result, written into `out`, which is resized where its shape differs."""
    return scope["write_out"](op, args, call(op, args), out)


def call(op, args):
    """The op's result for all arguments in the schema's order."""
    return op.door(*args[: _positional(op)], **_keywords(op, args))


def _positional(op):
    return sum(not a.keyword for a in op.schema.arguments)


def _keywords(op, args):
    return {_identifier(a): v for a, v in zip(op.schema.arguments, args, strict=True) if a.keyword}


def perform(op, args, target=None):
    """Hands an op to this thread's innermost interpreter; what that performs itself goes one level
    down.
    """
    stack = modes.state.stack
    modes.state.stack = stack[:-1]
    try:
        return stack[-1].process(op, args, target)
    finally:
        modes.state.stack = stack


def plainly(op, args, target):
    """Performs an op as if the innermost interpreter were not there."""
    if target is None:
        return call(op, args)
    if target is modes.INPLACE:
        return op.inplace(*args[: _positional(op)], **_keywords(op, args))
    return into(op, args, target)


def _function_name(op):
    return op.name + "_" if keyword.iskeyword(op.name) else op.name
