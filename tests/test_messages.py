"""Messages of the library name no command-line option: errors carry `parameters`, the command line adds its flags."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "diffcodec"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "cli")
FLAG = re.compile(r"(?:^|[\s(`'\"])--[a-z]")


def docstrings(tree: ast.AST) -> set[ast.Constant]:
    """Strings that are statements: docstrings of modules, classes, functions and constants."""
    found = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {value for value in found if isinstance(value, ast.Constant)}


def flags_in(source: str) -> list[str]:
    """String literals that name a command-line option, docstrings left out."""
    tree = ast.parse(source)
    exempt = docstrings(tree)
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in exempt]
    return [node.value for node in strings if isinstance(node.value, str) and FLAG.search(node.value)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_message_names_an_option(path: Path) -> None:
    assert flags_in(path.read_text(encoding="utf-8")) == []


def test_the_search_finds_options() -> None:
    assert len(FILES) > 100
    assert flags_in('raise ConfigError(f"{name} exists: pass --force")') == [" exists: pass --force"]
    assert flags_in('raise ConfigError("a b (--allow-pickle)")') == ["a b (--allow-pickle)"]
    assert flags_in('"--force"\nx = "--size"') == ["--size"]
    assert flags_in('def f():\n    """Pass --force."""\n    return "a -- b, 1 --> 2"') == []
