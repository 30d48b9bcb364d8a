"""Re-ID networks of public projects: the names of their tensors and their forward pass, random."""

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
POOLS = {
    "padded": nn.MaxPool2d(3, stride=2, padding=1),
    "ceil_mode": nn.MaxPool2d(3, stride=2, ceil_mode=True),
    "2x2": nn.MaxPool2d(2),
}


class PublicIBN(nn.Module):
    """IBN-a with the names of IBN-Net."""

    def __init__(self, channels):
        super().__init__()
        self.IN = nn.InstanceNorm2d(channels // 2, affine=True)
        self.BN = nn.BatchNorm2d(channels - channels // 2)

    def forward(self, x):
        first, second = x.split(x.shape[1] // 2, dim=1)
        return torch.cat([self.IN(first), self.BN(second)], dim=1)


class PublicNonLocal(nn.Module):
    """fast-reid's non-local block."""

    def __init__(self, channels):
        super().__init__()
        self.g, self.theta, self.phi = (nn.Conv2d(channels, 1, 1) for _ in range(3))
        for conv in (self.g, self.theta, self.phi):  # a product of three values must not overflow
            nn.init.normal_(conv.weight, std=0.3 / channels)
        self.W = nn.Sequential(nn.Conv2d(1, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x):
        g, theta, phi = (conv(x).flatten(2) for conv in (self.g, self.theta, self.phi))
        pairs = theta.transpose(1, 2) @ phi / g.shape[2]
        context = (pairs @ g.transpose(1, 2)).transpose(1, 2)
        return x + self.W(context.reshape(len(x), 1, *x.shape[2:]))


class PublicResNet(torchvision.models.ResNet):
    """torchvision's ResNet, 4 instead of 64 wide within its blocks, with a re-ID project's options.

    Args:
        last_stride: stride of layer4.
        pool: name in POOLS.
        relu: whether the stem has a ReLU.
        ibn: whether layer1 to layer3 have IBN.
        non_local: whether the last two blocks of layer2 and three of layer3 are non-local.
        blocks: number of blocks of each layer.
    """

    def __init__(
        self, *, last_stride, pool, relu=True, ibn=False, non_local=False, blocks=(3, 4, 6, 3)
    ):
        block = torchvision.models.resnet.Bottleneck
        super().__init__(block, blocks, width_per_group=4, num_classes=2)
        del self.fc
        first = self.layer4[0]
        first.conv2.stride = first.downsample[0].stride = (last_stride, last_stride)
        self.maxpool = POOLS[pool]
        self.relu = nn.ReLU() if relu else nn.Identity()
        for layer in (self.layer1, self.layer2, self.layer3) if ibn else ():
            for bottleneck in layer:
                bottleneck.bn1 = PublicIBN(bottleneck.bn1.num_features)
        self.NL_2 = nn.ModuleList(PublicNonLocal(512) for _ in range(2 * non_local))
        self.NL_3 = nn.ModuleList(PublicNonLocal(1024) for _ in range(3 * non_local))

    def forward(self, x):
        x = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        for layer, blocks in ((self.layer2, self.NL_2), (self.layer3, self.NL_3)):
            for i, bottleneck in enumerate(layer):
                x = bottleneck(x)
                after = i - (len(layer) - len(blocks))
                x = blocks[after](x) if after >= 0 else x
        return self.layer4(x)


class Torchreid(PublicResNet):
    """torchreid's resnet50 and resnet50_fc512: the ResNet has no prefix."""

    def __init__(self, *, fc=False, **options):
        super().__init__(last_stride=1 if fc else 2, pool="padded", **options)
        width = 16 if fc else 2048
        layers = nn.Linear(2048, width), nn.BatchNorm1d(width), nn.ReLU()
        self.fc = nn.Sequential(*layers) if fc else None
        self.classifier = nn.Linear(width, 3)

    def forward(self, x):
        pooled = super().forward(x).mean(dim=(2, 3))
        return pooled if self.fc is None else self.fc(pooled)


class FastReID(nn.Module):
    """fast-reid's Baseline: BoT, AGW (gem) and SBS (gem, learned).

    Version 0.1.1 (early), which the files of the model zoo are of, pads the max pool, learns every
    GeM and has other names; its files hold the statistics of the pixels.
    """

    def __init__(self, *, gem=None, learned=False, early=False, **options):
        super().__init__()
        self.backbone = PublicResNet(
            last_stride=1, pool="padded" if early else "ceil_mode", **options
        )
        self.heads = nn.Module()
        if early:
            self.heads.bnneck = nn.BatchNorm2d(2048)
            self.heads.classifier = nn.Linear(2048, 3, bias=False)
            self.register_buffer("pixel_mean", 255 * IMAGENET_MEAN[None])
            self.register_buffer("pixel_std", 255 * IMAGENET_STD[None])
        else:
            self.heads.bottleneck = nn.Sequential(nn.BatchNorm2d(2048))
            self.heads.weight = nn.Parameter(torch.randn(3, 2048))
        self.heads.pool_layer = nn.Module()
        self.gem = gem
        if learned:
            self.heads.pool_layer.p = nn.Parameter(torch.tensor([gem]))

    def forward(self, x):
        x = self.backbone(x)
        if self.gem is None:
            pooled = x.mean(dim=(2, 3), keepdim=True)
        else:
            pooled = x.clamp(min=1e-6).pow(self.gem).mean(dim=(2, 3), keepdim=True)
            pooled = pooled.pow(1 / self.gem)
        neck = self.heads.bnneck if hasattr(self.heads, "bnneck") else self.heads.bottleneck
        return neck(pooled).flatten(1)


class StrongBaseline(nn.Module):
    """The strong baseline, and the ResNets of TransReID and SOLIDER-REID."""

    def __init__(self, *, neck=True, reduced=False, **options):
        super().__init__()
        self.base = PublicResNet(last_stride=1, **options)
        width = 16 if reduced else 2048
        if reduced:
            self.fcneck = nn.Linear(2048, width, bias=False)
        if neck:
            self.bottleneck = nn.BatchNorm1d(width)
        self.classifier = nn.Linear(width, 3, bias=False)

    def forward(self, x):
        pooled = self.base(x).mean(dim=(2, 3))
        pooled = self.fcneck(pooled) if hasattr(self, "fcneck") else pooled
        return self.bottleneck(pooled) if hasattr(self, "bottleneck") else pooled


@torch.no_grad()
def randomize(network):
    """Give norms and biases random values; return the network in evaluation mode."""
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if value.dim() == 1 and value.is_floating_point() and not name.endswith("pool_layer.p"):
            low, high = (0.5, 1.5) if name.endswith(("weight", "running_var")) else (-0.2, 0.2)
            value.uniform_(low, high)
            if name.endswith("bn3.weight"):  # so that many blocks do not overflow
                value.mul_(0.3)
    return network.eval()


@torch.no_grad()
def embed(network, crops):
    """Return the unit embeddings of RGB crops (R, 3, h, w) with values of 0 to 255."""
    return F.normalize(network((crops / 255 - IMAGENET_MEAN) / IMAGENET_STD), dim=1)
