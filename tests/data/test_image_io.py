"""Images are read upright for every orientation, and with 8 bits for every depth."""

import subprocess

import numpy as np
import pytest
from PIL import Image

from clsa_search.data.dataset_mapper import PersonSearchDatasetMapper
from clsa_search.data.image_checks import read_image_sizes
from clsa_search.data.image_io import (
    IMAGE_FORMATS,
    IMAGE_SUFFIXES,
    read_image,
    read_image_size,
)
from clsa_search.errors import InputError
from clsa_search.visualize.dataset_samples import draw_samples
from tests.support.corruption import corrupt, make_broken_palette_png, mend_png

STORED = {  # from the upright image to the pixels of a file with each EXIF orientation
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: np.rot90,  # to the left, because a viewer turns it to the right
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.fixture
def upright():
    """A 48 x 32 image with four different quarters."""
    quarters = np.array([[[200, 40, 40], [40, 200, 40]], [[40, 40, 200], [220, 220, 220]]])
    return quarters.astype(np.uint8).repeat(16, axis=0).repeat(24, axis=1)


def save_turned(path, upright, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright))
    options = {"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(stored).save(path, exif=exif, **options)
    return path


needs_avif = pytest.mark.skipif("AVIF" not in IMAGE_FORMATS, reason="Pillow decodes no AVIF")
AVIF = pytest.param(".avif", marks=needs_avif)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", AVIF])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_is_read_upright(orientation, suffix, upright, tmp_path):
    path = save_turned(tmp_path / f"a{suffix}", upright, orientation)
    pixels = read_image(path)
    assert pixels.shape == upright.shape
    inner = np.s_[2::12, 2::20]  # away from edges, because lossy formats blur them
    assert np.abs(pixels[inner].astype(int) - upright[inner]).max() < 12
    assert read_image_size(path) == (48, 32)


def test_sizes_are_in_the_order_of_their_files(upright, tmp_path):
    paths = [save_turned(tmp_path / "a.jpg", upright, 6), tmp_path / "b.png"]
    Image.new("L", (7, 9)).save(paths[1])
    assert read_image_sizes(paths).tolist() == [[48, 32], [7, 9]]
    assert read_image_sizes([]).shape == (0, 2)


def test_orientation_behind_the_pixels_of_a_png_counts(upright, tmp_path):
    path = save_turned(tmp_path / "a.png", upright, 6)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    chunk = content[start : start + 12 + int.from_bytes(content[start : start + 4], "big")]
    end = content.index(b"IEND") - 4
    path.write_bytes(content[:start] + content[start + len(chunk) : end] + chunk + content[end:])
    assert read_image_size(path) == (48, 32) and read_image(path).shape == (32, 48, 3)


@pytest.mark.parametrize("exif", [b"Exif\x00\x00no tags at all", b"Exif\x00\x00"])
def test_an_unreadable_orientation_turns_nothing(exif, upright, tmp_path):
    Image.fromarray(upright).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (32, 48, 3)
    assert read_image_size(tmp_path / "a.jpg") == (48, 32)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_gray_is_scaled(suffix, tmp_path):
    deep = np.array([[0, 255, 256], [32768, 65279, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / f"a{suffix}")
    assert read_image(tmp_path / f"a{suffix}").tolist() == [
        [[0] * 3, [0] * 3, [1] * 3],
        [[128] * 3, [254] * 3, [255] * 3],
    ]


def test_other_modes(tmp_path):
    seen = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    seen.save(tmp_path / "alpha.png")
    assert read_image(tmp_path / "alpha.png").tolist() == [[[10, 20, 30]] * 2]
    seen.convert("RGB").quantize(4).save(tmp_path / "palette.png")
    assert Image.open(tmp_path / "palette.png").mode == "P"
    assert read_image(tmp_path / "palette.png", "BGR").tolist() == [[[30, 20, 10]] * 2]
    Image.new("1", (2, 1), 1).save(tmp_path / "bits.png")
    assert read_image(tmp_path / "bits.png").tolist() == [[[255] * 3] * 2]
    assert read_image(tmp_path / "bits.png", "L").tolist() == [[[255], [255]]]


@pytest.mark.parametrize(
    ("pixels", "problem"),
    [
        (np.array([[0.5]], dtype=np.float32), "floating-point numbers; expected 8 or 16 bits"),
        (np.array([[70000]], dtype=np.int32), "reach 70000; expected 8 or 16 bits"),
        (np.array([[-1]], dtype=np.int32), "expected 8 or 16 bits"),
    ],
)
def test_pixels_without_a_known_range_are_refused(pixels, problem, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=f"a.tif: not readable as an image: its .*{problem}"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("read", [read_image, read_image_size])
def test_other_files_than_images_are_named(read, tmp_path):
    (tmp_path / "a.jpg").write_text("people in a street")
    with pytest.raises(InputError, match="a.jpg: not readable as an image"):
        read(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="b.jpg: no such file"):
        read(tmp_path / "b.jpg")


def test_boxes_belong_to_the_image_as_viewed(upright, tmp_path):
    """Mapper and samples find the green of the upper right quarter in its box."""
    person = {"bbox": [24.0, 0.0, 48.0, 16.0], "category_id": 0, "person_id": 3}
    record = {
        "file_name": str(save_turned(tmp_path / "a.jpg", upright, 6)),
        "image_id": "a",
        "width": 48,
        "height": 32,
        "annotations": [person],
    }
    build = {"is_train": True, "augmentations": [], "image_format": "RGB"}
    example = PersonSearchDatasetMapper(**build)(record)
    ((x0, y0, x1, y1),) = example["instances"].gt_boxes.tensor.int().tolist()
    crop = example["image"][:, y0 + 3 : y1 - 3, x0 + 3 : x1 - 3]
    assert (crop[1] > 180).all() and (crop[0] < 60).all()
    (sample,) = draw_samples([record], 1, tmp_path / "samples")
    assert Image.open(sample).size == (48, 32)
    with pytest.raises(InputError, match="a.jpg: 48 x 32 pixels as viewed; expected 32 x 48"):
        PersonSearchDatasetMapper(**build)(record | {"width": 32, "height": 48})


def test_every_suffix_is_readable(upright, tmp_path):
    Image.init()
    assert {Image.EXTENSION[suffix] for suffix in IMAGE_SUFFIXES} == set(IMAGE_FORMATS)
    for suffix in sorted(IMAGE_SUFFIXES):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(upright).save(path)
        assert read_image(path).shape == upright.shape and read_image_size(path) == (48, 32)


def test_a_postscript_file_starts_no_program(upright, tmp_path, monkeypatch):
    def start(*arguments, **options):
        raise AssertionError(f"{arguments} is started")

    Image.fromarray(upright).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    monkeypatch.setattr(subprocess, "Popen", start)
    for read in (read_image, read_image_size):
        with pytest.raises(InputError, match="a.jpg: not readable as an image; expected one of"):
            read(tmp_path / "a.jpg")


def test_a_png_without_its_palette_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(make_broken_palette_png())
    with pytest.raises(InputError, match="a.png: not readable as an image: "):
        read_image(tmp_path / "a.png")


def test_images_without_memory_for_them_are_named(upright, tmp_path, monkeypatch):
    def fail(self):
        raise MemoryError

    Image.fromarray(upright).save(tmp_path / "a.bmp")
    monkeypatch.setattr(Image.Image, "load", fail)
    with pytest.raises(InputError, match="a.bmp: not readable as an image: MemoryError"):
        read_image(tmp_path / "a.bmp")


def test_large_images_are_refused_before_they_are_decoded(upright, tmp_path):
    Image.fromarray(upright).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=48 * 32).shape == (32, 48, 3)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: content.index(b"IDAT") + 4])
    with pytest.raises(InputError, match="too many pixels; expected at most 0 million"):
        read_image(tmp_path / "a.png", max_pixels=48 * 32 - 1)


@pytest.mark.filterwarnings("ignore")  # of Pillow about damaged files
@pytest.mark.parametrize(
    ("image_format", "mode"),
    [*((name, "RGB") for name in IMAGE_FORMATS), ("PNG", "P"), ("BMP", "P"), ("TIFF", "P")],
)
def test_damaged_images_are_read_or_named(image_format, mode, tmp_path):
    """Each damaged file has pixels of the announced size, or its name is in the error."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(noise.repeat(2, axis=0).repeat(2, axis=1))
    path = tmp_path / "a.jpg"
    image.convert(mode).save(path, image_format)
    content = path.read_bytes()
    outcomes = set()
    for seed in range(140):
        damaged = corrupt(content, seed)
        path.write_bytes(mend_png(damaged) if image_format == "PNG" and seed % 2 else damaged)
        try:
            width, height = read_image_size(path)
            assert width > 0 and height > 0
            assert read_image(path).shape == (height, width, 3)
            outcomes.add("read")
        except InputError as error:
            assert str(path) in str(error)
            outcomes.add("named")
    assert outcomes == {"read", "named"}
