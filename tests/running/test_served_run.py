"""A whole run against a server: records, manifest, costs, kills, and a server that changes under way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chat_server import Say, serving
from support import HERE, TOY, ask

import shiqbench
from shiqbench.base.errors import EngineError
from shiqbench.running.evaluation import JOURNAL

AT_ONCE = {"retry-after-ms": "1"}
PRICES = {"engine.usd_per_million_prompt": 1.0, "engine.usd_per_million_completion": 2.0}


def repeats(body: dict[str, Any], number: int) -> Say:
    """Say the word back, except one."""
    word = body["messages"][-1]["content"].removeprefix("say ")
    return Say("no" if word == "red" else word, usage=(20, 3))


def run(url: str, results: Path, **settings: Any) -> shiqbench.RunResult:
    return shiqbench.run(
        "base",
        "toy",
        model="m",
        engine="served",
        set={"engine.url": url, "engine.retries": 0, **settings},
        plugins=(TOY,),
        results=results,
    )


def test_a_model_behind_a_url_is_evaluated_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "sesame")
    with serving(repeats, key="sesame") as server:
        keyed = {"engine.key_variable": "MINE", **PRICES}
        result = run(server.url, tmp_path, **keyed)
        assert result.primary["value"] == pytest.approx(7 / 8)
        assert run(server.url, tmp_path, **keyed).cached
        assert len(server.bodies) == 8
        words: list[str | Path] = [
            "run",
            "--algo",
            "base",
            "--task",
            "toy",
            "--model",
            "m",
            "--engine",
            "served",
            "--plugin",
            TOY,
        ]
        said = ask(
            *words, "--set", f"engine.url={server.url}", "--set", "engine.key_variable=MINE", "--results", tmp_path
        )
        assert said.returncode == 0, said.stderr
        assert "evaluates with maker 9.9, served on test; cell" in said.stderr
        assert "0.875" in said.stdout
    folder = Path(result.evaluation["path"])
    assert len(pd.read_parquet(folder / "records.parquet")) == 8
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["engine"]["counts"] == {"status_200": 10, "finish_stop": 8}  # the two others are about the server
    assert manifest["engine"]["answered_by"] == {"m-2026": 8}
    assert manifest["own_forward"] == {"not_compared": "a server has the model"}
    assert manifest["journal"] == {
        "replies": 8,
        "kept_before": 0,
        "prompt_tokens": 160,
        "generated_tokens": 24,
        "usd": pytest.approx(208e-6),
    }
    assert not (folder / JOURNAL).exists()
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and b"sesame" in f.read_bytes()]


def test_a_run_that_fails_goes_on_with_the_replies_that_it_has(tmp_path: Path) -> None:
    with serving(lambda body, number: repeats(body, number) if number <= 5 else Say("down", 500, AT_ONCE)) as server:
        said = ask(
            *("run", "--algo", "base", "--task", "toy", "--model", "m", "--engine", "served", "--plugin", TOY),
            *("--set", f"engine.url={server.url}", "--set", "engine.retries=0", "--set", "engine.workers=1"),
            *("--results", tmp_path),
        )
        assert said.returncode == 1
        assert "error: the server fails: InternalServerError" in said.stderr
        before = len(server.bodies)
        assert before == 7  # one failure, and the one second attempt
        server.reply = repeats
        result = run(server.url, tmp_path)
        assert len(server.bodies) - before == 3
    manifest = json.loads((Path(result.evaluation["path"]) / "manifest.json").read_text())
    assert (manifest["journal"]["replies"], manifest["journal"]["kept_before"]) == (8, 5)
    assert result.primary["value"] == pytest.approx(7 / 8)


def test_a_server_that_recovers_is_counted(tmp_path: Path) -> None:
    with serving(lambda body, number: Say("down", 503, AT_ONCE) if number == 2 else repeats(body, number)) as server:
        result = run(server.url, tmp_path, **{"engine.workers": 1})
    manifest = json.loads((Path(result.evaluation["path"]) / "manifest.json").read_text())
    (failure,) = manifest["machine_failures"]
    assert failure.startswith("the server fails: InternalServerError")


def test_a_server_that_changes_between_plan_and_answers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shiqbench.running import runner

    with serving(repeats) as server:
        prepare = runner.prepare

        def restarted(*arguments: Any) -> None:
            prepare(*arguments)
            server.version = "10"

        monkeypatch.setattr(runner, "prepare", restarted)
        with pytest.raises(EngineError, match=r"the server changed after the run was planned: it is maker 10, served"):
            run(server.url, tmp_path)
    assert not list(tmp_path.rglob("DONE")) or not list(tmp_path.glob("**/eval/*/DONE"))


def test_ultrafeedback_leaves_out_the_distance_and_says_so(tmp_path: Path, own_cache: Path) -> None:
    rows = [
        {"prompt": f"question {i}", "chosen": f"good {i} and more", "rejected": f"bad {i}", "score_chosen": 8.0}
        for i in range(80)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps({**r, "score_rejected": i % 8 + 1.0}) for i, r in enumerate(rows)))
    with serving(lambda body, number: Say(f"a good answer to {body['messages'][-1]['content']}")) as server:
        result = shiqbench.run(
            "base",
            "ultrafeedback",
            model="m",
            preset="smoke",
            engine="served",
            set={"engine.url": server.url, "task.data": str(data), "task.reward_model": "words"},
            plugins=(HERE / "toy" / "rewards.py",),
            results=tmp_path / "results",
        )
        assert len(server.bodies) == result.metrics["prompts"]  # no second answer is paid for a distance
        assert "reward" in result.metrics
        assert not [name for name in result.metrics if name.startswith("kl_")]
        said = ask("report", tmp_path / "results", "--plugin", HERE / "toy" / "rewards.py")
    assert said.returncode == 0, said.stderr
    assert "no distance from the reference: a served model gives no log-probabilities" in said.stdout
