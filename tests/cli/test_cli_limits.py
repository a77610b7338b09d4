"""Limits of memory and time on the command line, and inputs that never end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.commands import fails, run, succeeds


def test_a_full_memory_while_restoring_is_explained_otherwise(
    photo: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeeds(run("compress", photo, "-t", 500, "--model", tiny_model))

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("diffcodec.codec.DiffusionCodec.decompress_batch", full)
    result = run("decompress", photo.with_suffix(".dfc"), "--model", tiny_model, "-o", photo.with_name("out.png"))
    fails(result, "photo.dfc", "not enough memory: a picture takes about 70 bytes a pixel")
    assert "cut the picture" not in result.stderr


@pytest.mark.parametrize(
    "command",
    [("decompress", "-o", "a.png"), ("info",), ("view", "-o", "a.html"), ("truncate", "-o", "b.dfc", "--bytes", 9)],
)
def test_pipes_and_devices_do_not_hang(
    command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("a.dfc")
    for source in ("a.dfc", "/dev/zero"):
        name, *options = command
        fails(run(name, source, *options), f"{source} is a pipe or a device, not a file")


def test_the_work_of_a_file_is_limited(photo: Path, tiny_model: Path) -> None:
    succeeds(run("compress", photo, "-t", 20, "--model", tiny_model))
    path, out = photo.with_suffix(".dfc"), photo.with_name("out.png")
    limit = ("--model", tiny_model, "--max-pixel-evaluations")
    for command in (("decompress", path, "-o", out), ("view", path), ("compare", photo, path)):
        fails(run(*command, *limit, 100), "photo.dfc takes", "the limit of 100", "(--max-pixel-evaluations)")
        succeeds(run(*command, *limit, 10**6))
