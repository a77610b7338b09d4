"""Pictures: files, Pillow images, uint8 arrays, the unit range; lossless coding of the alpha plane."""

from diffcodec.config import DEFAULT_MAX_PIXELS
from diffcodec.images.alpha import AlphaMethod, decode_alpha, encode_alpha
from diffcodec.images.arrays import PictureLike, as_picture, is_single, to_pil, to_planes
from diffcodec.images.colours import Keep, picture_from_pil
from diffcodec.images.picture import Picture, from_unit, picture_to_pil, to_unit
from diffcodec.images.reading import read_picture
from diffcodec.images.writing import check_mode, metadata_left_out, picture_format, write_picture

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "AlphaMethod",
    "Keep",
    "Picture",
    "PictureLike",
    "as_picture",
    "check_mode",
    "decode_alpha",
    "encode_alpha",
    "from_unit",
    "is_single",
    "metadata_left_out",
    "picture_format",
    "picture_from_pil",
    "picture_to_pil",
    "read_picture",
    "to_pil",
    "to_planes",
    "to_unit",
    "write_picture",
]
