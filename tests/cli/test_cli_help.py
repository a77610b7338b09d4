"""Help texts, man pages, and messages about wrong options."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import click
import pytest

from diffcodec.cli import main
from diffcodec.cli.help import OTHER, SectionedCommand
from diffcodec.images.reading import _READABLE
from diffcodec.training.recipes import RECIPES
from tests.commands import fails, run, succeeds
from tests.conftest import save_pictures

ROOT = Path(__file__).parents[2]
NAMES = {
    "WEBP": "WebP",
    "JPEG2000": "JPEG 2000",
    "JXL": "JPEG XL",
    "HEIF": "HEIC",
    "PPM": "PPM, PGM, PBM",
    "MPO": "JPEG",
    "DIB": "BMP",
}
"""Common names of formats, where they are not Pillow's."""


def help_of(name: str) -> str:
    return succeeds(run(name, "--help")).stdout


def command_of(name: str) -> SectionedCommand:
    found = main.get_command(click.Context(main), name)
    assert isinstance(found, SectionedCommand)
    return found


@pytest.mark.parametrize("name", ["compress", "decompress"])
def test_every_option_has_a_section(name: str) -> None:
    command = command_of(name)
    named = [option for options in command.sections.values() for option in options]
    options = {each.name for each in command.params if isinstance(each, click.Option)}
    assert len(named) == len(set(named))
    assert set(named) == options


def test_sections_are_shown_in_order() -> None:
    first = {"compress": ["Quality", "Input and output"], "decompress": ["Input and output", "Quality"]}
    for name in first:
        shown = help_of(name)
        titles = [*first[name], "Model", "Speed", "Folders and reports", OTHER]
        assert re.findall(r"^(\w[\w ]*):$", shown, re.MULTILINE) == titles
        quality = shown.split("\nQuality:\n")[1].split("\n\n")[0]
        assert "--timestep" in quality
        assert "--jobs" not in quality
        assert re.search(r"Other:\n  -h, --help", shown)


def test_options_without_a_section_come_last() -> None:
    lost = SectionedCommand("x", params=[click.Option(["--a"]), click.Option(["--b"])], sections={"First": ("b",)})
    records = lost.records(click.Context(lost))
    assert {title: [name for name, _ in found] for title, found in records.items()} == {
        "First": ["--b TEXT"],
        OTHER: ["--a TEXT", "--help"],
    }


def test_help_of_compress_names_the_formats_that_are_read() -> None:
    (line,) = [part for part in help_of("compress").split("\n\n") if part.strip().startswith("Formats:")]
    shown = " ".join(line.split())
    for format in _READABLE:
        assert re.search(rf"\b{NAMES.get(format, format)}\b", shown), format
    listed = set(re.split(r"[:,;.] | and |\. |\.$| with a plugin", shown)) - {"Formats", ""}
    assert listed == set(", ".join(NAMES.get(format, format) for format in _READABLE).split(", "))


def test_help_of_train_lists_all_recipes() -> None:
    listed = help_of("train").split("Recipes for --model:\n")[1]
    found = re.findall(r"^ +(\S+) +images of (\d+) x \2, batches of (\d+), (\w+)$", listed, re.MULTILINE)
    assert found == [
        (name, str(recipe.size), str(recipe.training.batch_size), recipe.training.optimizer)
        for name, recipe in RECIPES.items()
    ]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("1.5", "t is an integer, found 1.5: pass 1 or 2"),
        ("-0.5", "t is an integer, found -0.5: pass 0"),
        ("20.0", "t is an integer, found 20.0: pass 20"),
        ("1e3", "t is an integer, found 1e3: pass 1000"),
        ("fine", "t is an integer, found fine."),
        ("inf", "t is an integer, found inf."),
    ],
)
def test_timesteps_that_are_not_integers(number: str, message: str, photo: Path) -> None:
    fails(run("decompress", photo, "-t", number), f"{message}", code=2)
    hint = ", or set the quality with --quality, --bytes, --bpp or --psnr." if "pass" in message else ""
    fails(run("compress", photo, "-t", number), f"{message}{hint}\n", code=2)


@pytest.mark.parametrize("words", [("-q", "50", "{photo}"), ("{photo}", "-q", "50"), ("-q", "72.5", "{photo}")])
def test_quiet_is_not_quality(words: tuple[str, ...], photo: Path) -> None:
    result = run("compress", *(word.format(photo=photo) for word in words))
    fails(result, "-q is short for --quiet and takes no value", "pass --quality ", code=2)
    assert "exist" not in result.stderr
    assert not photo.with_suffix(".dfc").exists()


def test_files_may_have_numbers_for_names(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(save_pictures(tmp_path / "numbers", {"50.png": (8, 8)}))
    Path("50.png").rename("50")
    succeeds(run("compress", "-q", "50", "--model", tiny_model))
    assert Path("50.dfc").exists()
    fails(run("compress", "51", "--model", tiny_model), "51 does not exist")


@pytest.fixture(scope="module")
def man() -> ModuleType:
    """The script `bin/man.py`."""
    spec = importlib.util.spec_from_file_location("man", ROOT / "bin" / "man.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_has_a_man_page(man: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    man.write(tmp_path / "man1")
    names = {path.name for path in (tmp_path / "man1").iterdir()}
    assert {"diffcodec.1", "diffcodec-evaluate-nll.1"} <= names
    assert {f"diffcodec-{name}.1" for name in main.list_commands(click.Context(main))} <= names
    assert f"{len(names)} pages" in capsys.readouterr().out
    for path in (tmp_path / "man1").iterdir():
        text = path.read_text()
        assert re.findall(r"^\.SH (\w+)$", text, re.MULTILINE)[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
        assert "\b" not in text
        assert "\\fB\\-h, \\-\\-help\\fR\n" in text
        unknown = set(re.findall(r"^([.'].*?)(?: |$)", text, re.MULTILINE)) - {".TH", ".SH", ".PP", ".TP", ".nf", ".fi"}
        assert not unknown, path
    page = (tmp_path / "man1" / "diffcodec-compress.1").read_text()
    assert page.index(".SH QUALITY") < page.index("\\-\\-psnr DB") < page.index(".SH SPEED")
    recipes = (tmp_path / "man1" / "diffcodec-train.1").read_text().split(".nf\n")[1]
    assert recipes.count("\n  ") == len(RECIPES)


def test_lines_that_look_like_roff_are_text(man: ModuleType) -> None:
    assert man.roff("'photos/*.jpg'\n.dfc\\b -t") == "\\&'photos/*.jpg'\n\\&.dfc\\eb \\-t"


def test_the_script_of_the_man_pages_is_one() -> None:
    """It is started by name, and bash can read it."""
    script = ROOT / "bin" / "man"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
