"""MOTChallenge folders for tests."""

from PIL import Image


def write_sequence(root, name, rows, frames=3, size=(40, 30)):
    folder = root / name
    (folder / "gt").mkdir(parents=True)
    (folder / "img1").mkdir()
    for frame in range(1, frames + 1):
        Image.effect_noise(size, 64).convert("RGB").save(folder / "img1" / f"{frame:06d}.jpg")
    (folder / "gt" / "gt.txt").write_text("".join(f"{row}\n" for row in rows))
    return folder


def walk(track, *visibilities, x=11):
    """Rows of a person of 5 x 10 pixels in frames 1, 2, ..., one pixel further right in each."""
    return [
        f"{frame},{track},{x + frame - 1},6,5,10,1,1,{visibility}"
        for frame, visibility in enumerate(visibilities, start=1)
    ]


def person_ids(records):
    return [[a["person_id"] for a in record["annotations"]] for record in records]


def write_four_sequences(folder):
    """Write four sequences of two people; the second is visible enough in one frame only."""
    for name in "abcd":
        write_sequence(folder / "train", name, walk(1, 0.5, 0.9, 0.9) + walk(2, 0.2, 1))
    return folder
