"""PyTorch's path to the checks of gradients."""

from flambeau.tensor import gradcheck as _made

GradcheckError, gradcheck = _made.GradcheckError, _made.gradcheck
gradgradcheck = _made.gradgradcheck
__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]
