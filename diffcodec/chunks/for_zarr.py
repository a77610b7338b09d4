"""The codec `dfc` of Zarr, version 3: from arrays to bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from zarr.abc.codec import ArrayBytesCodec
from zarr.core.common import parse_named_configuration

from diffcodec.chunks.stack import StackCodec, check_pictures
from diffcodec.coding.targets import DEFAULT_TIMESTEP

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer


@dataclass(frozen=True)
class DfcCodec(ArrayBytesCodec):
    """Codes chunks of pictures, uint8, (..., H, W, 3) or (..., H, W, 1), with loss unless the timestep is 0.

    A chunk should hold whole pictures: a part of one is a picture of its own. Writing a part of a chunk reads, changes
    and codes the rest again, with more loss.

    Args:
        timestep, model: see `StackCodec`.

    Raises:
        ConfigError: see `StackCodec`.
    """

    is_fixed_size = False
    timestep: int = DEFAULT_TIMESTEP
    model: str | None = None
    _stack: StackCodec = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stack", StackCodec(self.timestep, self.model))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The codec of its metadata in `zarr.json`."""
        _, configuration = parse_named_configuration(data, "dfc", require_configuration=False)
        return cls(**(configuration or {}))  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """The metadata for `zarr.json`."""
        return {"name": "dfc", "configuration": {"timestep": self.timestep, "model": self.model}}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Check that an array can be coded.

        Raises:
            ImageError: if it holds no pictures.
        """
        check_pictures(shape, dtype.to_native_dtype())

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known before."""
        raise NotImplementedError

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        array = chunk_data.as_numpy_array()
        return chunk_spec.prototype.buffer.from_bytes(await asyncio.to_thread(self._stack.encode, array))

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        array = await asyncio.to_thread(self._stack.decode, chunk_data.to_bytes())
        return chunk_spec.prototype.nd_buffer.from_numpy_array(array.reshape(chunk_spec.shape))
