"""Measures models and the codec: likelihood bounds, sample quality, rate and distortion, other codecs."""
