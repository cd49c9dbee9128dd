"""Models that folders offer: PyTorch's `torch.hub`."""

from urllib.parse import urlparse as urlparse  # packages import it from here

from flambeau._base import missing
from flambeau.files import hub as _hub

download_url_to_file, get_dir, load = _hub.download_url_to_file, _hub.get_dir, _hub.load
load_state_dict_from_url, set_dir = _hub.load_state_dict_from_url, _hub.set_dir
HASH_REGEX, _get_torch_home = _hub.HASH, _hub.home
help, list = _hub.describe, _hub.entries
__getattr__ = missing(globals(), later={"tqdm": "flambeau.files.progress"})
__all__ = [
    "download_url_to_file",
    "get_dir",
    "help",
    "list",
    "load",
    "load_state_dict_from_url",
    "set_dir",
]
