"""Images are read upright for every orientation, and with 8 bits for every depth."""

import numpy as np
import pytest
from PIL import Image

from clsa_search.data.dataset_mapper import PersonSearchDatasetMapper
from clsa_search.data.image_io import read_image, read_image_size, read_image_sizes
from clsa_search.errors import InputError
from clsa_search.visualize.dataset_samples import draw_samples

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


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
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
