"""Values of config keys are checked in one place, before anything is built."""

import math

import pytest
import torch

from clsa_search.config_checks import CHECKS, check_config
from clsa_search.config_values import list_values
from clsa_search.engine import load_config
from clsa_search.errors import InputError


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("MODEL.DEVICE", "xyz", "cpu or cuda"),
        ("MODEL.DEVICE", "meta", "cpu or cuda"),
        ("MODEL.META_ARCHITECTURE", "Nothing", "'PersonSearchRCNN'"),
        ("MODEL.META_ARCHITECTURE", "RetinaNet", "'PersonSearchRCNN'"),
        ("MODEL.BACKBONE.NAME", "build_vit", "'build_resnet_fpn_backbone'"),
        ("MODEL.REID.BACKBONE.NAME", "build_vit", "'build_resnet_backbone'"),
        ("MODEL.REID.NAME", "Branch", "'CropBranch', 'ONNXBranch', 'Res5Branch', 'SharedBranch'"),
        (
            *("MODEL.REID.CLASSIFIER", "OIM"),
            "'CosineClassifier', 'OIMClassifier', 'SoftmaxClassifier'",
        ),
        ("MODEL.REID.CROP_SIZE", "(0, 0)", "a list, 2 of: a whole number of 1 or more"),
        ("MODEL.REID.CROP_SIZE", "(64, 32, 3)", "a list, 2 of"),
        ("MODEL.REID.CROP_SIZE", "(64.5, 32)", "whole number"),
        ("MODEL.REID.CROP_SIZE", "('a', 'b')", "whole number"),
        ("MODEL.REID.BACKBONE.RESNETS.DEPTH", "51", "18, 34, 50, 101, 152"),
        ("MODEL.CONVNEXT.SIZE", "huge", "'tiny', 'small', 'base', 'large'"),
        ("MODEL.REID.BACKBONE.SWIN.VERSION", "3", "one of 1, 2"),
        ("MODEL.REID.BACKBONE.SWIN.WIDTH", "100", "a multiple of 32"),
        ("MODEL.SWIN.DEPTHS", "[2, 2]", "0 or 4 of"),
        ("MODEL.SWIN.OUT_FEATURES", "['res6']", "'res2', 'res3', 'res4', 'res5'"),
        ("MODEL.REID.LEVELS", "[]", "at least one"),
        ("MODEL.REID.OIM.MOMENTUM", "1.0", "less than 1"),
        ("MODEL.REID.HEAD.NECK", "'BNNeck'", "'none', 'bn', 'fc_bn', 'fc_bn_relu'"),
        ("MODEL.REID.TRIPLET.WEIGHT", "-1", "finite numbers of 0 or more"),
        ("MODEL.REID.TRIPLET.MARGIN", "-0.3", "finite numbers of 0 or more"),
        ("MODEL.REID.AUGMENT.ERASING", "1.5", "from 0 to 1"),
        ("MODEL.REID.AUGMENT.BLUR", "-0.1", "from 0 to 1"),
        ("MODEL.REID.LABEL_SMOOTHING", "1.0", "less than 1"),
        ("MODEL.REID.COSINE.SCALE", "0.0", "above 0"),
        ("MODEL.REID.COSINE.MARGIN", "-0.1", "from 0 to less than 1"),
        ("MODEL.REID.NUM_IDS", "-1", "finite numbers of 0 or more"),
        ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.5", "from 0 to 1"),
        ("MODEL.ROI_HEADS.NMS_THRESH_TEST", "-0.1", "from 0 to 1"),
        ("MODEL.PIXEL_STD", "[0, 1, 1]", "above 0"),
        ("MODEL.MASK_ON", "True", "False"),
        ("INPUT.MIN_SIZE_TEST", "-1", "pixels, or 0"),
        ("INPUT.MIN_SIZE_TRAIN", "()", "at least one"),
        ("INPUT.FORMAT", "HSV", "'RGB', 'BGR'"),
        ("SOLVER.IMS_PER_BATCH", "-4", "1 or more"),
        ("SOLVER.BASE_LR", "-0.1", "above 0"),
        ("SOLVER.BASE_LR", "1e999", "above 0"),
        ("SOLVER.MAX_ITER", "0", "1 or more"),
        ("SOLVER.STEPS", "(9, 5)", "rising"),
        ("SOLVER.WEIGHT_DECAY", "-1", "0 or more"),
        ("SOLVER.LR_SCHEDULER_NAME", "Cosine", "'WarmupCosineLR'"),
        ("MODEL.REID.REFINED_IOUS", "[0.5]", "a list, 2 of: a number from 0 to 1"),
        ("MODEL.REID.REFINED_SWITCH", "1.5", "from 0 to 1"),
        ("MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES", "True", "False"),
        ("DATALOADER.SAMPLER_TRAIN", "Scenes", "'SceneIdentitySampler'"),
        ("SOLVER.EPOCHS", "-1.0", "0 to 1000000"),
        ("SOLVER.EPOCHS", "1e308", "0 to 1000000"),
        ("SOLVER.OPTIMIZER", "Adam", "'SGD', 'AdamW'"),
        ("SOLVER.LAYER_DECAY", "0.0", "above 0, up to 1"),
        ("SOLVER.LAYER_DECAY", "1.1", "above 0, up to 1"),
        ("SOLVER.EMA.DECAY", "1.0", "less than 1"),
        ("SOLVER.EMA.DECAY", "-0.5", "less than 1"),
        ("DATALOADER.NUM_WORKERS", "-1", "0 or more"),
        ("DATASETS.TRAIN", "(1, 2)", "a text"),
        ("OUTPUT_DIR", "", "not empty"),
    ],
)
def test_a_wrong_value_is_named_with_its_choices(demo_config_file, key, value, expected):
    with pytest.raises(InputError) as error:
        load_config(demo_config_file, [key, value])
    message = str(error.value)
    assert message.startswith(f"command line: {key} is ") and expected in message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("SOLVER.MAX_ITER", "many", "a whole number, such as 800"),
        ("SOLVER.MAX_ITER", "1.5", "a whole number"),
        ("SOLVER.MAX_ITER", "True", "a whole number"),
        ("SOLVER.BASE_LR", "None", "a number"),
        ("SOLVER.AMP.ENABLED", "yes", "True or False"),
        ("SOLVER.STEPS", "100", "a list"),
        ("DATASETS.TRAIN", "prw_train", "a list, such as ('synthetic_demo_train',)"),
        ("MODEL", "None", "a value for a key of it"),
        ("MODEL.REID", "{}", "a value for a key of it"),
        ("SOLVER.MAX_ITER", "(" * 100_000, "a whole number"),
    ],
)
def test_a_value_of_another_type_is_named(demo_config_file, key, value, expected):
    with pytest.raises(InputError) as error:
        load_config(demo_config_file, [key, value])
    message = str(error.value)
    assert message.startswith(f"command line: {key} is ") and expected in message


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("SOLVER.BASE_LR", "1", 1.0),
        ("SOLVER.BASE_LR", 0.5, 0.5),
        ("SOLVER.STEPS", "[3, 5]", (3, 5)),
        ("OUTPUT_DIR", "2024", "2024"),
        ("MODEL.DEVICE", "cpu", "cpu"),
        ("SOLVER.WEIGHT_DECAY_BIAS", "0.1", 0.1),
        ("SOLVER.CLIP_GRADIENTS.NORM_TYPE", "1e999", math.inf),
        ("INPUT.MIN_SIZE_TEST", "0", 0),
        ("TEST.DETECTIONS_PER_IMAGE", "-1", -1),
    ],
)
def test_a_value_that_fits_is_read(demo_config_file, key, value, read):
    cfg = load_config(demo_config_file, [key, value])
    assert dict(list_values(cfg))[key] == read


