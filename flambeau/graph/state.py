"""The Python values that a function reads: found while it runs, compared before its program is
used.

A capture holds for other runs only as long as every value that Python looked at is the same:
globals, closures, attributes of modules and objects, elements of lists. `Watch` sees the calls of
the user's functions and of modules (`sys.setprofile`) and walks from their arguments, globals and
closures along the attribute names that occur in their code. What it meets becomes a `Guard`, a
function that compares. A value that the function changes itself, or a call with effects outside,
ends the capture.
"""

from __future__ import annotations

import builtins
import collections
import functools
import gc
import opcode
import operator
import sys
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from flambeau import runtime
from flambeau._base import annotations as marks
from flambeau.nn import Module
from flambeau.ops import AccumulateGrad, Node, Output
from flambeau.tensor import Tensor

from .guard import (
    ABSENT,
    ANSWER,
    CONTENT,
    EXTRA,
    KEYS,
    LENGTH,
    MOST,
    PLAIN,
    FieldOf,
    Owned,
    Read,
    SlotOf,
    content,
    elements,
    is_array,
    is_record,
    length,
    slots_of,
)  # fmt: skip

PURE_BUILTINS = frozenset(dir(builtins)) - {
    "print", "input", "open", "exec", "eval", "compile", "globals", "locals", "vars", "breakpoint",
    "id", "hash", "__import__", "memoryview",
}  # fmt: skip
PURE_MODULES = frozenset({"math", "cmath", "operator", "_operator", "itertools", "_functools",
                          "functools", "collections", "_collections", "_abc", "_weakref",
                          "typing", "_typing", "_thread", "_warnings", "sys"})  # fmt: skip
# Whose objects' methods do nothing but compute, or change what is compared.
PURE_OBJECTS = PURE_MODULES | {"builtins", "re", "datetime", "decimal", "fractions", "array",
                               "enum", "types", "_struct", "weakref", "_weakrefset"}  # fmt: skip
CLOCKS = frozenset({"now", "today", "utcnow"})
# flambeau's functions that read the user's values, and those whose effects are no ops.
OPEN = ("flambeau.nn", "flambeau.amp", "flambeau.distributions")
CLOSED = frozenset({"flambeau", "numpy", "scipy", "llvmlite", "ctypes", "contextlib", "weakref"})
EFFECTS = frozenset(
    {
        "manual_seed", "seed", "set_rng_state", "set_state", "save", "load", "set_default_dtype",
        "set_default_device", "set_num_threads", "from_numpy", "update_parameters", "update_bn",
        "register_hook", "retain_grad", "register_post_accumulate_grad_hook",
    }
)  # fmt: skip
# Files of code that does nothing of its own; os and others are "<frozen", too, and are seen.
UNSEEN = ("<flambeau", "<frozen importlib", "<frozen abc", "<frozen zipimport")
# Where the names of EFFECTS have any.
ACTING = ("flambeau.files", "flambeau.tensor", "flambeau.optim", "flambeau.runtime.random")
# Packages whose functions are there for their effects, or have values of their own that change.
DOING = ("flambeau.data.", "flambeau.board.", "flambeau.files.", "flambeau.processes.",
         "flambeau.measure.", "flambeau.quasirandom")  # fmt: skip
