"""Works that are killed: indexing, copying, extraction, training and its last steps."""

from pathlib import Path
from typing import Any

import torch

from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.engine import PersonSearchTrainer, inference, load_config
from clsa_search.evaluation import PREDICTIONS_FILE, load_predictions
from clsa_search.gallery import copy_gallery, open_store
from clsa_search.retrieval.indexer import Indexer, IndexOptions
from tests.fuzz.kills import Subject
from tests.support.footage import BlockPredictor, write_image, write_video
from tests.support.store_cases import make_images, new_store
from tests.support.tiny import ROOT, TINY_MODEL, make_split

ITERATIONS = 5

Row = tuple


def list_rows(address: Path) -> list[Row]:
    """List all fields of a gallery's detections."""
    with open_store(address) as store:
        return [
            (one.source, one.frame, one.time, one.box, one.score, one.embedding.tobytes())
            for one in store.list()
        ]


def list_gallery(output: Path) -> set[Row]:
    """List the stored detections; none is there twice."""
    if not (output / "g.db").exists() or not (output / "g.db").stat().st_size:
        return set()
    rows = list_rows(output / "g.db")
    assert len(rows) == len(set(rows)), "a detection is stored twice"
    return set(rows)


def write_media(given: Path) -> None:
    for number in range(60):
        write_image(given / f"{number:02}.png", {number % 4: number})
    write_video(given / "video.avi", [{i % 4: 2 * i} for i in range(40)])


def index_media(given: Path, output: Path) -> None:
    predictor = BlockPredictor()
    with open_or_create(output, predictor.weights_sha256) as store:
        indexer = Indexer(predictor, store, IndexOptions(rate=10, batch_size=2))
        indexer.plan([given])
        indexer.run()


def open_or_create(output: Path, weights: str) -> Any:
    return open_store(output / "g.db", weights=weights, create=True)


def write_gallery(given: Path) -> None:
    given.mkdir(parents=True)
    with new_store(given / "g.db") as store:
        store.add(make_images(400))


def copy_slowly(given: Path, output: Path) -> None:
    with open_store(given / "g.db") as store:
        copy_gallery(store, str(output / "g.db"), batch_size=20)


# -- models ---------------------------------------------------------------------------------------


def write_dataset(given: Path) -> None:
    make_split(given, "train", images=8, queries=False)
    make_split(given, "gallery", images=10, queries=True)
    cfg = load_tiny(given, given)
    torch.manual_seed(0)
    trainer = PersonSearchTrainer(cfg)
    torch.save({"model": trainer.model.state_dict()}, given / "weights.pth")


def load_tiny(given: Path, output: Path) -> Any:
    opts = [
        *TINY_MODEL,
        *("MODEL.REID.NUM_IDS", "3", "SOLVER.STEPS", "()", "TEST.EVAL_PERIOD", "0", "SEED", "1"),
        *("SOLVER.MAX_ITER", str(ITERATIONS), "SOLVER.CHECKPOINT_PERIOD", "1"),
        *("DATASETS.TRAIN", f"('{given / 'train.json'}',)"),
        *("DATASETS.TEST", f"('{given / 'gallery.json'}',)"),
        *("OUTPUT_DIR", str(output)),
    ]
    return load_config(ROOT / "configs" / "clsa_small_synthetic_demo.yaml", opts)


def extract(given: Path, output: Path) -> None:
    cfg = load_tiny(given, output)
    cfg.MODEL.WEIGHTS = str(given / "weights.pth")
    inference.SHARD_SIZE = 1
    inference.predict(cfg, str(given / "gallery.json"), str(output))


def list_images(output: Path) -> set[str]:
    """List the images with stored predictions, in shards or in the complete file."""
    complete = output / PREDICTIONS_FILE
    files = [complete] if complete.exists() else list(output.rglob("*.npz"))
    return {image for path in files for image in load_predictions(path).image_ids.tolist()}


def read_extraction(output: Path) -> dict[str, Any]:
    predictions = load_predictions(output / PREDICTIONS_FILE)
    found, queries = predictions.detections, predictions.queries
    values = found.offsets, found.values.boxes, found.values.scores, found.values.embeddings
    values += queries.ids, queries.boxes, queries.embeddings
    names = {"images": predictions.image_ids.tolist()}
    return names | {str(i): torch.from_numpy(value) for i, value in enumerate(values)}


def train(given: Path, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    trainer = PersonSearchTrainer(load_tiny(given, output))
    trainer.resume_or_load(resume=True)
    trainer.train()


def list_iterations(output: Path) -> set[int]:
    """List the iterations that a resumed run does not do again."""
    path = PersonSearchCheckpointer(torch.nn.Identity(), str(output)).get_checkpoint_file()
    if not path:
        return set()
    return set(range(torch.load(path, weights_only=True)["trainer"]["iteration"] + 1))


def read_model(output: Path) -> dict[str, Any]:
    """Read model_final.pth; the evaluation after it was done, too."""
    assert list(output.rglob(PREDICTIONS_FILE)), "the last evaluation is missing"
    return torch.load(output / "model_final.pth", weights_only=True)["model"]


def is_trained(output: Path) -> bool:
    return (output / f"model_{ITERATIONS - 1:07}.pth").exists()


SUBJECTS = {
    "index": Subject(write_media, index_media, list_gallery, lambda o: list_rows(o / "g.db")),
    "copy": Subject(write_gallery, copy_slowly, list_gallery, lambda o: list_rows(o / "g.db")),
    "extraction": Subject(write_dataset, extract, list_images, read_extraction),
    "checkpoints": Subject(write_dataset, train, list_iterations, read_model),
    "model_final.pth": Subject(write_dataset, train, list_iterations, read_model, is_trained),
}
