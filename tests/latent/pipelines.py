"""Tiny pipelines of diffusers with random weights, of the kinds that people have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

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


class Flow:
    """The components of a pipeline with a flow transformer, and random embeddings in the place of T5's."""

    def __init__(self, transformer: Any, vae: AutoencoderKL, scheduler: FlowMatchEulerDiscreteScheduler) -> None:
        self.transformer, self.vae, self.scheduler = transformer, vae, scheduler
        torch.manual_seed(9)
        self.text, self.pooled = torch.randn(1, 6, WIDTH), torch.randn(1, WIDTH)

    def encode_prompt(self, *prompts: str, **options: Any) -> tuple[Any, ...]:
        assert set(prompts) == {""}
        if isinstance(self.transformer, SD3Transformer2DModel):
            return self.text, None, self.pooled, None
        return self.text, self.pooled, torch.zeros(6, 3)


def stable_diffusion_3(folder: Path) -> Flow:
    torch.manual_seed(10)
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        out_channels=4,
        pos_embed_max_size=64,
    )
    vae = autoencoder(scaling_factor=1.5305, shift_factor=0.0609)
    return Flow(transformer.eval(), vae, FlowMatchEulerDiscreteScheduler(shift=3.0))


def flux(folder: Path) -> Flow:
    torch.manual_seed(11)
    transformer = FluxTransformer2DModel(
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
    )
    vae = autoencoder(scaling_factor=0.3611, shift_factor=0.1159)
    return Flow(transformer.eval(), vae, FlowMatchEulerDiscreteScheduler())
