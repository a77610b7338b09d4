"""Fuzzes model files: an Atheris target in the layout of OSS-Fuzz."""

import sys

import atheris

with atheris.instrument_imports(include=["diffcodec"]):
    from fuzz.mutators import MUTATORS
    from fuzz.targets import TARGETS


def change(data: bytes, max_size: int, seed: int) -> bytes:
    """A mutation whose checksums are right."""
    return MUTATORS["models"](data, max_size, seed, atheris.Mutate)


if __name__ == "__main__":
    atheris.Setup(sys.argv, TARGETS["models"], custom_mutator=change)
    atheris.Fuzz()
