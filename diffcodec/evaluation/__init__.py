"""Measures what a model knows and what the codec makes of it."""
