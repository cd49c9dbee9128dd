"""What a pass changed: two graphs as texts, side by side."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import Graph

CONTEXT = 2  # unchanged lines that are shown around a change


def diff(before: Graph, after: Graph) -> str:
    """Lines of both graphs: those that went begin with ``-``, new ones with ``+``.

    Empty where the graphs print alike. The last line counts nodes.
    """
    old, new = str(before).splitlines()[1:], str(after).splitlines()[1:]
    if old == new:
        return ""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    lines: list[str] = []
    removed = added = 0
    for group in matcher.get_grouped_opcodes(CONTEXT):
        if lines:
            lines.append("  …")
        for tag, old_start, old_end, new_start, new_end in group:
            if tag == "equal":
                lines += [f" {line}" for line in old[old_start:old_end]]
                continue
            lines += [f"-{line}" for line in old[old_start:old_end]]
            lines += [f"+{line}" for line in new[new_start:new_end]]
            removed, added = removed + old_end - old_start, added + new_end - new_start
    lines.append(f"{len(before.nodes)} nodes -> {len(after.nodes)}: -{removed} +{added}")
    return "\n".join(lines)
