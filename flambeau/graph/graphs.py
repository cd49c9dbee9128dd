"""Graphs: `torch.cuda.CUDAGraph`'s interface on every device.

A capture records what a stretch of code does to memory; a replay does it again to the same memory,
without Python. Unlike `compile`, nothing is compared: who replays says that all is as it was.

Where a CUDA capture only records, this one also computes, and then puts back what it overwrote:
parameters, the optimizer's state, random streams. So the first replay is the first step.
"""

from __future__ import annotations

import ctypes
import itertools
import weakref
from typing import Any

from flambeau import runtime
from flambeau.ops import INPLACE
from flambeau.tensor import Tensor
from flambeau.types import by_name, contiguous

from .capture import Broken, Capture, tensors_of
from .compiled import Compiled
from .execute import Executable, KernelFailed
from .pace import Paces
from .passes import optimize
from .program import Buffer, Program
from .state import Watch

BYTE = by_name("uint8")
_pools = itertools.count(1)
_capturing: list[Any] = []


class GraphCapture(Capture):
    """A capture that refuses what it cannot record, and remembers what is overwritten."""

    def __init__(self, numbers_of=None):
        super().__init__(numbers_of)
        self._overwritten: dict[int, tuple[Any, bytes]] = {}
        self._generators: dict[int, tuple[Any, Any]] = {}

    def __enter__(self):
        self._remember_generator(runtime.default_generator)
        return super().__enter__()

    def end(self, reason: str) -> None:
        super().end(reason)
        raise RuntimeError(f"a graph cannot be captured here: {self.broken}")

    def process(self, op, args, target):
        for a in args:
            if isinstance(a, runtime.Generator):
                self._remember_generator(a)
        if target is INPLACE:
            self._remember(args[0])
        elif target is not None or op.name.endswith("_"):
            for t in tensors_of((*args, target)):
                self._remember(t)
        return super().process(op, args, target)

    def _remember_generator(self, generator) -> None:
        self._generators.setdefault(id(generator), (generator, generator.get_state()))

    def _remember(self, tensor) -> None:
        memory = tensor.storage
        if memory.serial < self._start and id(memory) not in self._overwritten:
            self._overwritten[id(memory)] = memory, ctypes.string_at(memory.ptr, memory.nbytes)

    def restore(self) -> None:
        """Memory and random streams as they were before the capture."""
        for memory, content in self._overwritten.values():
            ctypes.memmove(memory.ptr, content, len(content))
        for generator, state in self._generators.values():
            generator.set_state(state)


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
        self._pool = (0, 0)

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
        self._pool = pool if pool is not None else graph_pool_handle()
        self._paces = Paces()
        self._capture = GraphCapture(self._paces.numbers_of)
        self._watch = Watch(lambda reason: None, self._capture.constant)
        self._paces.start(self._capture, self._watch)
        _capturing.append(self)
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
        program = optimize(_kept(program))
        self._executable = Executable(program)

    def _stop(self) -> None:
        """Ends the capture, and puts back what it overwrote."""
        capture, self._capture = self._capture, None
        self._watch.__exit__(None, None, None)
        _capturing.remove(self)
        assert capture is not None
        capture.__exit__(None, None, None)
        capture.restore()
        self._paces.step_back()

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
        except KernelFailed:
            raise IndexError("a replayed graph found an index out of range") from None

    def instantiate(self) -> None:
        """Nothing: a graph is ready when its capture ends."""

    def reset(self) -> None:
        """Forgets the captured work and its memory."""
        self.abandon()
        self._executable = None

    def pool(self) -> tuple[int, int]:
        """The token of the memory pool."""
        if self._executable is None:
            raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
        return self._pool

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
    """A new token of a memory pool. Graphs share what memory they need between replays anyway."""
    return 0, next(_pools)


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
    functions, samples = ((callables,), (sample_args,)) if single else (callables, sample_args)
    made = []
    for function, args in zip(functions, samples, strict=True):
        if not isinstance(args, tuple) or not all(isinstance(a, Tensor) for a in args):
            raise TypeError("sample_args must be a tuple of tensors for each callable")
        made.append(_graphed(function, args, num_warmup_iters))
    return made[0] if single else tuple(made)


def _graphed(function: Any, args: tuple, warmups: int) -> Any:
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
    compiled = Compiled(target, fullgraph=True)
    states = [(t, t.detach().clone()) for t in function.buffers()] if is_module else []
    state = runtime.default_generator.get_state()
    for _ in range(max(warmups, 2)):
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
