"""Functions of functions: what PyTorch has as `torch.func`, by the tape and by forward mode.

They nest: a transform continues the history, and the tangents, of what it is given.
"""

import functools

from flambeau.ops import AccumulateGrad, Output, alone, find, modes

from ..tensor import Tensor
from . import engine, forward
from .grad_mode import enable_grad

state = modes.state


# Nested tuples, lists and dictionaries.


def _flat(tree):
    """(leaves, a function that puts others in their places)."""
    if isinstance(tree, dict):
        parts, names = [_flat(v) for v in tree.values()], list(tree)

        def build(values):
            return type(tree)(zip(names, values))
    elif isinstance(tree, list | tuple):
        parts = [_flat(v) for v in tree]

        def build(values):
            return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    else:
        return [tree], lambda leaves: next(leaves)
    leaves = [leaf for found, _ in parts for leaf in found]
    return leaves, lambda given: build([put(given) for _, put in parts])


def _put(build, leaves):
    return build(iter(leaves))


def _spec(tree):
    """The structure as PyTorch prints it: (*, [*, *])."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{k!r}: {_spec(v)}" for k, v in tree.items()) + "}"
    if isinstance(tree, tuple):
        return "(" + ", ".join(map(_spec, tree)) + ("," if len(tree) == 1 else "") + ")"
    return "[" + ", ".join(map(_spec, tree)) + "]" if isinstance(tree, list) else "*"


def _tensors_only(leaves, where):
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"{where} to return only tensors, got unsupported type {type(leaf)}")


def _split_aux(output, has_aux, name):
    if not has_aux:
        return output, None
    if not (isinstance(output, tuple) and len(output) == 2):
        raise RuntimeError(
            f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True"
        )
    return output


# Reverse mode.


def _tracked(tensor):
    """A view that requires grad, with the tensor's history and tangents."""
    made = find("alias").door(tensor)
    return made if made.requires_grad else made.requires_grad_()


def _depends_on_more(results, ours):
    """Whether the results' history leads to leaves other than `ours`, or further back than them."""
    mine = {t._node for t in ours}
    if any(node.__class__ is not AccumulateGrad for node in mine):
        return True
    seen, todo = set(), [t._node for t in results if t._node is not None]
    while todo:
        node = todo.pop()
        node = node.node if node.__class__ is Output else node
        if node in seen or node in mine:
            continue
        if node.__class__ is AccumulateGrad:
            return True
        seen.add(node)
        todo.extend(e for e in node.edges or () if e is not None)
    return False


def _without_history(tensor):
    if tensor._node is None:
        return tensor
    made = alone(tensor)
    forward.carry(state.stack, tensor, made)
    return made


class _Pulled:
    """A function run on tracked copies of its arguments, and what backward needs to know of it."""

    def __init__(self, func, primals, has_aux, name):
        self.outer = bool(state.grad)
        leaves, build = _flat(primals)
        with enable_grad():
            self.inputs = [_tracked(t) for t in leaves if isinstance(t, Tensor)]
            given = iter(self.inputs)
            copies = [next(given) if isinstance(t, Tensor) else t for t in leaves]
            output, aux = _split_aux(func(*_put(build, copies)), has_aux, name)
        self.output, self._build = output, build
        self.results, self._build_results = _flat(output)
        tensors = [r for r in self.results if isinstance(r, Tensor)]
        self.keeps = self.outer and _depends_on_more(tensors, self.inputs)
        self.aux = self.bare(aux)

    def bare(self, tree):
        """`tree` as the caller gets it: without history, if that is only ours."""
        leaves, build = _flat(tree)
        return _put(build, [
            t if self.keeps or not isinstance(t, Tensor) else _without_history(t) for t in leaves
        ])  # fmt: skip

    def gradients(self, weights):
        """The gradients of the primals, in their structure."""
        reaching = [(r, w) for r, w in zip(self.results, weights) if r._node is not None]
        found = [None] * len(self.inputs)
        if reaching:
            results, weights = zip(*reaching)
            found = engine.grad(
                results, self.inputs, weights, True, create_graph=self.keeps, allow_unused=True
            )
        zeros = find("zeros_like").door
        grads = [zeros(t) if g is None else g for g, t in zip(found, self.inputs)]
        return _put(self._build, grads)


