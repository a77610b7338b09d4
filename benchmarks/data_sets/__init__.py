"""Parts of benchmarks/dataset.py."""
