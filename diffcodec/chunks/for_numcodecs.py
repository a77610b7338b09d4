"""The codec `dfc` of numcodecs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ndarray_copy
from numpy.typing import NDArray

from diffcodec.chunks.stack import StackCodec
from diffcodec.coding.targets import DEFAULT_TIMESTEP


class Dfc(Codec):  # type: ignore[misc]
    """Codes arrays of pictures, uint8, (..., H, W, 3) or (..., H, W, 1), with loss unless the timestep is 0.

    Args:
        timestep, model: see `StackCodec`.

    Raises:
        ConfigError: see `StackCodec`.
    """

    codec_id = "dfc"

    def __init__(self, timestep: int = DEFAULT_TIMESTEP, model: str | None = None) -> None:
        self._stack = StackCodec(timestep, model)
        self.timestep, self.model = timestep, model

    def get_config(self) -> dict[str, Any]:
        """The configuration, for `numcodecs.get_codec`."""
        return {"id": self.codec_id, "timestep": self.timestep, "model": self.model}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Dfc:
        """The codec of a configuration, without its id."""
        return cls(**config)

    def encode(self, buf: Any) -> bytes:
        """The bytes of an array.

        Raises:
            DiffCodecError: as `StackCodec.encode`.
        """
        return self._stack.encode(np.asarray(buf))

    def decode(self, buf: Any, out: Any = None) -> NDArray[np.uint8]:
        """The array, also copied to `out` if that is given.

        Raises:
            DiffCodecError: as `StackCodec.decode`.
        """
        found = self._stack.decode(ensure_bytes(buf))
        return found if out is None else ndarray_copy(found, out)

    def __repr__(self) -> str:
        return f"Dfc(timestep={self.timestep}, model={self.model!r})"
