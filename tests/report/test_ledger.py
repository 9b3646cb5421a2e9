"""The ledger: what each cell cost, where its settings come from, and what is not known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from made_up import cell, evaluation

from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.report import load, make_report
from shiqbench.report.formats import render
from shiqbench.report.rows import Report, TextTable
from shiqbench.report.tables import text_tables
from shiqbench.store.cell import mark_done
from shiqbench.store.tuned import write_tuned

pytestmark = pytest.mark.usefixtures("own_cache")

BIG = {"parameters": 1000, "trained_parameters": 1000}
MACHINE = {"hardware": {"cpu": "a processor", "cores": 2, "gpus": []}, "shiqbench": "0.1.0"}


def tuned(
    results: Path, name: str, trials: Sequence[tuple[dict[str, Any], Path]], best: int, task: str = "mdp"
) -> None:
    """Write a choice among these trials: settings and cell."""
    ran = [{"settings": settings, "cell": folder.name, "primary": {}} for settings, folder in trials]
    write_tuned(results, [name, task, None], ran, trials[best][0])


def summary(report: Report) -> TextTable:
    (found,) = [t for t in text_tables(report) if t.title.startswith("Ledger")]
    return found


def line(report: Report, name: str) -> dict[str, str]:
    frame = summary(report).frame
    (found,) = frame[frame["algorithm"] == name].to_dict("records")
    return {str(k): str(v) for k, v in found.items()}


def how_set(results: Path) -> dict[str, str]:
    frame = load(results).ledger()
    return dict(zip(frame["algorithm"], frame["hyper_parameters"], strict=True))


def test_a_row_per_cell_and_a_line_per_row(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "base"), [0.1])
    for seed, tokens in ((0, 1000), (1, 3000)):
        passes = {"policy": tokens, "mismatched": 10, "reference": 500, "rollouts": 0}
        facts = {"pass_tokens": passes, **BIG, **MACHINE, "seconds": 60.0}
        data = {"name": "x", "sha256": "ab" * 32}
        evaluation(cell(tmp_path, "kto", seed, facts=facts, data=data), [0.1], engine="vllm 2")
    evaluation(cell(tmp_path, "sft", facts={**BIG, **MACHINE}, data=data), [0.1], engine="vllm 2")
    frame = load(tmp_path).ledger().set_index("algorithm")
    assert len(frame) == 4
    kto = frame.loc["kto"]
    assert sorted(kto["policy_tokens"]) == [1000, 3000]
    assert kto["rollouts_tokens"].tolist() == [0, 0]
    assert set(kto["hardware"]) == {"a processor, 2 cores"}
    assert set(kto["data"]) == {"ab" * 6}
    assert set(kto["engines"]) == {"vllm 2"}
    assert set(kto["shiqbench"]) == {"0.1.0"}
    assert frame.loc["base", ["seed", "updates", "policy_tokens", "flops", "tuning_trials"]].isna().all()
    found = line(make_report(tmp_path), "kto")
    names = ("seeds", "updates", "policy tokens", "mismatched tokens", "reference tokens", "FLOPs", "train s")
    assert [found[n] for n in names] == ["2", "10", "2000", "10", "500", "1.3e+07", "60"]
    (same, formula, _) = summary(make_report(tmp_path)).notes
    assert "hardware: a processor, 2 cores; data: abababababab; start: some model" in same
    assert formula.startswith("FLOPs: (4 N + 2 T) x tokens")


@pytest.mark.parametrize(
    ("trained", "passes", "flops"),
    [
        (1000, {"policy": 100}, 6 * 1000 * 100),
        (1000, {"policy": 100, "reference": 30, "mismatched": 20, "rollouts": 50}, 6 * 1000 * 100 + 2 * 1000 * 100),
        (10, {"policy": 100}, (4 * 1000 + 2 * 10) * 100),  # LoRA: no gradient of the frozen weights
    ],
)
def test_flops_are_six_a_parameter_and_trained_token_and_two_without_gradient(
    tmp_path: Path, trained: int, passes: dict[str, int], flops: int
) -> None:
    facts = {"parameters": 1000, "trained_parameters": trained, "pass_tokens": passes}
    evaluation(cell(tmp_path, "dpo", facts=facts), [0.1])
    assert load(tmp_path).ledger()["flops"].tolist() == [flops]


def test_what_is_not_known_is_said_and_never_guessed(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "dpo", task="theirs"), [0.1], task="theirs", metric="wins", higher=True)
    frame = load(tmp_path).ledger()
    assert frame[["flops", "hardware", "parameters", "shiqbench"]].isna().all().all()
    assert frame["hyper_parameters"].tolist() == ["unknown"]
    (same,) = summary(make_report(tmp_path)).notes
    assert "no FLOPs" in same
    assert "hardware: unknown" in same


@pytest.mark.parametrize("preset", ["cpu", "smoke"])
def test_a_cell_of_a_preset_has_defaults(tmp_path: Path, preset: str) -> None:
    tried: list[dict[str, Any]] = [{}, {"train.updates": 7}, {"train.lr": 0.7}, {"algo.gamma": 0.9, "task.gamma": 0.9}]
    found = []
    for number, settings in enumerate(tried):
        recipe = make_plan(Request("shiq", "mdp", preset=preset, settings=settings)).cell.recipe
        results = tmp_path / str(number)
        evaluation(cell(results, "shiq", config=recipe["algorithm"]["config"], train=recipe["train"]), [0.1])
        found.append(how_set(results)["shiq"])
    assert found == ["default", "default", "by hand: lr=0.7", "by hand: gamma=0.9"]


@pytest.mark.parametrize("preset", ["cpu", "smoke"])
def test_a_start_has_the_defaults_that_its_preset_gives_to_starts(tmp_path: Path, preset: str) -> None:
    start = make_plan(Request("shiq", "bfcl_v3", preset=preset)).cell.start
    assert start is not None
    recipe = start.recipe
    config, train = recipe["algorithm"]["config"], recipe["train"]
    evaluation(cell(tmp_path, "sft", task="bfcl_v3", config=config, train=train), [0.1])
    assert how_set(tmp_path)["sft"] == "default (preset chosen with 5 trials)"


def test_the_trials_of_the_preset_are_said_or_unknown(tmp_path: Path) -> None:
    for name in ("shiq", "sft", "dpo"):
        recipe = make_plan(Request(name, "bfcl_v3")).cell.recipe
        made = {"config": recipe["algorithm"]["config"], "train": recipe["train"]}
        evaluation(cell(tmp_path / "bfcl", name, 1, task="bfcl_v3", **made), [0.1])
    report = make_report(tmp_path / "bfcl")
    assert dict(zip(summary(report).frame["algorithm"], summary(report).frame["settings"], strict=True)) == {
        "shiq": "default (preset chosen with 8 trials)",
        "sft": "default (preset chosen with 2 trials)",
        "dpo": "default (preset chosen with 0 trials)",
    }
    (block,) = report.blocks
    assert (
        "UNEQUAL tuning: dpo: none; sft: preset chosen with 2 trials; shiq: preset chosen with 8 trials" in block.above
    )
    assert "tuning" in block.withheld
    assert not any("is unknown" in n for n in summary(report).notes)
    recipe = make_plan(Request("shiq", "mdp")).cell.recipe
    made = {"config": recipe["algorithm"]["config"], "train": recipe["train"]}
    evaluation(cell(tmp_path / "mdp", "shiq", **made), [0.1])
    report = make_report(tmp_path / "mdp")
    assert report.blocks[0].above == []
    assert "how many trials chose the values of the preset is unknown: mdp" in summary(report).notes


def test_another_version_has_other_defaults(tmp_path: Path) -> None:
    recipe = make_plan(Request("shiq", "mdp")).cell.recipe
    folder = cell(tmp_path, "shiq", config=recipe["algorithm"]["config"], train=recipe["train"])
    evaluation(folder, [0.1])
    text = (folder / "config.json").read_text().replace('"version": "1"', '"version": "0"')
    (folder / "config.json").write_text(text)
    mark_done(folder, list(folder.glob("*.json")))
    assert how_set(tmp_path)["shiq"] == "unknown"


def test_trials_are_matched_with_what_they_chose(tmp_path: Path) -> None:
    trials = [({"algo.beta": b}, cell(tmp_path, "dpo", config={"beta": b})) for b in (0.1, 0.2, 0.3)]
    for number, (_, folder) in enumerate(trials):
        evaluation(folder, [0.5 - 0.1 * number], split="validation")
    tuned(tmp_path, "dpo", trials, best=2)
    for seed in range(2):
        evaluation(cell(tmp_path, "dpo", seed, config={"beta": 0.3}), [0.2], split="test")
        evaluation(cell(tmp_path, "sft", seed), [0.2], split="test")
    report = make_report(tmp_path)
    assert line(report, "dpo beta=0.3")["tuning trials"] == "3"
    assert line(report, "dpo beta=0.3")["settings"] == "tuned: beta=0.3; by hand: lr=0.001"
    assert line(report, "sft")["tuning trials"] == "none"
    frame = load(tmp_path).ledger()
    of_dpo = frame[frame["algorithm"] == "dpo"]
    assert sorted(of_dpo["tuning_trials"]) == [0, 0, 3, 3]
    assert of_dpo["is_trial"].sum() == 3


def test_tuning_counts_for_other_budgets_and_without_the_trials_own_cells(tmp_path: Path) -> None:
    tuned(tmp_path, "dpo", [({"algo.beta": b}, Path(f"{n}" * 12)) for n, b in enumerate((0.1, 0.2))], best=0)
    evaluation(cell(tmp_path, "dpo", config={"beta": 0.1}, budget={"updates": 99, "tokens": 9}), [0.2])
    evaluation(cell(tmp_path, "sft", config={"beta": 0.1}), [0.2])
    evaluation(cell(tmp_path, "dpo", task="toys", config={"beta": 0.1}), [0.2], task="toys")
    frame = load(tmp_path).ledger().set_index(["task", "algorithm"])
    assert frame["tuning_trials"].to_dict() == {("mdp", "dpo"): 2, ("mdp", "sft"): 0, ("toys", "dpo"): 0}


def test_two_choices_of_one_setting_count_every_trial_once(tmp_path: Path) -> None:
    cells = [Path(f"{n}" * 12) for n in range(3)]
    tuned(tmp_path, "dpo", [({"algo.beta": b}, cells[n]) for n, b in enumerate((0.1, 0.2))], best=0)
    tuned(tmp_path, "dpo", [({"algo.beta": b}, cells[n]) for n, b in ((0, 0.1), (2, 0.3))], best=0)
    evaluation(cell(tmp_path, "dpo", config={"beta": 0.1}), [0.2])
    assert load(tmp_path).ledger()["tuning_trials"].tolist() == [3]


def test_trials_of_another_start_are_not_this_ones(tmp_path: Path) -> None:
    trial = cell(tmp_path, "dpo", config={"beta": 0.1}, model={"cell": "1" * 64})
    tuned(tmp_path, "dpo", [({"algo.beta": 0.1}, trial)], best=0)
    evaluation(cell(tmp_path, "dpo", 1, config={"beta": 0.1}, model={"cell": "1" * 64}), [0.2])
    evaluation(cell(tmp_path, "dpo", 1, config={"beta": 0.1}, model={"cell": "2" * 64}), [0.2])
    assert sorted(load(tmp_path).ledger()["tuning_trials"]) == [0, 1, 1]


def test_a_choice_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "dpo"), [0.2])
    (tmp_path / "tuned").mkdir()
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"of": ["dpo"], "trials": [], "chosen": {}}')):
        (tmp_path / "tuned" / f"{name}.json").write_text(text)
    said = "\n".join(make_report(tmp_path).notes)
    for name in "abc":
        assert f"tuned/{name}.json cannot be read" in said


def test_every_format_has_the_ledger(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "dpo", facts={**BIG, **MACHINE}), [0.2])
    report = make_report(tmp_path)
    assert "## Ledger: what training cost" in render(report, "markdown")
    assert "\\caption{Ledger: what training cost.}" in render(report, "latex")
    (found,) = json.loads(render(report, "json"))["ledger"]
    assert (found["algorithm"], found["flops"], found["tuning_trials"]) == ("dpo", 6e6, 0)
