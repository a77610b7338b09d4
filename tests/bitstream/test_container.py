"""The container: round trips, every cut, every flip, and the messages."""

import contextlib
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcodec.bitstream.container import (
    MAX_SIDE,
    ColourMode,
    Container,
    Reading,
    Shortened,
    read_container,
    read_header,
    read_partial,
    write_container,
)
from diffcodec.config import DEFAULT_MAX_PIXELS
from diffcodec.errors import (
    ConfigError,
    CorruptStreamError,
    ImageTooLargeError,
    NotDfcError,
    StreamError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from tests.bitstream.containers import HEADER, containers, with_crc

PLAIN = Container(HEADER, b"payload")
FULL = Container(replace(HEADER, seed=99, colour=ColourMode.L, width=300, height=1), b"payload", b"alpha")
FULL_MORE = replace(FULL, header=replace(FULL.header, shortened=Shortened(7, 130)), metadata=b"notes")


@given(containers)
def test_round_trip(container: Container) -> None:
    data = write_container(container)
    assert read_container(data) == container
    info = read_header(data)
    assert read_partial(data) == Reading(container, info)
    assert info.header == container.header
    assert info.total_bytes == len(data)
    assert info.payload_bytes == len(container.payload)
    assert info.alpha_bytes == (None if container.alpha is None else len(container.alpha))
    assert info.metadata_bytes == (None if container.metadata is None else len(container.metadata))
    assert info.has_blocks == (info.content_bytes > 4096 or info.header.repeats_front)
    if info.content_bytes > 4096:
        assert info.check_bytes <= 0.005 * info.content_bytes
    elif not info.has_blocks:
        assert info.check_bytes == 4


def test_known_bytes() -> None:
    assert write_container(PLAIN).hex() == ("df6320010203041433e81f1f077061796c6f6164aa688eb9")
    assert write_container(FULL).hex() == (
        "df6323010203045433e8ab0200070000000000000063057061796c6f6164616c70686199f73612"
    )
    assert write_container(FULL_MORE).hex() == (
        "df632b03010203045433e8ab020007000000000000006305050782017061796c6f6164616c7068616e6f74657324941342"
    )


def test_known_layout_of_blocks() -> None:
    payload = bytes(range(256)) * 20
    data = write_container(Container(HEADER, payload, b"alpha", b"notes"))
    head = bytes.fromhex("df632e01010203041433e81f1f80280505")
    expected = with_crc(with_crc(with_crc(head + payload[:2048]) + payload[2048:4096]) + payload[4096:])
    assert data == expected + with_crc(b"alpha") + with_crc(b"notes")
    empty = write_container(Container(HEADER, b"", bytes(5000)))
    head = bytes.fromhex("df6326010203041433e81f1f008827")
    assert empty == with_crc(head) + with_crc(bytes(5000))


@pytest.mark.parametrize(("payload_bytes", "around"), [(0, 17), (127, 17), (128, 18), (4096, 18), (4097, 26)])
def test_few_bytes_around_the_payload(payload_bytes: int, around: int) -> None:
    assert len(write_container(Container(HEADER, bytes(payload_bytes)))) == payload_bytes + around


@pytest.mark.parametrize("container", [PLAIN, FULL, FULL_MORE])
def test_every_cut_is_reported_as_truncated(container: Container) -> None:
    data = write_container(container)
    for cut in range(len(data)):
        message = r"is empty$"
        if 0 < cut < read_header(data).header_bytes:
            message = rf"is cut inside its header, after {cut} byte{'' if cut == 1 else 's'}: fetch it again$"
        elif cut:
            message = rf"is cut: it has {cut} of its {len(data)} bytes: fetch it again, "
        with pytest.raises(TruncatedStreamError, match=rf"^photo\.dfc {message}"):
            read_container(data[:cut], name="photo.dfc")


@pytest.mark.parametrize("container", [PLAIN, FULL, FULL_MORE])
def test_every_cut_behind_the_header_is_readable_in_part(container: Container) -> None:
    data = write_container(container)
    info = read_header(data)
    for cut in range(len(data)):
        if cut < info.header_bytes:
            with pytest.raises(TruncatedStreamError, match=r"inside its header|is empty"):
                read_partial(data[:cut])
            continue
        assert read_header(data[:cut]) == info
        reading = read_partial(data[:cut])
        part, payload_complete = reading.container, reading.complete
        assert reading.problem == f"is cut: it has {cut} of its {len(data)} bytes"
        assert not reading.verified
        assert part.header == container.header
        assert part.payload == container.payload[: cut - info.header_bytes]
        assert payload_complete == (part.payload == container.payload)
        alpha_complete = cut >= info.header_bytes + info.payload_bytes + (info.alpha_bytes or 0)
        assert part.alpha == (container.alpha if alpha_complete else None)
        assert part.metadata == (container.metadata if cut >= len(data) - 4 else None)


@pytest.mark.parametrize("container", [PLAIN, FULL, FULL_MORE])
def test_every_flip_is_found(container: Container) -> None:
    data = write_container(container)
    for position in range(len(data)):
        for change in range(1, 256):
            damaged = bytearray(data)
            damaged[position] ^= change
            with pytest.raises(StreamError):
                read_container(bytes(damaged))


def test_surplus_is_corrupt() -> None:
    data = write_container(PLAIN)
    for read in (read_container, read_partial):
        with pytest.raises(
            CorruptStreamError, match="25 bytes instead of the 24 that its header declares: fetch it again"
        ):
            read(data + b"\0")


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"\xdfd", b"hello", b"\0"])
def test_other_data_is_not_dfc(data: bytes) -> None:
    with pytest.raises(NotDfcError, match=r"cat is not a \.dfc file"):
        read_container(data, name="cat")


