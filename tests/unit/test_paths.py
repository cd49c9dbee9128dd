"""Paths of PyTorch's modules that programs import, what they find there, and the small functions
behind them.
"""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

import flambeau as torch
from flambeau._base import TORCH_VERSION, TorchVersion

# What einops, torchmetrics, lightning-utilities, torchdiffeq and programs like transformers import.
PATHS = """
torch._C: DisableTorchFunctionSubclass _log_api_usage_once
torch.__config__: show
torch._tensor: Tensor
torch.compiler: is_compiling disable
torch.futures: Future collect_all
torch.autograd: Function Variable
torch.ao.quantization: QuantStub DeQuantStub
torch.autograd.anomaly_mode: detect_anomaly
torch.autograd.grad_mode: no_grad inference_mode
torch.autograd.gradcheck: gradcheck GradcheckError
torch.autograd.variable: Variable
torch.backends.cuda: matmul sdp_kernel is_built
torch.backends.cudnn: benchmark deterministic enabled flags is_available version
torch.backends.mps: is_available is_built
torch.backends.cpu: get_cpu_capability
torch.cuda: is_available device_count manual_seed_all empty_cache memory_allocated OutOfMemoryError
torch._C: DispatchKey DispatchKeySet
torch._dynamo.utils: is_compile_supported
torch._lowrank: get_approximate_basis svd_lowrank
torch._lobpcg: lobpcg
torch.distributed: is_available is_initialized
torch.functional: einsum norm
torch.hub: load load_state_dict_from_url HASH_REGEX _get_torch_home tqdm urlparse
torch.jit: ignore unused is_scripting script_if_tracing Final ScriptModule
torch.jit.annotations: BroadcastingList2 List
torch.library: custom_op register_fake Library
torch.onnx: is_in_onnx_export register_custom_op_symbolic
torch.onnx.symbolic_helper: parse_args
torch.onnx.symbolic_opset11: __name__
torch.multiprocessing: Process Queue spawn get_context set_sharing_strategy
torch.overrides: handle_torch_function has_torch_function TorchFunctionMode
torch.random: fork_rng manual_seed get_rng_state
torch.serialization: add_safe_globals safe_globals MAP_LOCATION
torch.storage: UntypedStorage TypedStorage
torch.testing: assert_close make_tensor
torch.torch_version: TorchVersion
torch.utils._pytree: tree_map tree_flatten tree_unflatten
torch.utils.benchmark.utils.common: Measurement TaskSpec
torch.utils.data._utils.collate: default_collate
torch.utils.data.dataloader: DataLoader default_collate _BaseDataLoaderIter
torch.utils.data.dataset: Dataset random_split
torch.utils.data.distributed: DistributedSampler
torch.utils.data.sampler: Sampler BatchSampler
torch.utils.hooks: RemovableHandle
torch.utils.model_zoo: load_url
torch.utils.tensorboard: SummaryWriter
torch.version: __version__ cuda
torch.xpu: is_available
"""


@pytest.mark.parametrize("line", PATHS.strip().splitlines())
def test_programs_find_what_they_import(line):
    path, names = line.split(":")
    module = importlib.import_module(path.replace("torch", "flambeau", 1))
    for name in names.split():
        assert hasattr(module, name), name


def test_versions():
    assert TORCH_VERSION >= "2.13" and TORCH_VERSION < (2, 14) and str(TORCH_VERSION)[:4] == "2.13"
    assert TorchVersion("2.9.1") < "2.13.0" and TorchVersion("2.0") == "2.0.0"
    assert TorchVersion("2.13.0a0+git1") < "2.13" and TorchVersion("1.10") != "1.1"
    assert torch.version.cuda is None and torch.version.__version__ == TORCH_VERSION


