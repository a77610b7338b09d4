"""Keys and values in configurations of diffusers, their defaults, and what they are called here."""

from __future__ import annotations

from typing import Literal

from diffcodec.config import PredictionKind, ScheduleKind, VarianceKind

NETWORK_CLASS = "UNet2DModel"

NETWORK_DEFAULTS = {
    "_class_name": NETWORK_CLASS,
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
    "num_train_timesteps": None,
}
"""Defaults of `UNet2DModel` for keys that a configuration lacks."""

SCHEDULER_DEFAULTS = {
    "_class_name": "DDPMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "variance_type": "fixed_small",
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "use_flow_sigmas": False,
}
"""Defaults of schedulers. Their other keys concern only sampling."""

SCHEDULER_CLASSES = (
    "DDPMScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDIMParallelScheduler",
    "PNDMScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "LMSDiscreteScheduler",
)
"""Schedulers that describe the same process by the same keys; they differ only in sampling."""

SCHEDULES: dict[str, ScheduleKind] = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
}
PREDICTIONS: dict[str, PredictionKind] = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
VARIANCES: dict[str, VarianceKind] = {
    "fixed_small": "fixedsmall",
    "fixed_large": "fixedlarge",
    "learned_range": "learned",
    "fixed_small_log": "fixedsmall",
    "fixed_large_log": "fixedlarge",
}
THEIR_KEYS = {
    "image_channels": "in_channels",
    "channels": "block_out_channels",
    "multipliers": "block_out_channels, as multiples of the first",
    "blocks": "layers_per_block",
    "embedding_channels": "time_embedding_dim",
    "norm_groups": "norm_num_groups",
    "attention_head_channels": "attention_head_dim",
    "frequency_shift": "freq_shift",
    "steps": "num_train_timesteps",
}
"""Names of values in our configurations, and in theirs."""

DOWN_BLOCKS = {"DownBlock2D": False, "AttnDownBlock2D": True}
UP_BLOCKS = {"UpBlock2D": False, "AttnUpBlock2D": True}
MODULATIONS: dict[str, Literal["add", "scale_shift"]] = {"default": "add", "scale_shift": "scale_shift"}