def test_later_versions_and_features_are_refused() -> None:
    data = write_container(PLAIN)
    for position, value, message in (
        (2, 0x30, "version 3: update diffcodec"),
        (2, 0x10, "version 1: restore it with diffcodec 0.5"),
        (2, 0x00, "version 0"),
        (7, 0x80, "colour mode 2"),
        (7, 0xC0, "colour mode 3"),
    ):
        changed = data[:position] + bytes([value]) + data[position + 1 : -4]
        with pytest.raises(UnsupportedVersionError, match=message):
            read_container(with_crc(changed))
    for more in (0x08, 0x41, 0x80, 0xFF):
        with pytest.raises(UnsupportedVersionError, match="unknown features"):
            read_container(with_crc(data[:2] + bytes([0x28, more]) + data[3:-4]))


@pytest.mark.parametrize(
    ("flags", "lengths", "message"),
    [
        ("2800", "", "announces more flags and has none"),
        ("24", "", "announces blocks for 7 bytes"),
        ("2802", "0100", "cannot be shortened to 0 steps"),
        ("2802", "8180", "more than 2 bytes"),
        ("2802", "e90701", "a file for t = 1001 cannot be shortened to t = 1000"),
    ],
)
def test_features_have_one_spelling(flags: str, lengths: str, message: str) -> None:
    data = write_container(PLAIN)
    changed = data[:2] + bytes.fromhex(flags) + data[3:13] + bytes.fromhex(lengths) + data[13:-4]
    with pytest.raises(CorruptStreamError, match=message):
        read_container(with_crc(changed))


def test_large_files_may_have_one_checksum() -> None:
    payload = random.Random(0).randbytes(9000)
    data = with_crc(bytes.fromhex("df6320010203041433e81f1fa846") + payload)
    assert read_container(data) == Container(HEADER, payload)
    assert read_partial(data[:5000]).container.payload == payload[: 5000 - 14]
    with pytest.raises(CorruptStreamError, match=r"its checksum is .* instead of .*: fetch it again$"):
        read_partial(data[:5000] + b"?" + data[5001:])


@pytest.mark.parametrize("varint", ["9f00", "9f8000", "8080808001", "ffffffffff01"])
def test_lengths_have_one_spelling(varint: str) -> None:
    data = write_container(PLAIN)
    with pytest.raises(CorruptStreamError, match="a length"):
        read_container(with_crc(data[:10] + bytes.fromhex(varint) + data[11:-4]))


def test_seed_that_is_the_default_is_not_written() -> None:
    data = write_container(PLAIN)
    with pytest.raises(CorruptStreamError, match="seed"):
        read_container(with_crc(data[:2] + b"\x21" + data[3:13] + bytes(8) + data[13:-4]))


def test_pixel_limit() -> None:
    assert DEFAULT_MAX_PIXELS == 1024 * 1024 * 1024 // 4 // 3
    data = write_container(Container(replace(HEADER, width=DEFAULT_MAX_PIXELS, height=1), b""))
    read_container(data)
    huge = write_container(Container(replace(HEADER, width=MAX_SIDE, height=MAX_SIDE), b""))
    for read in (read_container, read_partial):
        with pytest.raises(ImageTooLargeError, match=f"{MAX_SIDE} x {MAX_SIDE} pixels, more than the limit"):
            read(huge)
        with pytest.raises(ImageTooLargeError, match="limit of 1023"):
            read(write_container(PLAIN), max_pixels=1023)
    with pytest.raises(ImageTooLargeError, match="limit"):
        read_partial(huge[:-2])
    read_container(huge, max_pixels=MAX_SIDE**2)
    assert read_header(huge).header.pixels == MAX_SIDE**2


def test_checksum_comes_before_the_pixel_limit() -> None:
    huge = write_container(Container(replace(HEADER, width=MAX_SIDE), b""))
    with pytest.raises(CorruptStreamError, match="checksum"):
        read_container(huge[:-1] + bytes([huge[-1] ^ 3]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fingerprint", b"123"),
        ("colour", 2),
        ("channel", 4),
        ("effort", 24),
        ("effort", 7),
        ("level_list", 16),
        ("timestep", 4096),
        ("timestep", -1),
        ("timestep", 1.5),
        ("width", 0),
        ("height", MAX_SIDE + 1),
        ("seed", 1 << 64),
        ("seed", -1),
    ],
)
def test_headers_are_validated(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field.split("_")[0] if field != "colour" else "colour mode"):
        replace(HEADER, **{field: value})  # type: ignore[arg-type]


@given(st.binary(max_size=60))
def test_random_bytes_raise_ours(data: bytes) -> None:
    for body in (data, b"\xdfc" + data, b"\xdfc\x20" + data, b"\xdfc\x2f\x03" + data, with_crc(b"\xdfc\x23" + data)):
        for read in (read_container, read_partial, read_header):
            with contextlib.suppress(StreamError):
                read(body)
