"""Context managers and decorators that switch recording for backward."""

import functools
import inspect

from flambeau.ops import modes


class _Switch:
    """Sets grad mode inside a with block, a decorated function, or a decorated generator's
    steps.
    """

    __slots__ = ("_before", "mode")

    def __init__(self, mode: bool):
        self.mode = mode
        self._before: list = []

    def __enter__(self):
        self._before.append(is_grad_enabled())
        _set(self.mode)
        return self

    def __exit__(self, *exception):
        _set(self._before.pop())

    def _again(self):
        return _Switch(self.mode)

    def __call__(self, function):
        if inspect.isclass(function):
            raise TypeError(f"{type(self).__name__} decorates functions, not classes")
        if inspect.isgeneratorfunction(function):
            return self._wrap_generator(function)
        again = self._again

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with again():
                return function(*args, **kwargs)

        return wrapped

    def _wrap_generator(self, function):
        again = self._again

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            generator = function(*args, **kwargs)
            value = None
            while True:
                try:
                    with again():
                        out = generator.send(value)
                except StopIteration as stop:
                    return stop.value
                value = yield out

        return wrapped


class no_grad(_Switch):
    """Results computed inside need no gradient."""

    __slots__ = ()

    def __new__(cls, function=None):
        made = object.__new__(cls)
        if function is None:
            return made
        made.__init__()
        return made(function)

    def __init__(self, function=None):
        super().__init__(False)


class enable_grad(no_grad):
    """Records for backward inside, also within `no_grad`."""

    __slots__ = ()

    def __init__(self, function=None):
        _Switch.__init__(self, True)


class set_grad_enabled(_Switch):
    """Sets grad mode at once; as a context manager, until its end."""

    __slots__ = ()

    def __init__(self, mode: bool):
        super().__init__(bool(mode))
        self._before.append(is_grad_enabled())
        _set(self.mode)

    def __enter__(self):
        return self

    def __call__(self, function):
        _set(self._before.pop())
        return super().__call__(function)


class inference_mode(_Switch):
    """As `no_grad`, for good: what is made inside is an *inference tensor*.

    Outside, such a tensor can be read, but neither saved for backward nor written in place, nor can
    it require grad; a clone can. Its views are inference tensors as well, while views of other
    tensors are not. `mode=False` leaves inference mode, and turns grad mode on.
    """

    __slots__ = ()

    def __new__(cls, mode=True):
        made = object.__new__(cls)
        if mode is True or mode is False:
            return made
        made.__init__(True)
        return made(mode)

    def __init__(self, mode=True):
        super().__init__(bool(mode))

    def __enter__(self):
        self._before.append((modes.state.inference, is_grad_enabled()))
        modes.set_inference(self.mode)
        return self

    def __exit__(self, *exception):
        inference, grad = self._before.pop()
        modes.set_inference(inference)
        _set(grad)

    def _again(self):
        return inference_mode(self.mode)


def _set(mode: bool) -> None:
    """What the user asks for; nothing is recorded in inference mode, whatever that is."""
    if modes.state.inference:
        modes.state.asked_grad = mode
    else:
        modes.set_grad(mode)


def is_grad_enabled() -> bool:
    """Whether this thread is to record for backward."""
    return modes.state.asked_grad if modes.state.inference else bool(modes.state.grad)


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside `inference_mode`."""
    return modes.state.inference
