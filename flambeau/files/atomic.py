"""Writing a file in one step."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path) -> Iterator[str]:
    """Gives the path of a new file, which takes the place of `path` when the block ends.

    Whoever reads `path` sees the old file or the whole new one, also where the block raises, the
    process is killed or the disk is full. A link stays a link, and an old file's permissions stay.
    What is no regular file (a pipe, a device) is written as it is. Raises RuntimeError where the
    folder does not exist.
    """
    path = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {folder} does not exist.")
    if os.path.exists(path) and not os.path.isfile(path):
        yield path
        return
    temporary = os.path.join(folder, f".{name}.{os.urandom(6).hex()}.tmp")
    try:
        yield temporary
        handle = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(handle)  # before the new name: else a crash could leave it with no bytes
        finally:
            os.close(handle)
        if os.path.exists(path):
            os.chmod(temporary, os.stat(path).st_mode & 0o7777)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
