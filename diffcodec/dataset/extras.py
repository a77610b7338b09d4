"""Packages that only data sets need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffcodec.errors import ConfigError


@contextmanager
def needed_for(purpose: str) -> Iterator[None]:
    """Around imports of the extra `ray`.

    Args:
        purpose: what needs them, for the message.

    Raises:
        ConfigError: if one is missing.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"{purpose} need {error.name}: pip install 'diffcodec[ray]'") from error
