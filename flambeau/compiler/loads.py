"""What a run reads: the vectors of its inputs, and the position where the body asks for it."""

from __future__ import annotations

from typing import Any

from flambeau.ir import position


class Loads:
    """The inputs' vectors of one run."""

    many = False

    def __init__(self, writer: Any, sources: dict, known: dict):
        self.writer, self.sources, self.known = writer, sources, known
        self.place = len(writer.operands)
        self.base: tuple | None = None
        if self.place in sources:
            self._position()

    def _position(self) -> None:
        writer, code, lanes = self.writer, self.writer.code, self.writer.lanes
        base = code.value(f"ptrtoint ptr {self.sources.pop(self.place)[0]} to i64")
        stride = writer.strides[self.place]
        if stride == 0:
            self.known[position] = lanes.splat("i64", base)
            return
        self.base = base, stride
        steps = lanes.vector("i64", range(lanes.width))
        self.spread = code.value(f"mul {lanes.of('i64')} {lanes.splat('i64', stride)}, {steps}")

    def _with_position(self, known, i) -> None:
        if self.base is not None:
            code, lanes = self.writer.code, self.writer.lanes
            base, stride = self.base
            first = lanes.splat("i64", code.add(base, code.mul(i, stride)))
            known[position] = code.value(f"add {lanes.of('i64')} {first}, {self.spread}")

    def _learn(self, known, k, raw) -> None:
        self.writer._learn(known, k, self.writer.access.decode(self.writer.operands[k].dtype, raw))

    def whole(self, i) -> dict:
        known, access = dict(self.known), self.writer.access
        for k, (pointer, _) in self.sources.items():
            if k in self.writer.ahead:
                access.prefetch(k, self.writer.code.at(pointer, self.writer.ahead[k]), i)
            self._learn(known, k, access.fetch(k, pointer, i))
        self._with_position(known, i)
        return known

    def part(self, i, left, whole, masked):
        """As `whole`, or the last elements, by the i1 `whole` ("": always whole); and the mask of
        lanes inside.
        """
        if not whole:
            return self.whole(i), None
        known, access, operands = dict(self.known), self.writer.access, self.writer.operands
        direct = [(k, pointer) for k, (pointer, buffered) in self.sources.items() if not buffered]
        for k, (pointer, buffered) in self.sources.items():
            if buffered:
                self._learn(known, k, access.load(operands[k].dtype, pointer, i))
        lanes, mask = self.writer.lanes, None
        kinds = [access.raw(operands[k].dtype) for k, _ in direct] + (
            [lanes.of("i1")] if masked else []
        )
        if kinds:
            vectors = self.writer.code.branch(
                whole,
                lambda: [access.fetch(k, p, i) for k, p in direct] + ["splat (i1 true)"] * masked,
                lambda: (
                    [access.load_tail(k, p, i, left) for k, p in direct]
                    + [lanes.mask(left)] * masked
                ),
                kinds,
            )
            mask = vectors.pop() if masked else None
            for (k, _), raw in zip(direct, vectors, strict=True):
                self._learn(known, k, raw)
        self._with_position(known, i)
        return known, mask


class Rows:
    """The vectors of several runs, side by side: what `Loads` gives, of each in a list."""

    def __init__(self, rows: list[Loads]):
        self.rows = rows
        self.many = len(rows) > 1

    def whole(self, i) -> list[dict]:
        return [row.whole(i) for row in self.rows]

    def part(self, i, left, whole, masked):
        known, masks = zip(*(row.part(i, left, whole, masked) for row in self.rows), strict=True)
        return list(known), masks[0]