def vjp(func, *primals, has_aux=False):
    """(``func(*primals)``, a function from cotangents of the results to those of the primals), and
    third what else `func` returns, with `has_aux`.
    """
    run = _Pulled(func, primals, has_aux, "vjp(f, *primals)")
    _tensors_only(run.results, "vjp(f, *primals): expected f(*primals)")
    shape = _spec(run.output)

    def vjp_fn(cotangents):
        weights, _ = _flat(cotangents)
        if _spec(cotangents) != shape:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of "
                f"outputs to the function. cotangents: {_spec(cotangents)}, primal output: {shape}"
            )
        return run.gradients(weights)

    output = run.bare(run.output)
    return (output, vjp_fn, run.aux) if has_aux else (output, vjp_fn)


def _chosen(argnums, args):
    """The positions named by `argnums`, checked."""
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if not numbers:
        raise RuntimeError("argnums must be non-empty")
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    return [n % len(args) for n in numbers]


def _of_chosen(func, argnums, args, kwargs):
    """(`func` as a function of the chosen arguments alone, these)."""
    places = _chosen(argnums, args)

    def partly(*values):
        given = list(args)
        for place, value in zip(places, values):
            given[place] = value
        return func(*given, **kwargs)

    return partly, tuple(args[p] for p in places)


def grad_and_value(func, argnums=0, has_aux=False):
    """A function that gives (the gradient of `func` by its arguments `argnums`, its value); with
    `has_aux`, the value is (value, aux).
    """
    name = "grad_and_value(f)(*args)"

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        partly, primals = _of_chosen(func, argnums, args, kwargs)
        run = _Pulled(partly, primals, has_aux, name)
        if not isinstance(run.output, Tensor):
            raise RuntimeError(
                f"{name}: Expected f(*args) to return a Tensor, got {type(run.output)}"
            )
        if run.output.dim():
            raise RuntimeError(
                f"{name}: Expected f(*args) to return a scalar Tensor, got tensor with "
                f"{run.output.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
            )
        found = run.gradients([find("ones_like").door(run.output)])
        found = found[0] if isinstance(argnums, int) else found
        value = run.bare(run.output)
        return found, ((value, run.aux) if has_aux else value)

    return wrapper


def grad(func, argnums=0, has_aux=False):
    """A function that gives the gradient of `func` by its arguments `argnums`; with `has_aux`,
    (gradient, aux).
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapper


def jacrev(func, argnums=0, *, has_aux=False, chunk_size=None):
    """A function that gives the Jacobian of `func` by its arguments `argnums`, by backward: one for
    each element of the results.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        partly, primals = _of_chosen(func, argnums, args, kwargs)
        run = _Pulled(partly, primals, has_aux, "vjp(f, *primals)")
        _tensors_only(run.results, "jacrev: Expected f(*args)")
        zeros = [find("zeros_like").door(r) for r in run.results]
        made = []
        for k, result in enumerate(run.results):
            rows = [
                _flat(run.gradients([*zeros[:k], u, *zeros[k + 1 :]]))
                for u in forward.units(result)
            ]
            build = rows[0][1] if rows else _flat(primals)[1]
            joined = [_stacked(c, 0, tuple(result.shape) + tuple(t.shape))
                      for c, t in zip(zip(*[r for r, _ in rows]), run.inputs)]  # fmt: skip
            found = _put(build, joined)
            made.append(found[0] if isinstance(argnums, int) else found)
        output = _put(_flat(run.output)[1], made)
        return (output, run.aux) if has_aux else output

    return wrapper


def _stacked(values, dim, shape):
    return find("stack").door(list(values), dim).reshape(shape)


# Forward mode.


