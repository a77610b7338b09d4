"""The table of what hostile files cost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hostile import CASES, main, measure

from diffcodec.bitstream.container import read_header

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")


def test_a_case_is_run_in_a_process_of_its_own() -> None:
    found = CliRunner().invoke(main, ["--only", "zero"])
    assert found.exit_code == 0, found.output
    last = found.output.splitlines()[-1]
    assert last.startswith("| /dev/zero | never ended | ")
    assert "/dev/zero is a pipe or a device" in last


def test_files_claim_what_they_say() -> None:
    make = CASES["claims"].make
    assert make is not None
    info = read_header(make())
    assert (info.header.width, info.header.height) == (9459, 9459)
    assert info.total_bytes < 30


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in ("flat", "thin")])
def test_every_case_ends_soon(name: str, tmp_path: Path) -> None:
    found = measure(CASES[name], tmp_path)
    assert found.seconds < 60
    assert 0 < found.memory < 2e9
    assert found.message
