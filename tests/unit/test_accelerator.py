"""What programs ask about devices before they choose one."""

import pytest

import flambeau as torch


def test_no_device_but_the_cpu_is_there():
    assert not torch.cuda.is_available() and torch.cuda.device_count() == 0
    assert not torch.accelerator.is_available()
    assert torch.accelerator.current_accelerator() is None
    assert not torch.backends.mps.is_available() and not torch.backends.cudnn.is_available()


def test_switches_can_be_set():
    torch.backends.cudnn.benchmark = True
    assert torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False


@pytest.mark.parametrize(
    "use",
    [
        lambda: torch.zeros(2, device="cuda"),
        lambda: torch.zeros(2).cuda(),
        lambda: torch.nn.Linear(2, 2).to("cuda"),
        lambda: torch.tensor([1], device=torch.device("cuda", 0)),
        lambda: torch.cuda.set_device(0),
        lambda: torch.cuda.Event(),
    ],
)
def test_cuda_answers_that_it_is_not_there(use):
    with pytest.raises(AssertionError, match="no CUDA device is there"):
        use()


def test_the_stream_of_the_cpu():
    for module in (torch.cuda, torch.cpu):
        side = module.Stream()
        side.wait_stream(module.current_stream())
        with module.stream(side), module.stream(None):
            assert torch.ones(2).sum() == 2
        module.current_stream().wait_stream(side)
        assert side.query()
    torch.cpu.synchronize()


def test_new_tensors_are_on_the_device_of_a_with_block():
    with torch.device("meta") as device:
        made = [torch.nn.Linear(3, 2).weight, torch.ones(2), torch.tensor([1.0]), torch.randn(2)]
        with torch.device("cpu"):
            inner = torch.zeros(1)
        assert all(tensor.device is device for tensor in made) and inner.device.type == "cpu"
        assert torch.ones(1, device="cpu").device.type == "cpu"
    assert torch.ones(1).device.type == "cpu"
    with pytest.raises(AssertionError, match="no CUDA device"), torch.device("cuda"):
        torch.ones(1)
    assert torch.ones(1).device.type == "cpu"
