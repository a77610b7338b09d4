from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from diffcodec import load_checkpoint
from diffcodec.cli import main
from diffcodec.config import ModelConfig, PlainUNetConfig, UNetConfig
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.experts import weights_of_expert
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.model.checkpoint import Checkpoint, half_weights
from diffcodec.model.experts import join_experts
from diffcodec.model.model_file import ModelCard

NETWORK = PlainUNetConfig(widths=(8, 12), blocks=(1, 1), embedding_channels=16)
CONFIG = ModelConfig(NETWORK, prediction="v", data_std=0.5)


def part(number: int, config: ModelConfig = CONFIG) -> Checkpoint:
    torch.manual_seed(number)
    denoiser = Denoiser(config)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    card = ModelCard(f"part-{number}", data="own pictures", recipe=f"recipe {number}", time=f"{number} minutes")
    return Checkpoint(config, card, half_weights(denoiser.state_dict()))


def test_the_joint_model_evaluates_its_parts() -> None:
    parts = [part(number) for number in range(3)]
    joint = join_experts(parts, (0.5, 4.0), "joint")
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        for level, owner in ((-8.0, 0), (0.4, 0), (0.6, 1), (3.9, 1), (4.1, 2), (9.0, 2)):
            found = joint.denoiser().predict_x_0(x, torch.tensor([level]))
            assert torch.equal(found, parts[owner].denoiser().predict_x_0(x, torch.tensor([level])))
    assert joint.card.name == "joint"
    assert joint.card.data == "own pictures"
    assert "log SNR 0.5 to 4: 1 minutes" in joint.card.time


def test_taking_an_expert_out_undoes_joining() -> None:
    parts = [part(number) for number in range(2)]
    joint = join_experts(parts, (1.0,), "joint")
    for level, expected in ((0.9, parts[0]), (1.0, parts[1])):
        found = weights_of_expert(joint.weights, (1.0,), level)
        assert found.keys() == expected.weights.keys()
        assert all(torch.equal(value, expected.weights[name]) for name, value in found.items())


def test_what_cannot_be_joined() -> None:
    with pytest.raises(ConfigError, match=r"expected 1 between 2 models, found 2"):
        join_experts([part(0), part(1)], (1.0, 2.0), "joint")
    with pytest.raises(ConfigError, match=r"between -8.5 and 9.6, found 12"):
        join_experts([part(0), part(1)], (12.0,), "joint")
    with pytest.raises(ConfigError, match="increasing"):
        join_experts([part(0), part(1), part(2)], (2.0, 1.0), "joint")
    other = part(1, replace(CONFIG, data_std=0.25))
    with pytest.raises(CheckpointError, match="part-1 and part-0 have different configurations"):
        join_experts([part(0), other], (1.0,), "joint")
    unet = ModelConfig(UNetConfig(channels=8, multipliers=(1,), blocks=1, embedding_channels=8))
    with pytest.raises(CheckpointError, match="only single plain networks"):
        join_experts([part(0, unet), part(1, unet)], (1.0,), "joint")
    joint = join_experts([part(0), part(1)], (1.0,), "joint")
    with pytest.raises(CheckpointError, match="joint: only single plain networks"):
        join_experts([joint, joint], (1.0,), "again")


def test_command(tmp_path: Path) -> None:
    files = []
    for number in range(2):
        files.append(str(tmp_path / f"{number}.safetensors"))
        Path(files[-1]).write_bytes(part(number).to_bytes())
    out = tmp_path / "joint.safetensors"
    run = CliRunner().invoke(main, ["join", *files, "--at", "1.5", "-o", str(out)])
    assert run.exit_code == 0, run.output
    joint = load_checkpoint(out)
    assert isinstance(joint.config.network, PlainUNetConfig)
    assert joint.config.network.expert_edges == (1.5,)
    assert joint.card.name == "joint"
    again = CliRunner().invoke(main, ["join", *files, "--at", "1.5", "-o", str(out)])
    assert again.exit_code == 1
    assert "exists" in again.output
    wrong = CliRunner().invoke(main, ["join", *files, "--at", "low", "-o", str(out), "--force"])
    assert wrong.exit_code == 2
    assert "'low' is not a list of log SNRs" in wrong.output