GENERATORS = "flambeau.tensor.chance"  # that are made begin their streams anew
PLACES = ("storage_offset", "data_ptr")  # methods that tell where in memory a tensor lies
PASTS = ("is_leaf", "grad_fn", "output_nr", "retains_grad", "_version")  # or what was done with it
# What optimizers have, and the recorder reads.
UPDATED = frozenset({"param_groups", "state", "defaults"})
SETTINGS = frozenset(  # functions without arguments that say how something is set
    {
        "get_num_threads", "get_num_interop_threads", "initial_seed",
        "are_deterministic_algorithms_enabled", "is_deterministic_algorithms_warn_only_enabled",
        "get_deterministic_debug_mode", "get_float32_matmul_precision", "is_anomaly_enabled",
        "is_warn_always_enabled",
    }
)  # fmt: skip
# Methods that change a container.
CHANGING = frozenset(
    {"append", "extend", "insert", "pop", "remove", "clear", "update", "add", "setdefault",
     "popitem", "appendleft", "popleft", "discard"}
)  # fmt: skip
TELLING = EFFECTS | SETTINGS | {"step", "backward", "backward_from", "grad", *PLACES, *PASTS}
# Whose a function is: flambeau's own, that too but one whose call says something, a module's or
# optimizer's, Python's library's, the user's.
OURS, TOLD, LAYERS, LIBRARY, USERS = range(5)
MAKERS = ("__init__", "__new__", "__init_subclass__", "__set_name__", "__del__")
MAKING = ("tensor", "new_tensor")  # functions that make tensors of Python's values


INSIDE, GIVEN, HELD = range(3)  # how a value was met: below the user's function, as its argument,
# or in something that was there before


class Everything(set):
    """The names in the code of functions that also make names up: all."""

    def __and__(self, names: Any) -> set:
        return set(names)

    def __len__(self) -> int:
        return sys.maxsize


