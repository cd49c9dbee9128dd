"""Scaling the loss, so that small gradients of float16 do not vanish."""

from __future__ import annotations

import enum
import warnings
from collections import defaultdict
from typing import Any

from flambeau.tensor import PUBLIC, Tensor, function_of, no_grad
from flambeau.types import by_name

__all__ = ["GradScaler", "OptState"]

FIX = (
    "This may indicate your script did not use scaler.scale(loss or outputs) earlier in the "
    "iteration."
)


class OptState(enum.Enum):
    """How far an optimizer is since the last `GradScaler.update`."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _fresh() -> dict[str, Any]:
    return {"stage": OptState.READY, "found_inf_per_device": {}}


class GradScaler:
    """Multiplies losses by a scale, divides gradients by it, and skips steps whose gradients are
    not finite.

    The scale falls by `backoff_factor` after such a step, and grows by `growth_factor` after
    `growth_interval` steps without. With ``enabled=False``, all methods hand through.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device, self._enabled = device, enabled
        if enabled and device == "cuda":
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
                stacklevel=2,
            )
            self._enabled = False
        if not self._enabled:
            return
        if growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale = init_scale
        self._scale: Tensor | None = None  # made by the first `scale`
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = 0  # steps since the scale changed
        self._per_optimizer_states: Any = defaultdict(_fresh)

    def _present_scale(self, doing: str) -> Tensor:
        if self._scale is None:
            raise AssertionError(f"Attempted {doing} but _scale is None.  {FIX}")
        return self._scale

    def scale(self, outputs: Any) -> Any:
        """A tensor, or tensors in lists and tuples, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                self._scale = PUBLIC["tensor"](float(self._init_scale), device=outputs.device)
            return outputs * self._scale
        if isinstance(outputs, list | tuple):
            parts = [self.scale(each) for each in outputs]
            return type(outputs)(*parts) if hasattr(outputs, "_fields") else type(outputs)(parts)
        if hasattr(outputs, "__iter__") and not isinstance(outputs, str):
            return map(self.scale, outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def _divided(self, optimizer: Any, scale: Tensor | None) -> dict[Any, Tensor]:
        """Divides the gradients by the scale, if one is given. 1 for each device where one of them
        is not finite, else 0.
        """
        finite = function_of("isfinite")
        found: dict[Any, Tensor] = {}
        with no_grad():
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                gradient = parameter.grad
                if gradient is None:
                    continue
                if scale is not None:
                    if gradient.dtype is by_name("float16"):
                        raise ValueError("Attempting to unscale FP16 gradients.")
                    gradient.div_(scale)
                bad = (~finite(gradient).all()).to(by_name("float32"))
                before = found.get(gradient.device)
                found[gradient.device] = bad if before is None else before.maximum(bad)
        return found

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, once between updates:
        for programs that clip or look at them before `step`.
        """
        if not self._enabled:
            return
        scale = self._present_scale("unscale_")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        state["found_inf_per_device"] = self._divided(optimizer, scale)
        state["stage"] = OptState.UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(*args, **kwargs)``, unless a gradient is not finite."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._present_scale("step")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state["stage"] is OptState.READY:
            self.unscale_(optimizer)
        found = state["found_inf_per_device"]
        if not found:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        state["stage"] = OptState.STEPPED
        if any(each.item() for each in found.values()):
            return None
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Adapt the scale, or set it; after the steps of all optimizers."""
        if not self._enabled:
            return
        scale = self._present_scale("update")
        if new_scale is not None:
            self._set_scale(scale, new_scale)
        else:
            found = [
                each.item()
                for state in self._per_optimizer_states.values()
                for each in state["found_inf_per_device"].values()
            ]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            self._adapt(scale, any(found))
        self._per_optimizer_states = defaultdict(_fresh)

    @staticmethod
    def _set_scale(scale: Tensor, new_scale: Any) -> None:
        if isinstance(new_scale, Tensor) and (new_scale.numel() != 1 or new_scale.requires_grad):
            raise AssertionError(
                "new_scale should be a float or a 1-element torch.cuda.FloatTensor or "
                "torch.FloatTensor with requires_grad=False."
            )
        scale.fill_(new_scale.item() if isinstance(new_scale, Tensor) else new_scale)

    def _adapt(self, scale: Tensor, overflowed: bool) -> None:
        if overflowed:
            scale.mul_(self._backoff_factor)
            self._growth_tracker = 0
            return
        self._growth_tracker += 1
        if self._growth_tracker < self._growth_interval:
            return
        self._growth_tracker = 0
        larger = scale * self._growth_factor
        if function_of("isfinite")(larger):
            scale.copy_(larger)

    def _found_inf_per_device(self, optimizer: Any) -> dict[Any, Tensor]:
        return self._per_optimizer_states[id(optimizer)]["found_inf_per_device"]

    def _check_inf_per_device(self, optimizer: Any) -> dict[Any, Tensor]:
        state = self._per_optimizer_states[id(optimizer)]
        state["found_inf_per_device"] = self._divided(optimizer, None)
        return state["found_inf_per_device"]

    def get_scale(self) -> float:
        """The scale; 1 where disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

    def get_growth_factor(self) -> float:
        """By how much the scale grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set by how much the scale grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """By how much the scale falls."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set by how much the scale falls."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many finite steps the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many finite steps the scale grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The scale and its rules; empty where disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved "
                "from a disabled instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        if self._scale is not None:
            self._scale.fill_(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker = state_dict["_growth_tracker"]

    def __getstate__(self) -> dict[str, Any]:
        if self._enabled and self._per_optimizer_states:
            raise AssertionError(
                "A GradScaler instance may only be pickled at the beginning "
                "of an iteration, or at the end after scaler.update()."
            )
        return dict(self.__dict__)
