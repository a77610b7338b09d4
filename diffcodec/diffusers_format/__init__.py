"""Pipeline folders of Hugging Face diffusers, read and written without diffusers.

A folder holds `model_index.json`, the network (`unet/config.json` and its weights) and the noise schedule
(`scheduler/scheduler_config.json`). The supported network is `UNet2DModel`, that of Ho et al. (2020).
"""
