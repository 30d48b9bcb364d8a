"""Options and action of `clsa-search verdict`: verdicts on the matches of a query."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from clsa_search.commands.argument_types import whole_number
from clsa_search.commands.calibration_arguments import print_problem
from clsa_search.commands.deletion_arguments import print_left
from clsa_search.errors import InputError
from clsa_search.wording import count_noun

if TYPE_CHECKING:
    from clsa_search.gallery import GalleryStore

_ID = whole_number(1)
_WORDS = {"same": "same", "other": "other", "take_back": None}
_OPTIONS = {"same": "--same", "other": "--other", "take_back": "--take-back"}


def add_verdict_options(parser: argparse.ArgumentParser) -> None:
    """Add the options: a query and its matches."""
    add = parser.add_argument
    add("--query", type=Path, metavar="FILE", help="results.json of the query")
    add("--number", type=whole_number(1), metavar="N", help="query of the file, if it has several")
    add("--same", nargs="+", type=_ID, default=[], metavar="ID", help="these are the person")
    add("--other", nargs="+", type=_ID, default=[], metavar="ID", help="these are somebody else")
    add("--take-back", nargs="+", type=_ID, default=[], metavar="ID", help="nothing said of these")
    add("--forget", action="store_true", help="delete all verdicts of the store")


def check_verdict_options(args: argparse.Namespace) -> None:
    """Check the options without slow imports.

    Raises:
        InputError: a query or its matches are missing, or two words stand on one match.
    """
    given = [one for name in _WORDS for one in set(getattr(args, name))]
    if args.forget and (given or args.query):
        raise InputError("--forget: is given with verdicts; expected it alone")
    if given and not args.query:
        raise InputError("--query: is missing; expected the results.json that shows these matches")
    if args.query and not given:
        raise InputError(f"--query: is given without {', '.join(_OPTIONS.values())}; expected one")
    twice = sorted({one for one in given if given.count(one) > 1})
    if twice:
        raise InputError(f"{twice[0]}: has two verdicts; expected one")


def verdict(args: argparse.Namespace) -> None:
    """Store verdicts, take them back, or forget all; print how many there are."""
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.search_records import read_match_scores
    from clsa_search.retrieval.verdict_store import UserVerdict, forget_verdicts, say_verdicts

    with open_store(args.store) as store:
        if args.forget:
            count, left = forget_verdicts(store)
            print(f"{args.store}: {count_noun(count, 'verdict')} forgotten")
            return print_left(left)
        if args.query:
            words = {one: word for name, word in _WORDS.items() for one in getattr(args, name)}
            query, scores = read_match_scores(store, args.query, list(words), args.number)
            say_verdicts(
                store,
                query,
                [UserVerdict(one, word, scores[one]) for one, word in words.items()],  # type: ignore[arg-type]
            )
        _print_counts(store)


def _print_counts(store: "GalleryStore") -> None:
    from clsa_search.retrieval.verdict_store import VerdictReader

    loaded = VerdictReader(store).load()
    counts = loaded.counts
    print(f"{store.address}: {counts.same:,} same, {counts.other:,} somebody else")
    if loaded.fault:
        print_problem(loaded.fault)
    if loaded.unscored:
        print(
            f"{count_noun(loaded.unscored, 'verdict')} more in searches that were not calibrated: "
            "they count for no probability"
        )
    if any(counts.missing):
        words = zip(counts.missing, ("same", "somebody else"), strict=True)
        missing = " and ".join(f"{count:,} {word}" for count, word in words if count)
        print(f"no probability yet: {missing} more are needed")
