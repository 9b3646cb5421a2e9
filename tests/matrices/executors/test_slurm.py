"""SLURM through submitit: its local and debug executors, and a SLURM of one machine that really runs jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fake_slurm
import pytest
from support import ask
from support_jobs import Memory, by_name, cause, job

from shiqbench.base.errors import ConfigError
from shiqbench.matrices.executors import execute, on_slurm, slurm_queue
from shiqbench.matrices.executors.events import Began, Ended, Event, Made, Note, Progress
from shiqbench.matrices.executors.sbatch import arrays, parameters, refusal, script
from shiqbench.matrices.executors.slurm_node import MOST_IDLE, JobFiles, Order, Work
from shiqbench.matrices.job import Job, JobState, Outcome, Resources, Slurm
from shiqbench.matrices.plan import make_matrix

HERE = Path(__file__).parent
SMALL = """
[matrix]
algorithms = ["base", "shiq"]
tasks = ["mdp"]
seeds = [0, 1]
preset = "smoke"
[budget]
updates = 5
[resources]
minutes = 30
"""
NOT_HERE = "type the command on a machine that submits jobs to SLURM, such as a login node"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a SLURM onto PATH and return the folder of its state."""
    state = tmp_path / "state"
    state.mkdir()
    fake_slurm.install(tmp_path / "commands")
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "commands"), os.environ["PATH"]]))
    monkeypatch.setenv("FAKE_SLURM", str(state))
    paths = [str(HERE), str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setattr(slurm_queue, "ASK_SECONDS", 0.5)
    monkeypatch.setattr(on_slurm, "LATE_SECONDS", 3.0)
    return state


def run(jobs: list[Job], **options: Any) -> tuple[dict[str, Outcome], list[str]]:
    view = Memory()
    return by_name(execute(jobs, view=view, backoff=0.05, **options)), view.said


def files(results: Path) -> dict[str, bytes]:
    """Return the files that must not depend on the executor."""
    kinds = ("metrics.json", "model.safetensors", "config.json")
    return {str(p.relative_to(results)): p.read_bytes() for p in sorted(results.rglob("*")) if p.name in kinds}


def resumed_at(outcome: Outcome) -> int:
    assert outcome.result is not None
    found: int = json.loads((Path(outcome.result["path"]) / "manifest.json").read_text())["resumed_at_update"]
    return found


def wait_for(what: Any, seconds: float = 500.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


# What is asked of SLURM


def test_the_resources_of_a_cell_become_lines_of_sbatch(tmp_path: Path) -> None:
    asked = Slurm("gpu", "lab", "high", ("module load cuda",), {"constraint": "a100", "exclusive": True})
    text = script(Resources(cpus=8, gpus=2, memory_gb=64, minutes=90, slurm=asked), 3, tmp_path)
    lines = text.splitlines()
    for line in (
        "#SBATCH --array=0-2%3",
        "#SBATCH --time=90",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --gpus-per-node=2",
        "#SBATCH --mem=61036M",  # 64 * 10^9 bytes in units of 2^20, rounded up
        "#SBATCH --partition=gpu",
        "#SBATCH --account=lab",
        "#SBATCH --qos=high",
        "#SBATCH --constraint=a100",
        "#SBATCH --exclusive",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@90",
        "module load cuda",
    ):
        assert line in lines, line
    assert " --cpus-per-task=8 " in lines[-1]
    assert "wckey" not in text
    assert "--array" not in script(Resources(minutes=1), 1, tmp_path)
    assert parameters(Resources(minutes=1))["signal_delay_s"] == 15


def test_cells_that_ask_the_same_are_one_array(tmp_path: Path) -> None:
    small, large = [job(tmp_path, n, minutes=1) for n in "ab"], [job(tmp_path, "c", minutes=2)]
    assert [[j.name for j in same] for same in arrays([small[0], *large, small[1]])] == [["a", "b"], ["c"]]
    assert [len(same) for same in arrays([small[0]] * 1500)] == [1000, 500]


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        (Resources(minutes=1), None),
        (Resources(), "minutes not set, and SLURM needs a time limit"),
        (Resources(minutes=1, gpus=0.5), "gpus = 0.5, but SLURM gives whole GPUs"),
        (Resources(minutes=1, unsaid=("cpus", "gpus")), "cpus and gpus not set, and those of this machine say nothing"),
    ],
)
def test_what_slurm_can_never_be_asked_for(needs: Resources, why: str | None) -> None:
    found = refusal(needs)
    assert found is None if why is None else (found or "").startswith(why)


