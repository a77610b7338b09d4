"""The scripts that make releases and test other machines."""

from __future__ import annotations

import importlib.util
import json
import sys
import tarfile
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[1]
MISSING = [name for name in ("build", "cyclonedx") if importlib.util.find_spec(name) is None]


def script(name: str) -> ModuleType:
    """A script of bin/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "bin" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_oldest_versions_are_those_of_the_project() -> None:
    matrix = script("test_matrix")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = matrix.oldest_versions()
    assert len(found) == len(project["dependencies"])
    assert "torch==2.4.*" in found


@pytest.mark.slow
def test_a_condition_is_run_and_its_failure_reported(tmp_path: Path) -> None:
    matrix = script("test_matrix")
    shown = CliRunner().invoke(matrix.main, ["--list"]).output
    assert "onednn-off" in shown
    assert CliRunner().invoke(matrix.main, ["--only", "nonsense"]).exit_code == 2
    (tmp_path / "test_it.py").write_text(
        "import os, torch\n"
        "def test_variables(): assert os.environ['ATEN_CPU_CAPABILITY'] == 'default'\n"
        "def test_onednn(): assert not torch.backends.mkldnn.enabled\n"
    )
    variables = {"ATEN_CPU_CAPABILITY": "default"}
    condition = matrix.Condition("odd", "", variables, plugin="tests.without_onednn")
    found = matrix.run(condition, Path(sys.executable), [str(tmp_path)])
    assert found.passed
    assert found.outcome.endswith("2 passed")
    assert "cases pass" in found.outcome
    (tmp_path / "test_it.py").write_text("def test_it(): assert False\n")
    failing = matrix.run(condition, Path(sys.executable), [str(tmp_path)])
    assert failing.passed is False
    assert "| odd |  | FAIL: " in matrix.table([failing])


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (extra release)")
def test_archives_do_not_depend_on_when_and_where_they_were_made(tmp_path: Path) -> None:
    release = script("release")
    digests = set()
    for name, mode in (("a", 0o644), ("b", 0o600)):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("x.py", "y.py"):
            (folder / file).write_text(file)
            (folder / file).chmod(mode)
        path = tmp_path / f"{name}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for path_of_file in sorted(folder.iterdir(), reverse=name == "b"):
                archive.add(path_of_file, f"p/{path_of_file.name}")
        release.normalise(path, 1_700_000_000)
        digests.add(release.sha256(path))
    assert len(digests) == 1


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (extra release)")
def test_a_release(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    result = CliRunner().invoke(script("release").main, ["--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "built twice, with the same digests" in result.output
    assert "cases pass" in result.output
    lines = [line.split("  ") for line in (tmp_path / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    for file in tmp_path.iterdir():
        if file.name != "SHA256SUMS":
            assert script("release").sha256(file) == sums[file.name]
    (bill,) = tmp_path.glob("*.cdx.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.read_text()) is None
    found = json.loads(bill.read_text())
    names = {component["name"] for component in found["components"]}
    assert {"torch", "numpy", "pillow", "click"} <= {name.lower() for name in names}
    models = [each for each in found["components"] if each["type"] == "machine-learning-model"]
    assert {each["hashes"][0]["content"] for each in models} < set(sums.values())
    assert str(ROOT) not in bill.read_text()
