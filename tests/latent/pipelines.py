"""Tiny pipelines of diffusers with random weights, of the kinds that people have."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

WIDTH = 32
"""Of text embeddings."""


def tokenizer(folder: Path) -> CLIPTokenizer:
    """A tokenizer of a few letters."""
    words = ["<|startoftext|>", "<|endoftext|>", "a", "b", "a</w>", "b</w>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8)


def text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=6,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
        projection_dim=WIDTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def autoencoder(**settings: Any) -> AutoencoderKL:
    """Four pixels per latent."""
    torch.manual_seed(5)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=4,
        **{"latent_channels": 4, "scaling_factor": 0.18215, **settings},
    )


def unet(**settings: Any) -> UNet2DConditionModel:
    torch.manual_seed(6)
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=4,
        **{"cross_attention_dim": WIDTH, **settings},
    )


def scheduler(**settings: Any) -> DDIMScheduler:
    """That of Stable Diffusion."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1, **settings
    )


def stable_diffusion(folder: Path, prediction: str = "epsilon") -> StableDiffusionPipeline:
    """Stable Diffusion 1 (`epsilon`) or 2 (`v_prediction`)."""
    torch.manual_seed(7)
    return StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=CLIPTextModel(text_config()).eval(),
        tokenizer=tokenizer(folder),
        unet=unet(),
        scheduler=scheduler(prediction_type=prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(folder: Path) -> StableDiffusionXLPipeline:
    """Two text encoders, a pooled embedding, and sizes."""
    torch.manual_seed(8)
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=CLIPTextModel(text_config()).eval(),
        text_encoder_2=CLIPTextModelWithProjection(text_config()).eval(),
        tokenizer=tokenizer(folder),
        tokenizer_2=tokenizer(folder),
        unet=unet(
            cross_attention_dim=2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=WIDTH + 6 * 4,
        ),
        scheduler=scheduler(),
    )


def stable_diffusion_3(folder: Path) -> StableDiffusion3Pipeline:
    """Three text encoders, and a flow transformer with patches."""
    torch.manual_seed(10)
    text, second = CLIPTextModelWithProjection(text_config()), CLIPTextModelWithProjection(text_config())
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=2 * WIDTH,
            pooled_projection_dim=2 * WIDTH,
            out_channels=4,
            pos_embed_max_size=64,
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=text.eval(),
        tokenizer=tokenizer(folder),
        text_encoder_2=second.eval(),
        tokenizer_2=tokenizer(folder),
        text_encoder_3=t5(2 * WIDTH),
        tokenizer_3=t5_tokenizer(),
    )


def flux(folder: Path) -> FluxPipeline:
    """Two text encoders, a flow transformer with packed latents, and an embedding of the guidance."""
    torch.manual_seed(11)
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=CLIPTextModel(text_config()).eval(),
        tokenizer=tokenizer(folder),
        text_encoder_2=t5(WIDTH),
        tokenizer_2=t5_tokenizer(),
    )


def t5(width: int) -> T5EncoderModel:
    config = T5Config(vocab_size=5, d_model=width, d_kv=8, d_ff=width, num_layers=1, num_heads=2)
    return T5EncoderModel(config).eval()


def t5_tokenizer() -> T5Tokenizer:
    """A tokenizer of one letter."""
    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -1.0), ("a", -2.0)]
    return T5Tokenizer(vocab=scores, extra_ids=0, model_max_length=512)


MAKERS: dict[str, Callable[[Path], Any]] = {
    "sd1": stable_diffusion,
    "sd2": partial(stable_diffusion, prediction="v_prediction"),
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
    "flux": flux,
}
"""Of every kind of pipeline, by name."""
