"""Atomic writing of output files."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from diffcodec.errors import ConfigError


@contextmanager
def atomic_write(path: str | Path, overwrite: bool) -> Iterator[BinaryIO]:
    """Opens a binary file that gets its name only when it is complete and synced to disk.

    The content goes to a temporary file in the same folder, which is removed if an exception leaves the `with`
    block. The file's permissions follow the umask. A symbolic link is followed.

    Args:
        path: the file to write.
        overwrite: whether to replace an existing file.

    Yields:
        The temporary file, open for writing.

    Raises:
        ConfigError: if the file exists (at the start, or by the end) and `overwrite` is false, if it is
            not a regular file, or if it cannot be written.
    """
    target = Path(os.path.realpath(path))
    _check_target(path, target, overwrite)
    temporary = target.with_name(f".diffcodec-{os.getpid()}-{secrets.token_hex(8)}.tmp")
    try:
        # Not tempfile.mkstemp, whose files only the owner can read.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        file = os.fdopen(descriptor, "wb")
        try:
            yield file
            try:
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                raise unwritable(path, error) from error
        finally:
            with suppress(OSError):  # closing fails on a full disk, too
                file.close()
        _publish(temporary, target, path, overwrite)
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_unfinished(folder: Path, process: int | None = None) -> None:
    """Removes temporary files that `atomic_write` left in a folder when its process was killed.

    Args:
        folder: to clean; it need not exist.
        process: id of the process; None: of any process, if no other one is writing there.
    """
    for file in folder.glob(f".diffcodec-{'' if process is None else f'{process}-'}*.tmp"):
        with suppress(OSError):
            file.unlink()


def _publish(temporary: Path, target: Path, path: str | Path, overwrite: bool) -> None:
    """Gives the temporary file its name."""
    try:
        if not overwrite:
            # Unlike a rename, a link fails if another process has created the file in the meantime.
            try:
                os.link(temporary, target)
            except FileExistsError:
                raise
            except OSError:  # a file system without links: only the race after this check remains
                _check_target(path, target, overwrite)
                os.replace(temporary, target)
        else:
            os.replace(temporary, target)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise unwritable(path, error) from error
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Syncs the new name to disk, if the system supports that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_target(path: str | Path, target: Path, overwrite: bool) -> None:
    # os.path returns False where Path would raise: for names that are too long, or inaccessible.
    if os.path.isdir(target):
        raise ConfigError(f"{path} is a folder: name a file in it")
    if not os.path.exists(target):
        return
    if not os.path.isfile(target):
        raise ConfigError(f"{path} is not a regular file: name another output")
    if not overwrite:
        raise _exists(path)


def _exists(path: str | Path) -> ConfigError:
    return ConfigError(f"{path} exists: allow overwriting, or name another file", parameters=["overwrite"])


def unwritable(path: str | Path, error: OSError) -> ConfigError:
    """The error to raise if a file, or its folder, cannot be created."""
    folder = Path(path).parent
    # os.path returns False where Path would raise.
    for ancestor in (folder, *folder.parents):
        if os.path.exists(ancestor) and not os.path.isdir(ancestor):
            return ConfigError(f"{path} cannot be written: {ancestor} is a file, expected a folder")
    if isinstance(error, FileNotFoundError) and not os.path.isdir(folder):
        return ConfigError(f"{path} cannot be written: the folder {folder} does not exist; create it first")
    return ConfigError(f"{path} cannot be written: {error.strerror or error}")
