"""The list of mutations follows the code: each can still be applied, and its tests are there."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_every_mutation_matches_once_and_names_tests_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from mutations import ROOT, read_list

    mutations = read_list()
    assert len({m.name for m in mutations}) == len(mutations) >= 70
    wrong = []
    for m in mutations:
        text = (ROOT / m.file).read_text(encoding="utf-8")
        if text.count(m.before) != 1:
            wrong.append(f"{m.name}: {text.count(m.before)} places in {m.file}")
        for test in m.tests:
            file, _, node = test.partition("::")
            path = ROOT / file
            if not path.is_file() or (node and f"def {node.partition('[')[0]}(" not in path.read_text("utf-8")):
                wrong.append(f"{m.name}: no {test}")
    assert not wrong, "change benchmarks/mutations.toml: " + "; ".join(wrong)


def test_a_text_that_is_not_there_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from mutations import Mutation

    mutation = Mutation("swapped", "a.py", "a - b", "b - a", ())
    assert mutation.apply("x = a - b") == "x = b - a"
    for text in ("x = a + b", "a - b; a - b"):
        with pytest.raises(ValueError, match="swapped: the text before occurs"):
            mutation.apply(text)
