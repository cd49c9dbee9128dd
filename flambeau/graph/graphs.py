"""Graphs: `torch.cuda.CUDAGraph`'s interface on every device.

A capture records what a stretch of code does to memory; a replay does it again to the same memory,
without Python. Unlike `compile`, nothing is compared: who replays says that all is as it was.

Where a CUDA capture only records, this one also computes, and then puts back what it overwrote:
parameters, the optimizer's state, random streams. So the first replay is the first step.
"""

from __future__ import annotations

import itertools
import threading
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
from .pictures import dot
from .program import Buffer, Program
from .state import Watch

BYTE = by_name("uint8")
# What would start a random stream anew: replays go on with it.
SEEDING = frozenset(
    f"{name}() was called" for name in ("manual_seed", "seed", "set_rng_state", "set_state")
)
_tokens = itertools.count(1)
_pools: weakref.WeakValueDictionary[Any, Pool] = weakref.WeakValueDictionary()
_capturing: list[Graph] = []


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
    overwrites; who wants to keep a result clones it. What the captured code reads stays alive as
    long as the graph does. Optimizers of one op a parameter (SGD, Adam, AdamW) take their learning
    rate and step count anew at each replay.

    As `torch.accelerator.Graph`, it captures what happens in a with block, with this `pool` and
    `capture_error_mode`.
    """

    def __init__(
        self,
        keep_graph: bool = False,
        *,
        pool: Any = None,
        capture_error_mode: str = "default",
    ):
        self._given, self._mode = pool, capture_error_mode
        self._capture: GraphCapture | None = None
        self._executable: Executable | None = None
        self._token: Any = (0, 0)
        self._pool: Pool | None = None

    def capture_begin(
        self,
        pool: Any = None,
        capture_error_mode: str | None = None,
        check_input_liveness: bool = False,
    ) -> None:
        """Starts recording what this thread does. `pool` is a token of `graph_pool_handle`, or
        another graph's `pool()`. Other threads may do what they like, in every error mode; inputs
        live anyway.
        """
        if self._executable is not None:
            raise RuntimeError(
                "This CUDAGraph instance already owns a captured graph. To capture a new graph, "
                "create a new instance."
            )
        mode = self._mode if capture_error_mode is None else capture_error_mode
        if mode not in ("default", "global", "thread_local", "relaxed"):
            raise ValueError(
                "Unknown capture error mode. Expected `global`, `thread_local`, or `relaxed`, got "
                f"{mode}"
            )
        token = self._given if pool is None else pool
        token = graph_pool_handle() if token is None else token
        if not (isinstance(token, tuple) and [type(n) for n in token] == [int, int]):
            raise TypeError(f"a pool is what graph_pool_handle() or a graph's pool() gave: {token}")
        if _capturing:
            raise RuntimeError("a graph is being captured already: captures do not nest")
        if not capturing.acquire(blocking=False):
            raise RuntimeError("another thread is capturing a program")
        self._token, self._thread = token, threading.get_ident()
        self._paces = Paces()
        capture = self._capture = GraphCapture(self._paces.numbers_of)
        self._watch = Watch(
            lambda reason: capture.end(reason) if reason in SEEDING else None, capture.constant
        )
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
        self._check_thread()
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
            self._check_thread()
            self._stop()

    def is_here(self) -> bool:
        """Whether it was this thread that began the capture."""
        return self._thread == threading.get_ident()

    def _check_thread(self) -> None:
        if not self.is_here():
            raise RuntimeError("a capture ends in the thread that began it")

    def __enter__(self) -> Graph:
        self.capture_begin()
        return self

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            self.capture_end()
        else:
            self.abandon()

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
        """Writes the program as a graph for Graphviz."""
        if self._executable is None:
            raise RuntimeError("Called CUDAGraph::debug_dump without a successful capture.")
        with open(debug_path, "w") as file:
            file.write(dot(self._executable.program))

    def raw_cuda_graph(self) -> int:
        """Raises RuntimeError: the graph is none of the CUDA driver's."""
        raise RuntimeError("a graph on the CPU is no cudaGraph_t: str(graph) shows its program")

    raw_cuda_graph_exec = raw_cuda_graph

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
    stream; so are marks for profilers, and the check that inputs live, which they do.
    """

    def __init__(
        self,
        cuda_graph: Graph,
        pool: Any = None,
        stream: Any = None,
        capture_error_mode: str = "global",
        enable_annotations: bool = False,
        check_input_liveness: bool = False,
    ):
        if not isinstance(cuda_graph, Graph):
            raise TypeError(f"a graph is expected, not {type(cuda_graph).__name__}")
        self._graph, self._pool, self._mode = cuda_graph, pool, capture_error_mode

    def __enter__(self) -> None:
        self._graph.capture_begin(self._pool, self._mode)

    def __exit__(self, *exception: Any) -> None:
        self._graph.__exit__(*exception)


def graph_pool_handle() -> tuple[int, int]:
    """A new token of a memory pool. Graphs that are given the same one share the memory that they
    need during a replay.
    """
    return 0, next(_tokens)


def is_current_stream_capturing() -> bool:
    """Whether this thread captures a graph."""
    return any(graph.is_here() for graph in _capturing)


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
    if len(samples) != len(functions):
        raise TypeError(f"sample_args must be a tuple for each of the {len(functions)} callables")
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


class Forward:
    """A module's `forward`: captured while its `training` is what it was, or else as it was before.
    Copies of the module have their own.
    """

    def __init__(self, module: Any, training: bool):
        self._module, self._training = module, training
        self._plain = module.forward
        self.captured = Compiled(self._plain, Options(fullgraph=True))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        same = self._module.training == self._training
        return (self.captured if same else self._plain)(*args, **kwargs)

    def __reduce__(self) -> tuple:
        return Forward, (self._module, self._training)


def _graphed(function: Any, args: tuple, warmups: int, allow_unused: bool) -> Any:
    if not (hasattr(function, "forward") and hasattr(function, "training")):
        compiled = Compiled(function, Options(fullgraph=True))
        _warm_up(compiled, args, (), (), warmups, allow_unused)
        return compiled
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
    own = vars(function).get("forward")
    function.forward = forward = Forward(function, function.training)
    try:
        parameters, buffers = function.parameters(), list(function.buffers())
        _warm_up(forward.captured, args, parameters, buffers, warmups, allow_unused)
    except BaseException:
        if own is None:
            del function.forward
        else:
            function.forward = own
        raise
    return function


def _warm_up(compiled, args, parameters, buffers, warmups: int, allow_unused: bool) -> None:
    """Has the programs made. Buffers and the random stream are as before then."""
    states = [(t, t.detach().clone()) for t in buffers]
    state = runtime.default_generator.get_state()
    try:
        _check_unused(compiled(*args), [*args, *parameters], allow_unused)
        for _ in range(max(warmups, 2) - 1):
            compiled(*args)
    finally:
        runtime.default_generator.set_state(state)
        for tensor, before in states:
            tensor.detach().copy_(before)


__all__ = [
    "Broken", "Graph", "graph", "graph_pool_handle", "is_current_stream_capturing",
    "make_graphed_callables",
]  # fmt: skip
