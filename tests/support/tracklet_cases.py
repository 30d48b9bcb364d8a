"""Tracklets for the tests of stores, made without linking."""

import numpy as np

from clsa_search.gallery import Filter, Tracklet


def link_by(store, source, choose):
    """Give a source the tracklets of a rule.

    Args:
        store: gallery.
        source: path of a source.
        choose: returns the name of the tracklet of a detection.
    """
    groups = {}
    for detection in store.list(Filter(sources=[source])):
        groups.setdefault(choose(detection), []).append(detection)
    members = [[one.detection_id for one in group] for group in groups.values()]
    store.set_tracklets(source, [make_tracklet(group) for group in groups.values()], members)
    return members


def make_tracklet(detections, **changes):
    """Return the tracklet of some detections, in the order of ids."""
    first, last = detections[0], detections[-1]
    best = max(detections, key=lambda one: one.score)
    mean = np.mean([one.embedding for one in detections], axis=0)
    fields = {
        "tracklet_id": first.detection_id,
        "source": first.source,
        "camera": first.camera,
        "first": first.time,
        "last": last.time,
        "first_frame": first.frame,
        "last_frame": last.frame,
        "detections": len(detections),
        "best": best.detection_id,
        "purity": 0.5 if len(detections) > 1 else 1.0,
        "embedding": (mean / np.linalg.norm(mean)).astype(np.float32),
        "score": best.score,
        "chain": first.detection_id,
    }
    return Tracklet(**(fields | changes))


def describe(tracklet):
    """Return the fields, comparable."""
    embedding = tracklet.embedding
    return vars(tracklet) | {"embedding": None if embedding is None else embedding.tolist()}
