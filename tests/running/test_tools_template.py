"""The template of examples/templates shows tools, calls and results to a model whose own template does not."""

from __future__ import annotations

import shutil
from pathlib import Path

from families import build

from shiqbench.episodes.rendering import Renderer
from shiqbench.running.template_check import template_findings

TEMPLATE = Path(__file__).parents[2] / "examples" / "templates" / "chatml_tools.jinja"


def tools(folder: Path) -> str:
    return next(f.text for f in template_findings(Renderer(folder), folder) if f.name == "tools")


def test_a_copied_template_shows_tools(tmp_path: Path) -> None:
    folder = build("smollm2", tmp_path, weights=False)
    assert "offered yes" not in tools(folder)
    shutil.copy(TEMPLATE, folder / "chat_template.jinja")
    assert "offered yes, calls yes, results yes" in tools(folder)
    kinds = {f.name: f for f in template_findings(Renderer(folder), folder)}
    assert kinds["prompts"].text.startswith("10 ")
    assert kinds["trained answers"].text.startswith("10 ")
