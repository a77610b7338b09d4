"""What commands say about their input and results, and in which colours."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from diffcodec.cli import main
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.cost import DecodingCost, decoding_cost
from diffcodec.coding.stream import ParsedStream
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.locations import bundled_models
from tests.commands import fails, run, succeeds
from tests.conftest import smooth_pixels
from tests.counting import counting

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("options", [(), ("--force",), ("--resume",), ("-o", "{folder}/x.png")])
def test_a_picture_is_not_a_dfc_file(options: tuple[str, ...], photo: Path) -> None:
    """Also where its result would have the name of the picture itself."""
    before = photo.read_bytes()
    result = run("decompress", photo, *(option.format(folder=photo.parent) for option in options))
    fails(result, "photo.png is not a .dfc file: it is a PNG picture")
    assert photo.read_bytes() == before
    assert not (photo.parent / "x.png").exists()


@pytest.mark.parametrize(("wrong", "similar"), [("comprss", "compress"), ("Info", "info"), ("tran", "train")])
def test_unknown_commands_name_a_similar_one(wrong: str, similar: str) -> None:
    fails(run(wrong, "x.png"), f"No such command '{wrong}'. Did you mean '{similar}'?", code=2)
    result = run("zzzzzz")
    fails(result, "No such command 'zzzzzz'.", code=2)
    assert "Did you mean" not in result.stderr


def test_the_timestep_that_was_taken_is_said_if_it_differs(stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ("--model", tiny_model, "--force", "-o", tmp_path / "x.png")
    other = succeeds(run("decompress", stream, "-t", 400, *options))
    said = "photo.dfc: restored at t = 500, the finest level of the file that is not finer than t = 400\n"
    assert re.fullmatch(rf"Note: .*{re.escape(said)}", other.stderr)
    for wanted in ((), ("-t", 200), ("-t", 500)):
        assert succeeds(run("decompress", stream, *wanted, *options)).stderr == ""
    assert succeeds(run("decompress", stream, "-t", 400, "--quiet", *options)).stderr == ""
    found = json.loads(succeeds(run("decompress", stream, "-t", 400, "--json", *options)).stdout)
    assert found["timestep"] == 500


def test_pure_noise_has_no_note_beside_its_warning(stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = succeeds(run("decompress", stream, "-t", 900, "--model", tiny_model, "-o", tmp_path / "x.png"))
    assert result.stderr.startswith("Warning: ")
    assert "Note" not in result.stderr


@pytest.mark.parametrize("timestep", [1000, 400, 200, 1])
def test_the_cost_of_decoding_is_what_decoding_costs(
    timestep: int, picture: Picture, tiny_checkpoint: Checkpoint
) -> None:
    codec, network = counting(tiny_checkpoint)
    stream = ParsedStream.parse(codec.compress(picture, timestep=timestep, measure=False).data)
    network.batch_sizes()
    steps = codec.decompress(stream).steps
    evaluations = len(network.batch_sizes())
    assert decoding_cost(stream, codec.model) == (steps, evaluations, evaluations * 12 * 12)  # padded to stride 4


def test_the_cost_of_lossless_files(picture: Picture, tiny_checkpoint: Checkpoint) -> None:
    codec, network = counting(tiny_checkpoint)
    stream = ParsedStream.parse(codec.compress(picture, timestep=0, may_store=False).data)
    network.batch_sizes()
    codec.decompress(stream)
    assert stream.lossless is not None
    evaluations = len(network.batch_sizes())
    assert decoding_cost(stream, codec.model) == (stream.lossless.steps, evaluations, evaluations * 12 * 12)


def test_stored_pictures_need_no_network(codec: DiffusionCodec) -> None:
    data = codec.compress(Picture(smooth_pixels(40, 40)[..., 0] // 128), timestep=0).data
    stream = ParsedStream.parse(data)
    assert stream.is_stored
    assert decoding_cost(stream, codec.model) == DecodingCost(0, 0, 0)


def test_info_shows_steps_and_evaluations_of_bundled_models() -> None:
    path = GOLDEN / "v3-rgb-t5-steps8.dfc"
    values = json.loads(succeeds(run("info", path, "--json")).stdout)
    assert 1 <= values["steps"] <= 8
    assert values["evaluations"] == values["steps"]  # the bundled models have a constant for pure noise
    shown = succeeds(run("info", path)).stdout
    assert values["pixel_evaluations"] == values["evaluations"] * values["width"] * values["height"]
    assert re.search(
        rf"^ +steps  {values['steps']}\n +evaluations  {values['steps']} to restore the mean$", shown, re.MULTILINE
    )
    assert f"pixel evaluations  {values['pixel_evaluations']} to restore the mean" in shown
    assert "level list" not in shown


def test_info_of_cut_and_shortened_files_has_the_steps_that_they_declare(tmp_path: Path) -> None:
    whole, cut, short = GOLDEN / "v3-rgb-t1.dfc", tmp_path / "cut.dfc", tmp_path / "short.dfc"
    cut.write_bytes(whole.read_bytes()[:-20])
    succeeds(run("truncate", whole, "--bytes", whole.stat().st_size // 3, "-o", short))
    steps = [json.loads(succeeds(run("info", path, "--json")).stdout)["steps"] for path in (whole, cut, short)]
    assert steps[1] == steps[0] > steps[2]
    assert steps[2] == json.loads(run("info", short, "--json").stdout)["shortened_to_steps"]


def test_info_of_other_models_shows_the_list(stream: Path) -> None:
    values = json.loads(succeeds(run("info", stream, "--json")).stdout)
    assert (values["steps"], values["evaluations"]) == (None, None)
    assert re.search(rf"^ +level list  {values['level_list']}$", run("info", stream).stdout, re.MULTILINE)


def test_models_are_a_table_and_their_cards() -> None:
    table, *cards = succeeds(run("models")).stdout.split("\n\n")
    head, *lines = table.splitlines()
    columns = ["model", "default for", "fingerprint", "parameters", "file", "steps", "default steps"]
    assert re.split(" {2,}", head) == columns
    assert [line.split()[0] for line in lines] == list(bundled_models())
    assert all(len(re.split(" {2,}", line)) == len(columns) for line in lines)
    assert [card.splitlines()[0] for card in cards] == list(bundled_models())
    for card in cards:
        assert re.findall(r"^  (\w+)  ", card, re.MULTILINE) == [
            "data",
            "recipe",
            "time",
            "numbers",
            "licence",
            "steps",
        ]
        assert max(map(len, card.splitlines())) <= 80
    values = [json.loads(line) for line in succeeds(run("models", "--json")).stdout.splitlines()]
    for line, each in zip(lines, values, strict=True):
        assert f"{each['parameters'] / 1e6:.1f} M" in line
        assert each["fingerprint"] in line


def in_colour(*words: object, env: dict[str, str] | None = None) -> Result:
    """What a command prints on a terminal."""
    return CliRunner(env=env).invoke(main, [str(word) for word in words], color=True)


RED, YELLOW, CYAN, PLAIN = ("\x1b[31m\x1b[1m", "\x1b[33m\x1b[1m", "\x1b[36m\x1b[1m", "\x1b[0m")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("info", "none"), f"{RED}Error:{PLAIN} none: cannot be read"),
        (("truncate", "none", "--bytes", 9, "-o", "x.png"), f"{RED}Error:{PLAIN} x.png would be"),
        (("info", "--none"), f"{RED}Error:{PLAIN} No such option"),
        (("--none",), f"{RED}Error:{PLAIN} No such option"),
        (("nothing",), f"{RED}Error:{PLAIN} No such command"),
        (("compress", "a.png", "-t", "1.5"), f"{RED}Error:{PLAIN} Invalid value"),
    ],
)
def test_errors_are_red_on_terminals_only(words: tuple[object, ...], shown: str) -> None:
    result, plain, without = in_colour(*words), run(*words), in_colour(*words, env={"NO_COLOR": "1"})
    assert f"{shown}" in result.stderr
    assert "\x1b" not in plain.output + without.output
    assert re.sub(r"\x1b\[\d+m", "", result.stderr) == plain.stderr == without.stderr
    assert result.exit_code == plain.exit_code == (1 if words[-1] in ("none", "x.png") else 2)


def test_warnings_and_notes_have_other_colours(stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ("--model", tiny_model, "--force", "-o", tmp_path / "x.png")
    assert in_colour("decompress", stream, "-t", 1000, *options).stderr.startswith(f"{YELLOW}Warning:{PLAIN} ")
    assert in_colour("decompress", stream, "-t", 400, *options).stderr.startswith(f"{CYAN}Note:{PLAIN} ")
    Image.new("CMYK", (8, 8)).save(tmp_path / "cmyk.jpg")
    noted = in_colour("compress", tmp_path / "cmyk.jpg", "--model", tiny_model, env={"NO_COLOR": "1"})
    assert noted.stderr.startswith("Note: ")


def test_tables_need_their_model(photo: Path) -> None:
    fails(run("compress", photo, "--tables", "none"), "--tables needs --model", code=2)
    fails(run("decompress", photo, "--tables", "none"), "--tables needs --model", code=2)


def test_errors_name_only_options_of_their_command(photo: Path, stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.dfc"
    cut.write_bytes(stream.read_bytes()[:-9])
    result = run("compare", photo, cut, "--model", tiny_model)
    fails(result, "cut.dfc")
    assert "--partial" not in result.stderr
    fails(run("decompress", cut, "-o", tmp_path / "x.png", "--model", tiny_model), "(--partial)")
    fails(run("compare", photo, photo, "--difference", photo), "choose another name with --difference")


def test_info_has_an_object_for_every_file(photo: Path, stream: Path) -> None:
    result = run("info", photo, stream, "--json")
    assert result.exit_code == 1
    failed, good = map(json.loads, result.stdout.splitlines())
    assert failed["file"] == str(photo)
    assert "not a .dfc file" in failed["error"]
    assert good["file"] == str(stream)


def test_a_forecast_of_a_target_names_its_picture(photo: Path, tiny_model: Path) -> None:
    fails(run("compress", photo, "--bytes", 1, "--dry-run", "--model", tiny_model), photo.name, "no file of at most")


def test_interrupting_before_the_work_is_exit_code_130(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffcodec.cli.commands.compress.expand", interrupted)
    result = run("compress", photo)
    assert (result.exit_code, result.stderr) == (130, "Stopped\n")
