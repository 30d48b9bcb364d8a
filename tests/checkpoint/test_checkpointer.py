"""Loading of checkpoints: complete ones, incomplete ones, and those of other models."""

import argparse
import os
import pickle

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from clsa_search.checkpoint import PersonSearchCheckpointer
from clsa_search.checkpoint.safe_loading import check_finite
from clsa_search.errors import InputError


@pytest.fixture
def checkpoint(tiny_cfg, tmp_path):
    model = build_model(tiny_cfg)
    PersonSearchCheckpointer(model, str(tmp_path)).save("model")
    return tmp_path / "model.pth"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "does not exist"),
        ("cut short", "not a readable checkpoint"),
        ("text", "not a readable checkpoint"),
        ("wider", r"has shape \(.*, but \(.* in the config's model"),
        ("another model", "is missing"),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(tiny_cfg, checkpoint, fault, message):
    content = checkpoint.read_bytes()
    if fault == "missing":
        checkpoint.unlink()
    elif fault == "cut short":
        checkpoint.write_bytes(content[: len(content) // 2])
    elif fault == "text":
        checkpoint.write_text("weights")
    elif fault == "wider":
        tiny_cfg.MODEL.REID.HEAD.EMBED_DIM = 24
    else:
        torch.save({"model": {"weight": torch.zeros(3)}}, checkpoint)
    checkpointer = PersonSearchCheckpointer(build_model(tiny_cfg))
    with pytest.raises(InputError, match=rf"model.pth.*{message}"):
        checkpointer.load_strictly(str(checkpoint), checkpointables=[])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tiny_cfg, checkpoint, value):
    content = torch.load(checkpoint)
    name = next(name for name in content["model"] if name.endswith("res4.0.conv1.weight"))
    content["model"][name][0, 0] = value
    torch.save(content, checkpoint)
    checkpointer = PersonSearchCheckpointer(build_model(tiny_cfg))
    for load in (checkpointer.load_weights, checkpointer.load_strictly):
        with pytest.raises(InputError, match=f"model.pth: '{name}' holds NaN or infinity"):
            load(str(checkpoint))


@pytest.mark.parametrize(
    ("form", "convert"),
    [
        ("sparse", lambda weight: weight.to_sparse()),
        ("sparse", lambda weight: weight.reshape(8, -1).to_sparse_csr()),
        ("quantized", lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)),
        ("nested", lambda weight: torch.nested.nested_tensor([weight[0], weight[0, :2]])),
        ("meta", lambda weight: weight.to("meta")),
        ("packed", lambda weight: torch.empty(8, dtype=torch.bits8)),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested")
def test_tensors_that_are_not_plain_are_refused_by_name(form, convert):
    tensors = {"a.weight": torch.zeros(3), "b.weight": convert(torch.rand(8, 4, 3, 3))}
    with pytest.raises(InputError, match=f"a.pth: 'b.weight' is a {form}.* tensor; expected plain"):
        check_finite("a.pth", tensors)


def test_plain_tensors_of_all_types_are_finite():
    names = "float64 float16 bfloat16 float8_e4m3fn float8_e5m2 int8 uint8 bool int64 complex64"
    check_finite("a.pth", {name: torch.ones(3).to(getattr(torch, name)) for name in names.split()})
    with pytest.raises(InputError, match="'w' holds NaN"):
        check_finite("a.pth", {"w": torch.tensor([float("nan")]).to(torch.float8_e5m2)})


SHARED = ["MODEL.REID.NAME", "SharedBranch"]


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (SHARED, r"reid_branch.backbone.stem.conv1.weight is not in .* \(and \d+ more\)"),
        (["MODEL.REID.LEVELS", "['res3', 'res5']"], r"heads.res4.pool.p is not .*\d+ more"),
    ],
)
def test_parameters_that_the_model_lacks_are_refused(tiny_cfg, checkpoint, opts, message):
    # a model without classifiers, as for inference
    tiny_cfg.merge_from_list([*opts, "MODEL.REID.NUM_IDS", "0"])
    checkpointer = PersonSearchCheckpointer(build_model(tiny_cfg))
    with pytest.raises(
        InputError, match=rf"model.pth: not a checkpoint of the config's model.*{message}"
    ):
        checkpointer.load_strictly(str(checkpoint), checkpointables=[])


def test_tensors_without_effect_may_be_left_over(tiny_cfg, checkpoint):
    content = torch.load(checkpoint)
    content["model"]["proposal_generator.anchor_generator.cell_anchors.0"] = torch.zeros(3, 4)
    torch.save(content, checkpoint)
    tiny_cfg.MODEL.RESNETS.NORM = tiny_cfg.MODEL.REID.BACKBONE.RESNETS.NORM = "FrozenBN"
    model = build_model(tiny_cfg)
    PersonSearchCheckpointer(model).load_strictly(str(checkpoint), checkpointables=[])
    for name, value in model.state_dict().items():
        assert torch.equal(value, content["model"][name]), name


def test_a_failed_save_keeps_the_earlier_checkpoint(tiny_cfg, checkpoint, monkeypatch):
    content = checkpoint.read_bytes()
    checkpointer = PersonSearchCheckpointer(build_model(tiny_cfg), str(checkpoint.parent))

    def stop(data, file):
        file.write(content[:1000])
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", stop)
    with pytest.raises(OSError, match="disk full"):
        checkpointer.save("model")
    assert checkpoint.read_bytes() == content
    assert checkpointer.get_all_checkpoint_files() == [str(checkpoint)]


