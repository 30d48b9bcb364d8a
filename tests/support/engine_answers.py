"""All answers of a gallery that do not depend on ids.

python -m tests.support.engine_answers ADDRESS

Prints JSON; two engines with the same detections must print the same.
"""

import json
import sys

from clsa_search.gallery import Filter, open_store
from clsa_search.retrieval.deletions import DeletionSelector, plan_deletion
from clsa_search.retrieval.match_judge import MatchJudge
from clsa_search.retrieval.retention import plan_retention
from clsa_search.retrieval.sighting_search import SightingChoice, search_sightings
from clsa_search.retrieval.source_coverage import read_coverage
from clsa_search.retrieval.watch_list import list_people, list_sightings_of
from tests.support.coded_footage import embed_person
from tests.support.sighting_cases import DAY

PERSON, STRANGER = 20, 5
FILTERS = {
    "all": None,
    "camera": Filter(cameras=["north", "east"]),
    "time": Filter(since=DAY + 1500, until=DAY + 4500),
    "both": Filter(cameras=["south"], since=DAY + 1500),
    "score": Filter(min_score=0.95),
    "nothing": Filter(since=DAY - 100, until=DAY - 50),
}


def describe_answers(address):
    """Return what a gallery answers, as plain values."""
    with open_store(address) as store:
        judge = MatchJudge(store)

        def search(person, where=None, choice=None):
            embedding = embed_person(person).astype("float32")
            matches, answer = search_sightings(store, judge, embedding, 6, where, choice)
            rows = [
                [
                    *(name_sighting(one.tracklet), round(one.similarity, 4)),
                    *(f"{said.expected_strangers:.3g}", said.verdict),
                    said.rejected_like is not None,
                ]
                for one, said in zip(matches, answer.matches, strict=True)
            ]
            return [answer.searched, answer.nobody, rows]

        others = [one.tracklet_id for one in sorted(store.tracklets(), key=name_sighting)][:2]
        plan = plan_deletion(store, DeletionSelector(cameras=["north"], before=DAY + 3000))
        retention = plan_retention(store, DAY + 86_400)
        return {
            **{name: search(PERSON, where) for name, where in FILTERS.items()},
            "stranger": search(STRANGER),
            "few strangers": search(PERSON, choice=SightingChoice(max_strangers=0.5)),
            "others": search(PERSON, choice=SightingChoice(others=others)),
            "sightings": sorted(map(name_sighting, store.tracklets())),
            "counts": [store.count(), store.count_tracklets(), len(store.sources())],
            "deletion": [len(plan.sightings), plan.detections, plan.files, plan.first, plan.last],
            "retention": [len(retention.sightings), retention.detections],
            "people": {
                one.name: sorted(
                    name_sighting(store.get_tracklets([number])[0])
                    for number in list_sightings_of(store, one.name)
                )
                for one in list_people(store)
            },
            "coverage": [[one.camera, one.spans, one.gaps] for one in read_coverage(store)],
        }


def name_sighting(tracklet):
    """Return file, frames and camera of a sighting, and what continues it or not."""
    return [
        *(tracklet.source, tracklet.first_frame, tracklet.last_frame, tracklet.camera),
        *(tracklet.detections, round(tracklet.score, 4), round(tracklet.purity, 4)),
    ]


if __name__ == "__main__":
    print(json.dumps(describe_answers(sys.argv[1])))
