"""The former path to weights from an address: PyTorch's `torch.utils.model_zoo`."""

from flambeau._base import missing
from flambeau.files import hub as _hub

load_url = _hub.load_state_dict_from_url
__getattr__ = missing(globals(), later={"tqdm": "flambeau.files.progress"})
__all__ = ["load_url"]