def jvp(func, primals, tangents, *, strict=False, has_aux=False):
    """(``func(*primals)``, its derivative in the direction `tangents`), and third what else `func`
    returns, with `has_aux`.
    """
    name = "jvp(f, primals, tangents)"
    if not isinstance(primals, tuple):
        raise RuntimeError(
            f"{name}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals)."
        )
    leaves, build = _flat(primals)
    directions, _ = _flat(tangents)
    if _spec(primals) != _spec(tangents):
        raise RuntimeError(
            f"{name}: Expected primals and tangents to have the same python structure. For "
            "example, if primals is a tuple of 3 tensors, tangents also must be. Got primals with "
            f"structure {_spec(primals)} and tangents with structure {_spec(tangents)}"
        )
    if not leaves:
        raise RuntimeError(f"{name}: Expected primals to contain at least one Tensor.")
    kept: list = []

    def flat_func(*values):
        output, aux = _split_aux(func(*_put(build, values)), has_aux, name)
        results, rebuild = _flat(output)
        _tensors_only(results, f"{name}: expected f(*primals)")
        aux_leaves, rebuild_aux = _flat(aux)
        kept[:] = rebuild, rebuild_aux, len(results), aux_leaves
        return results + [a for a in aux_leaves if isinstance(a, Tensor)]

    pushed = forward.push(flat_func, leaves, dict(enumerate(directions)), strict)
    rebuild, rebuild_aux, count, aux_leaves = kept
    values, found = pushed
    output, tangent = _put(rebuild, values[:count]), _put(rebuild, found[:count])
    if not has_aux:
        return output, tangent
    rest = iter(values[count:])
    aux = [next(rest) if isinstance(a, Tensor) else a for a in aux_leaves]
    return output, tangent, _put(rebuild_aux, aux)


def linearize(func, *primals):
    """(``func(*primals)``, a function of tangents that gives its derivative in their direction).

    `func` runs once: what backward computes is linear, and its derivative is the tangent.
    """
    leaves, build = _flat(primals)
    zero = find("zeros_like").door
    with enable_grad():
        given = [_tracked(leaf) for leaf in leaves]
        output = func(*_put(build, given))
        results, rebuild = _flat(output)
        _tensors_only(results, "linearize(f, *primals): expected f(*primals)")
        recorded = [r for r in results if r.requires_grad]
        weights = [zero(r).requires_grad_() for r in recorded]
        back = (
            engine.grad(
                recorded,
                given,
                weights,
                create_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            if recorded
            else ()
        )

    def tangent_of(*tangents):
        directions, _ = _flat(tangents)
        if _spec(tangents) != _spec(primals):
            raise RuntimeError(
                f"Expected the tangents {_spec(tangents)} to have the same argspec as the primals "
                f"{_spec(primals)}"
            )
        for i, (direction, leaf) in enumerate(zip(directions, leaves)):
            if direction.shape != leaf.shape:
                raise RuntimeError(
                    f"tangent:{i} with shape {direction.shape} in flattened pytree doesn't match "
                    f"the shape {leaf.shape} of the corresponding primal."
                )
        pairs = [(b, d) for b, d in zip(back, directions) if b.requires_grad]
        found = iter(
            engine.grad(
                [b for b, _ in pairs], weights, [d for _, d in pairs],
                retain_graph=True, allow_unused=True, materialize_grads=True,
            )
            if pairs
            else map(zero, recorded)
        )  # fmt: skip
        return _put(rebuild, [next(found) if r.requires_grad else zero(r) for r in results])

    return _put(rebuild, [r.detach() for r in results]), tangent_of


def jacfwd(func, argnums=0, has_aux=False, *, randomness="error"):
    """A function that gives the Jacobian of `func` by its arguments `argnums`, by forward mode: one
    run for each of their elements.
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        partly, primals = _of_chosen(func, argnums, args, kwargs)
        leaves, build = _flat(primals)
        aux, columns = None, []
        for i, leaf in enumerate(leaves):
            columns.append([])
            for unit in forward.units(leaf):
                direction = [
                    unit if k == i else find("zeros_like").door(t) for k, t in enumerate(leaves)
                ]
                pushed = jvp(partly, primals, _put(build, direction), has_aux=has_aux)
                columns[-1].append(_flat(pushed[1]))
                aux = pushed[2] if has_aux else None
        rebuild = columns[0][0][1]
        made = []
        for k in range(len(columns[0][0][0])):
            shape = tuple(columns[0][0][0][k].shape)
            joined = [_stacked([c[k] for c, _ in column], -1, shape + tuple(t.shape))
                      for column, t in zip(columns, leaves)]  # fmt: skip
            found = _put(build, joined)
            made.append(found[0] if isinstance(argnums, int) else found)
        output = _put(rebuild, made)
        return (output, aux) if has_aux else output

    return wrapper


def hessian(func, argnums=0):
    """A function that gives the second derivatives of `func`: forward mode over backward."""
    return jacfwd(jacrev(func, argnums), argnums)


__all__ = ["grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "vjp"]