class Watch:
    """Sees what is called and read inside a with block. `end(reason)` is called where a call has
    effects that a program could not repeat. `names` are attributes that functions are known to
    read; it grows, so that who watches the same functions again finds all of them at once.
    """

    def __init__(
        self,
        end: Callable[[str], None],
        constant: Callable[[Tensor], None],
        arguments: Sequence[Tensor] = (),
        names: set[str] | None = None,
    ):
        self._arguments = arguments
        self.first = runtime.next_order()
        self.met: dict[int, tuple] = {}  # tensors, and their identity when they were met
        self.grads: dict[int, tuple[Tensor, Any]] = {}  # what `grad` was when a tensor was met
        self.reads: dict[tuple[int, Any], Read] = {}
        self.given: dict[int, Any] = {}  # lists and dictionaries that are arguments
        self.tensors: dict[int, Tensor] = {}
        self.held: dict[int, Tensor] = {}  # those reached from elsewhere than from arguments
        self.optimizers: list[Any] = []
        self._caches: dict[int, Any] = {}  # functions that know what they gave before
        self._rates: list[tuple[Any, Any]] = []  # their groups, and rates when they were met
        self.steps: Callable[[Any], None] = lambda optimizer: None  # told who is about to step
        self.going_back: Callable[[], None] = lambda: None  # told that backward is about to run
        self.consumed: set[Any] = set()  # nodes that it ran through
        self.rehearses = False  # what is seen is not to have effects
        self.changed: Any = None  # the name of a value that the function changed
        self.went_back = False
        self.tell(end, constant)
        self._names = set[str]() if names is None else names
        self._walked: dict[int, Any] = {}
        self._roots: list[Any] = []
        self._codes: set[int] = set()
        self._parts: dict[int, tuple[int, Any]] = {}
        self._quiet: set[int] = set()  # code of our own whose calls say nothing
        self._open: dict[str, bool] = {}
        self._made: dict[int, Any] = {}
        self._classes: dict[type, tuple[int, list[Any]]] = {}  # names when walked, what was found
        self._sources: dict[
            int, tuple[Any, str]
        ] = {}  # NumPy's generators: no call of them is seen
        shared = sys.modules.get("numpy.random.mtrand")
        if shared is not None:
            self.walk(vars(shared)["_rand"])
        self._entered = False

    def tell(self, end: Callable[[str], None], constant: Callable[[Tensor], None]) -> None:
        """From now on, what was seen is said to these."""
        self._end, self._constant = end, constant

    def __enter__(self):
        # What runs when garbage is collected is not the function's doing.
        self._collecting = gc.isenabled()
        gc.disable()
        self._outer = sys.getprofile()
        quiet, told = self._quiet, self._event

        def event(frame, event, argument):  # runs for whatever Python calls
            if id(frame.f_code) not in quiet:
                told(frame, event, argument)

        sys.setprofile(event)
        return self

    def __exit__(self, *exception):
        if self._outer is None or callable(self._outer):
            sys.setprofile(self._outer)
        else:
            self._outer.enable()  # cProfile's, which is no function
        if self._collecting:
            gc.enable()

    def _event(self, frame, event, argument):
        if event == "call":
            part = self._part(frame)
            if part >= LAYERS:
                self._enter(frame)
            elif part == TOLD:
                self._check_own(frame)
        elif event == "c_call":
            part = self._part(frame)
            of_library = part in (TOLD, LIBRARY) and is_library(frame.f_globals)
            if part == USERS or (of_library and self._is_users(frame)):
                self._check_call(argument)
        elif event == "return" and frame.f_code.co_name in MAKING and argument is not None:
            if frame.f_globals.get("__name__", "").startswith("flambeau.tensor."):
                self._constant(argument)

    def _part(self, frame) -> int:
        """Whose function runs in the frame: kept by the code, of which events have many."""
        code = frame.f_code
        known = self._parts.get(id(code))
        if known is None:
            known = self._parts[id(code)] = self._part_of(frame), code
            if known[0] == OURS and code.co_name not in MAKING:
                self._quiet.add(id(code))
        return known[0]

    def _part_of(self, frame) -> int:
        code, name = frame.f_code, frame.f_globals.get("__name__") or ""
        if self._is_open(frame):
            if is_library(frame.f_globals):
                return LIBRARY
            return LAYERS if name.startswith("flambeau") else USERS
        told = code.co_name in TELLING or name.startswith(DOING)
        told |= code.co_name == "__init__" and name == GENERATORS
        told |= is_library(frame.f_globals)  # closed, but it may call what has effects
        return TOLD if told or code in marks.disabled else OURS

    def _check_own(self, frame) -> None:
        """A function of flambeau's was called."""
        name, module = frame.f_code.co_name, frame.f_globals.get("__name__") or ""
        acts = name in EFFECTS and module.startswith(ACTING)
        acts |= name == "__init__" and module == GENERATORS
        if acts or frame.f_code in marks.disabled or module.startswith(DOING):
            self._end(f"{name}() was called")
        elif name in SETTINGS:
            function = frame.f_globals.get(name)
            if getattr(function, "__code__", None) is frame.f_code and self._is_open(frame.f_back):
                self._read(function, ANSWER, function())
        elif name in PLACES and module.startswith("flambeau.tensor"):
            if self._is_open(frame.f_back):
                self._end(f"{name}() was called")
        elif name in PASTS and module.startswith("flambeau.tensor"):
            if self._part(frame.f_back) == USERS:
                self._end(f"{name} of a tensor was read")
        elif name == "step" and module.startswith("flambeau.optim."):
            owner = frame.f_locals.get("self")
            if getattr(owner, "_numbers", None) is not None:
                self.walk(owner)
                self.steps(owner)
            elif owner is not None:
                self._end(f"{type(owner).__name__}.step() was called")
        elif name in ("backward", "backward_from") and module.endswith("autograd.engine"):
            self.went_back = True
            self.going_back()
            self._check_history(frame)
            if frame.f_locals.get("retain_graph") or frame.f_locals.get("create_graph"):
                self._end("backward() kept the graph")
        elif name == "grad" and module.endswith("autograd.engine"):
            self._check_gradients(frame)

    def _check_history(self, frame) -> None:
        """Ends the capture where backward is about to run beyond what was computed in it."""
        given = frame.f_locals
        roots = _histories(given.get("tensors") or given.get("tensor"))
        ends = {id(t._node) for t in self._arguments if t._node is not None}
        for node in nodes_behind(roots):
            self.consumed.add(node)
            if id(node) in ends:
                return self._end("backward() runs to an argument")
            if not isinstance(node, AccumulateGrad) and node.order < self.first:
                return self._end("backward() runs through what was computed before")

    def _check_gradients(self, frame) -> None:
        """Ends the capture where gradients come through what was computed before it."""
        inputs = [n for n in _histories(frame.f_locals["inputs"]) if n is not None]
        ends = {id(node) for node in inputs}
        through = any(
            node.order < self.first and id(node) not in ends and type(node) is not AccumulateGrad
            for node in nodes_behind(_histories(frame.f_locals["outputs"]), ends)
        )
        # What arguments among the inputs were made of: none may lie behind another.
        own = [e for n in inputs if n.order < self.first for e in _nodes(n.edges or ())]
        ends.update(map(id, own))
        behind = nodes_behind(e for node in own for e in node.edges or ())
        if through or any(id(node) in ends for node in behind):
            self._end("grad() runs through what was computed before")
            for tensor in self._arguments:  # without boundaries, this run finds its way
                tensor._node = getattr(tensor._node, "behind", tensor._node)

    def is_given(self, value) -> bool:
        """Whether it is a list or dictionary that was met as an argument only."""
        return id(value) in self.given and self._walked[id(value)][0] < HELD

    def guarded(self) -> list[Read]:
        """What is compared before each run: arguments are by their keys."""
        cleared = [functools.partial(_misses, cache) for cache in self._caches.values()]
        reads = [read for read in self.reads.values() if not self.is_given(read.container)]
        return reads + [Read(misses, ANSWER, misses()) for misses in cleared]

    def loosen(self, objects: Sequence[Any]) -> None:
        """Does not keep these objects alive."""
        loose = set(map(id, objects))
        for read in self.reads.values():
            if isinstance(read.container, Owned) and id(read.container.owner) in loose:
                read.container.loosen()

    def was_there(self, value) -> bool:
        """Whether an object was met where it existed before the run, and is compared."""
        if id(value) in self.held:
            return True
        return self._walked.get(id(value), (INSIDE, 0))[0] > INSIDE and id(value) not in self._made

    def _is_open(self, frame) -> bool:
        """Whether the frame's function is the user's, or a module's or optimizer's."""
        name = frame.f_globals.get("__name__") or ""
        known = self._open.get(name)
        if known is None:
            closed = name.partition(".")[0] in CLOSED or name.startswith("namedtuple_")
            known = self._open[name] = not closed or name.startswith(OPEN)
        return known and not frame.f_code.co_filename.startswith(UNSEEN)

    def _is_users(self, frame) -> bool:
        """Whether the user's code runs in the frame, or Python's library called by it."""
        while frame is not None and is_library(frame.f_globals):
            frame = frame.f_back
        if frame is None:
            return False
        name = frame.f_globals.get("__name__") or ""
        return self._is_open(frame) and not name.startswith("flambeau")

    def _check_call(self, function) -> None:
        owner = getattr(function, "__self__", None)
        name = getattr(function, "__name__", "?")
        if self.rehearses and name in CHANGING and id(owner) in self._walked:
            self._end(f"{name}() was called by backward")
        module = getattr(function, "__module__", None) or ""
        if isinstance(owner, types.ModuleType):
            module, owner = owner.__name__, None
        if owner is None and module == "builtins":
            if name not in PURE_BUILTINS:
                self._end(f"{name}() was called")
            elif name in ("getattr", "hasattr") and not isinstance(self._names, Everything):
                self._names = Everything()
                self._walk_again()
        elif owner is None and module and module.partition(".")[0] not in PURE_MODULES:
            if not module.startswith("flambeau"):
                self._end(f"{module}.{name}() was called")
        elif owner is not None:
            kind = owner if isinstance(owner, type) else type(owner)
            maker = next((k for k in kind.__mro__ if name in vars(k)), kind)
            root = maker.__module__.partition(".")[0]
            if (root not in PURE_OBJECTS and root != "flambeau") or name in CLOCKS:
                self._end(f"{kind.__name__}.{name}() was called")

    def _walk_again(self) -> None:
        """Along more names."""
        for root in self._roots:
            self.walk(root, INSIDE)

    # What is read.

    def _enter(self, frame) -> None:
        code = frame.f_code
        if id(code) not in self._codes:
            self._codes.add(id(code))  # the code itself is kept with its part
            if code in marks.disabled:
                self._end(f"{code.co_name}() is not to be compiled")
            if self.rehearses and self._part(frame) == USERS and _stores(code):
                self._end(f"{code.co_name}(), which backward calls, stores values")
            self._names.update(code.co_names)
            for name in code.co_names:
                self._global(frame, name)
        level = INSIDE if self._entered else GIVEN
        free = INSIDE if self._entered else HELD
        self._entered = True
        if code.co_name == "__init__":  # what is made during the run is made in every run
            made = frame.f_locals.get("self")
            self._made[id(made)] = made
        for name in (*code.co_varnames[: _parameters(code)], *code.co_freevars):
            value = frame.f_locals.get(name)
            if not isinstance(value, PLAIN):
                self._roots.append(value)
                self.walk(value, free if name in code.co_freevars else level)

    def _global(self, frame, name) -> None:
        scope = frame.f_globals
        if name in scope:
            value = scope[name]
            self._read(scope, name, value)
            if not isinstance(value, PLAIN):
                self._roots.append(value)
                self.walk(value)

    def _read(self, container, key, value) -> None:
        place = id(container.owner if isinstance(container, Owned) else container), key
        if place not in self.reads:
            self.reads[place] = Read(container, key, value)

    def function(self, function) -> None:
        """Notes the closure of the function that is compiled."""
        for cell in getattr(function, "__closure__", None) or ():
            try:
                self._read(cell, "cell", cell.cell_contents)
                self.walk(cell.cell_contents)
            except ValueError:
                pass
        plain = getattr(function, "__func__", function)
        given = [getattr(function, "__self__", None)]
        if isinstance(plain, types.FunctionType):
            given += self._fields(plain)
        for value in given:
            self._roots.append(value)
            self.walk(value)

    def _fields(self, function: types.FunctionType) -> list[Any]:
        """What somebody may change of a function: its code and its defaults, which are given."""
        for name in FieldOf.OF_FUNCTIONS:
            field = FieldOf(function, name)
            self._read(field, name, field[name])
        inside = function.__dict__
        self._read(inside, LENGTH, len(inside))
        found = self._entries(inside, self._names & inside.keys())
        return [function.__defaults__, function.__kwdefaults__, *found]

    def walk(self, value, level: int = HELD) -> None:
        """Notes what can be read from a value along the names that are known."""
        todo = [(value, level)]
        while todo:
            value, level = todo.pop()
            if isinstance(value, PLAIN):
                continue
            if isinstance(value, Tensor):
                self.tensors[id(value)] = value
                if id(value) not in self.grads:
                    self.grads[id(value)] = value, value._grad
                    self.met[id(value)] = value, *identity(value)
                if level == HELD:
                    self.held[id(value)] = value
                todo.extend((item, HELD) for item in self._marks(value, level))
                continue
            if type(value).__module__.startswith("numpy.random"):
                self._sources.setdefault(id(value), (value, str(_state_of(value))))
                continue
            if isinstance(value, Node) and (value.order or self.first) >= self.first:
                continue  # history, which this run makes
            if level != INSIDE and hasattr(type(value), "__next__"):
                self._end(f"a {type(value).__name__} gives each run something else")
                continue
            before, names = self._walked.get(id(value), (-1, 0))
            done = before >= level and names >= len(self._names)
            if done or id(value) in self._made:
                continue
            level = max(level, before)
            self._walked[id(value)] = level, len(self._names)
            loose = isinstance(value, dict | list | tuple) or (level == GIVEN and is_record(value))
            after = level if loose else HELD
            todo.extend((item, after) for item in self._inside(value, level))

    def _inside(self, value, level: int) -> list[Any]:
        """The values inside of one, noted as read. Containers that only functions called by the
        user's have are made in the run.
        """
        if isinstance(value, types.FunctionType | types.MethodType):
            cells = [c for c in getattr(value, "__closure__", None) or () if _is_filled(c)]
            if level != INSIDE:
                for cell in cells:
                    self._read(cell, "cell", cell.cell_contents)
            found = [getattr(value, "__self__", None), *(c.cell_contents for c in cells)]
            plain = getattr(value, "__func__", value)
            if level != INSIDE and isinstance(plain, types.FunctionType):
                found += [] if is_foreign(plain.__globals__) else self._fields(plain)
            return found
        if isinstance(value, staticmethod | classmethod):
            return [value.__func__]
        if isinstance(value, property | functools.cached_property):
            return [getattr(value, "fget", None) or getattr(value, "func", None)]
        if isinstance(value, functools.partial):
            return [value.func, value.args, value.keywords]
        if isinstance(value, tuple):
            own = [] if type(value) is tuple else self._of_class(type(value))
            return own + elements(value)
        if isinstance(value, dict | list):
            if level == GIVEN and type(value) in (dict, list):  # is compared as an argument
                self.given[id(value)] = value
            return self._items(value) if level != INSIDE else []
        if isinstance(value, set | collections.deque | bytearray) or is_array(value):
            if level != INSIDE:
                self._read(value, CONTENT, content(value))
            return elements(value) if isinstance(value, set | collections.deque) else []
        if isinstance(value, types.ModuleType):
            scope = vars(value)
            if is_foreign(scope) or "-packages" in (scope.get("__file__") or ""):
                return []
            return self._entries(scope, self._names & scope.keys())
        if isinstance(value, type):
            own = [] if type(value) is type else self._of_class(type(value))
            return own + self._of_class(value)
        if isinstance(value, functools._lru_cache_wrapper):
            self._caches[id(value)] = value
            return [value.__wrapped__]
        if isinstance(value, weakref.ReferenceType):
            return [value()]
        if isinstance(value, weakref.WeakValueDictionary | weakref.WeakKeyDictionary):
            return [value.__dict__.get("data")]
        if isinstance(value, operator.attrgetter | operator.methodcaller):
            reduced: Any = value.__reduce__()
            names = reduced[1]
            told = {part for name in names if isinstance(name, str) for part in name.split(".")}
            if not told <= self._names:
                self._names |= told
                self._walk_again()
            return []
        if hasattr(type(value), "step") and "param_groups" in (fields(value) or ()):
            if not any(o is value for o in self.optimizers):
                self.optimizers.append(value)
                for group in value.param_groups:
                    rate = group.get("lr")
                    if isinstance(rate, float):  # another object: so it is seen when it is set
                        rate = group["lr"] = rate * 1.0
                    self._rates.append((group, rate))
            own = [] if is_foreign({"__name__": type(value).__module__}) else [value]
            found = [found for one in own for found in self._attributes(one, level)]
            return [*found, *(p for group in value.param_groups for p in group["params"])]
        return self._attributes(value, level)

    def _marks(self, tensor, level: int) -> list[Any]:
        """The attributes that the user gave a tensor, noted as read."""
        inside = tensor.__dict__
        before, names = self._walked.get(id(inside), (-1, 0))
        if level == INSIDE or (before >= level and names >= len(self._names)):
            return []
        self._walked[id(inside)] = max(level, before), len(self._names)
        if level == GIVEN:
            self.given[id(inside)] = inside
        self._read(inside, KEYS, tuple(inside))
        found = self._names & inside.keys()
        if found and level == GIVEN:
            self._end(f"{min(found)!r} of an argument is read")
        return self._entries(inside, found)

    def _attributes(self, value, level: int) -> list[Any]:
        found = []
        for name in self._names & slots_of(type(value)).keys():
            slot = SlotOf(value, slots_of(type(value))[name])
            self._read(slot, name, slot[name])
            if slot[name] is not ABSENT:
                found.append(slot[name])
        field = FieldOf(value, "__class__")
        self._read(field, "__class__", type(value))
        found += self._of_class(type(value))
        inside = fields(value)
        if level == GIVEN and inside is not None and is_record(value):
            self.given |= {id(value): value, id(inside): inside, id(field): field}
            self._walked[id(inside)] = self._walked[id(field)] = level, len(self._names)
        if inside is None:
            return found
        if level == INSIDE:
            pass  # the run itself may have made it
        elif isinstance(value, Module):  # what is new may hide what its class has
            self._read(inside, LENGTH, len(inside))
        elif not type(value).__module__.startswith("flambeau."):
            self._read(inside, KEYS, tuple(inside))
        names = self._names & inside.keys()
        if "param_groups" in inside:
            names -= UPDATED
        if isinstance(value, Module):
            names |= {"training", "_parameters", "_buffers", "_modules"} & inside.keys()
            # Those of state_dict() are read where it is called.
            names |= {n for n in inside if n.endswith("_hooks") and "state_dict" not in n}
        return found + self._entries(inside, names)

    def _entries(self, inside: dict, names) -> list[Any]:
        for name in names:
            self._read(inside, name, inside[name])
        return [inside[name] for name in names]

    def _of_class(self, kind: type) -> list[Any]:
        """What a class has under the names, and what syntax calls."""
        count, found = self._classes.get(kind, (-1, []))
        if count == len(self._names):
            return found
        found = []
        for owner in kind.__mro__:
            foreign = is_foreign({"__name__": owner.__module__})
            if foreign and not owner.__module__.startswith(OPEN):
                continue
            [scope] = gc.get_referents(vars(owner))  # the dictionary behind the proxy
            self._read(scope, LENGTH, len(scope))  # what is new may hide what bases have
            names = {n for n in self._names & scope.keys() if not n.startswith("__")}
            if not foreign:
                names |= {n for n in scope if n.startswith("__") and n not in MAKERS
                          and isinstance(scope[n], types.FunctionType)}  # fmt: skip
                # `apply` of a function with a gradient of its own calls some of these.
                names |= {n for n in scope if isinstance(scope[n], staticmethod)}
            found += self._entries(scope, names)
        self._classes[kind] = len(self._names), found
        return found

    def _items(self, value) -> list[Any]:
        if length(value) > MOST:
            self._read(value, CONTENT, content(value))
            return content(value)
        if not isinstance(value, dict):
            self._read(value, LENGTH, length(value))
        elif isinstance(value, collections.OrderedDict) and length(value) > 1:
            self._read(value, CONTENT, content(value))  # has an order of its own
        else:
            self._read(value, KEYS, tuple(elements(value)))
        pairs = dict.items(value) if isinstance(value, dict) else enumerate(elements(value))
        items = list(pairs)
        for key, item in items:
            self._read(value, key, item)
        return [item for _, item in items]

    def hooks(self) -> list[Read]:
        """That leaves have the hooks that they had when backward ran."""
        leaves = [t._node for t, _ in self.grads.values() if isinstance(t._node, AccumulateGrad)]
        found = [Read(SlotOf(n, EXTRA), "extra", n.extra) for n in leaves]
        for node in leaves:
            tables = {} if node.extra is None else node.extra.hooks
            for table in (tables, *tables.values()):
                found.append(Read(table, LENGTH, len(table)))
                found += [Read(table, key, hook) for key, hook in table.items()]
        return found

    def put_back(self) -> None:
        """Gives changed items of lists and dictionaries the values that they had."""
        for read in self.reads.values():
            items, key = read.container, read.key
            if type(items) in (dict, list) and isinstance(key, int | str):
                if read.expected is not ABSENT and not read.same():
                    items[key] = read.expected

    def settle(self) -> None:
        """Ends the capture where the function changed what it read: the next run would differ."""
        for source, state in self._sources.values():
            if str(_state_of(source)) != state:
                self._end("numpy.random was drawn from")
                return
        if any(group.get("lr") is not rate for group, rate in self._rates):
            self.changed = "lr"
            self._end("the function changed a learning rate")
            return
        for read in self.reads.values():
            if not read.same():
                where = type(read.container).__name__
                self.changed = read.key
                self._end(f"the function changed {read.key!r} of a {where} that it also reads")
                return


