"""Graphs: `torch.cuda.CUDAGraph`'s interface on every device.

A capture records what a stretch of code does to memory; a replay does it again to the same memory,
without Python. Unlike `compile`, nothing is compared: who replays says that all is as it was.

Where a CUDA capture only records, this one also computes, and then puts back what it overwrote:
parameters, the optimizer's state, random streams. So the first replay is the first step.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

from flambeau import runtime
from flambeau.tensor import Tensor, engine
from flambeau.tensor import autocast as casting
from flambeau.types import by_name, contiguous, pytree

from .capture import Broken, Rehearsal
from .compiled import Compiled, Options, capturing
from .execute import Executable, KernelFailed
from .pace import Paces
from .passes import optimize
from .program import Buffer, Program
from .state import Watch

BYTE = by_name("uint8")
_tokens = itertools.count(1)
_pools: weakref.WeakValueDictionary[Any, Pool] = weakref.WeakValueDictionary()
_capturing: list[Any] = []


class Pool:
    """Memory that graphs need while they are replayed. Graphs of one pool are replayed one after
    the other, so it is the same for all.
    """

    def __init__(self) -> None:
        self._blocks: list[Any] = []

    def lender(self) -> Callable[[int], Any]:
        """A function that gives one graph blocks of so many bytes, each another."""
        lent: list[Any] = []

        def take(nbytes: int) -> Any:
            free = [b for b in self._blocks if b.nbytes >= nbytes and b not in lent]
            block = min(free, key=lambda b: b.nbytes, default=None)
            if block is None:
                block = runtime.empty(nbytes)
                self._blocks.append(block)
            lent.append(block)
            return block

        return take


class GraphCapture(Rehearsal):
    """A capture that refuses what it cannot record, and remembers what is overwritten."""

    def end(self, reason: str) -> None:
        try:
            super().end(reason)
        except Broken:
            raise RuntimeError(f"a graph cannot be captured here: {self.broken}") from None


class Graph:
    """A captured stretch of work that `replay` does again.

    Between `capture_begin` and `capture_end`, everything must be ops on tensors: reading elements
    raises RuntimeError. The tensors that exist then keep their memory, which every replay
    overwrites; who wants to keep a result clones it. Optimizers of one op a parameter (SGD, Adam,
    AdamW) take their learning rate and step count anew at each replay.
    """

    def __init__(self, keep_graph: bool = False):
        self._capture: GraphCapture | None = None
        self._executable: Executable | None = None
        self._token: Any = (0, 0)
        self._pool: Pool | None = None

    def capture_begin(
        self,
        pool: Any = None,
        capture_error_mode: str = "global",
        *,
        check_input_liveness: bool = False,
    ) -> None:
        """Starts recording what this thread does. `pool` is a token of `graph_pool_handle`, or
        another graph's `pool()`.
        """
        if self._executable is not None:
            raise RuntimeError(
                "This CUDAGraph instance already owns a captured graph. To capture a new graph, "
                "create a new instance."
            )
        if capture_error_mode not in ("global", "thread_local", "relaxed"):
            raise ValueError(
                "Unknown capture error mode. Expected `global`, `thread_local`, or `relaxed`, got "
                + capture_error_mode
            )
        if _capturing:
            raise RuntimeError("a graph is being captured already: captures do not nest")
        if not capturing.acquire(blocking=False):
            raise RuntimeError("another thread is capturing a program")
        self._token = pool if pool is not None else graph_pool_handle()
        self._paces = Paces()
        self._capture = GraphCapture(self._paces.numbers_of)
        self._watch = Watch(lambda reason: None, self._capture.constant)
        self._watch.steps = self._paces.begin
        self._paces.start(self._capture)
        _capturing.append(self)
        casting.clear_autocast_cache()  # its casts are not those of a replay
        self._capture.__enter__()
        self._watch.__enter__()

    def capture_end(self) -> None:
        """Ends the recording and makes the graph ready to be replayed."""
        capture = self._capture
        if capture is None or self not in _capturing:
            raise RuntimeError("capture_end() was called without capture_begin()")
        self._stop()
        if capture.broken is not None:
            raise RuntimeError(f"a graph cannot be captured here: {capture.broken}")
        program = Program(list(capture.instructions), [], capture.numbers)
        program.title = "graph"
        program = optimize(_kept(program))
        self._pool = _pools.setdefault(self._token, Pool())
        self._executable = Executable(program, memory=self._pool.lender())

    def _stop(self) -> None:
        """Ends the capture, and puts back what it overwrote."""
        capture, self._capture = self._capture, None
        self._watch.__exit__(None, None, None)
        _capturing.remove(self)
        assert capture is not None
        capture.__exit__(None, None, None)
        capturing.release()
        casting.clear_autocast_cache()
        capture.restore()
        self._paces.step_back()
        self._paces.stop()

    def abandon(self) -> None:
        """Ends a capture that failed. Nothing is kept of it."""
        if self in _capturing:
            self._stop()

    def replay(self) -> None:
        """Does the captured work again, in the same memory."""
        if self._executable is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        try:
            self._executable.run((), self._paces.numbers())
        except KernelFailed as failed:
            if failed.__cause__ is not None:
                raise failed.__cause__ from None
            raise IndexError("a replayed graph found an index out of range") from None

    def instantiate(self) -> None:
        """Nothing: a graph is ready when its capture ends."""

    def reset(self) -> None:
        """Forgets the captured work and its memory."""
        self.abandon()
        self._executable = self._pool = None

    def pool(self) -> tuple[int, int]:
        """The token of the memory pool."""
        if self._executable is None:
            raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
        return self._token

    def register_generator_state(self, generator: Any) -> None:
        """Nothing: every generator that the captured code uses goes on with each replay."""

    def enable_debug_mode(self) -> None:
        """Nothing: the program can always be shown."""

    def debug_dump(self, debug_path: str) -> None:
        """Writes the program as text."""
        with open(debug_path, "w") as file:
            file.write(f"{self}\n")

    def __str__(self) -> str:
        return "an empty graph" if self._executable is None else str(self._executable.program)


def _kept(program: Program) -> Program:
    """What the user still has tensors of becomes given memory; the rest is the program's."""
    made = [b for b in program.buffers() if b.holder is None]
    alive: dict[Buffer, Any] = {}
    for buffer in made:
        alive[buffer], buffer.storage = (
            weakref.ref(buffer.storage) if buffer.storage else None,
            None,
        )
    for buffer, reference in alive.items():
        memory = reference() if reference is not None else None
        if memory is not None:
            layout = contiguous((memory.nbytes,), BYTE)
            buffer.holder, buffer.storage = runtime.wrap(memory, layout, 0), memory
    return program


