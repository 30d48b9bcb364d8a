"""A trained model made to answer faster, which finds what it found before."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from detectron2.layers import Conv2d, ROIAlign
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from clsa_search.modeling.person_search_rcnn import PersonSearchRCNN

_TASKS = 4  # of each thread: regions differ in size


def optimize_for_inference(
    model: PersonSearchRCNN, dtype: torch.dtype = torch.float32, *, compile_backbone: bool = False
) -> None:
    """Rearrange a model for speed, in place and for good: it can neither train nor be saved.

    Norms are folded into their convolutions, which compute on channels-last maps, and regions are
    cut out by all threads of a CPU. In float32 only the order of additions changes.

    Args:
        model: in evaluation mode.
        dtype: of backbones, pyramid, RPN and box head, which is nearly all arithmetic. Boxes,
            scores and the heads of the re-ID stay in float32.
        compile_backbone: let torch compile the re-ID branch's backbone at its first crops, of which
            there may be any number. The branch must have one.
    """
    _simplify_convolutions(model)
    _spread_roi_align(model)
    model.to(memory_format=torch.channels_last)
    if dtype != torch.float32:
        for part in _heavy_parts(model):
            _compute_in(part, dtype)
    if compile_backbone:
        model.reid_branch.backbone.compile()


class ParallelROIAlign(ROIAlign):
    """Detectron2's, by all threads of a CPU: torchvision's own works on one."""

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        if input.device.type != "cpu":
            return super().forward(input, rois)
        maps, threads = _put_channels_first(input), torch.get_num_threads()
        if threads == 1 or len(rois) < threads:
            return super().forward(maps, rois)
        parts = rois.tensor_split(_TASKS * threads)
        with ThreadPoolExecutor(threads) as pool:
            return torch.cat(list(pool.map(partial(self._align, maps), parts)))

    @torch.inference_mode()
    def _align(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        return super().forward(input, rois)


@torch.no_grad()
def _put_channels_first(maps: torch.Tensor) -> torch.Tensor:
    """Contiguous maps (N, C, H, W); where they are channels-last four times as fast as torch's own.

    It has a quick way for the transposition of a whole matrix, which each image is here.
    """
    if maps.is_contiguous():
        return maps
    copy = torch.empty_like(maps, memory_format=torch.contiguous_format)
    for target, source in zip(copy, maps, strict=True):
        target.flatten(1).copy_(source.flatten(1))
    return copy


def _simplify_convolutions(model: nn.Module) -> None:
    """A batch norm that follows becomes part of the weights, a ReLU works in place."""
    for layer in model.modules():
        if not isinstance(layer, Conv2d):
            continue
        norm = layer.norm
        if isinstance(layer.activation, nn.ReLU):
            layer.activation = nn.ReLU(inplace=True)
        if hasattr(norm, "running_var"):
            layer.weight, layer.bias = fuse_conv_bn_weights(
                *(layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps),
                *(norm.weight, norm.bias),
            )
            layer.norm = None


def _spread_roi_align(model: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is ROIAlign:
                spread = ParallelROIAlign(
                    child.output_size, child.spatial_scale, child.sampling_ratio, child.aligned
                )
                setattr(parent, name, spread)


def _heavy_parts(model: PersonSearchRCNN) -> list[nn.Module]:
    """Those that the model has; what another kind of head computes elsewhere stays in float32."""
    proposing, heads, branch = model.proposal_generator, model.roi_heads, model.reid_branch
    named = (proposing, "rpn_head"), (heads, "box_head"), (heads, "res5"), (branch, "backbone")
    parts = [model.backbone, *(getattr(owner, name, None) for owner, name in named)]
    stages = (part if isinstance(part, nn.ModuleList) else [part] for part in parts)
    return [stage for part in stages for stage in part if stage is not None]


def _compute_in(part: nn.Module, dtype: torch.dtype) -> None:
    """What comes in is brought to the type, what goes out back to float32."""
    part.to(dtype)
    part.register_forward_pre_hook(lambda module, args: _convert(args, dtype))
    part.register_forward_hook(lambda module, args, output: _convert(output, torch.float32))


def _convert(tree: object, dtype: torch.dtype) -> object:
    if isinstance(tree, torch.Tensor):
        return tree.to(dtype)
    if isinstance(tree, dict):
        return {key: _convert(value, dtype) for key, value in tree.items()}
    return type(tree)(_convert(value, dtype) for value in tree)
