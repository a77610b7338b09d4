"""The bundled suite passes here, and finds errors that are planted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from conformance.features import features
from conformance.make import make_suite
from diffcodec.channel.trellis import TrellisChannel
from diffcodec.conformance.cases import Suite
from diffcodec.conformance.checking import Outcome, check_conformance
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError

BUNDLED = Suite.bundled()


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """A copy of the bundled suite, to plant errors in."""
    folder = tmp_path / "suite"
    for part in ("cases", "models"):
        shutil.copytree(BUNDLED.folder / part, folder / part)
    return Suite(folder)


def outcome_of(suite: Suite, name: str) -> Outcome:
    (found,) = check_conformance(suite.cases([name]), suite, precision="fp32")
    return found


def problem_of(suite: Suite, name: str) -> str:
    found = outcome_of(suite, name)
    assert found.problem is not None
    assert not found.passed
    return found.problem


def change_pixel(suite: Suite, name: str, difference: int, channel: int = 0) -> None:
    path = suite.folder / "cases" / name / "picture.png"
    pixels = np.array(Image.open(path))
    value = int(pixels[3, 2, channel])
    pixels[3, 2, channel] = value + difference if value + difference < 256 else value - difference
    Image.fromarray(pixels).save(path)


def describe(suite: Suite, name: str, **changes: object) -> None:
    path = suite.folder / "cases" / name / "case.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_case_passes_here() -> None:
    """If the bundled models are new, make the suite anew: `python -m conformance.make`."""
    found = list(check_conformance(BUNDLED.cases(), BUNDLED, precision="fp32"))
    assert {outcome.name: outcome.problem for outcome in found if not outcome.passed} == {}
    assert sum(outcome.facts.get("peak", 0) == 0 for outcome in found) > 0


def test_cases_pass_in_bf16_and_with_several_threads() -> None:
    chosen = BUNDLED.cases(["decoder-flow", "lossless", "shortened-lossless", "tiles", "trellis-effort-8"])
    found = list(check_conformance(chosen, BUNDLED, precision="bf16", thread_count=3))
    assert {outcome.name: outcome.problem for outcome in found if not outcome.passed} == {}
    precisions = [outcome.facts["precision"] for outcome in found]
    assert precisions == ["bf16", "fp32", "fp32", "bf16", "bf16"]


def test_the_suite_is_complete_and_small() -> None:
    assert [case.name for case in BUNDLED.cases()] == sorted(feature.name for feature in features())
    sizes = [path.stat().st_size for part in ("cases", "models") for path in (BUNDLED.folder / part).rglob("*.*")]
    assert sum(sizes) < 1_500_000
    assert max(len(case.file.read_bytes()) for case in BUNDLED.cases()) < 8000


def test_a_reference_two_levels_off_fails(suite: Suite) -> None:
    change_pixel(suite, "trellis", 2)
    assert "differs by up to" in problem_of(suite, "trellis")


def test_lossless_pictures_are_exact(suite: Suite) -> None:
    change_pixel(suite, "lossless", 1)
    assert "differs by up to 1 grey level" in problem_of(suite, "lossless")
    describe(suite, "stored-webp", digest="0" * 64)
    assert "the pixels have SHA-256" in problem_of(suite, "stored-webp")


def test_alpha_and_metadata_are_exact(suite: Suite) -> None:
    change_pixel(suite, "alpha-colour", 1, channel=3)
    assert problem_of(suite, "alpha-colour") == "another alpha plane"
    describe(suite, "metadata", metadata_digest="")
    assert problem_of(suite, "metadata") == "other metadata"


def test_a_damaged_file_fails(suite: Suite) -> None:
    path = suite.folder / "cases" / "seed" / "file.dfc"
    path.write_bytes(path.read_bytes()[:-9] + b"\0" * 9)
    assert problem_of(suite, "seed").startswith("CorruptStreamError: ")
    path.unlink()
    assert problem_of(suite, "seed").endswith("No such file or directory")


def test_errors_must_be_those_that_are_documented(suite: Suite) -> None:
    describe(suite, "refused-cut", error="CorruptStreamError")
    assert "TruncatedStreamError" in problem_of(suite, "refused-cut")
    describe(suite, "trellis", error="CorruptStreamError")
    assert problem_of(suite, "trellis") == "it is restored, expected CorruptStreamError"
    describe(suite, "trellis", error="OSError")
    with pytest.raises(ConfigError, match="expected the name of an error about files"):
        suite.cases(["trellis"])


def test_a_partial_file_must_end_where_it_did(suite: Suite) -> None:
    describe(suite, "cut", reached=1.0)
    assert problem_of(suite, "cut").endswith("expected 1")


def test_other_arithmetic_in_the_network_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a GPU whose products have only a few bits."""
    original = Denoiser.predict_x_0

    def rough(self: Denoiser, x_t: Tensor, log_snr: Tensor) -> Tensor:
        return original(self, x_t, log_snr) * 1.02

    monkeypatch.setattr(Denoiser, "predict_x_0", rough)
    assert "differs by up to" in problem_of(BUNDLED, "tiles")


def test_another_channel_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    original = TrellisChannel.samples

    def mirrored(self: TrellisChannel, *arguments: Any) -> Any:
        return -original(self, *arguments)

    monkeypatch.setattr(TrellisChannel, "samples", mirrored)
    assert "differs by up to" in problem_of(BUNDLED, "trellis")


@pytest.mark.slow
def test_one_machine_always_makes_the_same_suite(tmp_path: Path) -> None:
    chosen = [feature for feature in features() if feature.name in ("cut", "grey-network", "metadata", "tiles-grey")]
    contents = []
    for name in ("first", "second"):
        made = Suite(tmp_path / name)
        shutil.copytree(BUNDLED.folder / "models", made.folder / "models")
        make_suite(made, chosen)
        contents.append({path.relative_to(made.folder): path.read_bytes() for path in made.folder.rglob("cases/*/*")})
        assert [outcome.passed for outcome in check_conformance(made.cases(), made, precision="fp32")] == [True] * 4
    assert contents[0] == contents[1]
    assert len(contents[0]) == 3 * 4


def test_no_suite_or_case(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a conformance suite"):
        Suite(tmp_path).cases()
    with pytest.raises(ConfigError, match="no case is called nonsense: expected one of alpha-"):
        BUNDLED.cases(["nonsense"])
    with pytest.raises(ConfigError, match="device 'nonsense' cannot be used"):
        list(check_conformance(BUNDLED.cases(["trellis"]), BUNDLED, device="nonsense"))
