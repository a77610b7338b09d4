"""Folders and patterns on the command line: the files they stand for, names of results, and messages."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest
from click import unstyle
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffcodec.cli.batch.inputs import Input, expand, read_input
from diffcodec.cli.batch.outputs import outputs, write_output
from diffcodec.cli.batch.report import terminal_size
from diffcodec.cli.failures import printable
from diffcodec.errors import ConfigError
from tests.commands import fails, run
from tests.conftest import smooth_pixels


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `p` of all kinds of files, in the current directory."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.png",
        "a.PNG",
        "notes.txt",
        ".hidden.png",
        "[1].png",
        "sub/c.png",
        "sub/deep/d.png",
        ".cache/e.png",
        "empty/f.txt",
    ):
        path = Path("p", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    Path("p/folder.png").mkdir()
    Path("p/sub/loop").symlink_to("..")
    Path("p/gone.png").symlink_to("nowhere")
    os.mkfifo("p/pipe.png")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "recursive", "expected"),
    [
        ("p", False, ["[1].png", "a.PNG", "b.png", "gone.png"]),
        ("p/", True, ["[1].png", "a.PNG", "b.png", "gone.png", "sub/c.png", "sub/deep/d.png"]),
        ("p/*.png", False, ["[1].png", "b.png", "gone.png"]),
        ("p/[ab]*", True, ["a.PNG", "b.png"]),
        ("p/**/*.png", False, ["[1].png", "b.png", "gone.png", "sub/c.png", "sub/deep/d.png"]),
        ("p/*/c.p?g", False, ["sub/c.png"]),
        ("p/[1].png", False, ["[1].png"]),  # a file, though it looks like a pattern
        ("p/none.png", False, ["none.png"]),  # is reported when it is read
    ],
)
def test_files_of_folders_and_patterns(name: str, recursive: bool, expected: list[str], tree: Path) -> None:
    for prefix in ("", f"{tree}/"):
        inputs = expand([prefix + name], [".png"], recursive=recursive)
        assert [os.path.normpath(path) for path in inputs.paths] == [f"{prefix}p/{below}" for below in expected]
        single = name in ("p/[1].png", "p/none.png")
        assert [file.below for file in inputs.files] == expected
        assert inputs.many is not single


def test_what_is_passed_over_is_counted(tree: Path) -> None:
    assert expand(["p"], [".png"]).skipped == 3  # hidden, text, pipe
    assert expand(["p", "p"], [".png"], recursive=True).skipped == 8
    assert expand(["p/*"], [".png"]).skipped == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("p/empty", "no file in this folder ends in .png; pass --recursive to search subfolders"),
        ("p/*.tif", "no file matches"),
        ("p/empty/*", "no file matches"),
        ("p/**.png/***x", "no file matches|not a valid pattern"),
        ("nowhere/*", "no file matches"),
        ("", "name is empty"),
    ],
)
def test_nothing_to_do_is_an_error(name: str, words: str, tree: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        expand([name], [".png"])


def test_results_keep_the_tree_and_their_suffix_only_where_they_must() -> None:
    names = ["p/a.png", "p/a.jpg", "p/b.png", "p/s/b.png", "p/c.tar.png", "p/a.png.tif"]
    files = [Input(name, name.removeprefix("p/")) for name in names]
    assert outputs(files, "out", ".dfc", True) == [
        "out/a.png.dfc",
        "out/a.jpg.dfc",
        "out/b.dfc",
        "out/s/b.dfc",
        "out/c.tar.dfc",
        "out/a.png.tif.dfc",
    ]
    assert outputs(files[2:4], None, ".dfc", True) == ["p/b.dfc", "p/s/b.dfc"]
    with pytest.raises(ConfigError, match=r"out\.dfc is the name of a file: for several inputs name a folder"):
        outputs(files, "out.dfc", ".dfc", True)
    assert outputs(files[2:4], "out.dfc/", ".dfc", True) == ["out.dfc/b.dfc", "out.dfc/s/b.dfc"]
    with pytest.raises(ConfigError, match=r"two inputs would both be written to out/b\.dfc"):
        outputs([Input("p/b.png", "b.png"), Input("q/b.png", "b.png")], "out/", ".dfc", True)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ship.png.dfc", "ship.jpg.dfc"], ["ship.png", "ship.jpg.png"]),
        (["ship.png.dfc", "ship.dfc"], ["ship.png.dfc.png", "ship.dfc.png"]),
    ],
)
def test_a_suffix_that_is_there_does_not_come_twice(names: list[str], expected: list[str]) -> None:
    assert outputs([Input(name, name) for name in names], None, ".png", True) == expected
    assert outputs([Input(names[0], names[0])], None, ".png", False) == ["ship.png"]


@given(st.lists(st.text("ab.", min_size=1, max_size=5).filter(lambda name: name.strip(".")), unique=True))
def test_results_never_share_a_name_and_do_not_depend_on_the_order(names: list[str]) -> None:
    files = [Input(name, name) for name in names]
    found = outputs(files, "out", ".dfc", True)
    assert len(set(found)) == len(names)
    assert outputs(files[::-1], "out", ".dfc", True) == found[::-1]


@pytest.mark.parametrize(
    ("text", "shown"), [("a b.png", "a b.png"), ("a\nb\x1b[2J", r"a\nb\x1b[2J"), ("a\udcff", "a�"), ("ä☃", "ä☃")]
)
def test_names_are_shown_on_one_line(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_names_that_are_no_text_go_through(tiny_model: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"line\nend \xff.png")
    folder = tmp_path / "in"
    folder.mkdir()
    with open(folder / name, "wb") as file:
        Image.fromarray(smooth_pixels(8, 8)).save(file, "PNG")
    (folder / f"bad{name}").write_bytes(b"")
    result = run("compress", folder, "-t", 500, "--model", tiny_model, "-o", tmp_path / "out")
    fails(result, "badline\\nend �.png is not a picture")
    assert result.stdout.splitlines()[0].startswith(f"{folder}/line\\nend �.png -> ")
    assert (tmp_path / "out" / name).with_suffix(".dfc").exists()
    result = run("compress", folder, "-t", 500, "--model", tiny_model, "-o", tmp_path / "out2", "--json")
    assert [json.loads(line)["input"] for line in result.stdout.splitlines()] == [
        str(folder / f"bad{name}"),
        str(folder / name),
    ]


def test_other_commands_show_such_names_too(tiny_model: Path, tmp_path: Path) -> None:
    made = tmp_path / os.fsdecode(b"line\nend \xff.dfc")
    Image.fromarray(smooth_pixels(8, 8)).save(tmp_path / "a.png")
    assert run("compress", tmp_path / "a.png", "--model", tiny_model, "-o", made).exit_code == 0
    shown = f"{tmp_path}/line\\nend �"
    assert run("info", made).stdout.splitlines()[0].endswith(f"file  {shown}.dfc")
    assert run("view", made, "--model", tiny_model).stdout.startswith(f"{shown}.dfc -> {shown}.html: ")
    result = run("truncate", made, "--bytes", "9999", "--model", tiny_model)
    assert result.stdout.startswith(f"{shown}.dfc -> {shown}.9999.dfc: ")


def test_closed_streams_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it after `<&-`
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ConfigError, match="standard input is closed: name a file"):
        read_input("-")
    with pytest.raises(ConfigError, match="standard output is closed: pass -o FILE"):
        write_output("-", force=False, write=lambda file: file.write(b"a"))


def test_a_disk_that_gets_full_is_named(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ConfigError, match=r"a\.dfc cannot be written: No space left on device"):
        write_output(str(tmp_path / "a.dfc"), force=False, write=write)
    assert not list(tmp_path.iterdir())


def test_what_is_reported_of_a_folder(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        Image.fromarray(smooth_pixels(8, 8)).save(folder / name)
    (folder / "b.png").write_bytes(b"hello")
    (folder / "notes.txt").write_bytes(b"hello")
    options = ("-t", 500, "--measure", "--model", tiny_model, "-o", tmp_path / "out")
    result = run("compress", folder, *options)
    fails(result)
    a, c, head, done, failed, skipped = result.stdout.splitlines()
    assert [a.split(" -> ")[0], c.split(" -> ")[0]] == [f"{folder}/a.png", f"{folder}/c.png"]
    assert head.split() == ["files", "bytes", "in", "bytes", "out", "bpp", "mean", "PSNR", "seconds"]
    read, written = (
        sum(path.stat().st_size for path in paths)
        for paths in ([folder / "a.png", folder / "c.png"], (tmp_path / "out").iterdir())
    )
    assert done.split()[:5] == ["done", "2", str(read), str(written), f"{written * 8 / 128:.3f}"]
    assert (failed.split(), skipped.split()) == (["failed", "1"], ["skipped", "1"])
    message = f"{folder}/b.png is not a picture in a known format"
    assert result.stderr == f"Error: {message}\n1 failed:\n  {message}\n"

    result = run("compress", folder, *options, "--resume", "--json")
    fails(result)
    a, b, c = (json.loads(line) for line in result.stdout.splitlines())
    assert a == {"input": f"{folder}/a.png", "output": str(tmp_path / "out" / "a.dfc"), "up_to_date": True}
    assert b == {"input": f"{folder}/b.png", "output": str(tmp_path / "out" / "b.dfc"), "error": message}
    assert c["up_to_date"]

    result = run("compress", folder, *options, "--force", "--quiet")
    fails(result)
    assert (result.stdout, result.stderr) == ("", f"Error: {message}\n")

    result = run("decompress", tmp_path / "out", "--model", tiny_model, "-o", tmp_path / "back", "--json")
    a, c = (json.loads(line) for line in result.stdout.splitlines())
    assert (a["width"], a["height"], a["mode"], a["verified"]) == (8, 8, "RGB", True)


def test_the_bar_comes_when_asked_for_and_not_into_a_pipe(tiny_model: Path, photo: Path) -> None:
    options = ("-t", 500, "--model", tiny_model, "--force")
    assert run("compress", photo.parent, *options).stderr == ""
    shown = unstyle(run("compress", photo.parent, *options, "--progress").stderr)
    assert "100% |" in shown
    assert "1 of 1 files" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_for_shells(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_DIFFCODEC_COMPLETE" in result.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("diffcodec decomp", ["plain,decompress"]),
        ("diffcodec compress --res", ["plain,--resume"]),
        ("diffcodec compress --model cifar10-small-v3", ["plain,cifar10-small-v3"]),
        ("diffcodec compress --model ./m", ["file,./m"]),
        ("diffcodec compress a.png b", ["file,b"]),
        ("diffcodec info x", ["file,x"]),
    ],
)
def test_names_are_completed(words: str, expected: list[str]) -> None:
    code = "from diffcodec.cli import main; main(prog_name='diffcodec')"
    environment = {
        **os.environ,
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
        "_DIFFCODEC_COMPLETE": "bash_complete",
    }
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == expected


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
@pytest.mark.parametrize(("set_to", "found"), [((0, 0), (80, 24)), ((0, 100), (100, 24)), ((30, 100), (100, 30))])
def test_terminals_of_unknown_size_have_80_columns(
    set_to: tuple[int, int], found: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    import termios

    ours, theirs = os.openpty()
    with os.fdopen(ours, "wb"), os.fdopen(theirs, "w") as terminal:
        termios.tcsetwinsize(theirs, set_to)
        monkeypatch.setattr(sys, "stderr", terminal)
        assert terminal_size() == found
        monkeypatch.setattr(sys, "stderr", None)
        assert terminal_size() == (80, 24)
        monkeypatch.undo()
