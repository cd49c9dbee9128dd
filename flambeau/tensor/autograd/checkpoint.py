"""Activation checkpointing: backward runs a part of the forward again instead of keeping what it
saved.

The recomputing form replaces what the part saves by numbers, through saved-tensor hooks; the first
number that backward asks for makes it run the part again, up to the last value that is needed. The
reentrant form is a `Function` whose backward runs the part, and a backward of its own through it.
"""

import contextlib
import functools
import warnings
import weakref

from flambeau._base import user_line
from flambeau.ops import Packed, interpreting, modes, modified, perform_plainly

from ..autocast import present_autocast
from ..chance import get_rng_state, set_rng_state
from ..tensor import Tensor
from . import engine, hooks
from .function import Function
from .grad_mode import enable_grad
from .graph import saved_tensors_hooks

state = modes.state

UNDECIDED = (
    "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in "
    "PyTorch 2.9, calling checkpoint without use_reentrant will raise an exception. "
    "use_reentrant=False is recommended, but if you need to preserve the current default behavior, "
    "you can pass use_reentrant=True. Refer to docs for more details on the differences between "
    "the two variants."
)
UNDECIDED_SEQUENTIAL = (
    "torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed "
    "explicitly. In version 2.9 we will raise an exception if use_reentrant is not passed. "
    "use_reentrant=False is recommended, but if you need to preserve the current default behavior, "
    "you can pass use_reentrant=True. Refer to docs for more details on the differences between "
    "the two variants."
)
INCOMPATIBLE = (
    "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an "
    "`inputs` parameter to .backward(). To resolve this error, you can either set "
    "use_reentrant=False, or call .backward() without passing the `inputs` argument."
)
MORE = (
    "torch.utils.checkpoint: trying to save more tensors during recomputation than during the "
    "original forward pass."
)
TWICE = (
    "torch.utils.checkpoint: Unpack is being triggered for a tensor that was already unpacked "
    "once. If you are calling ctx.saved_tensors in backward, make sure to do so only once. "
    "Otherwise please open an issue with details on your use case."
)


class CheckpointError(RuntimeError):
    """The part did something else when it was run again."""


class _Stop(Exception):
    """Everything that backward needs has been recomputed."""


class _Switch:
    """A setting for the length of a with block."""

    def __init__(self, default):
        self.value = default

    @contextlib.contextmanager
    def set(self, value):
        before, self.value = self.value, value
        try:
            yield
        finally:
            self.value = before


_early_stop, _debug = _Switch(None), _Switch(None)


def set_checkpoint_early_stop(enable: bool):
    """Inside, recomputation stops as soon as (or runs on after) all that is needed is there."""
    return _early_stop.set(enable)


def set_checkpoint_debug_enabled(enabled):
    """Inside, checkpoints are (or are not) run with `debug`."""
    return _debug.set(enabled)


