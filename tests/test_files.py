"""Files appear whole or not at all, with ordinary permissions, and are not overwritten unasked."""

import errno
import os
import stat
from pathlib import Path

import pytest

from diffcodec.errors import ConfigError
from diffcodec.files import atomic_write, remove_unfinished


def test_writes_a_file(tmp_path: Path) -> None:
    for name in ("a", "b" * 250):
        path = tmp_path / name
        with atomic_write(path, overwrite=False) as file:
            file.write(b"data")
            assert not path.exists()
        assert path.read_bytes() == b"data"
    assert len(list(tmp_path.iterdir())) == 2


def test_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_write("a", overwrite=False) as file:
        file.write(b"data")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "a", overwrite=False):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_existing_files_are_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with (
        pytest.raises(ConfigError, match=r"a exists: allow overwriting, or name another file") as caught,
        atomic_write(path, overwrite=False),
    ):
        raise AssertionError("must not get here")
    assert caught.value.parameters == ("overwrite",)
    assert path.read_bytes() == b"old"
    with atomic_write(path, overwrite=True) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_made_in_the_meantime_is_kept(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "a"

    def race() -> None:
        with atomic_write(path, overwrite=False) as file:
            file.write(b"mine")
            path.write_bytes(b"theirs")

    with pytest.raises(ConfigError, match="exists"):
        race()
    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["a"]
    with atomic_write(tmp_path / "b", overwrite=False) as file:
        file.write(b"mine")
    assert (tmp_path / "b").read_bytes() == b"mine"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(path, overwrite=True) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_links_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    with atomic_write(tmp_path / "link", overwrite=True) as file:
        file.write(b"data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"data"


def test_impossible_targets_are_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path, message in (
        (tmp_path, "is a folder: name a file in it"),
        (tmp_path / "no" / "a", "no does not exist; create it first"),
        (tmp_path / "file" / "a", "file is a file, expected a folder"),
        (Path(os.devnull), "not a regular file"),
    ):
        with pytest.raises(ConfigError, match=message), atomic_write(path, overwrite=True):
            raise AssertionError("must not get here")


def test_a_name_that_is_too_long_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name too long"), atomic_write(tmp_path / ("b" * 300), overwrite=True):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_protected_directories_are_explained(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match="Permission denied"), atomic_write(tmp_path / "a", overwrite=True):
            raise AssertionError("must not get here")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"), atomic_write(tmp_path / "a", overwrite=False):
        pass
    assert os.listdir(tmp_path) == []


def test_a_file_that_may_grow_no_further_is_explained(tmp_path: Path) -> None:
    """As on a full disk, the rest fails once more when the file is closed."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with (
            pytest.raises(ConfigError, match="a cannot be written: File too large"),
            atomic_write(tmp_path / "a", overwrite=False) as file,
        ):
            file.write(bytes(200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_can_be_removed(tmp_path: Path) -> None:
    left: list[str] = []
    with atomic_write(tmp_path / "state.pt", overwrite=False) as file:
        left += os.listdir(tmp_path)  # as if the process ended here
        file.write(b"data")
    for name in (*left, "notes.tmp", ".diffcodec"):
        (tmp_path / name).write_bytes(b"half of the data")
    remove_unfinished(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".diffcodec", "notes.tmp", "state.pt"]
    assert (tmp_path / "state.pt").read_bytes() == b"data"


def test_what_one_process_left_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    names = [".diffcodec-12-00.tmp", ".diffcodec-123-00.tmp", ".diffcodec-notes", "a.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"half a file")
    remove_unfinished(tmp_path, process=12)
    assert sorted(os.listdir(tmp_path)) == names[1:]
    remove_unfinished(tmp_path)
    assert sorted(os.listdir(tmp_path)) == names[2:]
