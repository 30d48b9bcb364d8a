"""The evaluation spelled out, one detection at a time: slow, and meant to be read.

`clsa_search.evaluation.metrics` states the semantics; these functions follow its sentences.
"""

import math


def search(predictions, protocol, score_threshold):
    """For each query: (average precision, rank of the first positive or 0, targets, found)."""
    image_at = {name: i for i, name in enumerate(predictions.image_ids)}
    query_at = {name: i for i, name in enumerate(predictions.query_ids)}
    rows = []
    for q, query_id in enumerate(protocol.query_ids):
        feature = predictions.query_features[query_at[query_id]]
        boxes_of = {}
        for t in range(protocol.target_offsets[q], protocol.target_offsets[q + 1]):
            boxes_of.setdefault(protocol.target_images[t], []).append(protocol.target_boxes[t])
        results, targets, found = [], 0, 0
        for g in range(protocol.gallery_offsets[q], protocol.gallery_offsets[q + 1]):
            image = protocol.gallery_images[g]
            ranked = rank_image(
                predictions, image_at[protocol.image_ids[image]], feature, score_threshold
            )
            positive = None
            for place, (_, box) in enumerate(ranked):
                if positive is None and is_on_a_target(box, boxes_of.get(image, [])):
                    positive = place
            targets += image in boxes_of
            found += positive is not None
            results += [(ranked[i][0], i == positive) for i in range(len(ranked))]
        recall = found / targets if targets else 0
        rows.append((average_precision(results) * recall, first_rank(results), targets, found))
    return rows


def rank_image(predictions, image, feature, score_threshold):
    """(similarity, box) of an image's detections, the most similar first."""
    rows = []
    for d in range(predictions.offsets[image], predictions.offsets[image + 1]):
        if predictions.scores[d] >= score_threshold:
            similarity = sum(
                float(a) * float(b) for a, b in zip(predictions.features[d], feature, strict=True)
            )
            rows.append((similarity, predictions.boxes[d]))
    return sorted(rows, key=lambda row: -row[0])


def is_on_a_target(box, targets):
    for target in targets:
        w, h = target[2] - target[0], target[3] - target[1]
        if iou(box, target) >= min(0.5, w * h / ((w + 10) * (h + 10))):
            return True
    return False


def average_precision(results):
    """scikit-learn's of (value, is positive): sum of (R_n - R_n-1) P_n over the distinct values."""
    total = sum(positive for _, positive in results)
    precision_sum, recall_before = 0.0, 0.0
    for bound in sorted({value for value, _ in results}, reverse=True):
        taken = [positive for value, positive in results if value >= bound]
        recall = sum(taken) / total if total else 0.0
        precision_sum += (recall - recall_before) * sum(taken) / len(taken)
        recall_before = recall
    return precision_sum


def first_rank(results):
    """Of the best positive from 1, after the negatives that equal it; 0 without a positive."""
    ranking = sorted(results, key=lambda result: (-result[0], result[1]))
    labels = [positive for _, positive in ranking]
    return labels.index(True) + 1 if True in labels else 0


def detection(predictions, records, score_threshold, iou_threshold, labelled_only):
    """(recall, AP) in [0, 1]; NaN without annotated boxes."""
    image_at = {name: i for i, name in enumerate(predictions.image_ids)}
    results, count = [], 0
    for record in records:
        people = [
            one["bbox"]
            for one in record["annotations"]
            if one["person_id"] != -1 or not labelled_only
        ]
        if labelled_only and not people:
            continue
        image = image_at[record["image_id"]]
        found = [
            (predictions.scores[d], predictions.boxes[d])
            for d in range(predictions.offsets[image], predictions.offsets[image + 1])
            if predictions.scores[d] >= score_threshold
        ]
        count += len(people)
        results += [
            (score, is_matched(d, found, people, iou_threshold))
            for d, (score, _) in enumerate(found)
        ]
    if count == 0:
        return math.nan, math.nan
    recall = sum(positive for _, positive in results) / count
    return recall, average_precision(results) * recall


def is_matched(d, found, people, iou_threshold):
    """Whether a detection and a person are each other's best, and close enough."""
    if not people:
        return False
    score, box = found[d]
    overlaps = [iou(box, person) for person in people]
    person = overlaps.index(max(overlaps))
    rivals = [(iou(other, people[person]), rival) for rival, other in found]
    best = rivals.index(max(rivals))
    return best == d and overlaps[person] >= iou_threshold


def iou(a, b):
    a, b = [float(x) for x in a], [float(x) for x in b]
    overlap = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    overlap *= max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return overlap / (areas - overlap) if areas > overlap else 0.0
