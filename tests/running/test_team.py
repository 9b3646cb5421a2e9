"""Several processes train one cell: the real command under torchrun, with gloo on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import warm
from safetensors.torch import load_file
from support import TOY

from shiqbench.base.errors import ConfigError
from shiqbench.plugin.config import TrainConfig
from shiqbench.running.team import Place, Team, launched, place

EXAMPLES = TOY.parent.parent.parent / "examples" / "accelerate"
ONE_FAILS = TOY.parent / "one_fails.py"
ENGINE = TOY.parent / "engine_environment.py"
SHARDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Read the launcher's variables once per test; normally they are read once per process."""
    place.cache_clear()
    for name in [n for n in os.environ if n.startswith(("TORCHELASTIC_", "ACCELERATE_", "FSDP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("shiqbench.running.team._end_with_the_launcher", lambda: None)  # these tests have no launcher
    yield monkeypatch
    place.cache_clear()


def launch(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_without_a_launcher_there_is_one_process(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("RANK", raising=False)
    assert place() == Place(0, 1)
    assert place().main


def test_the_launchers_variables_are_set_aside(environment: pytest.MonkeyPatch) -> None:
    launch(environment, RANK="1", WORLD_SIZE="2", LOCAL_RANK="1", MASTER_PORT="1", TORCHELASTIC_USE_AGENT_STORE="True")
    team = launched()
    assert team.place == Place(1, 2)
    assert not team.place.main
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE"} & set(os.environ)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ACCELERATE_USE_DEEPSPEED", "true", "launch with DDP or FSDP2"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "set train.precision"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "set train.micro_tokens"),
    ],
)
def test_what_a_launcher_cannot_decide_is_refused(
    environment: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    launch(environment, RANK="0", WORLD_SIZE="2", **{name: value})
    with pytest.raises(ConfigError, match=f"{name}={value} cannot be honoured.*{said}"):
        launched()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FSDP_VERSION", "1", "set fsdp_version: 2"),
        ("FSDP_OFFLOAD_PARAMS", "true", "set fsdp_offload_params: false"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", "set fsdp_cpu_ram_efficient_loading: false"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "set train.checkpointing=true"),
        ("FSDP_TRANSFORMER_CLS_TO_WRAP", "LlamaMLP", "every layer of the model is a unit"),
    ],
)
def test_how_weights_are_sharded_is_decided_here(
    environment: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    launch(environment, RANK="0", WORLD_SIZE="2", **{**SHARDED, name: value})
    with pytest.raises(ConfigError, match=f"{name}={value} cannot be honoured.*{said}"):
        launched()


def test_the_version_of_fsdp_is_1_unless_it_is_said(environment: pytest.MonkeyPatch) -> None:
    launch(environment, RANK="0", WORLD_SIZE="2", ACCELERATE_USE_FSDP="true")
    with pytest.raises(ConfigError, match="FSDP_VERSION=1 cannot be honoured"):
        launched()


def test_one_process_has_nothing_to_shard(environment: pytest.MonkeyPatch) -> None:
    launch(environment, RANK="0", WORLD_SIZE="1", **SHARDED)
    with pytest.raises(ConfigError, match="FSDP shards over several processes, and there is one"):
        launched()


def test_variables_of_fsdp_are_removed_for_good(environment: pytest.MonkeyPatch) -> None:
    launch(environment, RANK="0", WORLD_SIZE="2", **SHARDED)
    team = launched()
    assert team.place == Place(0, 2, sharded=True)
    assert not [n for n in os.environ if "FSDP" in n]
    with team._launched():
        assert not [n for n in os.environ if "FSDP" in n]


def test_lora_is_not_sharded() -> None:
    with pytest.raises(ConfigError, match="LoRA trains adapters only") as error:
        Place(0, 2, sharded=True).check(TrainConfig(lora_rank=4))
    assert error.value.where == "train.lora_rank = 4"
    Place(0, 2, sharded=True).check(TrainConfig())
    Place(0, 2).check(TrainConfig(lora_rank=4))


def test_defaults_of_accelerate_are_accepted(environment: pytest.MonkeyPatch) -> None:
    launch(environment, RANK="0", WORLD_SIZE="2", ACCELERATE_MIXED_PRECISION="no", ACCELERATE_DYNAMO_BACKEND="NO")
    assert launched().place.count == 2


def test_a_python_call_in_one_of_several_processes_is_refused(environment: pytest.MonkeyPatch) -> None:
    import shiqbench

    launch(environment, RANK="0", WORLD_SIZE="2")
    with pytest.raises(ConfigError, match="is for one process, and 2 were launched"):
        shiqbench.run("base", "toy", plugins=(TOY,))


def test_one_process_is_a_team_of_its_own() -> None:
    team = Team(Place(), {})
    assert team.share([1]) == [1]
    assert team.total(2, 3) == (2, 3)
    team.dismiss()


@pytest.mark.parametrize(("name", "kind"), [("ddp", "MULTI_GPU"), ("fsdp", "FSDP")])
def test_the_examples_for_accelerate_are_ones_that_accelerate_reads(name: str, kind: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(EXAMPLES / f"{name}.yaml"))  # accelerate refuses unknown keys
    assert (config.distributed_type, config.num_processes, config.mixed_precision) == (kind, 2, "no")
    assert not config.use_cpu
    assert sorted(f.name for f in EXAMPLES.iterdir()) == ["ddp.yaml", "fsdp.yaml"]


def test_what_accelerate_makes_of_the_example_is_accepted(environment: pytest.MonkeyPatch) -> None:
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    before = dict(os.environ)
    words = ["--config_file", str(EXAMPLES / "fsdp.yaml"), "-m", "shiqbench"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    variables = {k: v for k, v in prepare_multi_gpu_env(arguments).items() if before.get(k) != v}
    launch(environment, **variables, RANK="0", WORLD_SIZE="2")
    assert launched().place.sharded


class Launch:
    """The command for the toy task, with a separate cache for each number of processes."""

    def __init__(self, model: Path, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.model, self.folder, self.variables = model, folder, variables or {}

    def words(self, processes: int, algo: str, *more: str | Path) -> list[str]:
        toy = ["--task", "toy", "--plugin", TOY, "--model", self.model, "--engine", "transformers"]
        return ["run", "--algo", algo, *map(str, [*toy, "--results", self.folder / str(processes), *more])]

    def environment(self, processes: int) -> dict[str, str]:
        return {**os.environ, "SHIQBENCH_CACHE": str(self.folder / f"cache-{processes}"), **self.variables}

    def start(self, processes: int, algo: str, *more: str | Path) -> warm.Started:
        start = warm.launch if processes == 2 else warm.start
        return start(self.words(processes, algo, *more), env=self.environment(processes))

    def run(self, processes: int, algo: str, *more: str | Path) -> subprocess.CompletedProcess[str]:
        return self.start(processes, algo, *more).finish()

    def run_torchrun(self, algo: str, *more: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the command as a user types it."""
        command = [sys.executable, *TORCHRUN, "-m", "shiqbench", *self.words(2, algo, *more)]
        return subprocess.run(
            command, env=self.environment(2), capture_output=True, text=True, timeout=400, check=False
        )

    def cell(self, processes: int, algo: str) -> Path:
        (folder,) = (self.folder / str(processes) / "toy" / algo).iterdir()
        return folder

    def lines(self, processes: int, algo: str) -> list[dict[str, Any]]:
        return [json.loads(x) for x in (self.cell(processes, algo) / "train.jsonl").read_text().splitlines()]


@pytest.fixture
def toy(tiny_model: Path, tmp_path: Path) -> Launch:
    return Launch(tiny_model, tmp_path)


def files(folder: Path) -> set[str]:
    return {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file() and not f.name.startswith(".")}


def same_curve(toy: Launch, algo: str) -> None:
    one, two = toy.lines(1, algo), toy.lines(2, algo)
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert set(a) == set(b)
        for name in set(a) - {"seconds"}:
            assert b[name] == pytest.approx(a[name], rel=1e-5, abs=1e-5), name


@pytest.mark.slow
def test_two_processes_make_the_cell_that_one_makes(toy: Launch) -> None:
    # Three pairs, two processes, one pair per pass: the processes have different numbers of passes.
    settings = [w for s in ("batch_episodes=6", "micro_tokens=1", "updates=12") for w in ("--set", f"train.{s}")]
    more = [*settings, "--track", "tensorboard", "--json"]
    for done in (toy.run(1, "dpo", *more), toy.run_torchrun("dpo", *more)):
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["state"] == "done"
        assert done.stderr.count("update 12/12") == 1
    same_curve(toy, "dpo")
    assert toy.lines(2, "dpo")[-1]["loss"] < 0.6
    one, two = toy.cell(1, "dpo"), toy.cell(2, "dpo")
    assert one.name == two.name
    assert {f for f in files(one) if "tfevents" not in f} == {f for f in files(two) if "tfevents" not in f}
    facts = [json.loads((f / "manifest.json").read_text()) for f in (one, two)]
    assert [f["processes"] for f in facts] == [1, 2]
    assert facts[0]["budget"] == facts[1]["budget"]
    assert sum(facts[0]["reference"][k] for k in ("computed", "cached")) > 0
    two = toy.folder / "2"
    before = {f: f.stat().st_mtime_ns for f in two.rglob("*") if f.is_file() and f.name != ".lock"}
    again = toy.run(2, "dpo", *settings)
    assert again.returncode == 0
    assert again.stderr.count("to do: nothing") == 1
    assert before == {f: f.stat().st_mtime_ns for f in two.rglob("*") if f.is_file() and f.name != ".lock"}


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{}, SHARDED], ids=["whole", "shards"])
def test_a_start_is_trained_together_too(tiny_model: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    toy = Launch(tiny_model, tmp_path)
    for processes, environment in ((1, {}), (2, variables)):
        toy.variables = environment
        done = toy.run(processes, "shiq", "--preset", "started")
        assert done.returncode == 0, done.stderr
    same_curve(toy, "sft")
    same_curve(toy, "shiq")


def losses(lines: list[dict[str, Any]]) -> list[float]:
    return [x["loss"] for x in lines]


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["sft", "dpo", "shiq"])
def test_two_processes_with_shards_make_the_cell_that_one_makes(tiny_model: Path, tmp_path: Path, algo: str) -> None:
    # Three pairs or seven episodes, two processes, one episode per pass: they have different numbers of passes.
    settings = [w for s in ("batch_episodes=7", "micro_tokens=1", "updates=12") for w in ("--set", f"train.{s}")]
    more = [*settings, "--set", "train.precision=fp32", "--eval-every", "2"]
    toy, sharded = Launch(tiny_model, tmp_path), Launch(tiny_model, tmp_path / "sharded", SHARDED)
    for done in (toy.run(1, algo, *more), sharded.run(2, algo, *more)):
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
    assert losses(sharded.lines(2, algo)) == pytest.approx(losses(toy.lines(1, algo)), rel=0, abs=1e-6)
    one, two = toy.cell(1, algo), sharded.cell(2, algo)
    assert one.name == two.name
    assert files(one) == files(two)
    facts = json.loads((two / "manifest.json").read_text())
    assert (facts["processes"], facts["sharded"]) == (2, True)
    for name in ("checkpoint/model.safetensors", "snapshots/000006.pt"):
        read = load_file if name.endswith("safetensors") else torch.load
        whole, gathered = read(one / name), read(two / name)
        assert set(whole) == set(gathered)
        for key, x in whole.items():
            torch.testing.assert_close(gathered[key], x, atol=1e-5, rtol=0)
    assert (one / "checkpoint/config.json").read_bytes() == (two / "checkpoint/config.json").read_bytes()


@pytest.mark.slow
def test_a_killed_launch_with_shards_continues_bit_for_bit(tiny_model: Path, tmp_path: Path) -> None:
    settings = [w for s in ("updates=40", "save_every=5", "precision=fp32") for w in ("--set", f"train.{s}")]
    undisturbed, killed = (Launch(tiny_model, tmp_path / name, SHARDED) for name in ("undisturbed", "killed"))
    done = undisturbed.run(2, "sft", *settings)
    assert done.returncode == 0, done.stderr
    process = killed.start(2, "sft", *settings)
    until(lambda: process.poll() is not None or any(killed.folder.glob("2/toy/sft/*/checkpoint/state.pt")), 150)
    os.kill(json.loads((killed.cell(2, "sft") / ".holder.json").read_text())["pid"], signal.SIGKILL)
    assert process.wait(timeout=100) != 0
    assert not list(killed.folder.glob("2/toy/sft/*/DONE"))
    refused = Launch(tiny_model, killed.folder).run(2, "sft", *settings)  # without FSDP
    assert refused.returncode != 0
    assert "was interrupted with sharded weights" in refused.stderr
    done = killed.run(2, "sft", *settings)
    assert done.returncode == 0, done.stderr
    one, two = undisturbed.cell(2, "sft"), killed.cell(2, "sft")
    assert json.loads((two / "manifest.json").read_text())["resumed_at_update"] >= 5
    assert files(one) == files(two)
    lines = [[{**x, "seconds": 0} for x in each.lines(2, "sft")] for each in (undisturbed, killed)]
    assert lines[0] == lines[1]
    name = "checkpoint/model.safetensors"
    assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.slow
def test_a_launch_continues_after_its_main_process_was_killed(toy: Launch) -> None:
    settings = ["--set", "train.updates=150", "--set", "train.save_every=5"]
    process = toy.start(2, "sft", *settings)
    deadline = time.monotonic() + 150
    while not list(toy.folder.glob("2/toy/sft/*/checkpoint/state.pt")):
        assert process.poll() is None, "ended before a checkpoint was seen"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(json.loads((toy.cell(2, "sft") / ".holder.json").read_text())["pid"], signal.SIGKILL)
    assert process.wait(timeout=100) != 0  # the other process does not hang
    assert not list(toy.folder.glob("2/toy/sft/*/DONE"))
    done = toy.run(2, "sft", *settings)
    assert done.returncode == 0, done.stderr
    facts = json.loads((toy.cell(2, "sft") / "manifest.json").read_text())
    assert facts["resumed_at_update"] >= 5
    assert [x["update"] for x in toy.lines(2, "sft")] == list(range(1, 151))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_ends_the_launch(toy: Launch, rank: int) -> None:
    done = toy.run(2, "one_fails", "--plugin", ONE_FAILS, "--set", f"algo.rank={rank}")
    assert done.returncode != 0
    errors = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    prefix = "" if rank == 0 else "process 1: "
    assert f"error: {prefix}ValueError: broken on purpose; --debug shows the traceback" in errors
    if rank == 0:
        assert len(errors) == 1
        assert (toy.cell(2, "one_fails") / "error.json").is_file()
    assert not (toy.cell(2, "one_fails") / "DONE").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["matrix", "absent.toml"], "a matrix is for one process, and 2 were launched"),
        (["run", "--algo", "dpo", "--task", "mdp"], "training on mdp is for one process, and 2 were launched"),
        (["run", "--algo", "dpoo", "--task", "mdp"], "did you mean 'dpo'"),
    ],
)
def test_a_request_that_is_refused_is_refused_once(tmp_path: Path, words: list[str], said: str) -> None:
    done = warm.launch(words, cwd=tmp_path).finish()
    assert done.returncode != 0
    lines = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert said in lines[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_more_processes_than_units_is_one_clear_line(toy: Launch) -> None:
    done = toy.run(2, "dpo", "--set", "train.batch_episodes=2")
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert "a batch has 1 unit for 2 processes" in line


@pytest.mark.slow
def test_the_engine_is_made_once_and_sees_no_launcher(toy: Launch) -> None:
    log = toy.folder / "engines"
    log.mkdir()
    more: list[str | Path] = ["--plugin", ENGINE, "--set", "train.updates=1"]
    words = [w if w != "transformers" else "noted" for w in toy.words(2, "sft", *more)]
    done = warm.launch(words, env={**toy.environment(2), "NOTED_ENGINES": str(log)}).finish()
    assert done.returncode == 0, done.stderr
    (noted,) = [json.loads(f.read_text()) for f in log.iterdir()]
    assert noted == {"variables": [], "group": False}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's own promise")
def test_nobody_outlives_a_launcher_that_is_killed(toy: Launch) -> None:
    process = toy.start(2, "sft", "--set", "train.updates=5000")
    until(lambda: len(psutil.Process(process.pid).children()) == 2, 60)
    workers = psutil.Process(process.pid).children()
    until(lambda: any(toy.folder.glob("2/toy/sft/*/train.jsonl")), 150)
    process.kill()
    process.wait()
    assert not psutil.wait_procs(workers, timeout=20)[1]


def until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
