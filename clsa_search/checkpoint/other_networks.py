"""Recognize public re-ID networks other than ResNets; an ONNX file takes them."""

import re
from collections.abc import Iterable

from clsa_search.errors import InputError

OTHER_NETWORKS = (
    (r"image_encoder\.|prompt_learner\.|visual\.|text_encoder\.", "CLIP-ReID or another CLIP"),
    (r"relative_position_bias_table$|layers\.\d\.blocks\.", "a Swin transformer"),
    (r"cls_token$|pos_embed$|blocks\.\d+\.attn\.|transformer\.", "a vision transformer (ViT)"),
    (r"conv\d\.\d\.conv2\w?\.\d\.conv1\.weight$|conv\d\.\d\.gate\.", "OSNet"),
    (r"b1_head\.|b\d\.\d\.conv1\.weight$", "MGN, a ResNet with several branches"),
    (r"\.se\.|\.se_module\.|conv2\.bn0\.|radix", "a ResNeSt or a ResNet with squeeze-excitation"),
    (r"features\.denseblock|features\.\d+\.|mlfn|inception|hacnn", "no ResNet"),
)
"""Patterns of tensor names, and the network for people."""

ONNX_ADVICE = (
    "export it to ONNX in its own project (crops in, embeddings out), and pass this file: "
    "--reid osnet.onnx"
)


def name_other_network(names: Iterable[str]) -> str | None:
    """Return the kind of network with these tensor names, None if it is not known."""
    names = list(names)
    for pattern, network in OTHER_NETWORKS:
        if any(re.search(pattern, name) for name in names):
            return network
    return None


def refuse_other_network(path: str, names: Iterable[str]) -> None:
    """Refuse the tensor names of a known network without an implementation here.

    Raises:
        InputError: they are.
    """
    if network := name_other_network(names):
        raise InputError(f"{path}: is {network}; expected a plain ResNet, or {ONNX_ADVICE}")