def _misses(cache: Any) -> int:
    """How often a function with a cache ran since that was cleared."""
    count: int = cache.cache_info().misses
    return count


def fields(value: Any) -> dict[str, Any] | None:
    """The dictionary of an object's attributes; None where its class has none, or hides it."""
    hides = any(isinstance(vars(k).get("__dict__"), property) for k in type(value).__mro__)
    inside = None if hides else getattr(value, "__dict__", None)
    return inside if isinstance(inside, dict) else None


def _state_of(source: Any) -> Any:
    """The state of a generator of NumPy's, which prints in full."""
    state = getattr(source, "bit_generator", source)
    state = state.state if hasattr(state, "state") else source.get_state(legacy=False)
    inner = state.get("state", state)
    return {k: v.tobytes() if hasattr(v, "tobytes") else v for k, v in inner.items()}


def identity(tensor: Tensor) -> tuple[Any, Any, Any]:
    """What a tensor is besides its elements: history, layout, memory."""
    return tensor._node, tensor.layout, tensor._storage


def is_library(scope: dict[str, Any]) -> bool:
    """Whether these are the globals of a module of Python's library."""
    root = (scope.get("__name__") or "").partition(".")[0]
    return root in sys.stdlib_module_names and root != "__main__"


def is_foreign(scope: dict[str, Any]) -> bool:
    """Whether these are the globals of a module that is not the user's: ours, or Python's."""
    root = (scope.get("__name__") or "").partition(".")[0]
    return not root or root in CLOSED or is_library(scope)


