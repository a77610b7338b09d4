"""Turns Pillow's exceptions into ImageError."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import UnidentifiedImageError

from diffcodec.errors import ImageError


@contextmanager
def translated(name: str, problem: str = "cannot be read as a picture") -> Iterator[None]:
    """Turns any exception of Pillow into ImageError, and suppresses its warnings.

    Its plugins raise almost anything on damaged files (SyntaxError, struct.error, ...), so everything is caught.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture in a known format") from error
    except Exception as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{name} {problem}: {text or type(error).__name__}") from error
