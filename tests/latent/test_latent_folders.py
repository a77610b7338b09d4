"""Latent pipelines in folders: what is loaded when, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffcodec.calibration.calibrate import calibrate
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.options import DecompressionSettings
from diffcodec.coding.stream import parsed
from diffcodec.coding.targets import Target
from diffcodec.coding.truncation import truncate
from diffcodec.diffusers_format.latent_folders import LatentFolder
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.latent.cache import ENVIRONMENT
from diffcodec.model import latent_folder as folder_parts
from diffcodec.model.latent import LatentModel
from diffcodec.model.latent_folder import FolderParts
from diffcodec.model.loading import load_checkpoint
from diffcodec.model.tables_file import TABLES_FILE, tables_to_bytes
from tests.conftest import smooth_pixels

ONE_KIND = pytest.mark.parametrize("pipeline", ["sd1"], indirect=True)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_is_the_pipeline_in_memory(pipeline: Any, pipeline_folder: Path) -> None:
    stored, in_memory = DiffusionCodec.from_pretrained(pipeline_folder), DiffusionCodec.from_diffusers(pipeline)
    torch.manual_seed(0)
    x_t = torch.randn(2, 4, 8, 16)
    for value in (-4.0, 0.0, 5.0):
        log_snr = torch.full((2,), value)
        with torch.no_grad():
            ours, theirs = (each.denoiser.predict_x_0(x_t, log_snr) for each in (stored, in_memory))
        assert torch.allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()))
    pixels = smooth_pixels(52, 100)
    stream = stored.compress(pixels, timestep=300)
    again = DiffusionCodec.from_pretrained(str(pipeline_folder))
    assert again.fingerprint == stored.fingerprint
    assert again.decompress(stream).pixels.shape == pixels.shape
    assert again.decompress(again.truncate(stream, len(stream.data) - 1)).timestep > 300


def test_text_encoders_are_loaded_only_once(pipeline_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = DiffusionCodec.from_pretrained(pipeline_folder)

    def refused(*given: object) -> None:
        raise AssertionError("loads the text encoders again")

    monkeypatch.setattr(folder_parts, "embedding_of", refused)
    second = DiffusionCodec.from_pretrained(pipeline_folder)
    x_t, log_snr = torch.randn(1, 4, 8, 8), torch.tensor([1.0])
    with torch.no_grad():
        assert torch.equal(first.denoiser.predict_x_0(x_t, log_snr), second.denoiser.predict_x_0(x_t, log_snr))


@ONE_KIND
def test_each_direction_loads_its_half_of_the_autoencoder(
    pipeline_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[str, set[str]]] = []
    original = FolderParts._half

    def noted(self: FolderParts, half: str, device: torch.device) -> torch.nn.Module:
        module = original(self, half, device)
        loaded.append((half, {name.split(".")[0] for name, _ in module.named_parameters()}))
        return module

    monkeypatch.setattr(FolderParts, "_half", noted)
    stream = DiffusionCodec.from_pretrained(pipeline_folder).compress(
        smooth_pixels(16, 16), timestep=500, measure=False
    )
    assert loaded == [("encoder", {"encoder", "quant_conv"})]
    loaded.clear()
    DiffusionCodec.from_pretrained(pipeline_folder).decompress(stream)
    assert loaded == [("decoder", {"decoder", "post_quant_conv"})]


@ONE_KIND
def test_files_are_cut_without_the_network(pipeline_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = DiffusionCodec.from_pretrained(pipeline_folder)
    stream = codec.compress(smooth_pixels(32, 32), timestep=100)

    def refused(*given: object) -> None:
        raise AssertionError("loads the network")

    monkeypatch.setattr(FolderParts, "_load", refused)
    model = load_checkpoint(pipeline_folder).description
    assert model.fingerprint == codec.fingerprint
    assert not model.is_calibrated
    known = parsed(stream, DecompressionSettings())
    assert len(truncate(known, model, len(stream.data) - 1)) < len(stream.data)


@ONE_KIND
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_the_fingerprint_covers_every_part(folder: Path, part: str) -> None:
    before = load_checkpoint(folder).fingerprint
    (path,) = (folder / part).glob("*.safetensors")
    weights = load_file(path)
    name = min(name for name in weights if name.endswith("weight"))
    weights[name] = weights[name] * 1.01
    save_file(weights, path, {"format": "pt"})
    assert load_checkpoint(folder).fingerprint != before


@ONE_KIND
def test_the_fingerprint_ignores_who_wrote_the_folder(folder: Path) -> None:
    before = load_checkpoint(folder).fingerprint
    edit(folder / "unet" / "config.json", _diffusers_version="0.1", _name_or_path="elsewhere")
    shutil.copytree(folder, folder.parent / "moved")
    assert load_checkpoint(folder.parent / "moved").fingerprint == before


@ONE_KIND
def test_a_damaged_cache_is_made_again(pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    before = DiffusionCodec.from_pretrained(pipeline_folder).fingerprint
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged")
    assert DiffusionCodec.from_pretrained(pipeline_folder).fingerprint == before


@ONE_KIND
def test_a_cache_that_cannot_be_written_only_costs_time(
    pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "file" / "cache"))
    assert len(DiffusionCodec.from_pretrained(pipeline_folder).fingerprint) == 4


def remove(name: str) -> Any:
    def change(folder: Path) -> None:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return change


def set_key(name: str, **changes: Any) -> Any:
    return lambda folder: edit(folder / name, **changes)


def reshape(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_in.weight"] = torch.zeros(8, 4, 5, 5)
    save_file(weights, path, {"format": "pt"})


def lose(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["decoder.conv_in.bias"]
    save_file(weights, path, {"format": "pt"})


@ONE_KIND
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("unet"), r"unet/config\.json is missing, which model_index\.json lists as UNet2DConditionModel"),
        (remove("vae/config.json"), r"vae/config\.json is missing, which model_index\.json lists as AutoencoderKL"),
        (remove("scheduler"), r"scheduler/scheduler_config\.json is missing"),
        (remove("text_encoder"), r"text_encoder is missing, which model_index\.json lists as CLIPTextModel"),
        (remove("unet/diffusion_pytorch_model.safetensors"), r"unet: no weights: expected a file that ends in \.safet"),
        (
            set_key("model_index.json", vae=["diffusers", "AutoencoderTiny"]),
            r"model_index\.json: vae = AutoencoderTiny is not supported; expected AutoencoderKL",
        ),
        (
            set_key("model_index.json", unet=["diffusers", "Kandinsky3UNet"]),
            r"model_index\.json: unet = Kandinsky3UNet is not supported; expected UNet2DConditionModel or",
        ),
        (set_key("model_index.json", unet=[None, None]), r"model_index\.json: unet or transformer is missing"),
        (set_key("model_index.json", prior=["diffusers", "PriorTransformer"]), r"prior = .* is not supported"),
        (
            set_key("scheduler/scheduler_config.json", _class_name="EDMEulerScheduler"),
            r'scheduler_config\.json: _class_name = "EDMEulerScheduler" is not supported',
        ),
        (
            set_key("scheduler/scheduler_config.json", rescale_betas_zero_snr=True),
            r'scheduler_config\.json: prediction_type = "epsilon" is not supported; expected "v_prediction"',
        ),
        (
            set_key("unet/config.json", in_channels=9),
            r"unet/config\.json: the network has 9 channels, the autoencoder 4",
        ),
        (set_key("unet/config.json", class_embed_type="timestep"), r'class_embed_type = "timestep" is not supported'),
        (set_key("unet/config.json", addition_embed_type="image"), r'addition_embed_type = "image" is not supported'),
        (set_key("vae/config.json", scaling_factor=0), r"vae/config\.json: scale: expected a positive number"),
        (
            reshape,
            r"unet/diffusion_pytorch_model\.safetensors: conv_in\.weight: expected \(8, 4, 3, 3\), as in the "
            r"configuration, found \(8, 4, 5, 5\)",
        ),
        (lose, r"vae/diffusion_pytorch_model\.safetensors: decoder\.conv_in\.bias is missing"),
        (set_key("unet/config.json", layers_per_block="two"), r"unet: cannot be loaded \("),
    ],
)
def test_what_is_refused(folder: Path, change: Any, message: str) -> None:
    change(folder)

    def use() -> None:
        codec = DiffusionCodec.from_pretrained(folder)
        codec.decompress(codec.compress(smooth_pixels(8, 8), timestep=900))

    with pytest.raises(CheckpointError, match=message) as caught:
        use()
    assert "\n" not in str(caught.value)
    assert re.search(re.escape(str(folder)), str(caught.value))


@ONE_KIND
def test_pickles_are_read_only_where_that_is_allowed(folder: Path) -> None:
    expected = DiffusionCodec.from_pretrained(folder)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(CheckpointError, match=r"unet/diffusion_pytorch_model\.bin: the weights are a Python pickle"):
        DiffusionCodec.from_pretrained(folder)
    found = DiffusionCodec.from_pretrained(folder, allow_pickle=True)
    x_t, log_snr = torch.randn(1, 4, 8, 8), torch.tensor([1.0])
    with torch.no_grad():
        ours, theirs = (each.denoiser.predict_x_0(x_t, log_snr) for each in (found, expected))
    assert torch.allclose(ours, theirs, atol=1e-5)


@ONE_KIND
def test_other_variants_beside_the_weights_are_left_alone(folder: Path) -> None:
    before = load_checkpoint(folder).description.fingerprint
    for part in ("unet", "vae"):
        (folder / part / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not read")
        (folder / part / "diffusion_pytorch_model.bin").write_bytes(b"not read")
    assert DiffusionCodec.from_pretrained(folder).fingerprint == before


@ONE_KIND
def test_weights_in_bfloat16_restore_the_same_picture(pipeline_folder: Path) -> None:
    full = DiffusionCodec.from_pretrained(pipeline_folder, precision="fp32")
    half = DiffusionCodec.from_pretrained(pipeline_folder, precision="bf16")
    assert {value.dtype for value in half.denoiser.network.weights().values()} >= {torch.bfloat16}  # type: ignore[operator]
    assert half.fingerprint == full.fingerprint
    pixels = smooth_pixels(64, 64)
    stream = full.compress(pixels, timestep=200)
    first, second = (each.decompress(stream, reconstruction="mean").pixels.astype(float) for each in (full, half))
    assert np.sqrt(np.mean((first - second) ** 2)) < 4


@ONE_KIND
def test_too_little_memory_is_reported_before_it_is_taken(
    pipeline_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_parts, "free_bytes", lambda device: 1000)
    with pytest.raises(CheckpointError, match=r"unet: 0 million weights need .* GB in .*, but 0\.0 GB are free on cpu"):
        DiffusionCodec.from_pretrained(pipeline_folder)


@pytest.mark.parametrize("pipeline", ["sd2"], indirect=True)
def test_zero_terminal_snr(folder: Path) -> None:
    from diffusers import DDIMScheduler

    edit(folder / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)
    kept = DDIMScheduler.from_pretrained(folder / "scheduler").alphas_cumprod.double().numpy()
    codec = DiffusionCodec.from_pretrained(folder)
    log_snr = codec.denoiser.schedule.log_snr[1:]
    assert len(log_snr) == len(kept) - 1  # the last one is pure noise
    assert np.allclose(1 / (1 + np.exp(-log_snr)), kept[:-1], rtol=1e-4, atol=1e-7)
    stream = codec.compress(smooth_pixels(40, 24), timestep=300)
    assert codec.decompress(stream).pixels.shape == (40, 24, 3)


@pytest.mark.parametrize("pipeline", ["sd1"], indirect=True)
def test_the_components_of_a_folder(pipeline_folder: Path) -> None:
    folder = LatentFolder(pipeline_folder)
    assert (folder.network, folder.autoencoder) == ("unet", "vae")
    assert folder.text_components == ("text_encoder", "tokenizer")
    assert folder.needs_text


@pytest.mark.parametrize("pipeline", ["sd1", "flux"], indirect=True)
def test_a_calibration_is_a_small_file_in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rough = load_checkpoint(folder)
    assert isinstance(rough, LatentModel)
    images = torch.from_numpy(np.stack([smooth_pixels(64, 64, seed) for seed in range(3)])).permute(0, 3, 1, 2)
    calibrated = calibrate(rough, images, points=20, length_pictures=2, effort=8)
    (folder / TABLES_FILE).write_bytes(tables_to_bytes(calibrated))
    assert calibrated.tables is not None
    assert len(calibrated.tables.latent_start) == 4
    pixels, before = smooth_pixels(48, 80, 5), (rough.fingerprint, rough.description.fingerprint)

    def refused(*given: object) -> None:
        raise AssertionError("loads text encoders")

    monkeypatch.setattr(folder_parts, "embedding_of", refused)
    for part in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"):
        shutil.rmtree(folder / part, ignore_errors=True)
    codec = DiffusionCodec.from_pretrained(folder)
    assert codec.is_calibrated
    assert codec.fingerprint not in before
    stream = codec.compress(pixels, timestep=100)
    assert stream.report.delivered_bits == pytest.approx(stream.report.ideal_bits, rel=0.2)
    moved = folder.parent / "tables.safetensors"
    (folder / TABLES_FILE).rename(moved)
    with_option = DiffusionCodec.from_pretrained(folder, tables=moved)
    assert np.array_equal(with_option.decompress(stream).pixels, codec.decompress(stream).pixels)
    with pytest.raises(ConfigError, match="cannot be lossless"):
        codec.compress(pixels, timestep=0)


@ONE_KIND
def test_tables_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    rough = load_checkpoint(folder)
    assert isinstance(rough, LatentModel)
    other = replace(rough.ready(), config=replace(rough.config, prediction="v"))
    (tmp_path / "other").write_bytes(tables_to_bytes(other))
    with pytest.raises(CheckpointError, match="the tables are not those of model"):
        load_checkpoint(folder, tables=tmp_path / "other")
    (tmp_path / "none").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not a file of tables"):
        load_checkpoint(folder, tables=tmp_path / "none")
    with pytest.raises(CheckpointError, match="only latent models have tables of their own"):
        load_checkpoint("cifar10-small-v3", tables=tmp_path / "other")


def test_the_report_has_the_ceiling_and_flow_is_usual(pipeline: Any) -> None:
    codec, pixels = DiffusionCodec.from_diffusers(pipeline), smooth_pixels(40, 40)
    stream = codec.compress(pixels, timestep=300)
    with torch.no_grad():
        unit = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
        decoded = pipeline.vae.decode(pipeline.vae.encode(unit).latent_dist.mode()).sample.clamp(-1, 1)
    error = float(((decoded - unit) * 127.5).square().mean())
    assert stream.report.ceiling_psnr_db == pytest.approx(10 * np.log10(255**2 / error), abs=0.05)
    assert codec.decompress(stream).reconstruction == "flow"
    to_target = codec.compress(pixels, target=Target.bytes(100))
    assert to_target.report.ceiling_psnr_db == pytest.approx(stream.report.ceiling_psnr_db)
