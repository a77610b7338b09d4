"""`diffcodec conformance`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from diffcodec.conformance.cases import Suite
from tests.commands import fails, run, succeeds

BUNDLED = Suite.bundled()


def test_a_table_of_the_cases() -> None:
    result = run("conformance", "lossless", "refused-cut", "tiles", "--precision", "fp32", "--threads", 2)
    succeeds(result)
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["case", "lossless", "refused-cut", "tiles"]
    assert "18 x 20 RGB" in lines[1]
    assert "exact" in lines[1]
    assert [line.split()[-1] for line in lines[1:4]] == ["pass"] * 3
    assert lines[-1].startswith("3 of 3 cases pass in ")
    assert "threads 2" in lines[-1]
    assert "torch" in lines[-1]


def test_a_planted_error_is_exit_code_1(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    for name in ("trellis", "seed"):
        shutil.copytree(BUNDLED.folder / "cases" / name, suite / "cases" / name)
    shutil.copytree(BUNDLED.folder / "models", suite / "models")
    shutil.copy(suite / "cases" / "seed" / "picture.png", suite / "cases" / "trellis" / "picture.png")
    result = run("conformance", "--suite", suite)
    fails(result, "failed cases: trellis")
    assert "FAIL: differs by up to" in result.output
    assert "1 of 2 cases pass" in result.output

    found = run("conformance", "--suite", suite, "--json")
    assert found.exit_code == 1
    shown = json.loads(found.stdout)
    assert shown["passed"] is False
    assert shown["conditions"]["torch"]
    assert {case["name"]: case["passed"] for case in shown["cases"]} == {"seed": True, "trellis": False}
    assert shown["cases"][1]["facts"]["peak"] > 1


def test_unknown_cases_and_folders(tmp_path: Path) -> None:
    fails(run("conformance", "nonsense"), "no case is called nonsense")
    fails(run("conformance", "--suite", tmp_path), "is not a conformance suite")
