"""Views: other layouts of the same memory. No kernel runs."""

import weakref

from flambeau import runtime

from ..modes import state
from ..op import Op


class View(Op):
    """`rule(layout, *args)` gives the view's layout and its offset from the base's, in elements;
    None as layout means that the input itself is returned.
    """

    family = "view"

    def __init__(self, schema, doc, rule, gradients, **options):
        super().__init__(schema, doc, gradients, **options)
        self.rule_of_layout = rule

    def plan(self, args):
        source = args[0].layout
        made = self.rule_of_layout(source, *args[1:])
        if made is None:
            return lambda self, *_: self
        layout, delta = made
        if self.name == "detach":
            return lambda self: runtime.wrap(self._storage, layout, self._offset)
        record = self._recorder(args)
        alias = runtime.alias

        def view(self, *rest):
            out = alias(self, layout, self._offset + delta)
            recording = state.grad
            if recording:
                if self._node is not None and record is not None:
                    record(out, self, *rest)
                register(out)
            elif recording is None:
                out._views = IN_INFERENCE
            return out

        return view

    def _recorder(self, args):
        return self.recorder(args) if self.gradients and args[0].layout.dtype.kind in "fc" else None

    def plan_with(self, args, layout):
        """plan(base, offset, *rest): a view with `layout` at `offset`."""
        record, alias = self._recorder(args), runtime.alias

        def view(self, offset, *rest):
            out = alias(self, layout, offset)
            recording = state.grad
            if recording:
                if self._node is not None and record is not None:
                    record(out, self, *rest)
                register(out)
            elif recording is None:
                out._views = IN_INFERENCE
            return out

        return view


IN_INFERENCE = "inference"  # marks views made in inference mode: writing to them has its own error


def register(view):
    """Remembers a view at its base, so that an in-place change under autograd can renew the view's
    history.
    """
    base = view._base
    views = base._views
    if views is None:
        base._views = views = []
    elif len(views) >= 16 and not len(views) & (len(views) - 1):  # at powers of two, so amortised
        views[:] = [r for r in views if r() is not None]
    views.append(weakref.ref(view))


def view(schema, doc, *, layout, grad=None, **options) -> View:
    """Declares a view op: see `View`."""
    return View(schema, doc, layout, grad, **options)
