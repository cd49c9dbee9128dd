"""`FLAMBEAU_SHOW=ops`: the ops that a program calls, each printed before it is performed."""

import sys

from . import door, modes


class Printer:
    """An interpreter that prints an op and lets it happen; what it consists of is not shown."""

    def process(self, op, args, target):
        given = ", ".join(map(_text, args))
        print(f"{op.name}{'_' * (target is modes.INPLACE)}({given})", file=sys.stderr)
        return door.plainly(op, args, target)


def _text(value) -> str:
    if door.is_tensor(value):
        return repr(value.layout)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)


def show_ops() -> None:
    """Shows the ops of all threads from now on."""
    printer = Printer()
    modes.interpreters.append(printer)
    type(modes.state).stack = (printer,)
