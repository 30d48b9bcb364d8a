"""Run many trials with bad inputs and print their table.

python -m tests.fuzz --trials 10000
python -m tests.fuzz --trials 1000 --kinds images galleries --seed 7
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.harness import format_table, run_trials
from tests.fuzz.kinds import KINDS, count_trials


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000, help="trials in all (default 10000)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default 0)")
    args = parser.parse_args()
    counts = count_trials(args.trials)
    outcomes = {}
    for name in args.kinds:
        with tempfile.TemporaryDirectory() as folder:
            seeds = range(args.seed, args.seed + counts[name])
            outcomes[name] = run_trials(name, KINDS[name].kind, Path(folder), seeds)
        for failure in outcomes[name].failures:
            print(f"{failure}\n", file=sys.stderr)
    print(format_table(outcomes))
    sys.exit(any(outcome.failures for outcome in outcomes.values()))


if __name__ == "__main__":
    main()
