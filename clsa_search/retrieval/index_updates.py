"""Bring a gallery up to date with its files: changed and new ones, each with its own options.

A known file keeps the options that it was indexed with. They stand in its fingerprint.
"""

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore, Source
from clsa_search.retrieval.index_options import IndexOptions, IndexReport
from clsa_search.retrieval.indexer import Indexer
from clsa_search.retrieval.predictor import PersonSearchPredictor
from clsa_search.retrieval.source_files import describe_file
from clsa_search.retrieval.source_moves import resolve_links

_TEXT = r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"  # as repr writes it
_FINGERPRINT = re.compile(
    r"(?P<state>\d+ bytes of -?\d+), score (?P<score>[-+.\de]+), "
    rf"camera(?P<rule>-from)? (?P<camera>None|{_TEXT})(?: (?P<rate>[-+.\de]+)/s)?"
    rf"(?: from (?P<start>[-+.\de]+)| by (?P<rules>{_TEXT}))?(?P<boxes>, boxes .*)?"
)
_IN_SEQUENCE = " in sequence"


@dataclass(frozen=True)
class StoredOptions:
    """What the fingerprint of a source says.

    Args:
        state: size and time of change of its file, see `describe_file`.
        options: options of its indexing.
        min_score: lowest detection score, as text.
        has_given_boxes: whether its boxes came from another detector.
    """

    state: str
    options: IndexOptions
    min_score: str
    has_given_boxes: bool


def read_options(source: Source, defaults: IndexOptions) -> StoredOptions | None:
    """Return the options that a source was indexed with; None if its fingerprint tells nothing.

    Args:
        source: a stored source.
        defaults: options of speed, such as the size of a batch.
    """
    found = _FINGERPRINT.fullmatch(source.fingerprint or "")
    if found is None:
        return None
    camera = ast.literal_eval(found["camera"])
    rules = ast.literal_eval(found["rules"] or "''")
    try:
        options = IndexOptions(
            rate=float(found["rate"] or defaults.rate),
            camera=None if found["rule"] else camera,
            camera_from=camera if found["rule"] else "",
            start_time=float(found["start"] or 0) or None,
            **_split_rules(rules.removesuffix(_IN_SEQUENCE)),
            in_sequence=rules.endswith(_IN_SEQUENCE),
            batch_size=defaults.batch_size,
            threads=defaults.threads,
        )
    except (InputError, ValueError):  # such as a sequence, whose first start is not written
        return None
    return StoredOptions(found["state"], options, found["score"], found["boxes"] is not None)


def update_gallery(
    predictor: PersonSearchPredictor,
    store: GalleryStore,
    paths: Sequence[str],
    options: IndexOptions,
    on_planned: Callable[[int], None] = lambda images: None,
    on_stored: Callable[[int, int], None] = lambda images, detections: None,
) -> IndexReport:
    """Index the files that are new, changed or incomplete.

    Args:
        predictor: model with the weights of the store.
        store: gallery, opened with weights.
        paths: files.
        options: options of new files; known ones keep theirs.
        on_planned: called once with the estimated number of images and frames.
        on_stored: see :meth:`Indexer.run`.

    Raises:
        InputError: the store cannot be read or written; stored batches stay.
    """
    report = IndexReport()
    groups = _group(store, paths, options, f"{predictor.min_score:g}", report)
    indexers, total = [], 0
    for chosen, files in groups.items():
        indexer = Indexer(predictor, store, chosen)
        indexer.report = report
        skipped = report.skipped
        total += indexer.plan(files)
        report.skipped = skipped  # of a sequence; they are counted already
        indexers.append(indexer)
    on_planned(total)
    for indexer in indexers:
        indexer.run(on_stored)
    return report


def _group(
    store: GalleryStore,
    paths: Iterable[str],
    defaults: IndexOptions,
    min_score: str,
    report: IndexReport,
) -> dict[IndexOptions, list[str]]:
    """Group files by the options to index them with; report those that cannot be indexed."""
    sources = {source.path: source for source in store.sources()}
    links = resolve_links(sources)
    groups: dict[IndexOptions, list[str]] = {}
    as_before: dict[IndexOptions, list[str]] = {}
    for path in paths:
        try:
            state = describe_file(path)
        except InputError as error:
            report.problems.append((path, str(error)))
            continue
        source = sources.get(links.get(path, path))
        if source is None:
            groups.setdefault(defaults, []).append(path)
            continue
        known = read_options(source, defaults)
        if known is not None and known.state == state and source.is_complete:
            report.skipped += 1
            as_before.setdefault(known.options, []).append(path)
        elif known is None or known.has_given_boxes or known.min_score != min_score:
            report.problems.append((path, f"{path}: {_explain(known, min_score)}"))
        else:
            groups.setdefault(known.options, []).append(path)
    for options, files in groups.items():
        if options.in_sequence:  # the clips before tell the time of the next one
            files[:0] = as_before.get(options, [])
    return groups


def _explain(known: StoredOptions | None, min_score: str) -> str:
    """Say why a changed file has to be indexed by the command."""
    if known is None:
        reason = "its options are not known"
    elif known.has_given_boxes:
        reason = "its boxes came from another detector"
    else:
        reason = f"its minimum score was {known.min_score}, not {min_score}"
    return f"changed since it was indexed, and {reason}; expected `clsa-search index` with them"


def _split_rules(text: str) -> dict[str, str]:
    """Return rules and time zone of "RULES ZONE"; both may be missing, rules may hold spaces."""
    rules, _, zone = text.rpartition(" ")
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):  # of ZoneInfo, for texts of other forms
        return {"time_from": text}
    return {"time_from": rules, "zone": zone}
