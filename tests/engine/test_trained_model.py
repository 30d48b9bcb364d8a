"""A model is loaded without side effects."""

import numpy as np
import torch
from detectron2.modeling import build_model

from clsa_search.engine import PersonSearchCheckpointer, load_trained_model


def state_of_the_process():
    """Return settings and random states of the process."""
    return [
        *(torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()),
        *(torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
    ]


def test_loading_a_model_changes_nothing_else(tiny_cfg, tmp_path):
    PersonSearchCheckpointer(build_model(tiny_cfg), str(tmp_path)).save("model")
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    before = state_of_the_process()
    trained = load_trained_model(tmp_path / "model.pth")
    assert state_of_the_process() == before
    assert not trained.model.training and trained.cfg.is_frozen()
