"""Files in the layouts of public detectors, with random weights and narrow layers."""

import pickle

import torch
import torchvision
from detectron2 import model_zoo
from detectron2.modeling import build_model
from torch import nn

NARROW = [
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.RESNETS.RES2_OUT_CHANNELS", "16"),
    *("MODEL.FPN.OUT_CHANNELS", "16", "MODEL.ROI_BOX_HEAD.FC_DIM", "32"),
    *("INPUT.MIN_SIZE_TEST", "0"),
]


SPREADS = {
    **dict.fromkeys(("objectness_logits", "cls_logits", "cls_score"), 1.0),
    **dict.fromkeys(("anchor_deltas", "head.bbox_pred"), 0.3),
    "box_predictor.bbox_pred": 1.0,
}
"""Standard deviations of the outputs of layers, by the ends of their names."""


@torch.no_grad()
def spread(model, inputs, person):
    """Change the weights of a detector so that its scores and boxes differ widely.

    Args:
        model: detector with random weights.
        inputs: argument of the model.
        person: row of the person, the most probable class.
    """
    for layer in model.modules():
        if hasattr(layer, "running_var"):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.uniform_(0.5, 1.5)
            layer.bias.uniform_(-0.2, 0.2)

    def scale(layer, deviation):
        def hook(module, args, output):
            others = [axis for axis in range(output.dim()) if axis != 1]
            means = output.mean(dim=others)
            factor = deviation / output.std(dim=others).mean()
            module.weight.mul_(factor)
            module.bias.copy_((module.bias - means) * factor)
            handle.remove()
            return module(*args)

        handle = layer.register_forward_hook(hook)

    for end, deviation in SPREADS.items():
        for name, layer in model.named_modules():
            if name.endswith(end):
                scale(layer, deviation)
    model.eval()(inputs)
    model.roi_heads.box_predictor.cls_score.bias[person] += 4
    return model


def build_zoo_model(config, *opts, person=0):
    """Return Detectron2's own model of a config of the zoo."""
    cfg = model_zoo.get_config(config)
    cfg.merge_from_list([*NARROW, *opts])
    torch.manual_seed(0)
    model = build_model(cfg)
    # in the file, but not run: masks of thousands of boxes in 1230 classes fill the memory
    model.roi_heads.mask_on = model.roi_heads.keypoint_on = False
    return spread(model, [{"image": torch.rand(3, 128, 160) * 255}], person)


def save_zoo_file(model, path):
    """Write the weights as the zoo does: arrays, the anchors among them."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    for i, cell in enumerate(model.proposal_generator.anchor_generator.cell_anchors):
        state[f"proposal_generator.anchor_generator.cell_anchors.{i}"] = cell.numpy()
    content = {"model": state, "__author__": "Detectron2 Model Zoo"}
    path.write_bytes(pickle.dumps(content))
    return str(path)


def build_torchvision_model(builder, *, frozen=False, **options):
    """Return torchvision's own model with random weights."""
    torch.manual_seed(0)
    detection = torchvision.models.detection
    model = getattr(detection, builder)(weights=None, weights_backbone=None, **options)
    if frozen:  # as the released weights are loaded
        for parent in list(model.backbone.body.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    norm = torchvision.ops.FrozenBatchNorm2d(child.num_features, eps=0.0)
                    setattr(parent, name, norm)
    return spread(model, [torch.rand(3, 128, 160)], person=1)
