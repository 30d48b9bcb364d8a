"""Reference of the re-rankers for `reference_metrics.search`: slow, and easy to read.

It follows the definitions in `clsa_search.evaluation.cbgm` and `k_reciprocal`. Detections have to
be sorted by image, in the order of the protocol's images.
"""

import itertools
import math

from tests.support.reference_metrics import dot, iou


def make_cbgm(k1, k2, score_threshold):
    def rerank(predictions, query, similarities, embeddings):
        revised = dict(similarities)
        if not similarities:
            return revised
        bound = sorted(similarities.values(), reverse=True)[:k1][-1]
        people = [predictions.queries.embeddings[query]]
        people += find_context(predictions, query, k2 - 1, score_threshold)
        chosen = {image_of(predictions, d) for d, s in similarities.items() if s >= bound}
        for image in chosen:
            detections = [d for d in similarities if image_of(predictions, d) == image]
            edges = [[dot(person, embeddings[d]) for d in detections] for person in people]
            largest, partner = match_all(edges)
            if partner is not None:
                revised[detections[partner]] = largest
        return revised

    def find_context(predictions, query, count, threshold):
        """Embeddings of the best detections around the query, without weights."""
        detections = predictions.detections.values
        image = list(predictions.image_ids).index(predictions.queries.image_ids[query])
        rows = [
            d
            for d in range(*predictions.detections.offsets[image : image + 2])
            if detections.scores[d] >= threshold
            and iou(detections.boxes[d], predictions.queries.boxes[query]) <= 0.5
        ]
        rows.sort(key=lambda d: -detections.scores[d])
        return [detections.embeddings[d] for d in rows[:count]]

    return rerank


def image_of(predictions, detection):
    offsets = predictions.detections.offsets
    return max(i for i in range(len(predictions.image_ids)) if offsets[i] <= detection)


def match_all(edges):
    """(largest edge, the first row's column or None) of the best one-to-one matching by its sum.

    Whoever is in the minority is matched to the last; of equal sums the first column wins, then
    the largest edge.
    """
    rows, columns = len(edges), len(edges[0])
    partners = [*range(columns), *[None] * max(0, rows - columns)]
    found = []
    for chosen in itertools.permutations(partners, rows):
        matched = [edges[i][j] for i, j in enumerate(chosen) if j is not None]
        first = columns if chosen[0] is None else chosen[0]
        found.append((sum(matched), -first, max(matched)))
    _, first, largest = max(found)
    return largest, None if first == -columns else -first


def make_k_reciprocal(k1, k2, weight, depth):
    def rerank(predictions, query, similarities, embeddings):
        order = sorted(similarities, key=lambda d: -similarities[d])
        revised = {d: similarities[d] - 4 for d in order[depth:]}
        members = [[float(x) for x in predictions.queries.embeddings[query]]]
        members += [embeddings[d] for d in order[:depth]]
        distances = rerank_members(members)
        return revised | {d: 1 - distances[i + 1] for i, d in enumerate(order[:depth])}

    def rerank_members(members):
        """Return d* between the first member and all members."""
        n = range(len(members))
        d = [[0.0 if i == j else distance(members[i], members[j]) for j in n] for i in n]
        ranked = [[i, *sorted((j for j in n if j != i), key=lambda j: d[i][j])] for i in n]  # noqa: B023

        def reciprocal(i, k):  # equation 4
            return {j for j in ranked[i][: k + 1] if i in ranked[j][: k + 1]}

        encodings = []
        for i in n:
            expanded = set(reciprocal(i, k1))  # equation 5
            for j in reciprocal(i, k1):
                half = reciprocal(j, round(k1 / 2))
                if 3 * len(half & reciprocal(i, k1)) > 2 * len(half):
                    expanded |= half
            row = [math.exp(-d[i][j]) if j in expanded else 0.0 for j in n]  # equation 7
            encodings.append([value / sum(row) for value in row])
        local = [  # equation 11
            [sum(encodings[i][j] for i in ranked[p][:k2]) / len(ranked[p][:k2]) for j in n]
            for p in n
        ]
        result = []
        for g in n:  # equations 10 and 12
            shared = sum(min(a, b) for a, b in zip(local[0], local[g], strict=True))
            jaccard = 1 - shared / (2 - shared)
            result.append(round((1 - weight) * jaccard + weight * d[0][g], 9))
        return result

    return rerank


def distance(a, b):
    """Half the squared Euclidean distance."""
    return (dot(a, a) + dot(b, b)) / 2 - dot(a, b)
