"""Start times from names, metadata and the file system, each in the right time zone."""

import os
import re
import struct
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest
from PIL import Image

from clsa_search.errors import InputError
from clsa_search.retrieval.start_times import find_start_time
from clsa_search.retrieval.time_rules import TimeRule, parse_time_rules, parse_zone
from tests.support.footage import write_image, write_video

BERLIN = ZoneInfo("Europe/Berlin")


def seconds(*fields, zone=timezone.utc):
    return datetime(*fields, tzinfo=zone).timestamp()


def find(path, rules, zone=BERLIN):
    return find_start_time(str(path), parse_time_rules(rules, zone), zone)


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("north_20260501_120030.mp4", "%Y%m%d_%H%M%S", (2026, 5, 1, 10, 0, 30)),
        ("20260501T120030.mp4", "%Y%m%dT%H%M%S", (2026, 5, 1, 10, 0, 30)),
        ("2026-01-31 23.59.59.avi", "%Y-%m-%d %H.%M.%S", (2026, 1, 31, 22, 59, 59)),
        ("VID_20260501_120030250.mp4", "%Y%m%d_%H%M%S%f", (2026, 5, 1, 10, 0, 30, 250000)),
        ("cam 01 May 2026.mp4", "%d %b %Y", (2026, 4, 30, 22)),
        ("26121.mp4", "%y%j", (2026, 4, 30, 22)),
        ("a_20260501120030Z.mp4", "%Y%m%d%H%M%S%z", (2026, 5, 1, 12, 0, 30)),
        ("a_20260501120030-0400.mp4", "%Y%m%d%H%M%S%z", (2026, 5, 1, 16, 0, 30)),
        ("rec 1777640430 x.mp4", "rec %s", (2026, 5, 1, 13, 0, 30)),
        ("20260501 121530 AM.mp4", "%Y%m%d %I%M%S %p", (2026, 4, 30, 22, 15, 30)),
        ("10% 20260501.mp4", "%% %Y%m%d", (2026, 4, 30, 22)),
        # the first text that is a date; longer numbers are others
        ("20269901_20260501.mp4", "%Y%m%d", (2026, 4, 30, 22)),
        ("920260501_20260502.mp4", "%Y%m%d", (2026, 5, 1, 22)),
    ],
)
def test_a_pattern_is_found_in_the_name(name, pattern, expected):
    assert find(f"/footage/{name}", f"name:{pattern}") == (seconds(*expected), "name")


def test_a_pattern_with_a_slash_is_found_in_the_path():
    path = "/footage/2026-05-01/north/12-00-30.mp4"
    assert find(path, "name:%Y-%m-%d/north/%H-%M-%S").seconds == seconds(2026, 5, 1, 10, 0, 30)


def test_summer_and_winter_time_differ():
    winter, summer = (find(f"/a/2026{month}01.mp4", "name:%Y%m%d") for month in ("01", "07"))
    assert winter.seconds == seconds(2025, 12, 31, 23)
    assert summer.seconds == seconds(2026, 6, 30, 22)


def write_photo(path, taken=None, offset=None):
    exif = Image.Exif()
    values = exif.get_ifd(0x8769)
    values |= {0x9003: taken} if taken else {}
    values |= {0x9011: offset} if offset else {}
    exif[0x8769] = values
    Image.new("RGB", (9, 9)).save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (None, (2026, 5, 1, 10, 0, 30)),
        ("+09:00", (2026, 5, 1, 3, 0, 30)),
        ("?", (2026, 5, 1, 10, 0, 30)),
    ],
)
def test_photographs_tell_when_they_were_taken(tmp_path, offset, expected):
    photo = write_photo(tmp_path / "a.jpg", "2026:05:01 12:00:30", offset)
    assert find(photo, "exif") == (seconds(*expected), "exif")


def test_an_mp4_file_declares_its_creation_in_utc(tmp_path):
    path = write_video(tmp_path / "a.mp4", [{}] * 10, codec="mp4v")
    content = bytearray(path.read_bytes())
    created = int(seconds(2026, 5, 1, 12)) + 2082844800  # from 1904 to 1970
    struct.pack_into(">I", content, content.index(b"mvhd") + 8, created)
    path.write_bytes(content)
    assert find(path, "container") == (seconds(2026, 5, 1, 12), "container")


