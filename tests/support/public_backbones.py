"""The tensors of torchvision's ConvNeXt and Swin in the names and orders of other projects.

And CLIP's ResNet in its own names.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F


def _put(state, name, module):
    state.update({f"{name}.{key}": value for key, value in module.state_dict().items()})


def _list_parts(network):
    """Return the blocks of each stage, and the downsampling before it, None before the first."""
    parts = list(network.features)
    return list(zip(parts[1::2], [None, *parts[2::2]], strict=True))


def name_convnext(network, project):
    """Return the state dict of a ConvNeXt as "timm" or "paper" name it."""
    is_timm, state = project == "timm", {}
    stem = "stem" if is_timm else "downsample_layers.0"
    for i in (0, 1):
        _put(state, f"{stem}.{i}", network.features[0][i])
    names = ("conv_dw", "norm", "mlp.fc1", "mlp.fc2")
    names = names if is_timm else ("dwconv", "norm", "pwconv1", "pwconv2")
    for k, (blocks, down) in enumerate(_list_parts(network)):
        for i in (0, 1) if down else ():
            start = f"stages.{k}.downsample" if is_timm else f"downsample_layers.{k}"
            _put(state, f"{start}.{i}", down[i])
        for i, block in enumerate(blocks):
            start = f"stages.{k}.blocks.{i}" if is_timm else f"stages.{k}.{i}"
            for name, index in zip(names, (0, 2, 3, 5), strict=True):
                _put(state, f"{start}.{name}", block.block[index])
            state[f"{start}.gamma"] = block.layer_scale.flatten()
    head = "head." if is_timm else ""
    _put(state, f"{head}norm", network.classifier[0])
    _put(state, "head.fc" if is_timm else "head", network.classifier[2])
    return state


def name_swin(network, project):
    """Return the state dict of a Swin as "timm" or "paper" name it; version 2 splits its biases."""
    state = {}
    for name, index in (("proj", 0), ("norm", 2)):
        _put(state, f"patch_embed.{name}", network.features[0][index])
    for k, (blocks, down) in enumerate(_list_parts(network)):
        if down:
            _put(state, f"layers.{k if project == 'timm' else k - 1}.downsample", down)
        for i, block in enumerate(blocks):
            start = f"layers.{k}.blocks.{i}"
            for name in ("norm1", "attn", "norm2"):
                _put(state, f"{start}.{name}", getattr(block, name))
            for name, index in (("fc1", 0), ("fc2", 3)):
                _put(state, f"{start}.mlp.{name}", block.mlp[index])
            if hasattr(block.attn, "logit_scale"):
                query, _, value = state.pop(f"{start}.attn.qkv.bias").chunk(3)
                state |= {f"{start}.attn.q_bias": query, f"{start}.attn.v_bias": value}
            state[f"{start}.attn_mask"] = torch.zeros(4, 49, 49)
    _put(state, "norm", network.norm)
    _put(state, "head", network.head)
    return state


def name_solider(network):
    """Return a Swin's state dict as SOLIDER's teacher names it, with a random controller."""
    names = (
        *(("patch_embed.proj", "patch_embed.projection"), ("layers.", "stages.")),
        *(("mlp.fc1", "ffn.layers.0.0"), ("mlp.fc2", "ffn.layers.1"), (".attn.", ".attn.w_msa.")),
    )
    state = {}
    for name, value in name_swin(network, "paper").items():
        if ".downsample." in name:  # by place and channel there, by channel and place here
            value = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
            value = value.transpose(-1, -2).flatten(-2)
        for old, new in names:
            name = name.replace(old, new)
        if not name.startswith(("norm.", "head.")):
            state[f"backbone.{name}"] = value
    widths = [down.reduction.out_features for _, down in _list_parts(network)[1:]]
    for k, width in enumerate([*widths, widths[-1]]):
        for part in ("w", "b"):
            state[f"backbone.semantic_embed_{part}.{k}.weight"] = torch.randn(width, 2)
            state[f"backbone.semantic_embed_{part}.{k}.bias"] = torch.randn(width)
    for k, width in enumerate([widths[0] // 2, *widths]):
        state[f"backbone.norm{k}.weight"] = torch.rand(width) + 0.5
        state[f"backbone.norm{k}.bias"] = torch.randn(width)
    return {**state, "head.mlp.0.weight": torch.randn(4, widths[-1])}


@torch.no_grad()
def compute_solider(network, state, crops):
    """Return the four outputs (R, C, h, w) of SOLIDER with its controller at weight 0.2."""
    state = {name.removeprefix("backbone."): value for name, value in state.items()}
    weight, outputs = torch.tensor([0.2, 0.8]), []
    maps = network.features[0](crops)
    for k, (blocks, _) in enumerate(_list_parts(network)):
        if k:
            maps = _merge(maps, state, f"stages.{k - 1}.downsample")
            factor, shift = (
                F.linear(weight, state[f"{name}.weight"], state[f"{name}.bias"])
                for name in (f"semantic_embed_w.{k - 1}", f"semantic_embed_b.{k - 1}")
            )
            maps = maps * F.softplus(factor) + shift
        maps = blocks(maps)
        norm = [state[f"norm{k}.{part}"] for part in ("weight", "bias")]
        outputs.append(F.layer_norm(maps, maps.shape[-1:], *norm).permute(0, 3, 1, 2))
    return outputs


def _merge(maps, state, name):
    """Downsample (R, H, W, C) by the cells of torch's unfold."""
    _, height, width, _ = maps.shape
    cells = F.unfold(maps.permute(0, 3, 1, 2), kernel_size=2, stride=2).transpose(1, 2)
    norm = state[f"{name}.norm.weight"], state[f"{name}.norm.bias"]
    cells = F.layer_norm(cells, cells.shape[-1:], *norm) @ state[f"{name}.reduction.weight"].T
    return cells.unflatten(1, (height // 2, width // 2))


class PublicCLIPBlock(nn.Module):
    """CLIP's bottleneck; pools take the place of strides."""

    def __init__(self, channels, width, pool):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2, self.bn3 = nn.BatchNorm2d(width), nn.BatchNorm2d(4 * width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.pool, self.downsample = nn.AvgPool2d(pool), nn.Identity()
        if pool > 1 or channels != 4 * width:
            conv = nn.Conv2d(channels, 4 * width, 1, bias=False)
            parts = [("-1", nn.AvgPool2d(pool)), ("0", conv), ("1", nn.BatchNorm2d(4 * width))]
            self.downsample = nn.Sequential(OrderedDict(parts))

    def forward(self, x):
        hidden = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(self.pool(hidden))) + self.downsample(x))


class PublicCLIPResNet(nn.Module):
    """The ResNet-50 of CLIP and PLIP, without its attention pool."""

    def __init__(self, width=8):
        super().__init__()
        channels = 3
        for i, out in enumerate((width // 2, width // 2, width), start=1):
            conv = nn.Conv2d(channels, out, 3, stride=2 if i == 1 else 1, padding=1, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(out))
            channels = out
        for i, count in enumerate((3, 4, 6, 3)):
            blocks = []
            for j in range(count):
                blocks.append(PublicCLIPBlock(channels, width << i, 2 if i and j == 0 else 1))
                channels = 4 * width << i
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))

    def forward(self, x):
        for i in (1, 2, 3):
            x = F.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        x = F.avg_pool2d(x, 2)
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return x
