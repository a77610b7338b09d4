"""Guides and README are true: their Python runs, their commands parse, what they name exists.

Output that pages show is compared by tests of single pages (`test_models_doc.py` and the like).
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import click
import pytest
from PIL import Image

from diffcodec import DiffusionCodec, read_picture
from diffcodec.cli import main

ROOT = Path(__file__).parent.parent
GUIDES = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *GUIDES]
SOURCES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("benchmarks", "bin", "conformance", "diffcodec", "docs", "fuzz", "tests")
    for path in (ROOT / folder).rglob("*.*")
]
RUN_BY = {
    "datasets.md": "dataset/test_datasets_doc.py",
    "autoregressive.md": "diffusion/test_autoregressive_doc.py",
    "format.md": "test_format_reader.py",
    "models.md": "model/test_models_doc.py",
}
"""Pages whose Python runs in a test of their own, which also looks at what it prints."""

FENCED = re.compile(r"(<!-- not run: .+? -->\n)?^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def python_of(page: Path) -> list[str]:
    """The Python of a page, without blocks that a comment in front of them leaves out."""
    return [code for left_out, language, code in FENCED.findall(text_of(page)) if language == "python" and not left_out]


def command_lines(page: Path) -> Iterator[str]:
    """What follows `diffcodec` in the code of a page, line by line."""
    text = text_of(page)
    blocks = [code for _, language, code in FENCED.findall(text) if language in ("", "console")]
    indented = re.findall(r"^    .*$", FENCED.sub("", text), re.MULTILINE)
    for line in [*"\n".join(blocks).splitlines(), *indented]:
        if found := re.match(r"(?:\$ |    )?(?:torchrun .*-m )?diffcodec (\w.*)", line):
            yield found[1]
        else:
            yield from re.findall(r"\$\(diffcodec ([^)]*)\)", line)


def check_command(line: str) -> None:
    """Parse a command line without running it; raises click.UsageError if there is no such command or option."""
    words = shlex.split(line, comments=True)
    ends = [place for place, word in enumerate(words) if word in ("|", ">", ">>", "&&")]
    command: click.Command = main
    words, names = words[: min(ends, default=len(words))], ["diffcodec"]
    while isinstance(command, click.Group):
        context = click.Context(command)
        name, found, words = command.resolve_command(context, words)
        assert name is not None
        assert found is not None
        command, names = found, [*names, name]
    command.make_context(" ".join(names), words)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the examples read: the benchmarks' data, photo.png, and photo.dfc made of it."""
    monkeypatch.chdir(tmp_path)
    Path("benchmarks").mkdir()
    Path("benchmarks/data").symlink_to(ROOT / "benchmarks" / "data")
    with Image.open("benchmarks/data/chelsea-192.png") as image:
        image.crop((60, 60, 108, 92)).save("photo.png")
    DiffusionCodec.for_size(48, 32).compress(read_picture("photo.png"), timestep=500).save("photo.dfc")
    return tmp_path


@pytest.mark.parametrize(
    "page", [page for page in GUIDES if python_of(page) and page.name not in RUN_BY], ids=lambda page: page.name
)
def test_python_runs(page: Path, workplace: Path) -> None:
    names: dict[str, object] = {}
    for code in python_of(page):
        exec(compile(code, page.name, "exec"), names)


@pytest.mark.parametrize(("page", "test"), RUN_BY.items())
def test_pages_with_a_test_of_their_own_have_it(page: str, test: str) -> None:
    assert page in text_of(ROOT / "tests" / test)


@pytest.mark.parametrize(
    ("page", "line"), [(page.name, line) for page in PAGES for line in command_lines(page)], ids=lambda text: text[:60]
)
def test_commands_parse(page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_command(line)


@pytest.mark.parametrize("line", ["compress a.png --no-such", "nothing", "compress a.png -t x", "evaluate nothing"])
def test_wrong_commands_do_not_parse(line: str) -> None:
    with pytest.raises(click.UsageError):
        check_command(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_images_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of(page)):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_modules_that_are_named_exist(page: Path) -> None:
    text = text_of(page)
    for name in re.findall(r"(?<![\w./-])(?:[\w-]+/)*[\w-]+\.py\b", text):
        assert any(f"/{source}".endswith(f"/{name}") for source in SOURCES), name
    for name in re.findall(r"(?<![\w./-])(?:benchmarks|diffcodec|docs|tests)/[\w./-]*\w", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`(diffcodec(?:\.\w+)+)", text):
        resolve_name(name)


def message_patterns() -> list[re.Pattern[str]]:
    """Every text of the package, with anything in the place of what is formatted into it; groups are its own words."""
    found = []
    for path in (ROOT / "diffcodec").rglob("*.py"):
        for node in ast.walk(ast.parse(text_of(path))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [part.value if isinstance(part, ast.Constant) else None for part in parts]
            if sum(len(text) for text in texts if isinstance(text, str)) >= 15:
                pattern = "".join(f"({re.escape(text)})" if isinstance(text, str) else ".+" for text in texts)
                found.append(re.compile(pattern))
    return found


def test_messages_that_are_shown_are_those_of_the_code() -> None:
    blocks = [code for page in PAGES for _, language, code in FENCED.findall(text_of(page)) if language != "python"]
    shown = re.findall(r"^(?:Error|Warning|Note): (.+)|^(Stopped after .+)", "\n".join(blocks), re.MULTILINE)
    assert shown
    patterns = message_patterns()
    for message in map("".join, shown):
        matches = [match for pattern in patterns if (match := pattern.search(message))]
        known = {place for match in matches for start, stop in match.regs[1:] for place in range(start, stop)}
        words = re.sub(r"\S*/\S*|<[^>]*>", "", message)  # without paths and addresses
        assert len(known) > 0.4 * len(words), message  # the rest is names, numbers, and what libraries say
