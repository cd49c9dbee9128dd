"""PyTorch's `torch.cuda.amp.grad_scaler`."""

from flambeau.amp import grad_scaler, older

GradScaler, OptState = older.cuda.GradScaler, grad_scaler.OptState
__all__ = ["GradScaler", "OptState"]
