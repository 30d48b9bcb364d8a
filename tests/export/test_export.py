"""Exported files give the results of the eager model, without Detectron2 and this package."""

import json

import numpy as np
import pytest
import torch
import torchvision
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import Boxes, Instances

from clsa_search.engine.trained_model import load_trained_model
from clsa_search.export import export_model, formats
from clsa_search.export.exportable import resize_image
from tests.support.export_cases import BRANCHES, export_whole, run_plainly, save_trained
from tests.support.model_inputs import random_image

SIZES = [(96, 128), (72, 96), (200, 90), (60, 300), (96, 97), (300, 400)]  # height, width


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return {
        name: save_trained(tmp_path_factory.mktemp(name), opts) for name, opts in BRANCHES.items()
    }


@pytest.fixture
def weights(checkpoints):
    return checkpoints["CropBranch"]


@pytest.fixture(scope="module")
def reid_torchscript(checkpoints, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "reid.pt"
    return export_model(checkpoints["CropBranch"], path, what="reid", file_format="torchscript")


@pytest.fixture(scope="module")
def onnx_session(checkpoints, tmp_path_factory):
    for package in formats.ONNX_PACKAGES:
        pytest.importorskip(package)
    path = tmp_path_factory.mktemp("export") / "reid.onnx"
    export_model(checkpoints["CropBranch"], path, what="reid", file_format="onnx")
    return pytest.importorskip("onnxruntime").InferenceSession(path)


@pytest.fixture(scope="module")
def whole_files(checkpoints, tmp_path_factory):
    return {
        name: export_whole(weights, tmp_path_factory.mktemp("export"))
        for name, weights in checkpoints.items()
    }


def generate_crops(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 32, 16), generator=generator, dtype=torch.uint8)


@torch.no_grad()
def embed_eagerly(weights, crops):
    """Embed each crop as an image with one box over all of it."""
    model = load_trained_model(weights).model
    rows = []
    for crop in crops:
        whole = Instances((32, 16))
        whole.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, 16.0, 32.0]]))
        (output,) = model.inference([{"image": crop, "height": 32, "width": 16}], [whole])
        rows.append(output["instances"].embeddings)
    return torch.cat(rows) if rows else torch.empty(0, 24)


@torch.no_grad()
def detect_eagerly(weights, images, opts=()):
    """Return boxes, scores and embeddings of each image (3, H, W)."""
    trained = load_trained_model(weights, opts=opts)
    outputs = []
    for image in images:
        height, width = image.shape[1:]
        resized = resize_image(image, 96, trained.cfg.INPUT.MAX_SIZE_TEST)
        inputs = [{"image": resized, "height": height, "width": width}]
        instances = trained.model(inputs)[0]["instances"]
        outputs.append((instances.pred_boxes.tensor, instances.scores, instances.embeddings))
    return outputs


def test_crops_get_the_embeddings_of_boxes_that_cover_them(weights, reid_torchscript, tmp_path):
    batches = [generate_crops(count, seed=count) for count in (3, 0, 1, 40)]
    batches.append(generate_crops(5).float() + 0.25)  # resampled pixels need not be whole numbers
    plain = run_plainly(reid_torchscript.path, batches, tmp_path)
    for batch, rows in zip(batches, plain["results"], strict=True):
        expected = embed_eagerly(weights, batch)
        assert rows.shape == (len(batch), 24) and not rows.requires_grad
        torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-4)
    spread = plain["results"][3] @ plain["results"][3].T
    assert spread.min() < 0.99, "the tiny model must tell crops apart"


def test_onnx_embeds_any_number_of_crops_as_the_model_does(weights, onnx_session):
    for count in (2, 0, 1, 40):
        crops = generate_crops(count, seed=count)
        (rows,) = onnx_session.run(["embeddings"], {"crops": crops.numpy().astype(np.float32)})
        assert rows.shape == (count, 24)
        expected = embed_eagerly(weights, crops).numpy()
        np.testing.assert_allclose(rows, expected, atol=1e-5, rtol=1e-4)


def test_files_describe_themselves(weights, reid_torchscript, onnx_session):
    extra = {"about.json": ""}
    torch.jit.load(reid_torchscript.path, _extra_files=extra)
    metadata = onnx_session.get_modelmeta().custom_metadata_map
    assert metadata == json.loads(extra["about.json"]) == reid_torchscript.about
    digest = load_trained_model(weights).weights_sha256
    expected = {
        **{"what": "reid", "levels": "res3,res4,res5", "width": "24", "channel_order": "BGR"},
        **{"crop_height": "32", "crop_width": "16", "weights_sha256": digest, "device": "cpu"},
    }
    assert expected.items() <= metadata.items()


