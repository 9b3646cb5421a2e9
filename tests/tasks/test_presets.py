"""The presets of the built-in tasks, from their files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from shiqbench_tasks import Presets

from shiqbench.planning.settings import chosen_with, preset_values
from shiqbench.plugin.registry import registry


def test_a_preset_begins_with_another_one_and_changes_single_values() -> None:
    presets = registry().task("bfcl_v3").presets
    cpu, smoke = presets["cpu"], presets["smoke"]
    assert cpu["start.train"]["updates"] == 28
    assert smoke["start.train"] == {**cpu["start.train"], "updates": 2}
    assert smoke["sft:train.lora_rank"] == cpu["sft:train.lora_rank"] == 0
    changed = {k for k in smoke if smoke[k] != cpu.get(k)}
    assert changed >= {"task.scenarios", "train.updates", "eval.max_tokens", "start.train"}
    assert set(cpu) < set(smoke)
    assert "like" not in smoke
    assert "task.perturbations" not in presets["full"]


@pytest.mark.parametrize("task", ["bfcl_v3", "chat_mdp", "environment", "episodes", "lm_eval", "mdp", "ultrafeedback"])
def test_every_task_has_the_three_presets(task: str) -> None:
    presets = Presets(task)
    assert sorted(set(presets) - {"study"}) == ["cpu", "full", "smoke"]
    assert len(presets) == 3 + (task == "bfcl_v3")
    assert "cpus" not in presets
    keys = {key.rpartition(":")[2] for preset in presets.values() for key in preset}
    assert {key.split(".")[0] for key in keys} <= {"task", "train", "eval", "start", "algo", "chosen_with"}
    assert all(key.count(".") == 1 for key in keys)


def test_the_trials_of_a_preset_are_those_of_its_docs_and_no_settings() -> None:
    """The counts are the rows of the tables in the docs; a preset without counts has unknown ones."""
    text = (Path(__file__).parents[2] / "docs/bfcl_v3.md").read_text().partition("## How the cpu preset was chosen")[2]
    starts, rows = re.findall(r"\|---.*\n((?:\|.*\n)+)", text)[:2]
    found = starts.count("\n"), rows.count("\n") - rows.count("| sft"), rows.count("| sft"), 0
    task = registry().task("bfcl_v3")
    for preset in ("cpu", "smoke"):
        assert [chosen_with(task, preset, n) for n in ("start", "shiq", "sft", "dpo")] == list(found) == [5, 8, 2, 0]
        assert not any("chosen_with" in key for key in preset_values(task, preset, "shiq"))
    assert chosen_with(task, "full", "shiq") is None
    assert chosen_with(registry().task("ultrafeedback"), "cpu", "shiq") is None


def test_registering_reads_no_file() -> None:
    code = "import sys, shiqbench_tasks; shiqbench_tasks.shiqbench_register_tasks(); sys.exit('tomllib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