def noop_context_fn():
    """Two contexts that do nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def _metadata(tensor):
    return {"shape": tensor.shape, "dtype": tensor.dtype, "device": tensor.device}


_CHECKS = {"default": _metadata, "none": lambda tensor: None}


class _Log:
    """An interpreter that notes what is performed."""

    def __init__(self):
        self.lines: list[str] = []

    def process(self, op, args, target):
        given = ", ".join(repr(a.layout) if isinstance(a, Tensor) else repr(a) for a in args)
        self.lines.append(f"{op.name}({given})\n    at {user_line()}")
        return perform_plainly(op, args, target)


class _Number:
    """Stands for a saved tensor."""

    __slots__ = ("__weakref__", "index")

    def __init__(self, index):
        self.index = index


class _Part:
    """One checkpointed call: what it takes to run it again, and what that gave in each backward."""

    describe = staticmethod(_metadata)
    early_stop, logs = True, None

    def __init__(self, function, args, kwargs, context, random):
        self.function, self.context, self.random = function, context, random
        self.autocast = present_autocast()
        self.numbers: list = []  # weak: only what still stands in a graph is worth recomputing
        self.descriptions: list = []
        self.found = weakref.WeakKeyDictionary()  # by backward: tensors by number
        self._keep(args, kwargs)

    def _keep(self, args, kwargs):
        """The arguments, as an op would save them: through the hooks around, or with versions."""
        leaves = [*args, *kwargs.values()]
        self._count, self._names = len(args), list(kwargs)
        self._packed = Packed(leaves, *state.saved_hooks[-1]) if state.saved_hooks else None
        self._leaves = None if self._packed else leaves
        self._versions = [v._storage.version if isinstance(v, Tensor) else None for v in leaves]

    def _arguments(self):
        if self._packed:
            leaves = [self._packed.opened(v) for v in self._packed.values]
        else:
            leaves = self._leaves
            for leaf, version in zip(leaves, self._versions):
                if version is not None and leaf._storage.version != version:
                    modified(leaf, version)
        return leaves[: self._count], dict(zip(self._names, leaves[self._count :]))

    def pack(self, tensor):
        number = _Number(len(self.numbers))
        self.numbers.append(weakref.ref(number))
        self.descriptions.append(self.describe(tensor))
        return number

    def unpack(self, number):
        backward = getattr(state, "running", None) or hooks.Run(())
        if backward not in self.found:
            self.found[backward] = {}
            try:
                self._recompute(self.found[backward])
            except CheckpointError as error:
                raise self._explained(error) from None
        tensor = self.found[backward].pop(number.index, None)
        if tensor is None:
            raise CheckpointError(TWICE)
        return tensor

    def _recompute(self, found):
        again: list = []

        def pack(tensor):
            index = len(again)
            if index >= len(self.numbers):
                raise CheckpointError(MORE)
            again.append(self.describe(tensor))
            if self.numbers[index]() is not None:
                found[index] = tensor
            if self.early_stop and len(again) == len(self.numbers):
                raise _Stop
            return tensor

        args, kwargs = self._arguments()
        with saved_tensors_hooks(pack, lambda tensor: tensor), enable_grad(), self.watched(1):
            with (
                contextlib.suppress(_Stop),
                _drawing_from(self.random),
                self.autocast,
                self.context,
            ):
                self.function(*args, **kwargs)
        self._compare(again)

    def watched(self, which):
        """Notes what is performed inside, in `debug`."""
        return interpreting(self.logs[which]) if self.logs else contextlib.nullcontext()

    def _compare(self, again):
        if len(again) != len(self.descriptions):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the "
                "original forward and recomputation.\nNumber of tensors saved during forward: "
                f"{len(self.descriptions)}\nNumber of tensors saved during recomputation: "
                f"{len(again)}."
            )
        different = [
            f"tensor at position {i}:\nsaved metadata: {a}\nrecomputed metadata: {b}\n"
            for i, (a, b) in enumerate(zip(self.descriptions, again))
            if a != b
        ]
        if different:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have "
                f"different metadata than during the forward pass.\n{''.join(different)}."
            )

    def _explained(self, error):
        if not self.logs:
            hint = "\n\nTip: `checkpoint(..., debug=True)` lists what ran both times."
            return CheckpointError(f"{error}{hint}")
        ran = [str(error)]
        for what, log in zip(("The original forward:", "The recomputation:"), self.logs):
            ran += [what, *[f"  {line}" for line in log.lines]]
        return CheckpointError("\n".join(ran))


def checkpoint(
    function,
    *args,
    use_reentrant=None,
    context_fn=noop_context_fn,
    determinism_check="default",
    debug=False,
    early_stop=True,
    **kwargs,
):
    """``function(*args, **kwargs)``, of which backward keeps only the arguments: it runs `function`
    again for what it needs.

    `preserve_rng_state` (a keyword, by default true): the second run draws the same random numbers.
    `context_fn` gives two context managers, around the first run and around later ones.
    `determinism_check`: "default" compares shape, dtype and device of what is recomputed, "none"
    nothing. `early_stop`: a later run ends with the last value that is needed. `debug`: an error
    lists the ops of both runs. CheckpointError where the runs differ.

    `use_reentrant=True` is PyTorch's older form: it takes positional tensors only, and works with
    ``backward()`` of all leaves only.
    """
    if use_reentrant is None:
        warnings.warn(UNDECIDED, stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug:
            raise ValueError(
                "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
            )
        return CheckpointFunction.apply(function, preserve, *args)
    debug = debug if _debug.value is None else _debug.value
    if debug and context_fn is not noop_context_fn:
        raise ValueError("debug=True is incompatible with non-default context_fn")
    if determinism_check not in _CHECKS:
        raise ValueError(
            f"determinism_check should be one of {list(_CHECKS)}, but got {determinism_check}"
        )
    first, later = context_fn()
    if not state.grad:
        with first:
            return function(*args, **kwargs)
    part = _Part(function, args, kwargs, later, get_rng_state() if preserve else None)
    part.describe = _CHECKS[determinism_check]
    part.early_stop = early_stop if _early_stop.value is None else _early_stop.value
    part.logs = (_Log(), _Log()) if debug else None
    if not hooks.runs_matter:
        hooks.runs_matter.append(True)
    with first, saved_tensors_hooks(part.pack, part.unpack), part.watched(0):
        return function(*args, **kwargs)


@contextlib.contextmanager
def _drawing_from(random):
    """Inside, random numbers come from this state, if it is one."""
    if random is None:
        yield
        return
    before = get_rng_state()
    set_rng_state(random)
    try:
        yield
    finally:
        set_rng_state(before)


def check_backward_validity(inputs):
    """Warns where no input requires grad."""
    if not any(isinstance(t, Tensor) and t.requires_grad for t in inputs):
        warnings.warn(
            "None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2
        )


def detach_variable(inputs):
    """Copies without history of the tensors in a tuple, which require grad where those do."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(
            "Only tuple of tensors is supported. Got Unsupported input type: "
            f"{type(inputs).__name__}"
        )
    return tuple(
        t.detach().requires_grad_(t.requires_grad) if isinstance(t, Tensor) else t for t in inputs
    )


