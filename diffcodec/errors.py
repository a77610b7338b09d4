"""The exceptions that diffcodec raises about its input.

Messages name the file, if one is known, what was expected, what was found and how to fix it. They name no command-line
option: `parameters` names what the caller may change, and the command line adds the options.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath


def kind_of(value: object) -> str:
    """What a value is, for messages about arguments of the wrong type: `a Path`, `an int`, `bytes`, `None`."""
    if value is None or isinstance(value, bytes):
        return "None" if value is None else "bytes"
    name = "Path" if isinstance(value, PurePath) else type(value).__name__
    article = "an" if name.lower().startswith(("a", "e", "i", "o", "nd")) else "a"
    return f"{article} {name}"


class DiffCodecError(Exception):
    """Base of all errors about input.

    Args:
        message: for people.
        parameters: names of parameters that may be changed to avoid the error.
    """

    def __init__(self, message: str = "", *, parameters: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.parameters = tuple(parameters)


class ConfigError(DiffCodecError):
    """A configuration, option or combination of options is invalid."""


class WrongTypeError(ConfigError, TypeError):
    """An argument has a type that is not taken; the message says which are."""


class ImageError(DiffCodecError):
    """A picture cannot be read, or is of an unsupported kind."""


class CheckpointError(DiffCodecError):
    """A model file is missing or damaged, or lacks data that the operation needs."""


class DatasetError(DiffCodecError):
    """A data set, or a shard of one, cannot be read or written."""


class TargetError(DiffCodecError):
    """No file of a picture meets the target."""


class StreamError(DiffCodecError):
    """A .dfc stream cannot be decoded."""


class NotDfcError(StreamError):
    """The data does not start with the .dfc magic bytes."""


class UnsupportedVersionError(StreamError):
    """The stream uses a format version or a feature unknown to this release."""


class TruncatedStreamError(StreamError):
    """The stream ends before the length that it declares."""


class CorruptStreamError(StreamError):
    """The checksum or the structure of the stream is wrong."""


class ImageTooLargeError(StreamError):
    """The stream declares more pixels than the caller allows."""


class TooMuchWorkError(StreamError):
    """The stream takes more evaluations of the network than the caller allows for so many pixels."""


class ModelMismatchError(StreamError):
    """The stream was made with a model other than the available ones.

    Args:
        needed: fingerprint in the stream, 8 hex digits.
        available: fingerprints of the available models, 8 hex digits each.
        name: the file or stream, for the message.
    """

    def __init__(self, needed: str, available: list[str], name: str = "the stream") -> None:
        self.needed = needed
        self.available = available
        have = f"the available model is {available[0]}" if len(available) == 1 else "no model is available"
        if len(available) > 1:
            have = f"the available models are {', '.join(available[:-1])} and {available[-1]}"
        super().__init__(
            f"{name} was made with model {needed}, but {have}: load the model that made it", parameters=["model"]
        )


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory.

    torch raises a subclass of RuntimeError if GPU memory is full, and a plain RuntimeError if RAM is full.
    """
    full = ("out of memory", "allocate memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in full)
    )


@contextmanager
def naming_stream(name: str) -> Iterator[None]:
    """Puts the stream's name before errors about its content."""
    try:
        yield
    except CorruptStreamError as error:
        raise CorruptStreamError(f"{name} is damaged: {error}", parameters=error.parameters) from error
    except (TruncatedStreamError, UnsupportedVersionError) as error:
        raise type(error)(f"{name}: {error}", parameters=error.parameters) from error
