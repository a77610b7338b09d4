"""Trained models: configuration, integer tables, weights, fingerprint."""