def needs_of(text: str, tmp_path: Path) -> list[Resources]:
    path = tmp_path / "m.toml"
    path.write_text(text)
    return [j.resources for j in make_matrix(path, results=tmp_path / "r").final.jobs]


def test_tasks_and_algorithms_change_single_keys_of_the_resources(tmp_path: Path) -> None:
    text = (
        SMALL
        + """
[resources.slurm]
partition = "cpu"
account = "lab"
options = {constraint = "icelake", nice = 5}
[algorithms.shiq.resources]
minutes = 60
slurm = {partition = "long", options = {nice = 9}}
"""
    )
    base, shiq, _ = needs_of(text, tmp_path)
    assert (base.minutes, shiq.minutes) == (30, 60)
    assert base.slurm == Slurm("cpu", "lab", options={"constraint": "icelake", "nice": 5})
    assert shiq.slurm == Slurm("long", "lab", options={"constraint": "icelake", "nice": 9})
    assert base.unsaid == ()  # mdp takes one core on any machine


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('slurm.partiton = "gpu"', "unknown key 'resources.slurm.partiton', did you mean 'partition'?"),
        ("slurm.options.time = 5", "resources.slurm.options: shiqbench sets --time itself; set resources.minutes"),
        ("slurm.options.mem_per_cpu = false", "resources.slurm.options: mem-per-cpu = false; leave it out"),
        ("minuts = 5", "unknown key 'resources.minuts', did you mean 'minutes'?"),
    ],
)
def test_a_wrong_name_of_a_resource_is_one_line(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        needs_of(SMALL + line, tmp_path)
    assert len(wrong.value.lines()) == 1
    assert wrong.value.line().startswith(said)


def test_without_submitit_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    file = tmp_path / "m.toml"
    file.write_text(SMALL)
    for more in ([], ["--dry-run"]):
        done = ask("matrix", file, "--results", tmp_path / "r", "--executor", "slurm", *more)
        assert done.returncode == 2
        last = done.stderr.splitlines()[-1]
        assert last == "error: submitit is not installed (--executor slurm); pip install 'shiqbench[slurm]'"
    assert not (tmp_path / "r").exists()


def test_without_slurm_one_line_says_where_to_type_the_command(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(SMALL)
    words: list[str | Path] = ["matrix", file, "--results", tmp_path / "r", "--executor", "slurm"]
    done = ask(*words, env={"PATH": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"error: no sbatch on this machine (--executor slurm); {NOT_HERE}"
    assert not (tmp_path / "r").exists()
    done = ask(*words, "--address", "login1")
    assert done.stderr.startswith("error: SLURM has no address (--address login1); use local or debug to try it")


def test_what_slurm_refuses_is_said_before_anything_is_written(slurm: Path, tmp_path: Path) -> None:
    asked = Slurm(partition="nowhere")
    with pytest.raises(ConfigError, match=r"SLURM refuses it: invalid partition specified: nowhere \(job a\)"):
        run([job(tmp_path / "r", "a", minutes=1, slurm=asked)], executor="slurm")
    assert not (tmp_path / "r").exists()


# What a node and the launcher tell each other


def test_events_reach_a_launcher_that_names_the_folder_differently(tmp_path: Path) -> None:
    written = JobFiles(tmp_path / "results", "key")
    written.events.parent.mkdir(parents=True)
    sent: list[Event] = [
        Began("j", "train x", str(tmp_path / "results" / "mdp" / "x")),
        Progress("j", "train", 3, 10, 0.5, None, 7.0),
        Made("j", str(tmp_path / "results" / "mdp" / "x")),
        Note("j", "a line"),
    ]
    for event in sent:
        written.write(event)
    seen = Path("elsewhere")
    found, offset = written.read(0, seen)
    assert found == [Began("j", "train x", "elsewhere/mdp/x"), sent[1], Made("j", "elsewhere/mdp/x"), sent[3]]
    end = Ended("j", result={"cached": False})
    with written.events.open("a") as stream:
        stream.write('{"kind": "Ended", "job"')
    assert written.read(offset, seen) == ([], offset)
    with written.events.open("a") as stream:
        stream.write(': "j", "result": {"cached": false}, "error": null}\n')
    assert written.read(offset, seen)[0] == [end]


@pytest.mark.slow
@pytest.mark.parametrize(("save_every", "starts", "given_up"), [(10, MOST_IDLE + 1, True), (3, 7, False)])
def test_a_cell_is_given_up_only_if_it_saves_nothing(
    tmp_path: Path, save_every: int, starts: int, given_up: bool
) -> None:
    """Each start is stopped in its fifth update."""
    wanted = job(tmp_path, "stuck", "algo.act=interrupt", f"train.save_every={save_every}", minutes=1)
    order = Order(wanted, JobFiles.of(wanted))
    order.files.events.parent.mkdir(parents=True)
    for _ in range(starts - 1):
        with pytest.raises(SystemExit, match="stopped by SLURM"):
            Work()(order)
    Work()(order)
    end = order.files.read(0, tmp_path)[0][-1]
    assert isinstance(end, Ended)
    assert (end.error is not None) is given_up
    if end.error is not None:
        assert end.error["cause"] == "time"
        assert end.error["what"] == f"{MOST_IDLE} starts in a row ended before anything new was saved"


# The whole way


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*log:pytest.PytestUnraisableExceptionWarning")  # submitit leaves its logs open
def test_debug_runs_the_same_in_this_process(tmp_path: Path) -> None:
    jobs = [job(tmp_path / "r", "well", minutes=1), job(tmp_path / "r", "bad", "algo.act=diverge", minutes=1)]
    outcomes, _ = run(jobs, executor="slurm", address="debug")
    assert {n: (str(o.state), cause(o)) for n, o in outcomes.items()} == {
        "well": ("done", None),
        "bad": ("failed", "diverged"),
    }


@pytest.mark.slow
def test_a_job_killed_by_its_time_limit_ends_complete_and_equal(tmp_path: Path) -> None:
    """submitit's local executor stops the first job at its time limit; it continues from update 10."""
    slept = tmp_path / "slept"

    def jobs(results: Path, **limits: Any) -> list[Job]:
        slow = job(results, "slow", "algo.act=sleep", "algo.at=12", f"algo.once={slept}", **limits)
        return [slow, job(results, "quick", seed=1, **limits)]

    slept.touch()
    started = time.monotonic()
    run(jobs(tmp_path / "local"))
    minutes = max(1.0, 3 * (time.monotonic() - started) / 60)  # enough to begin, also on a busy machine
    slept.unlink()
    outcomes, said = run(jobs(tmp_path / "slurm", minutes=minutes), executor="slurm", address="local", at_once=2)
    assert {n: str(o.state) for n, o in outcomes.items()} == {"slow": "done", "quick": "done"}
    assert any(line.startswith("slow continues from what it has saved (start ") for line in said)
    assert resumed_at(outcomes["slow"]) == 10
    assert files(tmp_path / "slurm") == files(tmp_path / "local")
    assert len([name for name in files(tmp_path / "slurm") if name.endswith(".safetensors")]) == 2
    assert any(line.startswith("submitted 2 cells to local: ") and "/slurm/.logs" in line for line in said)
    left = [p.name for p in (tmp_path / "slurm" / ".slurm").iterdir() if not p.name.endswith(".sh")]
    assert left == []


@pytest.mark.slow
def test_a_matrix_on_slurm_is_one_array_and_equal(slurm: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(SMALL)
    words: list[str | Path] = ["matrix", file, "--executor", "slurm", "--results", tmp_path / "slurm"]
    dry = ask(*words, "--dry-run").stdout.partition("seed 1:\n")[2]
    done = ask(*words)
    assert done.stdout.startswith("3 jobs: 3 done\n")
    (submission,) = slurm.glob("*.sh")
    assert [line.strip() for line in dry.splitlines()] == [x.strip() for x in submission.read_text().splitlines() if x]
    assert "submitted 3 cells to slurm: array 100 (1 cpus, 0 gpus, 30 minutes); logs are in " in done.stderr
    assert json.loads(ask(*words, "--dry-run", "--json").stdout)["sbatch"] == []
    ask("matrix", file, "--results", tmp_path / "local")
    assert files(tmp_path / "slurm") == files(tmp_path / "local")


@pytest.mark.slow
def test_time_limits_and_failures_on_slurm(slurm: Path, tmp_path: Path) -> None:
    results = tmp_path / "r"
    jobs = [
        job(results, "warned", "algo.act=warn", "algo.at=12", f"algo.once={tmp_path / 'a'}", minutes=30),
        job(results, "deaf", "algo.act=deaf", "algo.at=12", f"algo.once={tmp_path / 'b'}", minutes=1, seed=1),
        job(results, "exits", "algo.act=exit", minutes=30, seed=2),
    ]
    outcomes, said = run(jobs, executor="slurm", at_once=2)
    assert {n: (str(o.state), cause(o), o.attempts) for n, o in outcomes.items()} == {
        "warned": ("done", None, 1),
        "deaf": ("done", None, 1),
        "exits": ("failed", "killed", 2),
    }
    assert [resumed_at(outcomes[n]) for n in ("warned", "deaf")] == [10, 10]
    assert "deaf: SLURM job 101 ended as TIMEOUT; it is submitted again to continue" in said
    assert "warned continues from what it has saved (start 2)" in said
    assert not [line for line in said if line.startswith("warned: ")]  # requeued, under the same id
    error = outcomes["exits"].error
    assert error is not None
    assert "ended as FAILED without a result" in error["what"]
    assert Path(error["where"]).is_file()


@pytest.mark.slow
def test_a_full_queue_is_tried_again_and_counted(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_REFUSAL", "Job violates accounting/QOS policy")
    outcomes, said = run([job(tmp_path / "r", "a", minutes=1)], executor="slurm")
    assert (outcomes["a"].state, cause(outcomes["a"]), outcomes["a"].attempts) == (JobState.FAILED, "submission", 3)
    assert "SLURM did not take the job: Batch job submission failed: Job violates" in said[-1]


def start(results: Path) -> subprocess.Popen[str]:
    """Start a matrix of one job on SLURM in its own process."""
    command = [sys.executable, str(HERE / "matrix_alone.py"), "slurm", str(results), "a"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def trains(results: Path) -> bool:
    return any(p.stat().st_size for p in results.glob("mdp/rogue/*/train.jsonl"))


@pytest.mark.slow
def test_the_same_command_attaches_to_jobs_whose_command_was_killed(slurm: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    first = start(results)
    wait_for(lambda: trains(results))
    first.kill()
    first.communicate()
    states = json.loads(start(results).communicate(timeout=240)[0])
    assert states in (["done"], ["cached"])  # cached: the job ended before the second command looked
    assert len(list(slurm.glob("*.sh"))) == 1
    assert len((tmp_path / "tally").read_text()) == 20  # updates made


@pytest.mark.slow
def test_ctrl_c_cancels_and_the_same_command_continues(slurm: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    first = start(results)
    wait_for(lambda: trains(results))
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=120)
    assert first.returncode == 130
    assert [p.read_text() for p in slurm.glob("*.state")] == ["CANCELLED"]
    assert not list(results.rglob(".holder.json"))
    assert not list(results.rglob("error.json"))
    second = start(results)
    assert json.loads(second.communicate(timeout=240)[0]) == ["done"]
    assert len(list(slurm.glob("*.sh"))) == 2
