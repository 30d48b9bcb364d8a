"""Optimization of a trained model for inference, with equal results.

N images, C channels, H x W pixels, R regions.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from detectron2.layers import Conv2d, ROIAlign
from detectron2.modeling.backbone import Backbone
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.swin_transformer import ShiftedWindowAttentionV2

from clsa_search.modeling.batched_detector import BatchedDetector
from clsa_search.modeling.fused_blocks import fuse_blocks
from clsa_search.modeling.person_search_rcnn import PersonSearchRCNN
from clsa_search.modeling.recorded_embedder import RecordedEmbedder
from clsa_search.modeling.reid_branch import CropBranch

_SPLITS_PER_THREAD = 4  # regions differ in size, so equal splits differ in time


def optimize_for_inference(
    model: PersonSearchRCNN, dtype: torch.dtype = torch.float32, *, compile_backbone: bool = False
) -> None:
    """Optimize a model in place; afterwards it can neither be trained nor saved.

    Batch norms become part of their convolutions, convolutions use channels_last, and RoIAlign uses
    all threads of a CPU. In float32 only the order of additions changes.

    Args:
        model: model in evaluation mode.
        dtype: type of backbones, pyramid, RPN and box head; a Swin V2 takes bfloat16 in place of
            float16. Boxes, scores and the re-ID heads stay in float32.
        compile_backbone: whether torch compiles the backbone of the re-ID branch at its first
            crops, for any number of crops. The branch must have a backbone.
    """
    model.requires_grad_(False)
    _fuse_norms(model)
    fuse_blocks(model)
    _parallelize_roi_align(model)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if dtype != torch.float32:
        for module in _large_modules(model):
            _compute_in(module, dtype)
    if compile_backbone:
        backbone = model.reid_branch.backbone
        assert isinstance(backbone, nn.Module)
        backbone.compile()
    if model.device.type == "cuda":
        batch_images(model)


def batch_images(model: PersonSearchRCNN) -> None:
    """Let a model handle all images of a batch at once and replay its launches, in place.

    It serves a GPU: other devices gain nothing. RPN and ROI heads other than Detectron2's standard
    ones, and re-ID branches without crops, stay as they are.
    """
    branch = model.reid_branch
    if BatchedDetector.supports(model):
        model.batched_detector = BatchedDetector(model, branch.in_features)
    if isinstance(branch, CropBranch):
        model.crop_embedder = RecordedEmbedder(branch, model.reid_heads)


class ParallelROIAlign(ROIAlign):
    """Detectron2's ROIAlign on all threads of a CPU; torchvision's kernel uses one thread."""

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """Pool regions (R, 5) of feature maps (N, C, H, W) to (R, C, h, w)."""
        if input.device.type != "cpu":
            return super().forward(input, rois)
        maps, threads = to_contiguous(input), torch.get_num_threads()
        if threads == 1 or len(rois) < threads:
            return super().forward(maps, rois)
        splits = rois.tensor_split(_SPLITS_PER_THREAD * threads)
        with ThreadPoolExecutor(threads) as pool:
            return torch.cat(list(pool.map(partial(self._pool, maps), splits)))

    @torch.inference_mode()
    def _pool(self, maps: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        return super().forward(maps, rois)


@torch.no_grad()
def to_contiguous(maps: torch.Tensor) -> torch.Tensor:
    """Return contiguous maps (N, C, H, W).

    For channels_last maps it is four times as fast as `Tensor.contiguous`: a flattened image is a
    transposed matrix, and torch copies one fast.
    """
    if maps.is_contiguous():
        return maps
    copy = torch.empty_like(maps, memory_format=torch.contiguous_format)
    for target, source in zip(copy, maps, strict=True):
        target.flatten(1).copy_(source.flatten(1))
    return copy


def _fuse_norms(model: nn.Module) -> None:
    """Make batch norms part of their convolutions."""
    for layer in model.modules():
        if not isinstance(layer, Conv2d):
            continue
        norm = layer.norm
        if hasattr(norm, "running_var"):
            layer.weight, layer.bias = fuse_conv_bn_weights(
                *(layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps),
                *(norm.weight, norm.bias),
            )
            layer.norm = None


def _parallelize_roi_align(model: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is ROIAlign:
                parallel = ParallelROIAlign(
                    child.output_size, child.spatial_scale, child.sampling_ratio, child.aligned
                )
                setattr(parent, name, parallel)


def _large_modules(model: PersonSearchRCNN) -> list[nn.Module]:
    """Return the modules with nearly all arithmetic; other kinds of ROI heads have other ones."""
    rpn, roi_heads, branch = model.proposal_generator, model.roi_heads, model.reid_branch
    names = [(rpn, "rpn_head"), (roi_heads, "box_head"), (roi_heads, "res5")]
    names += [(branch, "backbone"), (branch, "res5")]
    modules = [model.backbone, *(getattr(owner, name, None) for owner, name in names)]
    # the box heads of a cascade are a list
    stages = (module if isinstance(module, nn.ModuleList) else [module] for module in modules)
    return [stage for module in stages for stage in module if stage is not None]


def _compute_in(module: nn.Module, dtype: torch.dtype) -> None:
    """Let a module compute in a type: its inputs are converted to it, its outputs to float32.

    The large maps of a backbone stay in the type. Some of their readers take them as they are.
    """
    if any(isinstance(x, ShiftedWindowAttentionV2) for x in module.modules()):
        # its cosines divide by the lengths of padding, whose lower limit of 1e-12 is 0 in float16
        dtype = torch.bfloat16
    module.to(dtype)
    module.register_forward_pre_hook(lambda module, args: _convert(args, dtype))
    if not isinstance(module, Backbone):
        module.register_forward_hook(lambda module, args, output: _convert(output, torch.float32))


def _convert(tree: Any, dtype: torch.dtype) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree.to(dtype)
    if isinstance(tree, dict):
        return {key: _convert(value, dtype) for key, value in tree.items()}
    return type(tree)(_convert(value, dtype) for value in tree)
