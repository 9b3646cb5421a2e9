"""The registry: plugins found, failures isolated, clashes named."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import TOY

from shiqbench.base.errors import ExitCode, PluginError
from shiqbench.plugin.registry import registry


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    registry.cache_clear()
    yield
    registry.cache_clear()


def entry_point(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, text: str) -> None:
    """Install a distribution with one entry point, as pip would leave it."""
    (folder / f"{name}_module.py").write_text(text)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[shiqbench]\n{name} = {name}_module\n")
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()


ALGORITHM = """
from shiqbench.plugin.specs import AlgorithmSpec, hookimpl

@hookimpl
def shiqbench_register_algorithms():
    return [AlgorithmSpec(name={name!r}, version="1", summary="s", target="x:Y", config="x:C")]
"""


def test_built_ins_come_through_entry_points() -> None:
    found = registry()
    assert {"base", "sft", "dpo", "shiq"} <= set(found.algorithms)
    assert "bfcl_v3" in found.tasks
    assert {"vllm", "transformers"} <= set(found.engines)
    assert found.failures == []
    assert found.owners["algorithm", "shiq"].distribution == "shiqbench"


def test_every_target_and_config_loads() -> None:
    found = registry()
    for spec in found.algorithms.values():
        assert spec.load().__name__
        assert spec.load_config()().model_dump() is not None
    for task in found.tasks.values():
        assert task.load_config()().setting()
        assert {"smoke", "cpu", "full"} <= set(task.presets)


def test_a_third_party_plugin_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry_point(monkeypatch, tmp_path, "third", ALGORITHM.format(name="theirs"))
    assert registry().owners["algorithm", "theirs"].distribution == "third"


def test_a_broken_plugin_harms_nobody_and_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry_point(monkeypatch, tmp_path, "broken", "raise RuntimeError('boom')")
    found = registry()
    (failure,) = found.failures
    assert (failure.distribution, failure.error) == ("broken", "RuntimeError: boom")
    assert "shiq" in found.algorithms
    with pytest.raises(PluginError, match="plugin broken did not load: RuntimeError: boom"):
        found.algorithm("theirs")


def test_a_plugin_that_returns_rubbish_adds_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = ALGORITHM.format(name="fine") + "\n@hookimpl\ndef shiqbench_register_tasks():\n    return ['rubbish']\n"
    entry_point(monkeypatch, tmp_path, "half", text)
    found = registry()
    assert "fine" not in found.algorithms
    assert "shiqbench_register_tasks returned 'rubbish'" in found.failures[0].error


def test_a_clash_names_both_owners_and_harms_only_that_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry_point(monkeypatch, tmp_path, "thief", ALGORITHM.format(name="shiq"))
    found = registry()
    with pytest.raises(PluginError, match=r"registered by both algorithms \(shiqbench\) and thief \(thief\)") as caught:
        found.algorithm("shiq")
    assert caught.value.exit_code == ExitCode.USAGE
    assert found.algorithm("dpo").name == "dpo"


def test_a_plugin_file_is_loaded_and_enters_identity() -> None:
    found = registry((TOY,))
    assert found.task("toy").load_config()().words == 8
    assert found.owners["task", "toy"].version.startswith("sha256:")


def test_a_plugin_file_that_does_not_load_stops_since_it_was_asked_for(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import nowhere_at_all")
    with pytest.raises(PluginError, match="nowhere_at_all"):
        registry((bad,))
    with pytest.raises(PluginError, match="does not load"):
        registry((tmp_path / "absent.py",))


@pytest.mark.parametrize(("typed", "meant"), [("shik", "shiq"), ("DPO", None), ("sftt", "sft")])
def test_unknown_names_suggest_the_nearest(typed: str, meant: Any) -> None:
    with pytest.raises(PluginError, match=f"did you mean '{meant}'" if meant else f"unknown algorithm '{typed}'"):
        registry().algorithm(typed)


OLD = """
import json

from shiqbench.{module} import {names}
"""
MOVED = [
    ("algorithm", "Algorithm", "Algorithm"),
    ("algorithm", "(\n    Algorithm,\n    Loss as L,  # both\n)", "Algorithm, Loss"),
    ("batch", "Batch", "Batch"),
    ("config", "AlgorithmConfig, TaskConfig", "AlgorithmConfig, TaskConfig"),
    ("specs", "AlgorithmSpec, hookimpl", "AlgorithmSpec, hookimpl"),
    ("task", "Task, Beside, Metrics", "Task, Metrics"),
    ("errors", "ConfigError", "ConfigError"),
    ("reward", "RewardModel", "RewardModel"),
    ("episode", "Episode, Message", "Episode, Message"),
    ("generation", "Sampling", "Sampling"),
    ("rewards.model", "RewardModel", "RewardModel"),
]


@pytest.mark.parametrize(("module", "names", "told"), MOVED)
def test_a_plugin_file_with_an_old_import_is_told_the_new_one(
    tmp_path: Path, module: str, names: str, told: str
) -> None:
    old = tmp_path / "old.py"
    old.write_text(OLD.format(module=module, names=names))
    with pytest.raises(PluginError) as caught:
        registry((old,))
    assert str(caught.value) == (
        f"plugin file does not load: shiqbench.{module} is now shiqbench.plugin: from shiqbench.plugin import {told} "
        f"({old}); fix the file, or run without --plugin"
    )


def test_an_installed_plugin_with_an_old_import_is_told_the_new_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry_point(monkeypatch, tmp_path, "aged", OLD.format(module="specs", names="AlgorithmSpec, hookimpl"))
    (failure,) = registry().failures
    assert failure.error == (
        "shiqbench.specs is now shiqbench.plugin: from shiqbench.plugin import AlgorithmSpec, hookimpl"
    )
    assert "shiq" in registry().algorithms


def test_a_class_whose_module_has_an_old_import_is_told_the_new_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry_point(monkeypatch, tmp_path, "late", ALGORITHM.format(name="late").replace("x:", "late_loss:"))
    (tmp_path / "late_loss.py").write_text(OLD.format(module="algorithm", names="Algorithm"))
    with pytest.raises(PluginError, match=r"^cannot load late_loss:Y: shiqbench.algorithm is now shiqbench.plugin: "):
        registry().algorithm("late").load()


@pytest.mark.parametrize("text", ["import shiqbench.nowhere", "from shiqbench.nowhere import something"])
def test_a_module_that_never_was_is_not_called_moved(tmp_path: Path, text: str) -> None:
    old = tmp_path / "old.py"
    old.write_text(text)
    with pytest.raises(PluginError, match=r"no shiqbench.nowhere: a plugin imports from shiqbench.plugin only"):
        registry((old,))
