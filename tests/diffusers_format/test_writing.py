"""Exported folders: diffusers samples from them, and they come back as they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from diffcodec.cli import main
from diffcodec.config import ModelConfig, ScheduleConfig, UNetConfig
from diffcodec.diffusers_format.configs import what_differs
from diffcodec.diffusers_format.writing import write_pipeline
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError
from diffcodec.model.checkpoint import Checkpoint, half_weights
from diffcodec.model.loading import load_checkpoint
from diffcodec.model.model_file import ModelCard
from diffcodec.training.recipes import named_model
from tests.conftest import make_tiny_checkpoint
from tests.diffusers_format.pipelines import diffusers

PAPER = named_model("cifar10-ddpm")
assert isinstance(PAPER.network, UNetConfig)
NETWORK = replace(PAPER.network, channels=32, multipliers=(1, 2), embedding_channels=64)
NARROW = replace(PAPER, network=NETWORK)
LOCAL = make_tiny_checkpoint().config
GIVEN = ScheduleConfig(20, kind="betas", betas=tuple(np.linspace(0.01, 0.3, 20).tolist()))

EXPRESSIBLE = {
    "the paper's": NARROW,
    "fixedlarge": replace(NARROW, variance="fixedlarge"),
    "learned": replace(NARROW, variance="learned"),
    "x0, cosine": replace(NARROW, prediction="x0", schedule=ScheduleConfig(100, kind="cosine")),
    "v, given betas": replace(NARROW, prediction="v", schedule=GIVEN),
    "scale_shift": replace(NARROW, network=replace(NETWORK, modulation="scale_shift", norm_groups=16)),
    "heads": replace(NARROW, network=replace(NETWORK, attention_head_channels=8, downsampling="asymmetric")),
    "no middle": replace(NARROW, network=replace(NETWORK, attention_scales=(), middle_attention=False)),
}
OURS = {
    "local": LOCAL,
    "local, learned, eps": replace(LOCAL, prediction="eps", variance="learned"),
    "mean": replace(NARROW, prediction="mean"),
    "v of another scale": replace(NARROW, prediction="v", data_std=0.5),
}


def random_checkpoint(config: ModelConfig) -> Checkpoint:
    torch.manual_seed(2)
    weights = {name: torch.randn_like(p) / p[0].numel() ** 0.5 for name, p in Denoiser(config).named_parameters()}
    return Checkpoint(config, ModelCard("random"), half_weights(weights))


def exported(folder: Path, checkpoint: Checkpoint) -> Any:
    """The pipeline that diffusers makes of a checkpoint."""
    write_pipeline(
        folder, checkpoint.config, checkpoint.weights, name="random", licence="none", sample_size=16, overwrite=False
    )
    if what_differs(checkpoint.config):
        import diffcodec.diffusers_model  # noqa: F401 - defines the network
    return diffusers.DDPMPipeline.from_pretrained(folder)


@pytest.mark.parametrize("name", [*EXPRESSIBLE, *OURS])
def test_diffusers_samples_from_our_models(name: str, tmp_path: Path) -> None:
    checkpoint = random_checkpoint({**EXPRESSIBLE, **OURS}[name])
    pipeline = exported(tmp_path / "exported", checkpoint)
    assert (type(pipeline.unet).__name__ == "UNet2DModel") == (name in EXPRESSIBLE)
    pipeline.set_progress_bar_config(disable=True)
    samples = pipeline(num_inference_steps=3, output_type="np", generator=torch.Generator().manual_seed(0)).images
    assert samples.shape == (1, 16, 16, 3)
    assert np.isfinite(samples).all()
    assert samples.std() > 0.01

    denoiser, schedule = checkpoint.denoiser(), diffusers.DDPMScheduler.from_config(pipeline.scheduler.config)
    for t in (1, 2, denoiser.schedule.steps):
        x_t = torch.randn(2, 3, 16, 16)
        with torch.no_grad():
            ours = denoiser.predict_x_0(x_t, torch.full((2,), denoiser.schedule.level(t).log_snr)).clamp(-1, 1)
            answer = pipeline.unet(x_t, torch.tensor(t - 1)).sample
        theirs = schedule.step(answer, t - 1, x_t).pred_original_sample
        assert (ours - theirs).abs().max() < 1e-3, t


@pytest.mark.parametrize("name", [*EXPRESSIBLE, *OURS])
def test_ours_to_theirs_and_back_is_exact(name: str, tmp_path: Path) -> None:
    checkpoint = random_checkpoint({**EXPRESSIBLE, **OURS}[name])
    write_pipeline(
        tmp_path, checkpoint.config, checkpoint.weights, name="x", licence="y", sample_size=32, overwrite=False
    )
    found = load_checkpoint(tmp_path)
    assert found.weights.keys() == checkpoint.weights.keys()
    for key, value in checkpoint.weights.items():
        assert found.weights[key].dtype == value.dtype
        assert torch.equal(found.weights[key], value)
    # The same network may have two configurations: compare what they mean.
    assert found.denoiser().network.state_dict().keys() == checkpoint.denoiser().network.state_dict().keys()
    assert found.config.schedule == checkpoint.config.schedule
    assert found.config.prediction == checkpoint.config.prediction
    assert found.config.variance == checkpoint.config.variance


def test_theirs_through_ours_is_what_it_was(tiny_network: Any, tiny_pipeline: Path, tmp_path: Path) -> None:
    """Imported, exported, and loaded by diffusers: every weight by its name, and the same configuration."""
    pipeline = exported(tmp_path / "exported", load_checkpoint(tiny_pipeline))
    found, original = pipeline.unet.state_dict(), tiny_network.state_dict()
    assert found.keys() == original.keys()
    assert all(torch.equal(found[name], value) for name, value in original.items())
    before, after = (json.loads(json.dumps(dict(network.config))) for network in (tiny_network, pipeline.unet))
    differences = {key for key, value in before.items() if not key.startswith("_") and after[key] != value}
    assert differences <= {"sample_size", "time_embedding_dim"}  # null means what we name


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"norm": "channel"}, "normalisation is local"),
        ({"patch": 2}, "works on patches"),
        ({"conditioning": "log_snr"}, "takes the log SNR"),
    ],
)
def test_what_unet2dmodel_lacks_is_named(change: dict[str, Any], reason: str) -> None:
    config = replace(NARROW, network=replace(NARROW.network, **change))
    assert reason in str(what_differs(config))


def test_the_paper_s_networks_can_be_expressed() -> None:
    assert what_differs(PAPER) is None
    assert what_differs(ModelConfig(UNetConfig())) is not None


def test_nothing_is_overwritten_unasked(tiny_pipeline: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(tiny_pipeline)
    arguments: dict[str, Any] = {"name": "x", "licence": "y", "sample_size": 32}
    target = tmp_path / "target"
    (target / "unet").mkdir(parents=True)
    (target / "unet" / "config.json").write_text("mine")
    with pytest.raises(ConfigError, match=r"unet/config\.json exists: allow overwriting") as caught:
        write_pipeline(target, checkpoint.config, checkpoint.weights, overwrite=False, **arguments)
    assert caught.value.parameters == ("overwrite",)
    assert [path.name for path in target.rglob("*") if path.is_file()] == ["config.json"]
    write_pipeline(target, checkpoint.config, checkpoint.weights, overwrite=True, **arguments)
    assert load_checkpoint(target).fingerprint == checkpoint.fingerprint


def test_the_command_exports_and_says_what_it_takes_to_load(
    tiny_model: Path, tiny_pipeline: Path, tmp_path: Path
) -> None:
    run = CliRunner().invoke(main, ["export", str(tiny_model), "--diffusers", "-o", str(tmp_path / "a")])
    assert run.output == (
        f"wrote {tmp_path / 'a'}: tiny-v0, loading it needs diffcodec, because its normalisation is local\n"
    )
    assert "import diffcodec.diffusers_model" in (tmp_path / "a" / "README.md").read_text()
    run = CliRunner().invoke(main, ["export", str(tiny_pipeline), "--diffusers", "-o", str(tmp_path / "b")])
    assert run.output == f"wrote {tmp_path / 'b'}: pipeline, a UNet2DModel\n"
    assert "diffcodec.diffusers_model" not in (tmp_path / "b" / "README.md").read_text()
    assert CliRunner().invoke(main, ["export", str(tiny_model), "-o", str(tmp_path / "c")]).exit_code == 2