def nodes_behind(nodes, ends=()):
    """All nodes of autograd's graph that lead to these, themselves first; none behind `ends`, which
    are identities.
    """
    todo, seen = [*nodes], set()
    while todo:
        node = todo.pop()
        node = node.node if isinstance(node, Output) else node
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if id(node) not in ends:
            todo.extend(getattr(node, "edges", None) or ())


def _histories(tensors) -> list:
    """The nodes of a tensor or several."""
    several = tensors if isinstance(tensors, tuple | list) else (tensors,)
    return _nodes(getattr(t, "_node", None) for t in several)


def _nodes(edges) -> list:
    return [edge.node if isinstance(edge, Output) else edge for edge in edges]


def _parameters(code) -> int:
    stars = bool(code.co_flags & 4) + bool(code.co_flags & 8)
    return code.co_argcount + code.co_kwonlyargcount + stars


STORING = frozenset(opcode.opmap[f"{act}_{place}"] for act in ("STORE", "DELETE")
                    for place in ("ATTR", "GLOBAL"))  # fmt: skip


def _stores(code) -> bool:
    """Whether a function sets attributes, or variables that are not its own."""
    mine = STORING | {opcode.opmap["STORE_DEREF"]} if code.co_freevars else STORING
    return not mine.isdisjoint(code.co_code[::2])


def _is_filled(cell) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


__all__ = ["CHANGING", "Watch", "identity", "is_foreign", "nodes_behind"]