class CheckpointFunction(Function):
    """The reentrant form."""

    @staticmethod
    def forward(ctx, run_function, preserve_rng_state, *args):
        check_backward_validity(args)
        ctx.run_function, ctx.autocast = run_function, present_autocast()
        ctx.random = get_rng_state() if preserve_rng_state else None
        ctx.save_for_backward(*[a if isinstance(a, Tensor) else None for a in args])
        ctx.others = [None if isinstance(a, Tensor) else a for a in args]
        return run_function(*args)

    @staticmethod
    def backward(ctx, *grads):
        running = getattr(state, "running", None)
        if running is not None and running.restricted:
            raise RuntimeError(INCOMPATIBLE)
        args = tuple(o if t is None else t for t, o in zip(ctx.saved_tensors, ctx.others))
        copies = detach_variable(args)
        with enable_grad(), _drawing_from(ctx.random), ctx.autocast:
            outputs = ctx.run_function(*copies)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        wanted = [
            (o, g) for o, g in zip(outputs, grads) if isinstance(o, Tensor) and o.requires_grad
        ]
        if not wanted:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        engine.backward(*map(list, zip(*wanted)))
        return (None, None, *[c.grad if isinstance(c, Tensor) else None for c in copies])


def checkpoint_sequential(functions, segments, input, use_reentrant=None, **kwargs):
    """The modules of a Sequential (or a list of functions) one after the other, in `segments` parts
    of equal length, of which all but the last are checkpointed.
    """
    if use_reentrant is None:
        warnings.warn(UNDECIDED_SEQUENTIAL, stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    functions = list(functions.children() if hasattr(functions, "children") else functions)
    size = len(functions) // segments
    last = -1
    for start in range(0, size * (segments - 1), size):
        last = start + size - 1
        run = functools.partial(_in_turn, functions[start : last + 1])
        input = checkpoint(run, input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return _in_turn(functions[last + 1 :], input)


def _in_turn(functions, value):
    for function in functions:
        value = function(value)
    return value
