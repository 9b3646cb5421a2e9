"""``clean`` on real cells: removed files, kept files and the reasons; the state after a kill."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import TOY, ask

import shiqbench
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json, write_json
from shiqbench.commands import clean as module
from shiqbench.commands import removal
from shiqbench.commands.clean import Wanted, find
from shiqbench.commands.export import export
from shiqbench.commands.removal import Removal, as_size, remove
from shiqbench.matrices.live import MatrixState, live_file
from shiqbench.store.cell import DONE, check_not_cleaned, is_cleaned, is_done, lock, recorded

PARTIAL, CHECKPOINTS = Wanted(partial=True), Wanted(checkpoints=True)
NEVER = 2**22 + 1  # no process has this id
MDP: dict[str, Any] = {"algo": "shiq", "task": "mdp", "preset": "smoke", "set": {"train.updates": 2}}


@pytest.fixture(autouse=True)
def _cache(own_cache: Path) -> None:
    """Give every test its own cache, so that it computes its own reference statistics."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("clean") / "r"
    shiqbench.run(**MDP, results=results)
    return results


@pytest.fixture
def results(trained: Path, tmp_path: Path) -> Path:
    """A results folder with a trained and evaluated cell of mdp, and its ``base`` cell."""
    return Path(shutil.copytree(trained, tmp_path / "r"))


def the_cell(results: Path) -> Path:
    return next((results / "mdp" / "shiq").iterdir())


def clean(results: Path, wanted: Wanted) -> Removal:
    return remove(find(results, wanted).items)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return ask("clean", *words)


# -- weights ------------------------------------------------------------------------------------------------


def test_a_cell_without_its_weights_is_finished_and_says_so(results: Path) -> None:
    cell = the_cell(results)
    before, sha256 = content(results), recorded(cell, "checkpoint/model.safetensors")
    first = shiqbench.run(**MDP, results=results)
    outcome = clean(results, CHECKPOINTS)
    assert [i.path for i in outcome.removed] == [cell / "checkpoint"]
    assert outcome.removed[0].size == len(before[f"{cell.relative_to(results)}/checkpoint/model.safetensors"])
    done = str((cell / DONE).relative_to(results))
    after = content(results)
    assert {k: v for k, v in after.items() if k != done} == {
        k: v for k, v in before.items() if k != done and "/checkpoint/" not in k
    }
    assert is_done(cell)
    assert read_json(cell / DONE)["cleaned"]["checkpoint/model.safetensors"]["sha256"] == sha256
    again = shiqbench.run(**MDP, results=results)
    assert again.cached
    assert again.as_json() == {**first.as_json(), "cached": True}
    assert content(results) == after
    assert find(results, CHECKPOINTS).items == []


def test_another_evaluation_of_cleaned_weights_is_refused_before_anything_is_written(results: Path) -> None:
    clean(results, CHECKPOINTS)
    shutil.rmtree(the_cell(results) / "eval")
    before = content(results)
    with pytest.raises(ConfigError) as error:
        shiqbench.run(**MDP, results=results)
    assert error.value.line() == f"its weights were cleaned ({the_cell(results)}); delete that folder to train it again"
    assert content(results) == before
    shutil.rmtree(the_cell(results))
    assert not shiqbench.run(**MDP, results=results).cached


@pytest.mark.parametrize("step", ["mark_cleaned", "erase"])
def test_a_kill_leaves_a_cell_that_is_whole_or_cleaned(
    results: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    cell = the_cell(results)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, step, killed)
        with pytest.raises(KeyboardInterrupt):
            clean(results, CHECKPOINTS)
    assert is_done(cell)
    assert is_cleaned(cell) == (step == "erase")
    assert (cell / "checkpoint" / "model.safetensors").is_file()
    if step == "erase":  # remaining weights must not be used: the next step could remove them
        with pytest.raises(ConfigError, match="its weights were cleaned"):
            check_not_cleaned(cell)
    assert shiqbench.run(**MDP, results=results).cached
    assert len(clean(results, CHECKPOINTS).removed) == 1
    assert is_done(cell)
    assert not (cell / "checkpoint").exists()