def run_script(folder, code):
    (folder / "script.py").write_text(code)
    return subprocess.run(
        [sys.executable, "-m", "flambeau", "run", "script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(torch.__file__).parent.parent)},
    )


def test_the_version_where_flambeau_stands_for_pytorch(tmp_path):
    code = (
        "import importlib.metadata as m; print(m.version('torch'))\n"
        "import torch; print(torch.__version__, torch.__version__ >= '2.0')"
    )
    done = run_script(tmp_path, code)
    assert done.stdout.split() == [str(TORCH_VERSION)] * 2 + ["True"], done.stderr


def test_switches_that_change_nothing():
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_deterministic_debug_mode("default")
    assert not torch.are_deterministic_algorithms_enabled()
    torch.set_float32_matmul_precision("high")
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")
    with pytest.raises(RuntimeError, match="must be one of"):
        torch.set_float32_matmul_precision("low")
    with torch.backends.cudnn.flags(enabled=False):
        torch.backends.cuda.matmul.allow_tf32 = True
    assert torch.typename(torch.ones(1)) == "torch.FloatTensor" and torch.typename(3) == "int"


def test_marks_for_torchscript_leave_functions_as_they_are():
    @torch.jit.ignore
    def first():
        return 1

    @torch.jit.ignore(drop=True)
    def second():
        return 2

    assert first() == 1 and second() == 2 and not torch.jit.is_scripting()
    assert torch.jit.unused(first) is torch.jit.export(first) is first


def test_what_flambeau_is_built_on():
    assert "LLVM" in torch.__config__.show()


def test_the_types_of_results_with_names():
    assert isinstance(torch.ones(2).max(0), torch.return_types.max)


def test_ops_on_lists_of_tensors():
    def lists():
        return [torch.tensor([1.0, -2.0]), torch.tensor([4.0])]

    def values(tensors):
        return [t.tolist() for t in tensors]

    assert values(torch._foreach_add(lists(), 1.0)) == [[2, -1], [5]]
    assert values(torch._foreach_add(lists(), lists(), alpha=2)) == [[3, -6], [12]]
    assert values(torch._foreach_mul(lists(), [2.0, 3.0])) == [[2, -4], [12]]
    assert values(torch._foreach_maximum(lists(), 0.0)) == [[1, 0], [4]]
    assert values(torch._foreach_norm(lists(), 1)) == [3, 4]
    ones = [torch.ones(2), torch.ones(1)]
    assert values(torch._foreach_addcdiv(lists(), ones, ones, 3.0)) == [[4, 1], [7]]
    changed = lists()
    assert torch._foreach_sqrt_(torch._foreach_abs(changed)) is None
    torch._foreach_neg_(changed)
    torch._foreach_copy_(ones, changed)
    assert values(ones) == values(changed) == [[-1, 2], [-4]]
    with pytest.raises(AttributeError, match="_foreach_nonsense"):
        _ = torch._foreach_nonsense


def difference(a, b, **options):
    with pytest.raises(AssertionError) as caught:
        torch.testing.assert_close(a, b, **options)
    return str(caught.value)


def test_closeness():
    close = torch.testing.assert_close
    one = torch.ones(2, 3)
    close(one, one + 1e-6)
    close({"a": [one, 1.0, None]}, {"a": [one, 1.0 + 1e-9, None]})
    close(one * float("inf"), one * float("inf"))
    close(one.double(), one, check_dtype=False)
    close(one * float("nan"), one * float("nan"), equal_nan=True)
    close(torch.tensor([2**53 + 1]), torch.tensor([2**53 + 1]))
    assert "not equal" in difference(torch.tensor([2**53 + 1]), torch.tensor([2**53]))
    assert "dtype" in difference(one.double(), one)
    assert "shape" in difference(one, one[0])
    assert "length of the sequences" in difference([1], [1, 2])
    assert "keys of the mappings" in difference({"a": 1}, {"b": 1})
    assert difference([1, [2, 3]], [1, [2, 4]]).endswith("The failure occurred for item [1][1]")
    assert difference(one, one + 1, msg="mine") == "mine"
    assert difference(one * float("nan"), one * float("nan"))
    with pytest.raises(ValueError, match="rtol and atol must both be specified"):
        close(one, one, rtol=1.0)
    with pytest.raises(TypeError, match="No comparison pair"):
        close(one, 1.0)


def messages(torch):
    """The texts of some differences."""
    base = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    other = torch.tensor([[1.0, 2.5], [3.0, 8.0]], dtype=torch.float64)
    found = []
    for a, b, options in (
        (base, other, {}),
        (base, other, {"rtol": 0.01, "atol": 0.25}),
        (base.long(), other.long(), {}),
        (1.0, 2.0, {}),
        (base, base.float(), {}),
        ([base], [other], {}),
        ([base, base], [base], {}),
    ):
        try:
            torch.testing.assert_close(a, b, **options)
        except AssertionError as error:
            found.append(str(error))
    return found


@pytest.mark.parity
def test_differences_are_told_as_by_pytorch():
    import torch as pytorch

    assert messages(torch) == messages(pytorch)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "complex64"])
def test_made_tensors(dtype):
    kind = getattr(torch, dtype)
    made = torch.testing.make_tensor((20, 30), dtype=kind, noncontiguous=True)
    assert made.dtype is kind and made.shape == (20, 30) and not made.is_contiguous()
    values = numpy.array(made.to(torch.complex64).tolist())
    assert (abs(values.real) <= 10).all() and len(set(values.ravel().tolist())) > 1
    filled = torch.testing.make_tensor(1000, dtype=kind, low=0, high=2, exclude_zero=True)
    assert filled.shape == (1000,) and not (filled == 0).any()


def test_marks_of_torchscript_leave_what_they_mark():
    def twice(x):
        return 2 * x

    model = torch.nn.Linear(1, 1)
    assert torch.jit.script(twice) is twice and torch.jit.script(model) is model
    assert torch.jit._overload(twice) is twice and torch._C._get_tracing_state() is None