def test_crops_of_another_size_are_refused(reid_torchscript, onnx_session):
    exported = torch.jit.load(reid_torchscript.path)
    for shape in ((2, 3, 31, 16), (3, 32, 16), (2, 1, 32, 16)):
        with pytest.raises(torch.jit.Error, match=r"expected \(crops, 3, 32, 16\)"):
            exported(torch.zeros(shape))
    with pytest.raises(Exception, match="Expected: 32"):
        onnx_session.run(None, {"crops": np.zeros((2, 3, 31, 16), np.float32)})


@pytest.mark.parametrize("size", [*SIZES, (1080, 1920)])
@pytest.mark.parametrize("limits", [(96, 1500), (96, 130), (0, 130)])
def test_images_are_resized_as_detectron2_does(size, limits):
    image = random_image(0, size)
    pixels = image.permute(1, 2, 0).numpy()
    if limits[0] > 0:
        pixels = ResizeShortestEdge(limits[0], limits[1]).get_transform(pixels).apply_image(pixels)
    resized = torch.jit.script(resize_image)(image, *limits)
    assert resized.dtype == torch.uint8
    expected = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    torch.testing.assert_close(resized.int(), expected.int(), atol=1, rtol=0)
    assert (resized != expected).float().mean() < 0.02


def test_a_line_of_pixels_keeps_a_height():
    assert resize_image(random_image(0, (1, 700)), 96, 130).shape == (3, 1, 130)


@pytest.mark.parametrize("branch", BRANCHES)
def test_the_whole_model_detects_and_embeds_as_the_eager_one(
    branch, checkpoints, whole_files, tmp_path
):
    # TorchScript optimizes at the second call
    images = [random_image(seed, size) for seed, size in enumerate(SIZES)] * 2
    expected = detect_eagerly(checkpoints[branch], images)
    plain = run_plainly(whole_files[branch], images, tmp_path)
    assert len({len(scores) for _, scores, _ in expected}) > 1, "the number of detections varies"
    for outputs, values in zip(plain["results"], expected, strict=True):
        assert not any(output.requires_grad for output in outputs)
        for output, value in zip(outputs, values, strict=True):
            torch.testing.assert_close(output, value, atol=1e-4, rtol=1e-4)
    assert plain["about"]["what"] == "model" and "crop_height" not in plain["about"]


def test_an_image_without_detections_is_an_ordinary_input(weights, tmp_path):
    images = [random_image(seed, (96, 128)) for seed in range(6)]
    best = sorted(max(scores.tolist()) for _, scores, _ in detect_eagerly(weights, images))
    opts = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", str((best[2] + best[3]) / 2)]
    expected = [len(scores) for _, scores, _ in detect_eagerly(weights, images, opts)]
    assert expected.count(0) == 3
    plain = run_plainly(export_whole(weights, tmp_path, opts), images, tmp_path)
    assert [len(scores) for _, scores, _ in plain["results"]] == expected
    for boxes, scores, rows in plain["results"]:
        assert boxes.shape == (len(scores), 4) and rows.shape == (len(scores), 24)


def test_crops_cut_by_torchvision_get_the_embeddings_of_the_whole_model(
    reid_torchscript, whole_files
):
    image = random_image(3, (96, 128))  # a size that the model does not change
    detections = torch.jit.load(whole_files["CropBranch"])(image)
    boxes = detections.boxes
    inside = (boxes >= 1).all(dim=1) & (boxes < torch.tensor([127.0, 95] * 2)).all(dim=1)
    crops = torchvision.ops.roi_align(image[None].float(), [boxes[inside]], (32, 16), aligned=True)
    rows = torch.jit.load(reid_torchscript.path)(crops)
    assert len(rows) > 2
    torch.testing.assert_close(rows, detections.embeddings[inside], atol=1e-4, rtol=1e-4)


def test_images_of_another_kind_are_refused(whole_files):
    exported = torch.jit.load(whole_files["CropBranch"])
    for image in (torch.zeros(96, 128, 3), torch.zeros(1, 3, 9, 9), torch.zeros(3, 0, 9)):
        with pytest.raises(torch.jit.Error, match=r"has shape .*; expected \(3, H, W\)"):
            exported(image.byte())
    with pytest.raises(torch.jit.Error, match="not of uint8"):
        exported(random_image(0).float())
