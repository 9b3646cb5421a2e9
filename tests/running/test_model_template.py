"""Keywords of the chat template, from the command to prompts, digests and manifests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import TOY

import shiqbench
from shiqbench.base.errors import ConfigError
from shiqbench.testing.tiny_model import CHATML

SILENT = {"model.template.enable_thinking": False}
THINKING = CHATML.replace(
    "assistant\n'",
    "assistant\n' + ('<think>\n\n</think>\n\n' if enable_thinking is defined and not enable_thinking else '')",
)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text(THINKING)
    return folder


def run(algo: str, model: Path | str, results: Path, **settings: Any) -> shiqbench.RunResult:
    return shiqbench.run(algo, "toy", model=str(model), results=results, plugins=(TOY,), set=settings)


def manifest(folder: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "manifest.json").read_text())
    return found


@pytest.mark.usefixtures("own_cache")
def test_keywords_reach_training_and_evaluation_and_change_both_digests(model: Path, tmp_path: Path) -> None:
    plain, silent = run("sft", model, tmp_path), run("sft", model, tmp_path, **SILENT)
    assert plain.cell != silent.cell
    assert "template_arguments" not in manifest(plain.path)
    for folder in (silent.path, silent.evaluation["path"]):
        assert manifest(folder)["template_arguments"] == {"enable_thinking": False}
    more = len(b"<think>\n\n</think>\n\n")  # a byte is a token
    lengths = [manifest(r.path)["data"]["tokens_per_episode"] for r in (plain, silent)]
    assert lengths[1] - lengths[0] >= 2 * more  # two turns, each with its own prompt
    again = run("base", f"cell:{silent.cell[:12]}", tmp_path)
    assert manifest(again.evaluation["path"])["template_arguments"] == {"enable_thinking": False}
    with pytest.raises(ConfigError, match=r"model\.template cannot be honoured: a cell keeps the keywords"):
        run("base", f"cell:{silent.cell[:12]}", tmp_path, **SILENT)


def test_a_task_with_its_own_policy_refuses_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.template cannot be honoured: mdp brings its own policy"):
        shiqbench.run("sft", "mdp", preset="smoke", results=tmp_path, set=SILENT)


def test_a_wrong_name_gets_the_right_one(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="template"):
        run("sft", model, tmp_path, **{"model.templat.enable_thinking": False})
