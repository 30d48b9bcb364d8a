"""Damaged copies of files, decided by a seed alone."""

import random
import struct
import zlib

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def corrupt(content: bytes, seed: int) -> bytes:
    """Return a damaged copy of a file.

    Args:
        content: the file, at least 2 bytes.
        seed: decides kind and places of the damage. Seven neighbors give seven kinds.
    """
    chance = random.Random(seed)
    return _DAMAGES[seed % len(_DAMAGES)](bytearray(content), chance)


def mend_png(content: bytes) -> bytes:
    """Return a damaged PNG with right checksums, so that decoders read past its headers."""
    mended, start = bytearray(content), len(PNG_SIGNATURE)
    while start + 12 <= len(mended):
        (length,) = struct.unpack_from(">I", mended, start)
        end = start + 8 + length
        if end + 4 > len(mended):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(mended[start + 4 : end]))
        start = end + 4
    return bytes(mended)


def make_png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG of the given (name, data) chunks with right checksums."""
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    return PNG_SIGNATURE + b"".join(parts)


def make_broken_palette_png() -> bytes:
    """Return a PNG of 4 x 4 palette pixels with transparency whose palette is missing."""
    return make_png(
        [
            (b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 3, 0, 0, 0)),
            (b"pLTE", bytes(12)),  # a lower-case letter: a chunk that decoders skip
            (b"tRNS", b"\x00"),
            (b"IDAT", zlib.compress(bytes(4 * 5))),
            (b"IEND", b""),
        ]
    )


def _flip_bits(content: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 4)):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def _replace_bytes(content: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 16)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content)


def _cut(content: bytearray, chance: random.Random) -> bytes:
    return bytes(content[: chance.randrange(len(content))])


def _swap_parts(content: bytearray, chance: random.Random) -> bytes:
    middle = chance.randint(1, len(content) - 1)
    length = chance.randint(1, min(64, middle, len(content) - middle))
    first, second = (
        chance.randint(0, middle - length),
        chance.randint(middle, len(content) - length),
    )
    for i in range(length):
        content[first + i], content[second + i] = content[second + i], content[first + i]
    return bytes(content)


def _fill(content: bytearray, chance: random.Random) -> bytes:
    """Set a number of up to 8 bytes to an extreme."""
    start = chance.randrange(len(content))
    length = min(chance.choice((1, 2, 4, 8)), len(content) - start)
    content[start : start + length] = chance.choice((b"\x00", b"\x7f", b"\x80", b"\xff")) * length
    return bytes(content)


def _delete(content: bytearray, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    del content[start : start + chance.randint(1, 64)]
    return bytes(content)


def _insert(content: bytearray, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    content[start:start] = chance.randbytes(chance.randint(1, 64))
    return bytes(content)


_DAMAGES = (_flip_bits, _replace_bytes, _cut, _swap_parts, _fill, _delete, _insert)
