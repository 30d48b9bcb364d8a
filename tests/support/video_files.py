"""Video files with properties that OpenCV's writer cannot give them: bytes of the file change."""

import struct

ONE = 1 << 16  # in numbers of 16.16 bits


def join_videos(path, *parts):
    """Write recordings one behind the other, as `cat` does, and return the path."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def cut_file(path, share):
    """Keep the first share of the bytes of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def turn_video(path, quarter_turns=0):
    """Tell players of an MP4 file to turn its frames clockwise, as phones do.

    The rotation is the matrix of the track header (ISO 14496-12, box `tkhd`, version 0).
    """
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns]
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + len(b"tkhd") + 40
    rows = (cosine * ONE, sine * ONE, 0, -sine * ONE, cosine * ONE, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", content, matrix, *rows)
    path.write_bytes(content)


def stretch_pixels(path, width, height):
    """Declare the shape of the pixels of an MP4 file, by a box `pasp` of its codec `mp4v`."""
    content = path.read_bytes()
    entry = content.index(b"mp4v", content.index(b"stsd")) - 4
    (size,) = struct.unpack_from(">I", content, entry)
    box = struct.pack(">I4s2I", 16, b"pasp", width, height)
    path.write_bytes(_replace(content, (b"stsd", b"mp4v"), entry + size, 0, box))


def vary_rate(path, runs):
    """Set the durations of the frames of an MP4 file whose frames have one duration.

    Args:
        path: file, with its table of contents at the end.
        runs: (number of frames, factor of the duration) of each run of frames.
    """
    content = path.read_bytes()
    table = content.index(b"stts") + 4  # version, number of entries, entries
    entries, frames, duration = struct.unpack_from(">3I", content, table + 4)
    assert entries == 1
    values = [value for count, factor in runs for value in (count, factor * duration)]
    rows = struct.pack(f">I{len(values)}I", len(runs), *values)
    content = _replace(content, (b"stts",), table + 4, 12, rows)
    longer = sum(count * factor for count, factor in runs) / frames
    for kind, place in ((b"mdhd", 20), (b"mvhd", 20), (b"tkhd", 24), (b"elst", 12)):
        place += content.index(kind)
        (length,) = struct.unpack_from(">I", content, place)
        struct.pack_into(">I", content, place, round(longer * length))
    path.write_bytes(content)


def hide_frames(path, seconds):
    """Hide the first seconds of an MP4 file by its edit list, as trimming on a phone does."""
    content = bytearray(path.read_bytes())
    edits = content.index(b"elst") + 4  # version, number of entries, entries
    track_header, movie_header = content.index(b"tkhd") + 4, content.index(b"mvhd") + 4
    (movie_scale,) = struct.unpack_from(">I", content, movie_header + 12)
    (media_scale,) = struct.unpack_from(">I", content, content.index(b"mdhd") + 16)
    (duration,) = struct.unpack_from(">I", content, track_header + 20)
    left = duration - int(seconds * movie_scale)
    struct.pack_into(">2I", content, edits + 8, left, int(seconds * media_scale))
    struct.pack_into(">I", content, track_header + 20, left)
    struct.pack_into(">I", content, movie_header + 16, left)
    path.write_bytes(content)


def pipe_avi(path):
    """Give an AVI file the headers of one written to a pipe: no sizes, no index."""
    content = bytearray(path.read_bytes())
    del content[content.rindex(b"idx1") :]
    struct.pack_into("<I", content, 4, 0xFFFFFFFF)
    struct.pack_into("<I", content, content.index(b"movi") - 4, 0xFFFFFFFF)
    struct.pack_into("<I", content, content.index(b"avih") + 24, 0)  # number of frames
    struct.pack_into("<I", content, content.index(b"strh") + 40, 1 << 30)  # frames of the stream
    path.write_bytes(content)


def delay_matroska(path, seconds):
    """Declare that a Matroska file is longer than its video, as with longer sound."""
    content = bytearray(path.read_bytes())
    place = content.index(b"\x44\x89\x88") + 3  # element Duration, of 8 bytes
    (length,) = struct.unpack_from(">d", content, place)
    struct.pack_into(">d", content, place, length + 1000 * seconds)
    path.write_bytes(content)


def _replace(content, kinds, start, length, new):
    """Replace bytes of an MP4 file within its sample table; correct the sizes of the boxes.

    Args:
        content: bytes of the file, with its table of contents at the end.
        kinds: boxes around the bytes, inside of the sample table.
        start, length: bytes to replace.
        new: bytes in their place.
    """
    changed = bytearray(content[:start] + new + content[start + length :])
    place = changed.index(b"moov")
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", *kinds):
        place = changed.index(kind, place)
        (size,) = struct.unpack_from(">I", changed, place - 4)
        struct.pack_into(">I", changed, place - 4, size + len(new) - length)
    return changed