def test_other_containers_declare_their_creation(tmp_path):
    matroska = tmp_path / "a.mkv"
    nanoseconds = int(seconds(2026, 5, 1) - seconds(2001, 1, 1)) * 10**9
    header = b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff"
    matroska.write_bytes(header + b"\x44\x61\x88" + nanoseconds.to_bytes(8, "big"))
    assert find(matroska, "container").seconds == seconds(2026, 5, 1)
    avi = write_video(tmp_path / "a.avi", [{}] * 10)
    assert "declares no time" in str(fault(avi, "container"))
    date = b"FRI MAY  1 12:00:30 2026\n\0"
    content = avi.read_bytes()
    chunk = b"IDIT" + struct.pack("<I", len(date)) + date
    avi.write_bytes(content[:12] + chunk + content[12:])
    assert find(avi, "container").seconds == seconds(2026, 5, 1, 10, 0, 30)


def fault(path, rules, zone=BERLIN):
    with pytest.raises(InputError) as error:
        find(path, rules, zone)
    return error.value


def test_a_recorder_writes_until_the_end_of_a_video(tmp_path):
    video = write_video(tmp_path / "a.avi", [{}] * 40, fps=10)
    image = write_image(tmp_path / "a.png", {})
    for path in (video, image):
        os.utime(path, (seconds(2026, 5, 1),) * 2)
    assert find(video, "mtime") == (seconds(2026, 5, 1) - 4, "mtime")
    assert find(image, "mtime") == (seconds(2026, 5, 1), "mtime")


def test_the_first_rule_that_works_counts(tmp_path):
    photo = write_photo(tmp_path / "20260501.jpg", "2020:01:01 00:00:00")
    rules = "name:cam_%Y%m%d,name:%Y%m%d,exif,mtime"
    assert find(photo, rules) == (seconds(2026, 4, 30, 22), "name")
    assert find(photo, "name:cam_%Y%m%d,exif").origin == "exif"
    assert find(photo, "name:cam_%Y%m%d,none") == (None, None)


def test_a_fault_names_the_file_and_what_did_not_match(tmp_path):
    photo = write_photo(tmp_path / "clip_7.jpg")
    message = str(fault(photo, "name:%Y%m%d,exif,container"))
    assert message.startswith(f"{photo}: has no start time: name: 'clip_7' does not match '%Y%m%d'")
    assert "exif: has no DateTimeOriginal" in message and "container: declares no time" in message
    gone = str(fault(tmp_path / "gone.mp4", "exif,container,mtime"))
    assert "mtime: No such file" in gone and "container: cannot be read" in gone


@pytest.mark.parametrize(
    "taken", ["0000:00:00 00:00:00", "2026", "\xff" * 19, "1970:01:01 00:00:00"]
)
def test_wrong_dates_are_no_times(tmp_path, taken):
    assert "exif: " in str(fault(write_photo(tmp_path / "a.jpg", taken), "exif"))


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ("", "''; expected name:PATTERN"),
        ("name", "'name'; expected name:PATTERN"),
        ("exif,mtime,birth", "'mtime,birth'; expected|'birth'; expected"),
        ("exif:%Y", "'exif:%Y'; expected"),
        ("name:", "has no whole date"),
        ("name:%H%M", "has no whole date; expected year, month and day"),
        ("name:%Y%m%d%Q", "%Q is unknown; expected %Y"),
        ("name:%Y%m%d%", "% is unknown"),
        ("name:%Y%m%d_%Y", "a part twice"),
        ("name:%s %Y", "whole time"),
        *((f"name:%Y%m%d {hour}", "%I (1 to 12) with %p") for hour in ("%I", "%p", "%H%I%p")),
    ],
)
def test_wrong_rules_are_named(rules, reason):
    with pytest.raises(InputError, match="time-from") as error:
        parse_time_rules(rules, BERLIN)
    assert any(one in str(error.value) for one in reason.split("|"))


def test_a_pattern_may_hold_a_comma():
    rules = parse_time_rules("name:%d,%m,%Y,exif", BERLIN)
    assert rules == (TimeRule("name", "%d,%m,%Y"), TimeRule("exif"))


def test_local_times_and_utc_are_not_joined_without_a_zone():
    with pytest.raises(InputError, match="container has times in UTC, but name has local times"):
        parse_time_rules("name:%Y%m%d,container")
    parse_time_rules("name:%Y%m%d%z,container,mtime")
    parse_time_rules("name:%Y%m%d,exif")


@pytest.mark.parametrize("name", ["Europe/Nowhere", "../etc/passwd", "", "\0", "/"])
def test_unknown_zones_are_named(name):
    with pytest.raises(InputError, match=re.escape(f"timezone: {name!r} is unknown")):
        parse_zone(name)
