"""The exception tree: everything that diffcodec raises on purpose about its input.

Messages name the file where one is known, what was expected, what was found and what to do about it.
The command line turns every `DiffCodecError` into one line on stderr and exit code 1.
"""


class DiffCodecError(Exception):
    """Base of all errors about input: catch this one to catch them all."""


class ConfigError(DiffCodecError):
    """A configuration, option or combination of options makes no sense."""


class ImageError(DiffCodecError):
    """A picture cannot be read, or is of a kind that the codec does not take."""


class CheckpointError(DiffCodecError):
    """A model file is missing, damaged, or lacks what the operation needs."""


class TargetError(DiffCodecError):
    """No file of a picture meets the target."""


class StreamError(DiffCodecError):
    """A .dfc stream cannot be decoded."""


class NotDfcError(StreamError):
    """The data does not start with the .dfc magic bytes."""


class UnsupportedVersionError(StreamError):
    """The stream uses a format version, or a feature, that this release does not know."""


class TruncatedStreamError(StreamError):
    """The stream ends before the length that it declares."""


class CorruptStreamError(StreamError):
    """The checksum or the structure of the stream is wrong."""


class ImageTooLargeError(StreamError):
    """The stream declares more pixels than the caller allows."""


class ModelMismatchError(StreamError):
    """The stream was made with another model than the one at hand.

    Args:
        needed: fingerprint in the stream, 8 hex digits.
        available: fingerprints of the models at hand, 8 hex digits each.
        name: the file or stream, for the message.
    """

    def __init__(self, needed: str, available: list[str], name: str = "the stream") -> None:
        self.needed = needed
        self.available = available
        have = f"the model at hand is {available[0]}" if len(available) == 1 else "there is no model here"
        if len(available) > 1:
            have = f"the models at hand are {', '.join(available[:-1])} and {available[-1]}"
        super().__init__(f"{name} was made with model {needed}, but {have}: pass the model that made it with --model")
