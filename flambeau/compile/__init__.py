"""Stand-in until the kernel compiler lands: kernels interpreted by NumPy."""

import numpy

from flambeau import ir


class Built:
    def __init__(self, stage):
        self.stages, self.scratch, self.cost = [stage], [], 0.0


def _array(block, layout):
    storage, offset = block
    if layout.numel == 0:
        return numpy.empty(layout.shape, layout.dtype.numpy)
    n = layout.itemsize
    return numpy.ndarray(layout.shape, layout.dtype.numpy, storage, offset * n, [s * n for s in layout.strides])


def build(kernel, outputs, inputs, axes=()):
    def run(data, scalars):
        arrays = [_array(b, y) for b, y in zip(data, [*outputs, *inputs])]
        outs, ins = arrays[: len(outputs)], arrays[len(outputs) :]
        code = 0
        if isinstance(kernel, ir.Scan):
            results = _fold(kernel, ins, scalars, axes, True)
        elif isinstance(kernel, ir.Reduce):
            results = _fold(kernel, ins, scalars, axes, False)
        else:
            results = ir.evaluate(kernel.body, ins, scalars)
            if kernel.check is not None:
                code = int(numpy.any(ir.evaluate([kernel.check], ins, scalars)[0]))
        for out, result in zip(outs, results):
            if isinstance(result, tuple):
                result = result[0] + 1j * result[1]
            with numpy.errstate(all="ignore"):
                out[...] = numpy.asarray(result).astype(out.dtype)
        return code

    return Built((run, tuple(range(len(outputs) + len(inputs))), b"", max(1, 1), 1))


def _fold(kernel, ins, scalars, axes, keep):
    full = ins[0].shape
    kept = [d for d in range(len(full)) if d not in axes]
    moved = [numpy.transpose(numpy.broadcast_to(a, full), kept + list(axes)) for a in ins]
    lead = [full[d] for d in kept]
    n = int(numpy.prod([full[d] for d in axes]))
    moved = [m.reshape([*lead, n]) for m in moved]
    state = [numpy.full(lead, e.value, e.dtype.numpy) for e in kernel.init]
    prefixes = []
    for i in range(n):
        leaves = {ir.position: numpy.int64(i)}
        element = ir.evaluate(kernel.element, [m[..., i] for m in moved], scalars, leaves)
        leaves = {ir.state(k, e.dtype): state[k] for k, e in enumerate(kernel.init)}
        leaves |= {ir.other(k, e.dtype): element[k] for k, e in enumerate(kernel.init)}
        state = ir.evaluate(kernel.combine, [], scalars, leaves)
        if keep:
            prefixes.append(_finish(kernel, state, scalars, n))
    if not keep:
        return _finish(kernel, state, scalars, n)
    order = numpy.argsort(kept + list(axes))
    results = []
    for k in range(len(kernel.outputs)):
        parts = [p[k][0] + 1j * p[k][1] if isinstance(p[k], tuple) else p[k] for p in prefixes]
        stacked = numpy.stack([numpy.broadcast_to(p, lead) for p in parts], -1) if parts else numpy.zeros([*lead, 0])
        results.append(numpy.transpose(stacked.reshape([*lead, *(full[d] for d in axes)]), order))
    return results


def _finish(kernel, state, scalars, n):
    leaves = {ir.state(k, e.dtype): state[k] for k, e in enumerate(kernel.init)} | {ir.count: numpy.int64(n)}
    return ir.evaluate(kernel.finish, [], scalars, leaves)
