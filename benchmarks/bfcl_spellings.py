"""Messages in many spellings through the leaderboard's own loop, decoder, executor and checker, and through ours.

    python benchmarks/bfcl_spellings.py                       # 2,500 episodes per data version
    python benchmarks/bfcl_spellings.py --count 500 --seed 7

Prints how many verdicts differ by kind of spelling, and every difference that docs/bfcl_v3.md does not list; one such
difference makes it fail. The spellings are in tests/tasks/bfcl_v3/forms.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from shiqbench_tasks.bfcl_v3.versions import VERSIONS

from shiqbench.base.wheels import fetch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "tasks" / "bfcl_v3"))
from forms import LISTED
from spellings import Outcome, compared, differing, spellings


def table(outcomes: dict[str, list[Outcome]]) -> list[str]:
    """Episodes and differing verdicts by kind and data version, as markdown."""
    lines = [
        f"| kind | {' | '.join(f'{name} | differ' for name in outcomes)} |",
        f"|{'---|' * (1 + 2 * len(outcomes))}",
    ]
    kinds = sorted({o.spelling.kind for found in outcomes.values() for o in found} - set(LISTED))
    for kind in [*kinds, *LISTED, "all"]:
        cells = [f"{kind} (listed)" if kind in LISTED else kind]
        for found in outcomes.values():
            of_kind = [o for o in found if kind in (o.spelling.kind, "all")]
            cells += [f"{len(of_kind):,}", f"{sum(o.theirs != o.ours for o in of_kind):,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> int:
    """Compare, print, and say whether anything differs that is not listed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2_500, help="episodes per data version")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    outcomes: dict[str, list[Outcome]] = {}
    for version in VERSIONS.values():
        root = fetch(version.wheel)
        with tempfile.TemporaryDirectory() as home:
            found = spellings(root, version, chosen.count, chosen.seed)
            outcomes[version.name] = compared(found, root, version, Path(home))
    lines, outside = table(outcomes), 0
    for name, compare in outcomes.items():
        differ, listed, _ = differing(compare)
        outside += len(differ)
        valid = sum(o.theirs is None for o in compare)
        lines += ["", f"{name}: {len(compare):,} episodes, of which {valid:,} are valid there"]
        lines += [f"{name}: {listed.total()} verdicts differ as listed, {len(differ)} outside the list"]
        lines += [f"  {o.spelling.entry.id}: {o.spelling.text!r}: {o.theirs} there, {o.ours} here" for o in differ]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(outside > 0)


if __name__ == "__main__":
    sys.exit(main())
