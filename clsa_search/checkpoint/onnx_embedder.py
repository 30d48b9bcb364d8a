"""Re-ID networks of other projects as ONNX files, for the ONNX branch of our model."""

from clsa_search.checkpoint.onnx_presets import ONNX_EMBEDDERS, ONNXPreset
from clsa_search.checkpoint.presets import EmbedderOptions
from clsa_search.checkpoint.public_weights import PublicEmbedder
from clsa_search.errors import InputError
from clsa_search.modeling.onnx_branch import LEVEL, check_embedding, hash_onnx
from clsa_search.modeling.onnx_network import ONNXNetwork, read_onnx_file


def read_onnx_embedder(path: str, options: EmbedderOptions) -> PublicEmbedder:
    """Read an ONNX file that computes embeddings from crops, and run it once.

    Args:
        path: the file; weights in files beside it become part of it.
        options: how the crops enter the network: a preset, or all of size, mean, std and format.

    Raises:
        InputError: the file is not such a network, or the options do not say how crops enter it.
    """
    if options.last_stride or options.before_neck or options.drop:
        raise InputError(
            f"{path}: --last-stride, --before-neck and --reid-drop are for ResNets; an ONNX file "
            "is run as it is"
        )
    preset = _choose_preset(path, options)
    data = read_onnx_file(path)
    network = ONNXNetwork(data, path, options.output)
    height, width = options.crop_size or preset.crop_size
    embed_dim = check_embedding(network, (height, width), None)
    config = {
        "MODEL.REID.NAME": "ONNXBranch",
        "MODEL.REID.LEVELS": [LEVEL],
        "MODEL.REID.CROP_SIZE": [height, width],
        "MODEL.REID.INPUT.FORMAT": options.format or preset.format,
        "MODEL.REID.INPUT.PIXEL_MEAN": list(options.mean or preset.mean),
        "MODEL.REID.INPUT.PIXEL_STD": list(options.std or preset.std),
        "MODEL.REID.ONNX.OUTPUT": options.output,
        "MODEL.REID.HEAD.NAME": "PooledHead",
        "MODEL.REID.HEAD.POOL": "avg",
        "MODEL.REID.HEAD.NECK": "none",
        "MODEL.REID.HEAD.EMBED_DIM": embed_dim,
    }
    sha256 = hash_onnx(data)
    report = [
        f"{preset.title}: crops of {height} x {width} {config['MODEL.REID.INPUT.FORMAT']}, "
        f"embedding of {embed_dim} numbers",
        f"published: {preset.published}; license of the code: {preset.license}",
        f"an ONNX file is a program that is run: SHA-256 {bytes(sha256.tolist()).hex()}",
    ]
    tensors = {"reid_branch.sha256": sha256}
    return PublicEmbedder(path, preset.title, tensors, config, report, files={".onnx": data})


def _choose_preset(path: str, options: EmbedderOptions) -> ONNXPreset:
    """Return the named preset, or one of the given values."""
    if options.preset is not None:
        if options.preset not in ONNX_EMBEDDERS:
            raise InputError(
                f"{path}: --reid-preset is {options.preset}, but the file is an ONNX file; "
                f"expected one of {', '.join(ONNX_EMBEDDERS)}"
            )
        return ONNX_EMBEDDERS[options.preset]
    if options.crop_size and options.mean and options.std and options.format:
        return ONNXPreset("ONNX network", options.crop_size, license="yours", published="not known")
    raise InputError(
        f"{path}: does not say how crops enter it; expected --reid-preset "
        f"{' or '.join(ONNX_EMBEDDERS)}, or all of --crop-size, --reid-mean, --reid-std and "
        "--reid-format"
    )
