"""Marks for TorchScript, which Python ignores: what there is of PyTorch's `torch.jit`."""

from flambeau._base import annotations as _annotations
from flambeau._base import missing

Final, annotate, export = _annotations.Final, _annotations.annotate, _annotations.export
ignore, unused = _annotations.ignore, _annotations.unused
is_scripting, is_tracing = _annotations.is_scripting, _annotations.is_tracing
script, script_method = _annotations.script, _annotations.script_method
script_if_tracing = _script_if_tracing = _annotations.script_if_tracing
_overload = _overload_method = _annotations.unchanged
ScriptFunction, ScriptModule = _annotations.ScriptFunction, _annotations.ScriptModule
__getattr__ = missing(globals(), submodules=("annotations",))
__all__ = [*_annotations.__all__]
