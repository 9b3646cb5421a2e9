"""Whether a run fits: the lines of a dry run, refusals, and proposals that hold."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import TOY, ask

from shiqbench.base import machine
from shiqbench.base.errors import ConfigError
from shiqbench.commands.common import parse_assignments
from shiqbench.engines.config import VllmConfig
from shiqbench.models.loading import without_weights
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import ModelPlan, Request, RunPlan
from shiqbench.running import memory
from shiqbench.running.memory import Room, Stage, check_memory, check_stages, memory_stages
from shiqbench.running.runner import prepare
from shiqbench.running.team import Place

MB = 10**6


def plan(model: Path, results: Path, algo: str = "sft", **settings: Any) -> RunPlan:
    typed = {"train.precision": "fp32", "eval.engine": "transformers", **settings}
    return make_plan(Request(algo, "toy", str(model), settings=typed, plugins=(TOY,), results=results))


def stages(asked: RunPlan, total: int, *, gpu: bool = False) -> list[Stage]:
    return memory_stages(asked, Room("this machine", total, gpu))


def test_every_part_is_said(tiny_model: Path, tmp_path: Path) -> None:
    training, evaluation = stages(plan(tiny_model, tmp_path), 10**10)
    names = ["weights", "gradients", "optimiser", "activations", "head", "backward pass", "reference", "kept free"]
    assert list(training.parts) == names
    assert training.parts["reference"] == 0
    assert training.total == sum(training.parts.values()) < 10**9
    assert list(evaluation.parts) == ["weights", "keys and values"]
    on_gpu = stages(plan(tiny_model, tmp_path), 10**10, gpu=True)[0]
    assert on_gpu.parts == {k: v for k, v in training.parts.items() if k != "kept free"}


def test_what_does_not_fit_is_refused_and_the_first_proposal_fits(tiny_model: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"train.micro_tokens": 4096}
    total = stages(plan(tiny_model, tmp_path, **settings), 10**10)[0].total
    room = total * 2 // 3
    with pytest.raises(ConfigError, match=r"train sft/\w+ needs about .* GB and may take") as error:
        check_stages(stages(plan(tiny_model, tmp_path, **settings), room))
    proposal = str(error.value.do).split(" (about")[0]
    assert "train.checkpointing=true" in proposal
    changed = parse_assignments(re.findall(r"--set (\S+)", proposal))
    check_stages(stages(plan(tiny_model, tmp_path, **{**settings, **changed}), room)[:1])


def test_a_proposal_is_said_once(tiny_model: Path, tmp_path: Path) -> None:
    small = {"lora_rank": 16, "base_weights": "bf16", "precision": "bf16", "checkpointing": True, "micro_tokens": 4096}
    settings: dict[str, Any] = {f"train.{k}": v for k, v in small.items()}
    asked = plan(tiny_model, tmp_path, **settings)
    with pytest.raises(ConfigError) as error:
        check_stages(stages(asked, stages(asked, 10**10)[0].total - 1))
    assert re.sub(r" \(about.*?\)", "", str(error.value.do)) == "--set train.micro_tokens=2048"


def test_what_never_fits_says_so(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        check_stages(stages(plan(tiny_model, tmp_path), 1000))
    assert "use a smaller model, or at least 0." in str(error.value.do)


def test_a_start_is_named(tiny_model: Path, tmp_path: Path) -> None:
    asked = plan(tiny_model, tmp_path, "shiq", **{"start.algorithm": "sft"})
    with pytest.raises(ConfigError) as error:
        check_stages(stages(asked, stages(asked, 10**10)[0].total * 2 // 3))
    assert "train sft/" in str(error.value)
    assert "--set start.train.checkpointing=true" in str(error.value)


def test_vllm_takes_a_share_of_a_gpu_and_a_space_of_a_machine(tiny_model: Path, tmp_path: Path) -> None:
    asked = plan(tiny_model, tmp_path)
    assert isinstance(asked, ModelPlan)
    vllm = replace(asked, evaluation=asked.evaluation.model_copy(update={"engine": "vllm", "max_context": 10**8}))
    vllm = replace(vllm, engine_config=VllmConfig())
    whole = stages(vllm, 10**13, gpu=True)[-1]
    assert whole.limit == int(0.6 * 10**13)
    halved = replace(vllm, engine_config=VllmConfig(tensor_parallel=2, gpu_memory=0.9))
    assert stages(halved, 10**13, gpu=True)[-1].limit == int(0.9 * 10**13)
    assert stages(halved, 10**13, gpu=True)[-1].total == whole.total // 2
    with pytest.raises(ConfigError, match="a context of 100000000 tokens takes") as error:
        stages(vllm, 10**13)
    assert "VLLM_CPU_KVCACHE_SPACE" in str(error.value)


def test_a_task_with_its_own_policy_has_no_estimate(tmp_path: Path) -> None:
    assert stages(make_plan(Request("shiq", "mdp", results=tmp_path)), 1) == []


def test_a_dry_run_says_it_and_refuses(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "--algo", "sft", "--task", "toy", "--plugin", str(TOY), "--model", str(tiny_model)]
    words += ["--results", str(tmp_path), "--engine", "transformers", "--dry-run"]
    done = ask(*words, "--json")
    assert done.returncode == 0, done.stderr
    assert [s["stage"].split("/")[0] for s in json.loads(done.stdout)["memory"]] == [
        "train sft",
        "evaluate with transformers",
    ]
    assert re.search(r"memory to train sft/\w+: about 0\.\d of .* GB \(this machine\): weights 0\.0, ", done.stderr)
    monkeypatch.setattr(machine, "memory", lambda: machine.Memory(1000, 1000))
    refused = ask(*words)
    assert refused.returncode == 2
    (line,) = [x for x in refused.stderr.splitlines() if x.startswith("error: ")]
    assert "(memory of this machine); use a smaller model" in line
    assert not list(tmp_path.iterdir())


def test_a_run_is_refused_before_it_writes(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = plan(tiny_model, tmp_path / "results")
    check_memory(asked)
    monkeypatch.setattr(machine, "memory", lambda: machine.Memory(1000, 1000))
    with pytest.raises(ConfigError, match="needs about"):
        prepare(asked)
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())


def test_shards_divide_what_every_weight_takes(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stages(plan(tiny_model, tmp_path), 10**10)[0]
    monkeypatch.setattr(memory, "place", lambda: Place(0, 4, sharded=True))
    sharded = stages(plan(tiny_model, tmp_path), 10**10)[0]
    assert [whole.parts[p] // sharded.parts[p] for p in ("gradients", "optimiser")] == [4, 4]
    assert whole.parts["weights"] // 4 <= sharded.parts["weights"] < whole.parts["weights"] // 2
    assert {p: v for p, v in sharded.parts.items() if p not in ("weights", "gradients", "optimiser", "gathered")} == {
        p: v for p, v in whole.parts.items() if p not in ("weights", "gradients", "optimiser")
    }
    sizes = {n: p.numel() * 4 for n, p in without_weights(tiny_model).named_parameters()}
    outside = sum(v for n, v in sizes.items() if ".layers." not in n)
    assert 2 * outside < sharded.parts["gathered"] <= 2 * outside + 5 * (sum(sizes.values()) - outside)
    with pytest.raises(ConfigError) as error:
        check_stages(stages(plan(tiny_model, tmp_path), sharded.total // 2))
    assert "launch more processes" in str(error.value.do)
    assert "lora" not in str(error.value.do)