def test_no_module_is_shared_by_processes():
    model = torch.nn.Linear(1, 1)
    assert not isinstance(model, torch.nn.parallel.DistributedDataParallel)
    with pytest.raises(RuntimeError, match="flambeau has no process groups"):
        torch.nn.parallel.DistributedDataParallel(model)


def test_dtypes_without_tensors_can_be_compared_with():
    assert torch.ones(1).dtype != torch.complex32 and repr(torch.complex32) == "torch.complex32"
    with pytest.raises(NotImplementedError, match=r"flambeau has no tensors of torch\.complex32"):
        torch.zeros(2, dtype=torch.complex32)
    assert not torch._subclasses.fake_tensor.is_fake(torch.ones(1))


def test_sizes_are_numbers():
    assert not isinstance(torch.ones(2).shape[0], torch.SymInt)
    assert torch.sym_max(2, 3.5) == 3.5 and torch.sym_min(2, 3) == 2 and torch.sym_int(2.7) == 2
    assert torch.sym_not(True) is False and torch.sym_sum([1, 2]) == torch.sym_sum(1, 2) == 3
    torch.set_num_interop_threads(2)
    assert torch.get_num_interop_threads() == 2 and not torch.set_flush_denormal(True)
    assert torch.ones(1).is_nonzero()
    with pytest.raises(RuntimeError, match="got zero"):
        torch._assert_async(torch.zeros(1))


def test_compiled_libraries_are_refused_as_pytorch_refuses_what_it_cannot_load():
    with pytest.raises(OSError, match="is compiled for PyTorch"):
        torch.ops.load_library("torchvision/_C.so")


def test_dir_lists_what_is_made_on_first_use():
    for module, names in (
        (torch, {"abs", "matmul", "optim", "save", "float32", "Tensor"}),
        (torch.fft, {"fft", "irfftn", "fftshift"}),
        (torch.linalg, {"svd", "lstsq"}),
        (torch.special, {"erfcx", "zeta"}),
    ):
        listed = set(dir(module))
        assert names <= listed
        assert all(hasattr(module, name) for name in listed if not name.startswith("_"))


def test_a_function_keeps_its_name_beside_its_module(tmp_path):
    script = (
        "import torch\nfrom torch.autograd.gradcheck import gradcheck\n"
        "import torch.autograd.gradcheck as there\n"
        "x = torch.ones(2, dtype=torch.float64, requires_grad=True)\n"
        "assert torch.autograd.gradcheck is gradcheck and gradcheck(torch.sin, (x,))\n"
    )
    done = run_script(tmp_path, script)
    assert done.returncode == 0, done.stderr


def test_what_tensors_say_of_themselves():
    x = torch.ones(2, 3, 4, 5)
    assert x.dim_order() == (0, 1, 2, 3) and x.permute(2, 0, 3, 1).dim_order() == (1, 3, 0, 2)
    assert x.to(memory_format=torch.channels_last).dim_order() == (0, 2, 3, 1)
    assert x.to_dense() is x and x.to_dense(torch.float64).dtype is torch.float64
    assert not x.is_distributed() and not x.is_xla
    assert torch.cuda.get_rng_state_all() == [] and torch.cuda.memory_stats() == {}
    assert issubclass(torch.cuda.OutOfMemoryError, RuntimeError)
    assert torch.OutOfMemoryError is torch.cuda.OutOfMemoryError


def test_the_older_comparison():
    with pytest.warns(FutureWarning, match="assert_close"):
        torch.testing.assert_allclose([1.0, 2.0], torch.tensor([1.0, 2.0 + 1e-7]))
    with pytest.warns(FutureWarning), pytest.raises(AssertionError):
        torch.testing.assert_allclose(torch.ones(2), [1, 2])


def test_marks_of_quantisation_change_nothing():
    x = torch.randn(2)
    for mark in (torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()):
        assert mark(x) is x and mark.state_dict() == {}


def test_a_bar_counts(capsys):
    from flambeau.files.progress import Bar

    with Bar(total=4) as bar:
        bar.update(1)
        bar.update(3)
    assert capsys.readouterr().err == "\r25.0%\r100.0%\n"
    assert list(Bar("ab", disable=True)) == ["a", "b"] and capsys.readouterr().err == ""
    assert list(torch.hub.tqdm(range(3), disable=True)) == [0, 1, 2]


def test_keys_of_kernels():
    from flambeau._C import DispatchKey, DispatchKeySet

    both = DispatchKeySet(DispatchKey.AutocastCPU) | DispatchKeySet(DispatchKey.CPU)
    assert both.has(DispatchKey.CPU) and not both.has(DispatchKey.CUDA)
    assert both - DispatchKeySet(DispatchKey.CPU) == DispatchKeySet(DispatchKey.AutocastCPU)
    assert repr(both) == "DispatchKeySet(CPU, AutocastCPU)"
