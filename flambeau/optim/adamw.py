"""AdamW, under its module path."""

from .adam import Adam, AdamW, adam
from .functional_form import functional_form
from .optimizer import ParamsT

__all__ = ["Adam", "AdamW", "ParamsT", "adam", "adamw"]


adamw = functional_form(
    AdamW,
    "exp_avg exp_avg_sq max_exp_avg_sq step",
    "params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, foreach=None, "
    "capturable=False, differentiable=False, fused=None, grad_scale=None, found_inf=None, "
    "has_complex=False, *, amsgrad, beta1, beta2, lr, weight_decay, eps, maximize",
)
