"""A trained checkpoint small enough for tests, and the use of an exported file.

Embeddings are 3 levels x 8 wide, crops 32 x 16; images become 96 pixels high or wide.
"""

import subprocess
import sys

import torch
from detectron2.modeling import build_model

from clsa_search.engine import load_config
from clsa_search.export import export_model
from tests.support.model_inputs import compute_losses, training_input
from tests.support.tiny import ROOT, TINY_MODEL

BRANCHES = {
    "CropBranch": [],
    "SharedBranch": ["MODEL.REID.NAME", "SharedBranch"],
}

PROGRAM = """
import json, sys

sys.modules["detectron2"] = sys.modules["clsa_search"] = None  # importing them fails

import torch, torchvision

for name in ("detectron2", "clsa_search"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(name + " could be imported")

file, inputs, outputs = sys.argv[1:]
about = {"about.json": ""}
model = torch.jit.load(file, _extra_files=about)
results = [model(x) for x in torch.load(inputs)]
values = [x if torch.is_tensor(x) else (x.boxes, x.scores, x.embeddings) for x in results]
torch.save({"results": values, "about": json.loads(about["about.json"])}, outputs)
"""
"""A program without Detectron2 that runs an exported file."""


def save_trained(folder, opts):
    """Save a checkpoint with trained batch norms, and its config beside it."""
    torch.manual_seed(0)
    config_file = str(ROOT / "configs" / "clsa_small_synthetic_demo.yaml")
    cfg = load_config(config_file, [*TINY_MODEL, "MODEL.REID.NUM_IDS", "3", *opts])
    model = build_model(cfg)
    for seed in range(4):
        compute_losses(model, [training_input(seed, [0, 1, 2]), training_input(seed + 9, [1])])
    torch.save({"model": model.state_dict()}, folder / "model_final.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder / "model_final.pth"


def run_plainly(file, inputs, folder):
    """Return `results` and `about` of a TorchScript file in a process without Detectron2."""
    torch.save(inputs, folder / "inputs.pth")
    arguments = [str(file), str(folder / "inputs.pth"), str(folder / "outputs.pth")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "outputs.pth")


def export_whole(weights, folder, opts=()):
    path = folder / "model.pt"
    export_model(weights, path, what="model", file_format="torchscript", opts=opts)
    return path