def test_a_kill_while_the_weights_are_removed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = the_cell(results)

    def half(path: Path) -> None:
        (path / "model.safetensors").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "erase", half)
        with pytest.raises(KeyboardInterrupt):
            clean(results, CHECKPOINTS)
    assert is_done(cell)
    assert shiqbench.run(**MDP, results=results).cached
    assert [i.path for i in clean(results, CHECKPOINTS).removed] == [cell / "checkpoint"]


def test_snapshots_go_with_the_weights_and_never_half(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shiqbench.store.cell import mark_done

    cell = the_cell(results)
    snapshots = cell / "snapshots"
    mark_done(snapshots, [put(snapshots / "000001.pt"), put(snapshots / "000002.pt")])

    def half(path: Path) -> None:
        next(path.glob("*.pt")).unlink()
        raise KeyboardInterrupt

    shot = next(i for i in find(results, CHECKPOINTS).items if i.kind == "snapshots")
    with monkeypatch.context() as patch:
        patch.setattr(module, "erase", half)
        with pytest.raises(KeyboardInterrupt):
            shot.remove()
    assert not is_done(snapshots)
    assert {i.path.name for i in clean(results, CHECKPOINTS).removed} == {"checkpoint", "snapshots"}
    assert not snapshots.exists()


def test_weights_that_may_be_needed_stay(results: Path) -> None:
    cell = the_cell(results)

    def why(wanted: Wanted = CHECKPOINTS) -> str:
        found = find(results, wanted)
        assert bool(found.items) != bool(found.kept)
        return found.kept[0].why if found.kept else ""

    everything = Wanted(all_checkpoints=True)
    evaluation = next((cell / "eval").iterdir())
    (evaluation / DONE).rename(evaluation / "aside")
    assert f"evaluation {evaluation.name} is not finished" in why()
    assert not why(everything)
    shutil.move(evaluation, results.parent / "aside")
    assert "not evaluated" in why()
    shutil.move(results.parent / "aside", evaluation)
    (evaluation / "aside").rename(evaluation / DONE)
    assert not why()
    other = next((results / "mdp" / "base").iterdir())
    with lock(other):
        assert f"a process works on base/{other.name}" in why()
        assert f"a process works on base/{other.name}" in why(everything)
    import psutil

    born = psutil.Process().create_time()
    state = live_file(results, os.uname().nodename, os.getpid())
    write_json(state, MatrixState(os.getpid(), born, os.uname().nodename, "local", 1).as_json())
    assert "a matrix runs" in why(everything)
    state.unlink()
    (cell / "train.jsonl").write_text("changed")
    assert "train.jsonl is missing or has another size" in why(everything)


def test_a_process_that_begins_after_the_listing_is_left_alone(results: Path) -> None:
    items = find(results, CHECKPOINTS).items
    before = content(results)
    with lock(the_cell(results)):
        outcome = remove(items)
    assert (outcome.removed, outcome.failed) == ([], [])
    assert "begun to use it" in outcome.kept[0].why
    assert content(results) == before


def test_a_start_stays_and_without_its_weights_says_one_line(tiny_model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": str(tiny_model), "preset": "started", "plugins": (TOY,), "results": tmp_path}
    done = shiqbench.run("dpo", "toy", **options)
    start = next((tmp_path / "toy" / "sft").iterdir())
    found = find(tmp_path, CHECKPOINTS)
    assert [i.path for i in found.items] == [done.path / "checkpoint"]
    assert found.kept[0].path == start / "checkpoint"
    assert found.kept[0].why.startswith(f"dpo/{done.path.name} starts from it; --all-checkpoints")
    clean(tmp_path, Wanted(all_checkpoints=True))
    assert shiqbench.run("dpo", "toy", **options).cached
    before = content(tmp_path)
    line = f"its weights were cleaned \\({start}\\); delete that folder"
    for changed in (
        {**options, "set": {"algo.beta": 0.7}},
        {**options, "preset": "cpu", "model": f"cell:{start.name}"},
        {**options, "preset": "cpu", "model": str(start / "checkpoint")},
    ):
        with pytest.raises(ConfigError, match=line):
            shiqbench.run("dpo", "toy", **changed)
    with pytest.raises(ConfigError, match=line):
        shiqbench.run("base", "toy", **{**options, "preset": "cpu", "model": f"cell:{start.name}"})
    with pytest.raises(ConfigError, match=line):
        export(str(start), "hf", output=tmp_path / "out")
    assert content(tmp_path) == before


def test_a_curve_can_still_be_had_from_cleaned_weights(tiny_model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": str(tiny_model), "plugins": (TOY,), "results": tmp_path}
    shiqbench.run("sft", "toy", eval_every=3, **options)
    assert {i.kind for i in clean(tmp_path, CHECKPOINTS).removed} == {"weights", "snapshots"}
    assert shiqbench.run("sft", "toy", eval_every=3, **options).cached
    finer = shiqbench.run("sft", "toy", eval_every=2, **options)  # trained again, with the same weights as result
    assert [p["update"] for p in finer.curve] == [0, 2, 4, 6]


# -- unfinished folders -------------------------------------------------------------------------------------


def test_unfinished_and_failed_folders_go_whole(results: Path) -> None:
    cell = the_cell(results)
    begun = put(results / "mdp" / "dpo" / "0123456789ab" / "config.json").parent
    failed = put(cell / "eval" / "0123456789ab" / "error.json", "{}").parent
    put(failed / ".lock", "")
    before = content(results / "mdp" / "shiq")
    found = find(results, PARTIAL)
    assert {i.path: i.why for i in found.items} == {begun: "not finished", failed: "failed"}
    clean(results, PARTIAL)
    assert not begun.exists()
    assert not failed.exists()
    assert content(results / "mdp" / "shiq") == {k: v for k, v in before.items() if "0123456789ab" not in k}
    assert find(results, PARTIAL).items == []


def test_what_killed_processes_left_goes(results: Path) -> None:
    cell = the_cell(results)
    evaluation = next((cell / "eval").iterdir())
    left = {
        put(results / ".live" / f".h-1.json.{NEVER}.tmp"),
        put(results / "mdp" / "dpo" / f".0123456789ab.{NEVER}.tmp" / "config.json").parent,
        put(cell / f".DONE.{NEVER}.tmp"),
        put(cell / ".replay" / "train.jsonl").parent,
        put(cell / ".model-4" / "model.safetensors").parent,
        put(cell / "checkpoint" / f".state.pt.{NEVER}.tmp"),
        put(evaluation / ".journal.jsonl"),
    }
    living = put(cell / f".config.json.{os.getpid()}.tmp")
    with lock(evaluation):
        found = find(results, PARTIAL)
        assert {k.path for k in found.kept} == {p for p in left if cell in p.parents}
    assert {i.path for i in clean(results, PARTIAL).removed} == left
    assert living.is_file()
    assert not any(p.exists() for p in left)
    assert is_done(cell)
    assert (cell / ".lock").is_file()


def test_what_a_process_holds_is_left_and_said(results: Path) -> None:
    begun = results / "mdp" / "dpo" / "0123456789ab"
    inner = the_cell(results) / "eval" / "0123456789ab"
    with lock(begun), lock(inner):
        found = find(results, PARTIAL)
        assert found.items == []
        assert {k.path for k in found.kept} == {begun, inner}
        assert all(k.why == "a process works on it" for k in found.kept)
    assert {i.path for i in clean(results, PARTIAL).removed} == {begun, inner}


def test_finished_evaluations_are_not_lost_with_their_cell(results: Path) -> None:
    (the_cell(results) / DONE).unlink()
    found = find(results, PARTIAL)
    assert found.items == []
    assert "1 finished evaluation" in found.kept[0].why


def test_a_kill_while_a_folder_is_removed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shiqbench.commands import removal

    begun = put(results / "mdp" / "dpo" / "0123456789ab" / "config.json").parent

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(removal, "erase", killed)
        with pytest.raises(KeyboardInterrupt):
            clean(results, PARTIAL)
    assert not begun.exists()  # never half of the folder, because a run would continue it
    (rest,) = begun.parent.glob(".*.tmp")
    rest.rename(rest.with_name(f".{begun.name}.{NEVER}.tmp"))
    assert len(clean(results, PARTIAL).removed) == 1
    assert list(begun.parent.iterdir()) == []


def test_nothing_else_is_touched(results: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside / "0123456789ab" / "config.json")
    put(outside / "weights" / "model.safetensors")
    cell = the_cell(results)
    shutil.move(cell / "checkpoint", outside / "checkpoint")
    (cell / "checkpoint").symlink_to(outside / "checkpoint")
    (results / "mdp" / "linked").symlink_to(outside)
    begun = put(results / "mdp" / "dpo" / "0123456789ab" / "config.json").parent
    (begun / "elsewhere").symlink_to(outside)
    notes = put(results / "mdp" / "notes" / "mine" / "text")
    mine = put(results / "mdp" / "notes" / "abcdefabcdef" / "text")
    before = content(outside)
    everything = Wanted(partial=True, all_checkpoints=True)
    links = {k.path for k in find(results, everything).kept if k.why.startswith("a link")}
    assert links == {cell / "checkpoint", results / "mdp" / "linked"}
    assert [i.path for i in clean(results, everything).removed] == [begun]
    assert content(outside) == before
    assert notes.is_file()
    assert mine.is_file()
    assert is_done(cell)


def test_what_cannot_be_removed_is_counted_and_the_rest_goes(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = put(results / "mdp" / "dpo" / "0123456789ab" / "config.json").parent
    two = put(results / "mdp" / "dpo" / "1123456789ab" / "config.json").parent
    discard = removal.discard

    def refusing(path: Path) -> None:
        if path == one:
            raise PermissionError(13, "Permission denied", str(path))
        discard(path)

    monkeypatch.setattr(module, "discard", refusing)
    outcome = clean(results, PARTIAL)
    assert [f.path for f in outcome.failed] == [one]
    assert [i.path for i in outcome.removed] == [two]
    assert outcome.lines()[-1] == "1 could not be removed"
    assert f"failed {one}: Permission denied ({one})" in outcome.lines()


# -- the command --------------------------------------------------------------------------------------------


def test_the_command(results: Path) -> None:
    before = content(results)
    none = command(results)
    assert (none.returncode, none.stdout) == (2, "")
    assert none.stderr.startswith("error: nothing is chosen (clean); give one or more of --partial, --checkpoints")
    silent = command(results, "--checkpoints")
    assert (silent.returncode, silent.stdout, len(silent.stderr.splitlines())) == (2, "", 1)
    assert "add --yes" in silent.stderr
    assert command(results / "no", "--partial").returncode == 2
    looked = command(results, "--checkpoints", "--dry-run")
    assert looked.returncode == 0
    assert looked.stdout.splitlines()[-1].startswith("total ")
    assert content(results) == before
    done = command(results, "--checkpoints", "--partial", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["removed"] == [str(the_cell(results) / "checkpoint")]
    assert found["removed_bytes"] == found["bytes"] > 0
    assert json.loads(command(results, "--checkpoints", "--yes", "--json").stdout)["found"] == []


def test_a_terminal_is_asked(results: Path) -> None:
    for answer, gone in (("n", False), ("y", True)):
        ours, theirs = pty.openpty()
        os.write(ours, f"{answer}\n".encode())
        words = [sys.executable, "-m", "shiqbench", "clean", str(results), "--checkpoints"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=theirs)
        os.close(ours)
        os.close(theirs)
        assert done.returncode == 0, done.stderr
        assert "Remove these 1 (" in done.stderr
        assert (the_cell(results) / "checkpoint").exists() != gone


def test_failures_are_the_exit_code(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shiqbench.commands import clean_dialog as clean_verb

    put(results / "mdp" / "dpo" / "0123456789ab" / "config.json")

    def refusing(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "discard", refusing)
    assert clean_verb.clean(results, PARTIAL, dry_run=False, yes=True, as_json=False) == 1
    assert clean_verb.clean(results, PARTIAL, dry_run=True, yes=False, as_json=False) == 0


def test_sizes() -> None:
    assert [as_size(n) for n in (0, 999, 1000, 2_340_000)] == ["0 B", "999 B", "1.0 KB", "2.3 MB"]
