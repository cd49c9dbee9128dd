"""Values that come later: PyTorch's `torch.futures`."""

import concurrent.futures
from collections.abc import Callable, Iterable
from typing import Any


class Future:
    """A value that somebody sets later, or an exception."""

    def __init__(self, *, devices: Any = None):
        self._inner: concurrent.futures.Future = concurrent.futures.Future()

    def __class_getitem__(cls, item):
        return cls  # Future[Tensor] is for type checkers

    def done(self) -> bool:
        """Whether it is set."""
        return self._inner.done()

    def wait(self) -> Any:
        """The value, once it is set; raises the exception that was set instead."""
        return self._inner.result()

    def value(self) -> Any:
        """The value; RuntimeError where it is not set yet."""
        if not self.done():
            raise RuntimeError("the future has no value yet: wait() for it")
        return self._inner.result()

    def set_result(self, result: Any) -> None:
        """Sets the value; RuntimeError where that was done before."""
        self._set(self._inner.set_result, result)

    def set_exception(self, result: BaseException) -> None:
        """Sets an exception, which `wait` raises."""
        self._set(self._inner.set_exception, result)

    def _set(self, setter: Callable[[Any], None], value: Any) -> None:
        try:
            setter(value)
        except concurrent.futures.InvalidStateError:
            raise RuntimeError("Future can only be marked completed once.") from None

    def add_done_callback(self, callback: "Callable[[Future], Any]") -> None:
        """Calls ``callback(self)`` when it is set; at once where it is."""
        self._inner.add_done_callback(lambda inner: callback(self))

    def then(self, callback: "Callable[[Future], Any]") -> "Future":
        """The future of ``callback(self)``."""
        later = Future()

        def run(future: Future) -> None:
            try:
                later.set_result(callback(future))
            except Exception as error:
                later.set_exception(error)

        self.add_done_callback(run)
        return later


def collect_all(futures: Iterable[Future]) -> Future:
    """The future of the list of `futures`, when all are set."""
    waited = list(futures)
    made = Future()
    left = [len(waited)]

    def count(future: Future) -> None:
        left[0] -= 1
        if not left[0]:
            made.set_result(waited)

    if not waited:
        made.set_result(waited)
    for future in waited:
        future.add_done_callback(count)
    return made


def wait_all(futures: Iterable[Future]) -> list[Any]:
    """The values of `futures`, once all are set."""
    return [future.wait() for future in futures]
