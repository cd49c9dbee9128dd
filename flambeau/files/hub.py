"""Models that a folder offers in its ``hubconf.py``, and weights from an address: PyTorch's
`torch.hub`.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import sys
import urllib.parse
import urllib.request

from .atomic import replacing
from .serialization import load as load_file

CONFIGURATION = "hubconf.py"
HASH = re.compile(r"-([a-f0-9]*)\.")  # in resnet18-bf5877c8.pth
_folder: list[str] = []


def home() -> str:
    """The folder of PyTorch's caches."""
    cache = os.environ.get("XDG_CACHE_HOME", os.path.join("~", ".cache"))
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def get_dir() -> str:
    """The folder that downloads go to."""
    return _folder[0] if _folder else os.path.join(home(), "hub")


def set_dir(d) -> None:
    """Sets the folder that downloads go to."""
    _folder[:] = [os.path.expanduser(d)]


def _configuration(folder, source):
    """The module of a folder's hubconf.py, which finds the modules beside it while it loads."""
    if source not in ("github", "local"):
        raise ValueError(f'Unknown source: "{source}". Allowed values: "github" | "local".')
    if source == "github":
        raise RuntimeError(
            f"flambeau downloads no code: clone {folder} and name the folder, with source='local'"
        )
    folder = os.path.abspath(os.path.expanduser(folder))
    path = os.path.join(folder, CONFIGURATION)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{folder} offers no models: it has no {CONFIGURATION}")
    spec = importlib.util.spec_from_file_location("hubconf", path)
    assert spec is not None and spec.loader is not None  # both are there for a file of Python
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    wanted = getattr(module, "dependencies", [])
    absent = [name for name in wanted if importlib.util.find_spec(name) is None]
    if absent:
        raise RuntimeError(f"Missing dependencies: {', '.join(absent)}")
    return module


def _entry(folder, source, name):
    function = getattr(_configuration(folder, source), name, None)
    if not callable(function):
        raise RuntimeError(f"Cannot find callable {name} in hubconf")
    return function


def load(
    repo_or_dir, model, *args, source="github", trust_repo=None, force_reload=False, verbose=True,
    skip_validation=False, **kwargs,
):  # fmt: skip
    """What the function `model` of a folder's hubconf.py returns for the arguments.

    `source` must be "local": code is never downloaded (RuntimeError).
    """
    return _entry(repo_or_dir, source, model)(*args, **kwargs)


def entries(
    github, force_reload=False, skip_validation=False, trust_repo=None, verbose=True, *,
    source="github",
):  # fmt: skip
    """The names of the functions that a folder's hubconf.py offers."""
    module = _configuration(github, source)
    return [
        name for name, value in vars(module).items() if callable(value) and not name.startswith("_")
    ]


def describe(
    github, model, force_reload=False, skip_validation=False, trust_repo=None, *, source="github"
):
    """The docstring of a function that a folder's hubconf.py offers."""
    return _entry(github, source, model).__doc__


def download_url_to_file(url, dst, hash_prefix=None, progress=True) -> None:
    """Downloads to the path `dst`, in one step. RuntimeError where the file's SHA-256 begins
    otherwise than with `hash_prefix`.
    """
    digest = hashlib.sha256()
    with urllib.request.urlopen(url) as source, replacing(dst) as temporary:
        with open(temporary, "wb") as file:
            shutil.copyfileobj(source, file)
        with open(temporary, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        found = digest.hexdigest()
        if hash_prefix and not found.startswith(hash_prefix):
            raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "{found}")')


def load_state_dict_from_url(
    url, model_dir=None, map_location=None, progress=True, check_hash=False, file_name=None,
    weights_only=True,
):  # fmt: skip
    """What the file at `url` holds; downloaded to `model_dir`, unless it is there.

    With `check_hash`, the file's name says how its SHA-256 begins: ``name-bf5877c8.pth``.
    """
    folder = os.path.join(get_dir(), "checkpoints") if model_dir is None else model_dir
    os.makedirs(folder, exist_ok=True)
    name = file_name or os.path.basename(urllib.parse.urlparse(url).path)
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        found = HASH.search(name) if check_hash else None
        print(f'Downloading: "{url}" to {path}', file=sys.stderr)
        download_url_to_file(url, path, found.group(1) if found else None, progress)
    return load_file(path, map_location=map_location, weights_only=weights_only)
