"""Evaluations in the schemas of leaderboards, checked by the packages that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from made_up import cell, evaluation
from support import ask

from shiqbench.base.errors import ConfigError
from shiqbench.commands.export import export

pytestmark = pytest.mark.usefixtures("own_cache")
CREATED = "2026-02-03T04:05:06+00:00"


def finished(results: Path, *, model: str = "org/model", revision: str | None = "abc", **how: Any) -> Path:
    """A cell of bfcl_v3 with an evaluation, as they were made on a machine."""
    from shiqbench.base.files import read_json, write_json
    from shiqbench.store.cell import mark_done

    facts = {"shiqbench": "0.1.0", "model": model, "model_revision": revision}
    options: dict[str, Any] = {"name": "dpo", "seed": 3, **how}
    of = cell(results, task="bfcl_v3", facts=facts, **options)
    scores, setting = [0.5, 1.0, 0.0] * 4, {"prompt": "official"}
    columns = {"scenario": list(range(12)), "right_turns": [1, 2, 0] * 4, "counted_turns": [2] * 12}
    made = evaluation(
        of,
        scores,
        task="bfcl_v3",
        metric="turn_accuracy",
        higher=True,
        setting=setting,
        engine="vllm 0.32.0",
        split="test",
        records=columns,
        interval=(0.25, 0.75),
    )
    values = read_json(made / "config.json")
    values["eval"] |= {"temperature": 0.0, "max_tokens": 256, "repeats": 2}
    write_json(made / "config.json", values)
    write_json(made / "manifest.json", {**read_json(made / "manifest.json"), "created": CREATED})
    mark_done(made, [f for f in made.iterdir() if f.name != "DONE"])
    return of


def every(folder: Path) -> tuple[str, dict[str, Any]]:
    """The name and the content of the only file."""
    (file,) = folder.rglob("*.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return str(file.relative_to(folder)), found


def test_the_hub_reads_the_result(tmp_path: Path) -> None:
    of = finished(tmp_path / "results")
    done = export(str(of), "hf-eval-results", output=tmp_path / "out", dataset="org/bench:multi_turn", name="me/mine")
    (file,) = done.files
    assert file.startswith(".eval_results/bfcl_v3-")
    (entry,) = parse_eval_result_entries(yaml.safe_load((tmp_path / "out" / file).read_text()))
    assert (entry.dataset_id, entry.task_id, entry.value, entry.date) == ("org/bench", "multi_turn", 0.5, CREATED)
    assert entry.notes is not None
    assert entry.notes.startswith(
        "turn_accuracy [0.25, 0.75] (95 %), higher is better; bfcl_v3 test; vllm 0.32.0; shiqb"
    )
    assert done.commands == (f"hf upload me/mine {tmp_path / 'out'} . --create-pr",)


def test_a_small_value_stays_a_number(tmp_path: Path) -> None:
    from shiqbench.base.files import read_json, write_json
    from shiqbench.store.cell import mark_done

    of = finished(tmp_path / "results")
    made = next((of / "eval").iterdir())
    metrics = read_json(made / "metrics.json")
    metrics["primary"]["value"] = 1e-05
    write_json(made / "metrics.json", metrics)
    mark_done(made, [f for f in made.iterdir() if f.name != "DONE"])
    done = export(str(of), "hf-eval-results", output=tmp_path / "out", dataset="org/bench")
    (entry,) = yaml.safe_load((tmp_path / "out" / done.files[0]).read_text())
    assert (entry["value"], entry["dataset"]["task_id"]) == (1e-05, "default")


def test_every_eval_ever(tmp_path: Path) -> None:
    of = finished(tmp_path / "results", model="/home/somebody/model", revision=None)
    done = export(str(of), "every-eval-ever", output=tmp_path / "out", organization="our-lab")
    name, log = every(tmp_path / "out")
    assert name == done.files[0]
    assert name.startswith(f"data/shiqbench-bfcl_v3/our-lab/dpo-bfcl_v3-{of.name}/")
    assert "somebody" not in json.dumps(log)
    assert log["model_info"]["id"] == f"our-lab/dpo-bfcl_v3-{of.name}"
    assert log["model_info"]["additional_details"]["model"] == "model"
    assert log["model_info"]["inference_engine"] == {"name": "vllm", "version": "0.32.0"}
    assert log["source_metadata"]["evaluator_relationship"] == "first_party"
    (result,) = log["evaluation_results"]
    config, score = result["metric_config"], result["score_details"]
    assert (config["lower_is_better"], config["min_score"], config["max_score"]) == (False, 0.0, 1.0)
    assert score["score"] == 0.5
    ends = score["uncertainty"]["confidence_interval"]
    assert (ends["lower"], ends["upper"], ends["confidence_level"]) == (0.25, 0.75, 0.95)
    assert score["uncertainty"]["num_samples"] == 12
    asked = result["generation_config"]
    assert asked["generation_args"] == {"temperature": 0.0, "max_tokens": 256}
    assert asked["additional_details"] == {"split": "test", "repeats": "2"}
    assert every_text(log)
    again = export(str(of), "every-eval-ever", output=tmp_path / "again", organization="our-lab")
    assert again.files == done.files


def every_text(value: Any) -> bool:
    """Whether the additional details are all texts, as the schema demands."""
    if isinstance(value, dict):
        own = [all(isinstance(v, str) for v in d.values()) for k, d in value.items() if k == "additional_details"]
        return all(own) and all(every_text(v) for v in value.values())
    return all(every_text(v) for v in value) if isinstance(value, list) else True


def test_an_untrained_model_of_a_hub_keeps_its_name(tmp_path: Path) -> None:
    of = finished(tmp_path / "results", name="base", seed=None)
    done = export(str(of), "every-eval-ever", output=tmp_path / "out")
    _, log = every(tmp_path / "out")
    assert (log["model_info"]["id"], log["model_info"]["developer"]) == ("org/model", "org")
    assert log["source_metadata"]["evaluator_relationship"] == "third_party"
    assert "'unknown'; --organization names it" in done.notices[1]


def test_its_own_package_accepts_it(tmp_path: Path) -> None:
    core = pytest.importorskip("every_eval_ever.validator.validation_core", reason="every-eval-ever is not installed")
    cases: tuple[dict[str, Any], ...] = ({}, {"name": "base", "seed": None})
    for number, how in enumerate(cases):
        of = finished(tmp_path / f"results{number}", **how)
        export(str(of), "every-eval-ever", output=tmp_path / str(number))
        name, _ = every(tmp_path / str(number))
        report = core.validate_file(tmp_path / str(number) / name, repo_path=name, run_semantic_checks=True)
        assert (report.valid, report.errors, report.warnings) == (True, [], [])


@pytest.mark.parametrize(
    ("form", "options", "said"),
    [
        (
            "hf-eval-results",
            {},
            "needs the hub's data set that has the leaderboard (--dataset); write --dataset ORG/NAME",
        ),
        ("hf-eval-results", {"dataset": "bench"}, "(--dataset bench)"),
        ("hf-eval-results", {"dataset": "org/bench", "organization": "x"}, "cannot be used with --format hf-eval-res"),
        ("every-eval-ever", {"dataset": "org/bench"}, "cannot be used with --format every-eval-ever (--dataset)"),
        ("every-eval-ever", {"organization": "../x"}, "'../x' is no name (--organization)"),
        ("every-eval-ever", {"name": "a/b"}, "'a/b' is no name (--name)"),
        ("every-eval-evr", {}, "did you mean 'every-eval-ever'?"),
    ],
)
def test_wrong_options(tmp_path: Path, form: str, options: dict[str, Any], said: str) -> None:
    of = finished(tmp_path / "results")
    with pytest.raises(ConfigError) as error:
        export(str(of), form, output=tmp_path / "out", **options)
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path: Path) -> None:
    of = finished(tmp_path / "results")
    words = ("export", of, "--output", tmp_path / "out", "--format")
    done = ask(*words, "hf-eval-results", "--dataset", "org/bench")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"{tmp_path / 'out'}: wrote 1 file; next:"
    assert ask(*words, "every-eval-ever", "--organization", "our-lab").returncode == 2  # the folder is there