class graph:
    """Captures what happens in a with block into `cuda_graph`. `stream` is accepted: there is one
    stream.
    """

    def __init__(
        self,
        cuda_graph: Graph,
        pool: Any = None,
        stream: Any = None,
        capture_error_mode: str = "global",
        **options: Any,
    ):
        self._graph, self._pool, self._mode = cuda_graph, pool, capture_error_mode

    def __enter__(self) -> None:
        self._graph.capture_begin(self._pool, self._mode)

    def __exit__(self, kind, *rest) -> None:
        if kind is None:
            self._graph.capture_end()
        else:
            self._graph.abandon()


def graph_pool_handle() -> tuple[int, int]:
    """A new token of a memory pool. Graphs that are given the same one share the memory that they
    need during a replay.
    """
    return 0, next(_tokens)


def is_current_stream_capturing() -> bool:
    """Whether a graph is being captured."""
    return bool(_capturing)


def make_graphed_callables(
    callables: Any,
    sample_args: Any,
    num_warmup_iters: int = 3,
    allow_unused_input: bool = False,
    pool: Any = None,
) -> Any:
    """Functions or modules whose forward and backward are one native call each.

    `sample_args` is a tuple of tensors, of the shapes and with the `requires_grad` of later
    arguments; for a tuple of callables, a tuple of such tuples. A module is changed in place and
    returned: while its `training` is what it is now, its forward is the captured one.
    """
    single = not isinstance(callables, tuple)
    if casting.is_autocast_enabled("cpu") and casting.is_autocast_cache_enabled():
        raise RuntimeError(
            "make_graphed_callables does not support the autocast caching. Please set "
            "`cache_enabled=False`."
        )
    functions, samples = ((callables,), (sample_args,)) if single else (callables, sample_args)
    made = []
    for function, args in zip(functions, samples, strict=True):
        if not isinstance(args, tuple) or not all(isinstance(a, Tensor) for a in args):
            raise TypeError("sample_args must be a tuple of tensors for each callable")
        made.append(_graphed(function, args, num_warmup_iters, allow_unused_input))
    return made[0] if single else tuple(made)


def _check_unused(result: Any, inputs: list[Any], allow_unused: bool) -> None:
    """Raises RuntimeError where the results do not depend on an input that wants a gradient."""
    wanted = [t for t in pytree.tree_leaves(result) if isinstance(t, Tensor) and t.requires_grad]
    inputs = [t for t in inputs if t.requires_grad]
    if wanted and inputs:
        seeds = [t.detach().new_zeros(t.shape) for t in wanted]
        engine.grad(wanted, inputs, seeds, allow_unused=allow_unused)


def _graphed(function: Any, args: tuple, warmups: int, allow_unused: bool) -> Any:
    is_module = hasattr(function, "forward") and hasattr(function, "training")
    target = function.forward if is_module else function
    if is_module:
        if function._forward_hooks or function._forward_pre_hooks or function._backward_hooks:
            raise AssertionError(
                "Modules must not have hooks registered at the time they are passed. However, "
                "registering hooks on modules after passing them through make_graphed_callables is "
                "allowed."
            )
        if any(b.requires_grad for b in function.buffers()):
            raise AssertionError(
                "In any :class:`~torch.nn.Module` passed to :func:`~make_graphed_callables`, only "
                "parameters may be trainable. All buffers must have ``requires_grad=False``."
            )
    compiled = Compiled(target, Options(fullgraph=True))
    parameters = function.parameters() if is_module else ()
    states = [(t, t.detach().clone()) for t in function.buffers()] if is_module else []
    state = runtime.default_generator.get_state()
    _check_unused(compiled(*args), [*args, *parameters], allow_unused)
    for _ in range(max(warmups, 2) - 1):
        compiled(*args)
    runtime.default_generator.set_state(state)
    for tensor, before in states:
        tensor.detach().copy_(before)
    if not is_module:
        return compiled
    training = function.training
    plain = function.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        return (compiled if function.training == training else plain)(*args, **kwargs)

    function.forward = forward
    return function


__all__ = [
    "Broken", "Graph", "graph", "graph_pool_handle", "is_current_stream_capturing",
    "make_graphed_callables",
]  # fmt: skip
