"""Messages in many spellings have the leaderboard's verdict: its own loop, decoder and checker play them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from forms import ANY_VALUE, CALLS, LISTED, MESSAGES, NUMBERS, TEXTS
from shiqbench_tasks.bfcl_v3.versions import VERSIONS, DataVersion
from spellings import compared, differing, spellings

from shiqbench.base.wheels import fetch

if TYPE_CHECKING:
    from pathlib import Path

EVERY = pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda v: v.name)


def _check(version: DataVersion, count: int, seed: int, home: Path) -> None:
    root = fetch(version.wheel)
    outcomes = compared(spellings(root, version, count, seed), root, version, home)
    assert len(outcomes) == count
    outside, _, _ = differing(outcomes)
    assert [(o.spelling.text, o.theirs, o.ours) for o in outside] == []
    valid = sum(o.theirs is None for o in outcomes) / count
    assert 0.1 < valid < 0.5  # so that a reader which takes or leaves too much would be seen


@EVERY
def test_some_hundred_spellings_have_the_official_verdict(version: DataVersion, tmp_path: Path) -> None:
    _check(version, 150, 1, tmp_path)


@EVERY
@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute of one core; the machine may be busy
def test_thousands_of_spellings_have_the_official_verdict(version: DataVersion, tmp_path: Path) -> None:
    _check(version, 2_000, 2, tmp_path)


def test_what_may_differ_is_documented(request: pytest.FixtureRequest) -> None:
    kinds = {kind for table in (MESSAGES, CALLS, ANY_VALUE, TEXTS, NUMBERS) for kind in table}
    assert set(LISTED) <= kinds
    text = (request.config.rootpath / "docs" / "bfcl_v3.md").read_text(encoding="utf-8").lower()
    assert [kind for kind in LISTED if f"| {kind} |" not in text] == []
