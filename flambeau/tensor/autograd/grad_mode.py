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
        self._before.append(modes.state.grad)
        modes.set_grad(self.mode)
        return self

    def __exit__(self, *exception):
        modes.set_grad(self._before.pop())

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
        self._before.append(modes.state.grad)
        modes.set_grad(self.mode)

    def __enter__(self):
        return self

    def __call__(self, function):
        modes.set_grad(self._before.pop())
        return super().__call__(function)


class inference_mode(_Switch):
    """As `no_grad`; the tensors made inside can never take part in autograd."""

    __slots__ = ("_inference", "_outer")

    def __new__(cls, mode=True):
        made = object.__new__(cls)
        if mode is True or mode is False:
            return made
        made.__init__(True)
        return made(mode)

    def __init__(self, mode=True):
        super().__init__(not mode)
        self._inference, self._outer = bool(mode), []

    def __enter__(self):
        self._outer.append(modes.state.inference)
        modes.state.inference = self._inference
        if self._inference:
            return super().__enter__()
        self._before.append(modes.state.grad)
        return self

    def __exit__(self, *exception):
        modes.state.inference = self._outer.pop()
        super().__exit__(*exception)

    def _again(self):
        return inference_mode(self._inference)


def is_grad_enabled() -> bool:
    """Whether this thread records for backward."""
    return modes.state.grad


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside `inference_mode`."""
    return modes.state.inference