def test_an_unknown_key_has_a_suggestion(demo_config_file):
    with pytest.raises(InputError, match=r"no key SOLVER.BASE_L; did you mean SOLVER.BASE_LR\?"):
        load_config(demo_config_file, ["SOLVER.BASE_L", "1"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_that_is_not_there_is_named(demo_config_file):
    count = torch.cuda.device_count()
    with pytest.raises(InputError, match=f"cuda:{count}.*this machine has {count} GPU"):
        load_config(demo_config_file, ["MODEL.DEVICE", f"cuda:{count}"])


def test_each_check_belongs_to_a_key_and_accepts_the_packaged_value(demo_config_file):
    cfg = load_config(demo_config_file)
    values = dict(list_values(cfg))
    for key, check in CHECKS.items():
        assert check.accepts(values[key]) or values[key] == dict(list_values(load_config()))[key]
        assert check.describe()


def test_a_config_made_by_hand_is_checked_too(tiny_cfg):
    tiny_cfg.SOLVER.GAMMA = float("nan")
    with pytest.raises(InputError, match="^SOLVER.GAMMA is nan; expected a number above 0"):
        check_config(tiny_cfg)


@pytest.mark.parametrize("sizes", ["(72,)", "(72, 96, 120)"])
def test_a_range_of_sizes_has_two_ends(demo_config_file, sizes):
    opts = ["INPUT.MIN_SIZE_TRAIN", sizes, "INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"]
    with pytest.raises(InputError, match=r"MIN_SIZE_TRAIN is \(72.*the smallest and the largest"):
        load_config(demo_config_file, opts)
