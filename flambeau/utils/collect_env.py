"""Where programs run, for reports of errors: PyTorch's `torch.utils.collect_env`."""

from flambeau._base import missing
from flambeau.measure import SystemEnv, get_env_info, get_pretty_env_info, main, pretty_str

__getattr__ = missing(globals())
__all__ = ["SystemEnv", "get_env_info", "get_pretty_env_info", "main", "pretty_str"]
