"""Try many bad inputs, or kill many processes, and print a table.

python -m tests.fuzz --trials 10000
python -m tests.fuzz --trials 1000 --kinds images galleries --seed 7
python -m tests.fuzz --kills 100
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.harness import format_table, run_trials
from tests.fuzz.killed_works import SUBJECTS
from tests.fuzz.kills import kill_often
from tests.fuzz.kinds import KINDS, count_trials


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000, help="trials in all (default 10000)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--kills", type=int, help="kill so many processes instead")
    args = parser.parse_args()
    if args.kills:
        kill_all(args.kills, args.seed)
    else:
        sys.exit(try_all(args.trials, args.kinds, args.seed))


def try_all(trials: int, kinds: list[str], seed: int) -> bool:
    """Run the trials, print their table and return whether one failed."""
    counts = count_trials(trials)
    outcomes = {}
    for name in kinds:
        with tempfile.TemporaryDirectory() as folder:
            seeds = range(seed, seed + counts[name])
            outcomes[name] = run_trials(name, KINDS[name].kind, Path(folder), seeds)
        for failure in outcomes[name].failures:
            print(f"{failure}\n", file=sys.stderr)
    print(format_table(outcomes))
    return any(outcome.failures for outcome in outcomes.values())


def kill_all(kills: int, seed: int) -> None:
    """Kill every subject's processes, and print the table."""
    share = -(-kills // len(SUBJECTS))
    print("| work | kills | ended | lost | seconds |\n|---|--:|--:|--:|--:|")
    for name, subject in SUBJECTS.items():
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            ended = kill_often(subject, Path(folder), share, random.Random(f"{name} {seed}"))
        print(f"| {name} | {share} | {ended} | 0 | {time.monotonic() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
