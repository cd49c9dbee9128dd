"""What every declaration must fulfil."""

import pytest

import flambeau  # noqa: F401  (declares the ops)
from flambeau.ops import explain, registry

OPS = sorted({op for ops in registry.values() for op in ops}, key=lambda op: op.text)
NAMES = [op.text.partition("(")[0] for op in OPS]


def test_no_op_is_declared_twice():
    seen = {}
    for op in OPS:
        key = (op.namespace, op.name, op.overload)
        assert key not in seen, f"{op.text} and {seen[key].text}"
        seen[key] = op


@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_a_declaration_is_whole(op):
    schema = op.schema
    tensors = {a.name for a in schema.arguments if a.is_tensor}
    assert op.doc and op.doc.strip(), "no docstring"
    assert set(op.gradients) <= tensors, "a gradient of what is no tensor"
    results = {r or "result" for r in schema.returns}
    known = {a.name for a in schema.arguments} | results | {"grad", "needs"}
    known |= {f"grad_{r}" for r in results}
    known |= {f"{a}_{what}" for a in tensors for what in ("layout", "offset")}
    for name, function in op.gradients.items():
        reads = function.__code__.co_varnames[: function.__code__.co_argcount]
        assert set(reads) <= known, f"the gradient of {name} reads {set(reads) - known}"


def test_explain_answers_for_every_op():
    for op in OPS:
        text = explain(op.text.partition("(")[0].replace("::", ".").removeprefix("aten."))
        assert op.schema.name in text
