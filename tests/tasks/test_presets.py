"""The presets of the built-in tasks, from their files."""

from __future__ import annotations

import subprocess
import sys

import pytest
from shiqbench_tasks import Presets

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
    assert "task.centre" not in presets["full"]


@pytest.mark.parametrize("task", ["bfcl_v3", "chat_mdp", "lm_eval", "mdp", "ultrafeedback"])
def test_every_task_has_the_three_presets(task: str) -> None:
    presets = Presets(task)
    assert sorted(set(presets) - {"study"}) == ["cpu", "full", "smoke"]
    assert len(presets) == 3 + (task == "bfcl_v3")
    assert "cpus" not in presets
    keys = {key.rpartition(":")[2] for preset in presets.values() for key in preset}
    assert {key.split(".")[0] for key in keys} <= {"task", "train", "eval", "start", "algo"}
    assert all(key.count(".") == 1 for key in keys)


def test_registering_reads_no_file() -> None:
    code = "import sys, shiqbench_tasks; shiqbench_tasks.shiqbench_register_tasks(); sys.exit('tomllib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