@pytest.fixture
def saved(tiny_cfg, tmp_path):
    """Save checkpoints of a run after 2, 4 and 10 iterations; cut the last one short."""
    checkpointer = PersonSearchCheckpointer(nn.Linear(2, 2), str(tmp_path))
    for iteration in (1, 3, 9):
        trainer = argparse.Namespace(state_dict=lambda i=iteration: {"iteration": i})
        checkpointer.checkpointables["trainer"] = trainer
        checkpointer.save(f"model_{iteration:07d}")
    whole = (tmp_path / "model_0000009.pth").read_bytes()
    (tmp_path / "model_0000009.pth").write_bytes(whole[: len(whole) // 2])
    torch.save({"model": {}}, tmp_path / "pretrained.pth")
    return checkpointer


@pytest.mark.parametrize("tag", [None, "", "model_0000007.pth", "model_0000009.pth"])
def test_the_newest_complete_checkpoint_replaces_an_incomplete_one(saved, tmp_path, tag, caplog):
    (tmp_path / "last_checkpoint").unlink()
    if tag is not None:
        (tmp_path / "last_checkpoint").write_text(tag)
    assert saved.get_checkpoint_file() == str(tmp_path / "model_0000003.pth")
    assert "the newest complete one is model_0000003.pth" in caplog.text


def test_last_checkpoint_decides(saved, tmp_path):
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    assert saved.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")


def test_a_run_without_a_complete_checkpoint_is_not_resumed(saved, tmp_path):
    for name in ("model_0000001.pth", "model_0000003.pth"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match=r"last_checkpoint names model_0000009.pth.*--resume"):
        saved.has_checkpoint()


def test_a_folder_without_checkpoints_has_none(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        assert not PersonSearchCheckpointer(nn.Linear(2, 2), str(folder)).has_checkpoint()


@pytest.mark.parametrize("backbone", ["backbone.bottom_up", "reid_branch.backbone"])
@pytest.mark.parametrize("part", ["", ".res4", ".res5.2.conv3.weight"])
def test_random_parameters_of_a_backbone_are_counted(tiny_cfg, tmp_path, backbone, part, caplog):
    model = build_model(tiny_cfg)
    state = model.state_dict()
    state = {name: value for name, value in state.items() if not name.startswith(backbone + part)}
    torch.save({"model": state}, tmp_path / "part.pth")
    PersonSearchCheckpointer(build_model(tiny_cfg)).load_weights(str(tmp_path / "part.pth"))
    (warning,) = [r.getMessage() for r in caplog.records if "START AT RANDOM" in r.getMessage()]
    sizes = {n: p.numel() for n, p in model.named_parameters() if n.startswith(backbone)}
    random = sum(size for name, size in sizes.items() if name.startswith(backbone + part))
    assert f"{random} of {sum(sizes.values())} parameters of {backbone} START AT" in warning
    assert f"from {backbone}{part}" in warning and "clsa-convert-weights" in warning


def test_parameters_of_another_shape_are_named(tiny_cfg, checkpoint, caplog):
    tiny_cfg.MODEL.REID.NUM_IDS = 7
    PersonSearchCheckpointer(build_model(tiny_cfg)).load_weights(str(checkpoint))
    assert "another shape there: reid_criterion.classifiers.res3.weight, reid_crit" in caplog.text
    assert "START AT RANDOM" not in caplog.text


STEM = {"conv1.weight": torch.ones(64, 3, 7, 7)}
BLOBS = {"conv1_w": np.ones((64, 3, 7, 7), np.float32)}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("reid.pth", {"epoch": 6, "state_dict": STEM}, "'epoch' is a int"),
        ("resnet.pth", STEM, "fills no parameter"),
        ("zoo.pkl", {"blobs": BLOBS}, "'blobs' is a dict"),
        ("blobs.pkl", BLOBS, "fills no parameter"),
    ],
)
def test_errors_name_the_converter_for_weights_of_other_projects(
    tiny_cfg, tmp_path, name, content, message
):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(content)) if path.suffix == ".pkl" else torch.save(content, path)
    checkpointer = PersonSearchCheckpointer(build_model(tiny_cfg))
    with pytest.raises(InputError, match=rf"{name}: {message}.*clsa-convert-weights"):
        checkpointer.load_weights(str(path))


def test_unreadable_weights_are_named(tiny_cfg, checkpoint):
    checkpoint.write_text("weights")
    with pytest.raises(InputError, match=r"model.pth.*not a readable checkpoint"):
        PersonSearchCheckpointer(build_model(tiny_cfg)).load_weights(str(checkpoint))


class Bomb:
    """An object of a pickle; reading it would make a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("suffix", ["pkl", "pth"])
def test_code_in_weights_is_refused_and_not_run(tiny_cfg, tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    content = {"model": {"x": Bomb(tmp_path / "made")}, "__author__": "me"}
    if suffix == "pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match="must not run code"):
        PersonSearchCheckpointer(build_model(tiny_cfg)).load_weights(str(path))
    assert not (tmp_path / "made").exists()
