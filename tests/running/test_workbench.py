"""Objects that a process keeps from cell to cell change no result."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from pathlib import Path

import pytest
from support import TOY
from torch.nn import Module

from shiqbench.base.digest import file_sha256
from shiqbench.base.manifest import manifest
from shiqbench.base.progress import Display
from shiqbench.commands.common import parse_assignments
from shiqbench.engines.holder import EngineHolder
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.plugin.config import BaseWeights
from shiqbench.running.runner import run_plan
from shiqbench.running.workbench import Workbench
from shiqbench.training import policy

FILES = ("checkpoint/model.safetensors", "checkpoint/config.json")


def run(
    model: Path, results: Path, bench: Workbench | None, *assignments: str, algo: str = "dpo", seed: int = 0
) -> Path:
    request = Request(
        algo,
        "toy",
        model=str(model),
        seed=seed,
        settings=parse_assignments(assignments),
        plugins=(TOY,),
        results=results,
    )
    return run_plan(make_plan(request), Display(quiet=True), bench).path


def shas(cell: Path) -> list[str]:
    metrics = [file_sha256(p) for p in sorted(cell.glob("eval/*/metrics.json"))]
    return [*(file_sha256(cell / name) for name in FILES), *metrics]


@pytest.mark.slow
def test_the_second_cell_of_a_process_is_what_it_would_be_alone(
    tiny_model: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []
    load = policy.pretrained

    def counted(folder: Path, base: BaseWeights) -> Module:
        loaded.append(folder)
        return load(folder, base)

    monkeypatch.setattr(policy, "pretrained", counted)
    bench = Workbench(lasting=True)
    for seed in (0, 1):
        run(tiny_model, tmp_path / "kept", bench, seed=seed)
    lora = run(tiny_model, tmp_path / "kept", bench, "train.lora_rank=2", algo="shiq")
    assert len(loaded) == 1
    alone = run(tiny_model, tmp_path / "alone", None, seed=1)
    assert shas(tmp_path / "kept" / alone.relative_to(tmp_path / "alone")) == shas(alone)
    alone_lora = run(tiny_model, tmp_path / "alone", None, "train.lora_rank=2", algo="shiq")
    assert shas(lora) == shas(alone_lora)
    bench.close()


def test_other_data_are_made_anew(tiny_model: Path, tmp_path: Path, own_cache: Path) -> None:
    bench = Workbench(lasting=True)
    run(tiny_model, tmp_path, bench)
    first = bench._material
    run(tiny_model, tmp_path, bench, algo="sft")
    assert bench._material is first
    run(tiny_model, tmp_path, bench, "task.good=false")
    assert bench._material is not first
    bench.close()
    assert bench._material is None


def test_a_renderer_serves_weights_that_share_its_files(tiny_model: Path, tmp_path: Path) -> None:
    others = shutil.copytree(tiny_model, tmp_path / "others")
    (others / "model.safetensors").write_bytes(b"other weights")
    holder = EngineHolder()
    first = holder.renderer(tiny_model)
    assert holder.renderer(others) is first
    (others / "chat_template.jinja").write_text(
        "{{ messages[0]['content'] }}<|im_end|>{{ messages[-1]['content'] }}<|im_end|>"
    )
    assert holder.renderer(others).template_sha256 != first.template_sha256


def test_the_environment_is_asked_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    first = manifest(seconds=1)
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [])
    monkeypatch.setattr(subprocess, "run", None)
    assert {k: v for k, v in manifest(seconds=1).items() if k != "created"} == {
        k: v for k, v in first.items() if k != "created"
    }
