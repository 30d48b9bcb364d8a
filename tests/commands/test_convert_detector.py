"""A public detector and a public re-ID network: convert, index, query, train from them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from clsa_search.engine import PersonSearchTrainer, load_config, load_trained_model
from clsa_search.engine.inference import predict
from clsa_search.errors import InputError
from clsa_search.gallery import open_store
from tests.support.onnx_files import CROP, embed_in_torch, write_onnx
from tests.support.public_detectors import build_zoo_model, save_zoo_file
from tests.support.public_reid import FastReID, Torchreid, randomize
from tests.support.tiny import load_tool

R50 = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
FEW = ["MODEL.RPN.POST_NMS_TOPK_TEST", "40", "INPUT.MIN_SIZE_TEST", "0"]
SMALL_CROPS = ["--crop-size", "64", "32"]


@pytest.fixture(scope="module")
def public():
    """The public detector."""
    return build_zoo_model(R50, "MODEL.RESNETS.WIDTH_PER_GROUP", "4", *FEW)


@pytest.fixture
def run(monkeypatch, tmp_path, public):
    """Run the command in a folder with the public files."""
    monkeypatch.chdir(tmp_path)
    save_zoo_file(public, Path("zoo.pkl"))
    torch.save({"state_dict": randomize(Torchreid()).state_dict()}, "torchreid.pth.tar")
    return lambda *argv: load_tool("convert_weights").main([str(word) for word in argv])


@pytest.fixture
def weights(run):
    reid = ["--reid", "torchreid.pth.tar", *SMALL_CROPS]
    run("--detector", "zoo.pkl", *reid, "weights/street.pth", *FEW)
    return "weights/street.pth"


def find_people(model, image):
    """Return boxes and scores of people in an image (3, H, W), in the order of the model."""
    with torch.no_grad():
        found = model.eval()([{"image": image}])[0]["instances"]
    found = found[found.pred_classes == 0]
    return found.pred_boxes.tensor, found.scores


def assert_same_people(model, public, tolerance=0.0):
    image = torch.randint(0, 256, (3, 128, 160))
    for own, expected in zip(find_people(model, image), find_people(public, image), strict=True):
        assert len(own) > 10
        torch.testing.assert_close(own, expected, atol=tolerance, rtol=0)


def write_image(path):
    pixels = np.random.default_rng(0).integers(0, 256, (128, 160, 3), dtype=np.uint8)
    cv2.imwrite(path, pixels)


@pytest.mark.parametrize("embedder", ["torchreid", "fast-reid"])
def test_one_command_then_index_and_query(run, public, embedder, capsys):
    if embedder == "fast-reid":
        torch.save({"model": randomize(FastReID()).state_dict()}, "torchreid.pth.tar")
    reid = ["--reid", "torchreid.pth.tar", *SMALL_CROPS]
    run("--detector", "zoo.pkl", *reid, "weights/street.pth", *FEW)
    printed = capsys.readouterr().out
    assert "Faster R-CNN R50-FPN of Detectron2, 80 classes" in printed
    assert "weights/street.yaml" in printed and "--weights weights/street.pth" in printed
    assert_same_people(
        load_trained_model("weights/street.pth", opts=["MODEL.DEVICE", "cpu"]).model, public
    )

    Path("images").mkdir()
    write_image("images/a.png")
    search = load_tool("search_gallery")
    options = ["--weights", "weights/street.pth", "--device", "cpu", "--store", "g.db"]
    search.main(["index", *options, "images", "--min-score", "0.1"])
    capsys.readouterr()
    search.main(["query", *options, "--json", "--image", "images/a.png", "--box", "5,8,60,90"])
    matches = json.loads(capsys.readouterr().out)["queries"][0]["matches"]
    assert matches


def test_the_config_holds_what_the_detector_needs(weights):
    text = Path("weights/street.yaml").read_text()
    cfg = load_config("weights/street.yaml")
    assert "ASPECT_RATIOS" in text and "POOLER_SAMPLING_RATIO" in text
    assert cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS == [[0.5, 1.0, 2.0]]
    assert (cfg.MODEL.RPN.POST_NMS_TOPK_TEST, cfg.INPUT.MIN_SIZE_TEST) == (40, 0)
    assert (cfg.INPUT.FORMAT, cfg.MODEL.REID.CROP_SIZE) == ("BGR", [64, 32])


def training_config(weights, tiny_data, *opts):
    return load_config(
        "weights/street.yaml",
        [
            *("MODEL.WEIGHTS", weights, "MODEL.DEVICE", "cpu", "DATASETS.TEST", "()"),
            *("DATASETS.TRAIN", f"('{tiny_data / 'train.json'}',)"),
            *("INPUT.MIN_SIZE_TRAIN", "(96,)", "SOLVER.IMS_PER_BATCH", "2", "OUTPUT_DIR", "output"),
            *("SOLVER.MAX_ITER", "2", "DATALOADER.NUM_WORKERS", "0", "SOLVER.STEPS", "()"),
            *opts,
        ],
    )


def test_training_starts_from_the_detector_as_it_is(weights, public, tiny_data):
    trainer = PersonSearchTrainer(training_config(weights, tiny_data))
    trainer.resume_or_load(resume=False)
    # the layout in memory for training changes the order of additions
    assert_same_people(trainer.model, public, tolerance=1e-3)
    trainer.model.train()
    trainer.train()
    model = load_trained_model("output/model_final.pth").model
    boxes, scores = find_people(model, torch.randint(0, 256, (3, 128, 160)))
    assert boxes.isfinite().all() and scores.isfinite().all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[1.0, 2.0, 3.0]]"),
        ("MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", "2"),
        ("INPUT.FORMAT", "RGB"),
        ("MODEL.RESNETS.STRIDE_IN_1X1", "False"),
    ],
)
def test_weights_whose_detector_needs_other_values_are_refused(weights, tiny_data, key, value):
    trainer = PersonSearchTrainer(training_config(weights, tiny_data, key, value))
    with pytest.raises(InputError, match=f"needs {key} .*weights/street.yaml"):
        trainer.resume_or_load(resume=False)
    trainer.cfg.defrost()
    trainer.cfg.MODEL.WEIGHTS = "zoo.pkl"
    command = r"clsa-convert-weights --detector .*zoo.pkl --reid"
    with pytest.raises(InputError, match=f"needs {key} .*{command}"):
        trainer.resume_or_load(resume=False)
    with pytest.raises(InputError, match=f"needs {key}"):
        load_trained_model(weights, opts=["MODEL.DEVICE", "cpu", key, value])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.REID.BACKBONE.LAST_STRIDE", "1"),
        ("MODEL.REID.BACKBONE.STEM.RELU", "False"),
        ("MODEL.REID.INPUT.FORMAT", "BGR"),
    ],
)
def test_weights_whose_embedder_needs_other_values_are_refused(weights, tiny_data, key, value):
    message = f"re-ID network needs {key} .*weights/street.yaml"
    trainer = PersonSearchTrainer(training_config(weights, tiny_data, key, value))
    with pytest.raises(InputError, match=message):
        trainer.resume_or_load(resume=False)
    with pytest.raises(InputError, match=message):
        load_trained_model(weights, opts=["MODEL.DEVICE", "cpu", key, value])
    trainer.cfg.defrost()
    trainer.cfg.MODEL.WEIGHTS = weights
    with pytest.raises(InputError, match=message):
        predict(trainer.cfg, str(tiny_data / "gallery.json"), "out")


def test_wrong_files_and_options_are_one_line(run, capsys):
    torch.jit.script(torch.nn.Linear(2, 2)).save("program.pt")
    torch.save({"layer1.0.conv1.weight": torch.ones(2, 2)}, "resnet.pth")
    reid = ["--reid", "torchreid.pth.tar"]
    for words, message in (
        (["--detector", "zoo.pkl", "a.pth"], "add --reid with a public re-ID network"),
        (["--detector", "zoo.pkl", *reid, "a.pt"], "expected a name that ends in .pth"),
        (["--detector", "zoo.pkl", *reid, "a.pth", "--partial"], "no options for backbones"),
        (["resnet.pth", "a.pth", *reid, "--reid-drop", "fc"], "only --detector with --reid takes"),
        (["resnet.pth", "a.pth", "--person-class", "0"], "takes --person-class; leave it out"),
        (["--search", "resnet.pth", "a.pth", "--crop-size", "4", "4"], "takes --crop-size; leave"),
        (["--detector", "zoo.pkl", *reid, "torchreid.pth.tar"], "is the file to convert"),
        (["resnet.pth", "resnet.pth"], "'resnet.pth': is the file to convert; expected another"),
        (["--detector", "resnet.pth", *reid, "a.pth"], "resnet.pth: a ResNet alone; expected"),
        (
            ["--detector", "program.pt", *reid, "a.pth"],
            "refused, because it is a Torch",
        ),
        (["--detector", "zoo.pkl", "--reid", "program.pt", "a.pth"], "is a TorchScript archive"),
        (["--detector", "zoo.pkl", *reid, "a.pth", "MODEL.NONE", "1"], "no key MODEL.NONE"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            run(*words)
        assert message in capsys.readouterr().err
    assert not Path("a.pth").exists()


@pytest.mark.parametrize("suffix", [".pth", ".yaml", ".onnx"])
def test_each_file_to_write_is_checked_before_the_networks_are_read(run, capsys, suffix):
    Path("a.onnx").touch()  # would be an error of its own
    Path(f"street{suffix}").mkdir()
    with pytest.raises(SystemExit):
        run("--detector", "zoo.pkl", "--reid", "a.onnx", "street.pth")
    assert f"street{suffix}: is a folder; expected" in capsys.readouterr().err


def test_an_onnx_file_beside_a_detector_indexes_detections_of_others(run, public, capsys):
    pytest.importorskip("onnxruntime")
    data = write_onnx(Path("a.onnx")).read_bytes()
    pixels = ["--reid-mean", "9", "8", "7", "--reid-std", "2", "3", "4", "--reid-format", "BGR"]
    size = ["--crop-size", *map(str, CROP)]
    run("--detector", "zoo.pkl", "--reid", "a.onnx", *size, *pixels, "weights/street.pth", *FEW)
    assert Path("weights/street.onnx").read_bytes() == data
    assert "an ONNX file is a program that is run: SHA-256" in capsys.readouterr().out
    assert_same_people(
        load_trained_model("weights/street.pth", opts=["MODEL.DEVICE", "cpu"]).model, public
    )
    Path("images").mkdir()
    Path("labels").mkdir()
    write_image("images/a.png")
    Path("labels/a.txt").write_text("0 0.25 0.25 0.1 0.25 0.9\n0 0.5 0.5 0.2 0.5 0.8\n")
    search = load_tool("search_gallery")
    options = ["--weights", "weights/street.pth", "--device", "cpu", "--store", "g.db"]
    search.main(["index", *options, "--detections", "labels", "images"])
    with open_store("g.db") as store:
        first, second = sorted(store.scan(), key=lambda found: found.box)
        assert second.box == pytest.approx((64, 32, 96, 96)) and second.score == pytest.approx(0.8)
        crop = torch.from_numpy(cv2.imread("images/a.png")[16:48, 32:48].transpose(2, 0, 1))
        statistics = torch.tensor([[9.0, 8, 7], [2, 3, 4]]).view(2, 3, 1, 1)
        expected = embed_in_torch(((crop - statistics[0]) / statistics[1])[None])[0]
        assert first.box == pytest.approx((32, 16, 48, 48))
        np.testing.assert_allclose(first.embedding, expected / expected.norm(), atol=1e-5)
    search.main(["query", "--device", "cpu", "--store", "g.db", "--id", "1"])
    Path("weights/street.onnx").write_bytes(data + b"\0")
    with pytest.raises(SystemExit):
        search.main(["query", "--device", "cpu", "--store", "g.db", "--id", "1"])
    assert "street.onnx: is another file than that of the weights" in capsys.readouterr().err
