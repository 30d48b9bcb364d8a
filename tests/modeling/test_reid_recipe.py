"""The whole re-ID recipe in both models: losses, gradients, inference and export."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from clsa_search.engine import load_config, load_trained_model
from clsa_search.errors import InputError
from clsa_search.export import export_model
from clsa_search.modeling.crop_augmentation import RandomBlur, RandomErasing
from clsa_search.modeling.optimize import optimize_for_inference
from clsa_search.structures import UNLABELED
from tests.support.export_cases import save_trained
from tests.support.model_inputs import compute_losses, inference_input, training_input

AUGMENT = ["MODEL.REID.AUGMENT.ERASING", "0.5", "MODEL.REID.AUGMENT.BLUR", "0.5"]
RESNET = ["MODEL.REID.BACKBONE.NAME", "build_reid_resnet_backbone"]
RECIPE = [
    *("MODEL.REID.HEAD.NECK", "bn", "MODEL.REID.HEAD.POOL", "gem"),
    *("MODEL.REID.TRIPLET.WEIGHT", "1.0", "MODEL.REID.LABEL_SMOOTHING", "0.1"),
    *("MODEL.REID.ALIGN.SAME_PERSON_WEIGHT", "1.0"),
    *("MODEL.REID.ALIGN.DECORRELATION_WEIGHT", "1.0"),
    *(*AUGMENT, *RESNET, "MODEL.REID.BACKBONE.LAST_STRIDE", "1"),
]
LOSSES = {
    *(f"loss_id_res{i}" for i in (3, 4, 5)),
    *(f"loss_triplet_res{i}" for i in (3, 4, 5)),
    *(f"loss_{name}_res{i}" for name in ("align", "same") for i in (3, 4)),
    "loss_decorrelation",
}
DETECTOR = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"}
BATCHES = {
    "people": [[0, 1], [1, 0]],
    "everybody once": [[0, 1], [2, UNLABELED]],
    "one person": [[1], [1]],
    "unlabeled": [[UNLABELED], [UNLABELED, UNLABELED]],
    "nobody": [[], []],
}


@pytest.mark.parametrize("classifier", ["SoftmaxClassifier", "CosineClassifier", "OIMClassifier"])
def test_every_batch_has_the_same_finite_losses(tiny_opts, demo_config_file, classifier):
    opts = [*tiny_opts, *RECIPE, "MODEL.REID.CLASSIFIER", classifier]
    model = build_model(load_config(demo_config_file, opts))
    for pids in BATCHES.values():
        model.zero_grad()
        losses = compute_losses(model, [training_input(i, ids) for i, ids in enumerate(pids)])
        assert set(losses) == DETECTOR | LOSSES
        assert all(loss.isfinite() for loss in losses.values())
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and name.startswith("reid"):
                assert parameter.grad.isfinite().all(), name


def test_one_level_has_losses_of_that_level_only(tiny_opts, demo_config_file):
    model = build_model(
        load_config(demo_config_file, [*tiny_opts, *RECIPE, "MODEL.REID.LEVELS", "['res5']"])
    )
    losses = compute_losses(model, [training_input(i, [0, 1]) for i in range(2)])
    expected = {"loss_id_res5", "loss_triplet_res5", "loss_decorrelation"}
    assert set(losses) == DETECTOR | expected
    assert losses["loss_decorrelation"].item() == 0


def test_crops_alone_have_the_same_losses(tiny_opts, demo_config_file):
    opts = [*tiny_opts, *RECIPE, "MODEL.META_ARCHITECTURE", "PersonReID"]
    model = build_model(load_config(demo_config_file, opts))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (4, 3, 32, 16), generator=generator, dtype=torch.uint8)
    for pids in ([0, 1, 0, 1], [2, 2, 2, 2], [0, 1, 2, UNLABELED]):
        inputs = [{"image": x, "person_id": p} for x, p in zip(images, pids, strict=True)]
        with EventStorage():
            losses = model(inputs)
        assert set(losses) == LOSSES
        assert all(loss.isfinite() for loss in losses.values())


def test_augmentation_changes_training_and_no_embedding(tiny_opts, demo_config_file):
    plain, augmented = (
        build_model(load_config(demo_config_file, [*tiny_opts, *opts])) for opts in ([], AUGMENT)
    )
    augmented.load_state_dict(plain.state_dict())  # it has no state
    kinds = [type(x) for x in augmented.reid_branch.augmentation]
    assert kinds == [RandomBlur, RandomErasing] and not list(plain.reid_branch.augmentation)
    inputs = [training_input(i, [0, 1]) for i in range(2)]
    losses = [compute_losses(model, inputs)["loss_id_res5"] for model in (plain, augmented)]
    assert losses[0] != losses[1]
    assert compute_losses(augmented, inputs)["loss_id_res5"] == losses[1]
    query = [inference_input(4, boxes=[[10.0, 5.0, 30.0, 50.0]], query_ids=[0])]
    augmented.load_state_dict(plain.state_dict())  # the norms have learned from other crops
    with torch.no_grad():
        found = [model.eval()(query)[0]["queries"].embeddings for model in (plain, augmented)]
    torch.testing.assert_close(*found)


def test_a_branch_without_crops_refuses_their_augmentation(tiny_opts, demo_config_file):
    opts = [*tiny_opts, "MODEL.REID.NAME", "SharedBranch", "MODEL.REID.AUGMENT.BLUR", "0.5"]
    message = r"AUGMENT.BLUR is 0.5; expected 0.0, or MODEL.REID.NAME CropBranch, because Shared"
    with pytest.raises(InputError, match=message):
        build_model(load_config(demo_config_file, opts))


def test_last_stride_1_doubles_the_grid_of_a_resnet18(tiny_opts, demo_config_file):
    depth = [
        *("MODEL.REID.BACKBONE.RESNETS.DEPTH", "18"),
        *("MODEL.REID.BACKBONE.RESNETS.RES2_OUT_CHANNELS", "64"),
    ]
    branch = build_model(load_config(demo_config_file, [*tiny_opts, *RECIPE, *depth])).reid_branch
    maps = branch.eval().forward_crops(torch.zeros(2, 3, 64, 32))
    assert maps["res4"].shape == (2, 256, 4, 2) and maps["res5"].shape == (2, 512, 4, 2)
    assert branch.output_shape()["res5"].stride == 16


@pytest.mark.parametrize("last_stride", [1, 2])
def test_both_resnets_have_the_same_parameters(tiny_opts, demo_config_file, last_stride):
    backbones = [
        build_model(load_config(demo_config_file, [*tiny_opts, *opts])).reid_branch.backbone
        for opts in ([], [*RESNET, "MODEL.REID.BACKBONE.LAST_STRIDE", str(last_stride)])
    ]
    shapes = [{k: v.shape for k, v in backbone.state_dict().items()} for backbone in backbones]
    assert shapes[0] == shapes[1]


@torch.inference_mode()
def test_an_optimized_model_has_the_same_embeddings(tiny_opts, demo_config_file):
    model = build_model(load_config(demo_config_file, [*tiny_opts, *RECIPE]))
    compute_losses(model, [training_input(i, [0, 1]) for i in range(2)])  # norms have statistics
    query = [inference_input(4, boxes=[[10.0, 5.0, 30.0, 50.0]], query_ids=[0])]
    expected = model.eval()(query)[0]["queries"].embeddings
    optimize_for_inference(model)
    torch.testing.assert_close(model(query)[0]["queries"].embeddings, expected, atol=1e-4, rtol=0)


def test_an_exported_branch_has_the_same_embeddings(tmp_path):
    # a model for inference needs no lookup tables, before or behind the neck
    opts = ["MODEL.REID.CLASSIFIER", "OIMClassifier", "MODEL.DEVICE", "cpu"]
    weights = save_trained(tmp_path, [*RECIPE, *opts])
    assert any("pairs.tables" in name for name in torch.load(weights)["model"])
    export_model(weights, tmp_path / "reid.pt", what="reid", file_format="torchscript")
    crops = torch.randint(0, 255, (3, 3, 32, 16)).float()
    model = load_trained_model(weights).model.eval()
    normalized = (crops - model.pixel_mean) / model.pixel_std
    with torch.no_grad():
        levels = model.reid_heads(model.reid_branch.forward_crops(normalized))
        expected = model.reid_heads.concatenate(levels)
        torch.testing.assert_close(torch.jit.load(tmp_path / "reid.pt")(crops), expected)
