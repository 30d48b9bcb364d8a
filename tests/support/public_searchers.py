"""SeqNet and NAE with random weights: the names and the forward of the public programs."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork, RPNHead
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import batched_nms, roi_align
from torchvision.ops import boxes as box_ops

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
SIZES = [(120, 150), (96, 160)]
GIVEN_BOXES = torch.tensor([[5.0, 8.0, 60.0, 90.0], [30.0, 2.0, 50.5, 80.25]])


class PublicSearcher(nn.Module):
    """A narrow ResNet-50 with the heads of SeqNet or NAE, in evaluation mode.

    Args:
        name: "SeqNet" or "NAE".
        has_neck: whether a batch norm follows the box regression.
    """

    def __init__(self, name, *, has_neck=True):
        super().__init__()
        self.is_sequential = name == "SeqNet"
        resnet, other = (ResNet(Bottleneck, [3, 4, 6, 3], width_per_group=4) for _ in range(2))
        parts = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
        self.backbone = nn.Sequential(OrderedDict((part, getattr(resnet, part)) for part in parts))
        anchors = AnchorGenerator(((32, 64, 128, 256, 512),), ((0.5, 1.0, 2.0),))
        before, after = ({"training": n, "testing": n} for n in (6000, 60))
        self.rpn = RegionProposalNetwork(
            anchors, RPNHead(1024, 15), 0.7, 0.3, 256, 0.5, before, after, 0.7
        )
        regression = nn.Linear(2048, 8)
        heads = {
            "box_head": nn.ModuleDict({"layer4": resnet.layer4}),
            "box_predictor": nn.ModuleDict(
                {"bbox_pred": nn.Sequential(regression, nn.BatchNorm1d(8))}
                if has_neck
                else {"bbox_pred": regression}
            ),
            "embedding_head": nn.ModuleDict(
                {
                    "projectors": nn.ModuleDict(
                        {
                            f"feat_{level}": nn.Sequential(
                                nn.Linear(channels, 128), nn.BatchNorm1d(128)
                            )
                            for level, channels in (("res4", 1024), ("res5", 2048))
                        }
                    ),
                    "rescaler": nn.BatchNorm1d(1),
                }
            ),
            "reid_loss": nn.BatchNorm1d(5),  # stands for its buffers, which are not read
        }
        if self.is_sequential:
            heads["faster_rcnn_predictor"] = FastRCNNPredictor(2048, 2)
            heads["reid_head"] = nn.ModuleDict({"layer4": other.layer4})
        else:
            heads["box_predictor"]["cls_score"] = nn.Linear(2048, 2)  # not used
        self.roi_heads = nn.ModuleDict(heads)
        self.eval()

    def forward(self, images, boxes=None):
        """Return boxes, scores and weighted embeddings per image, or embeddings of given boxes."""
        sizes = [x.shape[-2:] for x in images]
        height, width = (32 * -(-max(side) // 32) for side in zip(*sizes, strict=True))
        batch = torch.zeros(len(images), 3, height, width)
        for padded, x in zip(batch, images, strict=True):
            padded[:, : x.shape[1], : x.shape[2]] = (x - MEAN[:, None, None]) / STD[:, None, None]
        res4 = self.backbone(batch)
        reid = self.roi_heads["reid_head" if self.is_sequential else "box_head"]
        if boxes is not None:
            return F.normalize(self.embed(self.pool(res4, boxes, reid)), dim=1)
        proposals = self.rpn(ImageList(batch, sizes), {"0": res4})[0]
        outputs = []
        for i, (size, own) in enumerate(zip(sizes, proposals, strict=True)):
            maps, scores = res4[i : i + 1], None
            if self.is_sequential:
                _, res5 = self.pool(maps, [own], self.roi_heads["box_head"])
                logits, deltas = self.roi_heads["faster_rcnn_predictor"](res5)
                scores = logits.softmax(dim=1)[:, 1]
                own, scores, _ = select(deltas, own, scores, size, 0.4)
            pooled = self.pool(maps, [own], reid)
            rows = self.embed(pooled)
            if scores is None:
                norms = self.roi_heads["embedding_head"]["rescaler"](rows.norm(dim=1, keepdim=True))
                scores = norms[:, 0].sigmoid()
            deltas = self.roi_heads["box_predictor"]["bbox_pred"](pooled[1])
            max_iou = 0.5 if self.is_sequential else 0.4
            own, scores, kept = select(deltas, own, scores, size, max_iou)
            outputs.append((own, scores, F.normalize(rows[kept], dim=1) * scores[:, None]))
        return outputs

    def pool(self, res4, boxes, head):
        """Return the largest values of res4 and res5 in each box."""
        pooled = roi_align(res4, boxes, 14, 1 / 16, sampling_ratio=2)
        return pooled.amax(dim=(2, 3)), head["layer4"](pooled).amax(dim=(2, 3))

    def embed(self, pooled):
        """Return the embeddings of boxes with their norms."""
        projectors = self.roi_heads["embedding_head"]["projectors"].values()
        parts = [layer(x) for layer, x in zip(projectors, pooled, strict=True)]
        return torch.cat(parts, dim=1)


def select(deltas, boxes, scores, size, max_iou):
    """Return the refined boxes of a person with a score above 0.5, and their rows."""
    boxes = BoxCoder((10.0, 10.0, 5.0, 5.0)).decode(deltas, [boxes])[:, 1]
    boxes = box_ops.clip_boxes_to_image(boxes, size)
    rows = (scores > 0.5).nonzero()[:, 0]
    rows = rows[box_ops.remove_small_boxes(boxes[rows], min_size=1e-2)]
    rows = rows[batched_nms(boxes[rows], scores[rows], torch.zeros_like(rows), max_iou)]
    return boxes[rows], scores[rows], rows


def make_images():
    """Return smooth images (3, H, W) of 0 to 1, in steps of 1 / 255."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(2, 3, 6, 8, generator=generator)
    images = [F.interpolate(x[None], size)[0] for x, size in zip(coarse, SIZES, strict=True)]
    return [(x * 255).round() / 255 for x in images]


@torch.no_grad()
def build_public_searcher(name, **options):
    """Return a PublicSearcher with statistics, and scores around 0.5 on `make_images`."""
    torch.manual_seed(0)
    model = PublicSearcher(name, **options)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.75, 1.25)
            layer.weight.uniform_(0.5, 1)
            layer.bias.normal_(0, 0.1)
    heads = model.roi_heads
    nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.1)
    nn.init.normal_(model.rpn.head.bbox_pred.weight, std=0.01)
    for layer in heads["embedding_head"]["projectors"].values():
        nn.init.normal_(layer[0].weight, std=0.1)
    rescaler = heads["embedding_head"]["rescaler"]
    scorer = heads["faster_rcnn_predictor"] if model.is_sequential else rescaler
    seen = []
    hook = scorer.register_forward_hook(lambda layer, inputs, output: seen.append((inputs, output)))
    model(make_images())
    hook.remove()
    if model.is_sequential:
        logits = torch.cat([output[0] for _, output in seen]).diff(dim=1)
        scorer.cls_score.weight.mul_(1 / logits.std())
        scorer.cls_score.bias.copy_(torch.tensor([logits.mean() / logits.std(), 0.0]))
    else:
        norms = torch.cat([inputs[0] for inputs, _ in seen])
        rescaler.running_mean.fill_(norms.mean())
        rescaler.running_var.fill_(norms.var())
    return model
