"""A public checkpoint of SeqNet or NAE: convert it, detect, evaluate, index, query."""

import json

import cv2
import numpy as np
import pytest
import torch

from clsa_search.engine import load_config
from clsa_search.engine.inference import predict
from clsa_search.errors import InputError
from clsa_search.evaluation import load_predictions
from clsa_search.retrieval.predictor import PersonSearchPredictor
from tests.support.public_searchers import (
    GIVEN_BOXES,
    build_public_searcher,
    make_images,
)
from tests.support.tiny import load_tool

SMALL = ["INPUT.MIN_SIZE_TEST", "0", "MODEL.RPN.POST_NMS_TOPK_TEST", "60"]


@pytest.fixture(scope="module", params=["NAE", "SeqNet"])
def public(request):
    return build_public_searcher(request.param)


@pytest.fixture
def run(monkeypatch, tmp_path, public):
    """Run the command in a folder with the public checkpoint."""
    monkeypatch.chdir(tmp_path)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.003)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [16])
    training = {"optimizer": optimizer.state_dict(), "lr_scheduler": scheduler.state_dict()}
    torch.save({"model": public.state_dict(), "epoch": 19, **training}, "epoch_19.pth")
    return lambda *argv: load_tool("convert_weights").main([str(word) for word in argv])


@pytest.fixture
def weights(run):
    run("--search", "epoch_19.pth", "weights/net.pth", *SMALL)
    return "weights/net.pth"


def test_the_written_model_detects_and_embeds_as_the_public_one(public, weights):
    image = make_images()[0]
    with torch.no_grad():
        (boxes, scores, weighted), *_ = public([image])
        given = public([image], [GIVEN_BOXES])
    predictor = PersonSearchPredictor.load(weights, device="cpu")
    array = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    (found,) = predictor.detect([array])
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-4, rtol=1e-5)
    np.testing.assert_allclose(found.scores, scores, atol=1e-4)
    np.testing.assert_allclose(found.embeddings * found.scores[:, None], weighted, atol=1e-4)
    np.testing.assert_allclose(predictor.embed(array, GIVEN_BOXES.numpy()), given, atol=1e-5)


def test_evaluation_index_and_query(weights, tiny_data, tmp_path, capsys):
    cfg = load_config("weights/net.yaml", ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", weights])
    cfg.DATALOADER.NUM_WORKERS = 0
    results = predict(cfg, str(tiny_data / "gallery.json"), "out")
    assert results["search"]["mAP"] >= 0
    assert load_predictions("out/predictions.npz").detections.values.embeddings.shape[1] == 256

    (tmp_path / "images").mkdir()
    image = (make_images()[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    cv2.imwrite("images/a.png", np.ascontiguousarray(image[..., ::-1]))
    search = load_tool("search_gallery")
    search.main(["index", "--weights", weights, "--store", "g.db", "--device", "cpu", "images"])
    capsys.readouterr()
    search.main(
        ["query", "--weights", weights, "--device", "cpu", "--store", "g.db", "--json"]
        + ["--image", "images/a.png", "--box", "5,8,60,90"]
    )
    assert json.loads(capsys.readouterr().out)["queries"][0]["matches"]


def test_report_and_refusals(run, public, capsys):
    run("--search", "epoch_19.pth", "net.pth")
    printed = capsys.readouterr().out
    assert "R50-C4" in printed and "net.yaml" in printed and "--weights net.pth" in printed
    assert load_config("net.yaml").INPUT.MIN_SIZE_TEST == 900
    with pytest.raises(SystemExit):
        run("--search", "epoch_19.pth", "net.pth", "--reid", "epoch_19.pth")
    with pytest.raises(SystemExit):
        run("epoch_19.pth")
    torch.save({"model": {"conv1.weight": torch.zeros(1)}}, "other.pth")
    for words, message in (
        (["--search", "other.pth", "b.pth"], "other.pth: holds no searching model"),
        (["--search", "epoch_19.pth", "b.pt"], "'b.pt': expected a name that ends in .pth"),
        (["--search", "epoch_19.pth", "b.pth", "MODEL.RESNETS.DEPTH", "101"], "missing"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            run(*words)
        assert message in capsys.readouterr().err


def test_an_extra_tensor_is_not_dropped_silently(run, public, capsys):
    state = {**public.state_dict(), "roi_heads.attention.weight": torch.zeros(1)}
    torch.save({"model": state}, "extra.pth")
    with pytest.raises(SystemExit):
        run("--search", "extra.pth", "net.pth")
    assert "roi_heads.attention.weight has no place in it" in capsys.readouterr().err


def test_a_config_of_a_training_is_still_found(weights, tmp_path):
    (tmp_path / "weights" / "net.yaml").rename(tmp_path / "weights" / "config.yaml")
    assert PersonSearchPredictor.load(weights, device="cpu")
    (tmp_path / "weights" / "config.yaml").unlink()
    with pytest.raises(InputError, match="config.yaml does not exist; .*weights/net.yaml, or"):
        PersonSearchPredictor.load(weights, device="cpu")
