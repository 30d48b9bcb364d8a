"""Reference of the metrics, one detection at a time: slow, and easy to read.

It follows the definitions in `clsa_search.evaluation.metrics` sentence by sentence.
"""

import math


def search(predictions, protocol, score_threshold, weight_by_score=False, rerank=None):
    """Return (average precision, rank of the first positive or 0, targets, found) per query.

    `rerank(predictions, row of the query, {detection: similarity}, {detection: embedding})` gives
    new similarities; see reference_reranking.py.
    """
    return [
        sum_up(positives, results, unsearched)
        for positives, results, unsearched in rank_all(
            predictions, protocol, score_threshold, weight_by_score, rerank
        )
    ]


def rank_all(
    predictions,
    protocol,
    score_threshold,
    weight_by_score=False,
    rerank=None,
    with_images=False,
):
    """Yield ([(image, similarity of its positive or None)], [(similarity, is positive)],
    number of unsearched targets) per query; an image listed twice comes twice.

    With `with_images` the second list is [(similarity, is positive, image)].
    """
    image_at = {name: i for i, name in enumerate(predictions.image_ids)}
    query_at = {name: i for i, name in enumerate(predictions.queries.ids)}
    detections = predictions.detections.values
    for q, query_id in enumerate(protocol.query_ids):
        row = query_at[query_id]
        boxes_of = {}
        targets = protocol.targets.row(q)
        for image, box in zip(targets.images, targets.boxes, strict=True):
            boxes_of.setdefault(image, []).append(box)
        gallery = protocol.galleries.row(q)
        detections_of, embeddings = {}, {}
        for image in sorted(set(gallery)):
            i = image_at[protocol.image_ids[image]]
            detections_of[image] = [
                d
                for d in range(*predictions.detections.offsets[i : i + 2])
                if detections.scores[d] >= score_threshold
            ]
            for d in detections_of[image]:
                weight = float(detections.scores[d]) if weight_by_score else 1.0
                embeddings[d] = [weight * float(value) for value in detections.embeddings[d]]
        query = predictions.queries.embeddings[row]
        similarities = {d: dot(query, embeddings[d]) for d in embeddings}
        if rerank:
            similarities = rerank(predictions, row, similarities, embeddings)
        positives, results = [], []
        for image in gallery:
            found = sorted(detections_of[image], key=lambda d: -similarities[d])
            positive = None
            for d in found:
                if positive is None and is_on_a_target(
                    detections.boxes[d], boxes_of.get(image, [])
                ):
                    positive = d
            if image in boxes_of:
                positives.append((image, None if positive is None else similarities[positive]))
            tail = (image,) if with_images else ()
            results += [(similarities[d], d == positive, *tail) for d in found]
        yield positives, results, 0 if protocol.unsearched is None else int(protocol.unsearched[q])


def sum_up(positives, results, unsearched):
    found = sum(value is not None for _, value in positives)
    targets = len(positives) + unsearched
    recall = found / targets if targets else 0
    return average_precision(results) * recall, first_rank(results), targets, found


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def is_on_a_target(box, targets):
    for target in targets:
        w, h = target[2] - target[0], target[3] - target[1]
        if iou(box, target) >= min(0.5, w * h / ((w + 10) * (h + 10))):
            return True
    return False


def average_precision(results):
    """As scikit-learn, from (value, is positive): sum of (R_n - R_n-1) P_n over distinct values."""
    total = sum(positive for _, positive in results)
    precision_sum, recall_before = 0.0, 0.0
    for bound in sorted({value for value, _ in results}, reverse=True):
        taken = [positive for value, positive in results if value >= bound]
        recall = sum(taken) / total if total else 0.0
        precision_sum += (recall - recall_before) * sum(taken) / len(taken)
        recall_before = recall
    return precision_sum


def first_rank(results):
    """Rank of the best positive from 1, after tied negatives; 0 without a positive."""
    ranking = sorted(results, key=lambda result: (-result[0], result[1]))
    labels = [positive for _, positive in ranking]
    return labels.index(True) + 1 if True in labels else 0


def detection(predictions, records, score_threshold, iou_threshold, labeled_only):
    """Return (recall, AP) in [0, 1]; NaN without ground-truth boxes."""
    image_at = {name: i for i, name in enumerate(predictions.image_ids)}
    detections = predictions.detections.values
    results, count = [], 0
    for record in records:
        boxes = [one["bbox"] for one in record["annotations"]]
        known = [one["person_id"] != -1 or not labeled_only for one in record["annotations"]]
        targets = [box for box, is_known in zip(boxes, known, strict=True) if is_known]
        if labeled_only and not targets:
            continue
        image = image_at[record["image_id"]]
        found = [
            (detections.scores[d], detections.boxes[d])
            for d in range(*predictions.detections.offsets[image : image + 2])
            if detections.scores[d] >= score_threshold
        ]
        count += len(targets)
        for d, (score, _) in enumerate(found):
            right = is_matched(d, found, targets, iou_threshold)
            on_a_box = is_matched(d, found, boxes, iou_threshold)
            if right or not on_a_box or known[closest(found[d][1], boxes)]:
                results.append((score, right))
    if count == 0:
        return math.nan, math.nan
    recall = sum(positive for _, positive in results) / count
    return recall, average_precision(results) * recall


def closest(box, others):
    overlaps = [iou(box, other) for other in others]
    return overlaps.index(max(overlaps)) if others else None


def is_matched(d, found, boxes, iou_threshold):
    """Return whether a detection and a box are each other's best, with a sufficient IoU."""
    if not boxes:
        return False
    _, detected = found[d]
    target = boxes[closest(detected, boxes)]
    rivals = [(iou(other, target), score) for score, other in found]
    best = rivals.index(max(rivals))
    return best == d and iou(detected, target) >= iou_threshold


def iou(a, b):
    a, b = [float(x) for x in a], [float(x) for x in b]
    overlap = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    overlap *= max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return overlap / (areas - overlap) if areas > overlap else 0.0
