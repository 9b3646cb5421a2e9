"""What ``submit`` writes: everything that a report needs, no weights, no places; and what it refuses."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from altered import recast
from support import ask

from shiqbench.base.digest import digest, short
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json, write_json
from shiqbench.store.cell import mark_done
from shiqbench.store.tuned import write_tuned
from shiqbench.submissions.archive import read_submission
from shiqbench.submissions.pack import submit
from shiqbench.submissions.private import public_model, without_paths

pytestmark = pytest.mark.usefixtures("own_cache")


def with_manifest(folder: Path, **values: object) -> None:
    """Give a finished folder other facts in its manifest."""
    write_json(folder / "manifest.json", {**read_json(folder / "manifest.json"), **values})
    mark_done(folder, [folder / name for name in read_json(folder / "DONE")["files"]])


def test_the_same_cell_gives_the_same_bytes_wherever_it_lies(shiq: Path, submission: Path, tmp_path: Path) -> None:
    shutil.copytree(shiq.parents[2], tmp_path / "moved")
    again = submit(f"shiq/{shiq.name}", tmp_path / "out", results=tmp_path / "moved")
    assert again.path.read_bytes() == submission.read_bytes()
    assert again.path.name == submission.name
    assert submit(str(shiq), tmp_path / "out").path == again.path  # it is there already, and the same


def test_it_holds_recipe_manifest_log_metrics_and_records_but_no_weights(shiq: Path, submission: Path) -> None:
    read = read_submission(submission)
    evaluation = next((shiq / "eval").iterdir())
    at = f"mdp/shiq/{shiq.name}"
    own = {f"{at}/{n}" for n in ("config.json", "manifest.json", "train.jsonl", "DONE")}
    names = ("config.json", "manifest.json", "metrics.json", "records.parquet", "DONE")
    assert set(read.files) == own | {f"{at}/eval/{evaluation.name}/{n}" for n in names}
    assert read.files[f"{at}/eval/{evaluation.name}/records.parquet"] == (evaluation / "records.parquet").read_bytes()
    assert "checkpoint/model.safetensors" in json.loads(read.files[f"{at}/DONE"])["cleaned"]
    assert read.contents.digest == digest(read_json(shiq / "config.json"))


def test_no_place_of_the_machine_is_in_it(shiq: Path, tmp_path: Path) -> None:
    shutil.copytree(shiq.parents[2], tmp_path / "results")
    cell = tmp_path / "results" / "mdp" / "shiq" / shiq.name
    home = "/home/somebody"
    with_manifest(cell, places={"data": f"{home}/data"}, model=f"{home}/models/mine", note=[f"loaded {home}/a/b.py"])
    with_manifest(next((cell / "eval").iterdir()), places={"reward": f"{home}/reward"}, url="http://host/v1/chat")
    done = submit(str(cell), tmp_path / "out")
    with zipfile.ZipFile(done.path) as archive:
        texts = {name: archive.read(name).decode("utf-8", "replace") for name in archive.namelist()}
    assert [name for name, text in texts.items() if "somebody" in text or str(tmp_path) in text] == []
    manifest = json.loads(texts[f"mdp/shiq/{cell.name}/manifest.json"])
    assert (manifest["model"], manifest["note"]) == ("mine", ["loaded b.py"])
    assert "places" not in manifest
    assert '"http://host/v1/chat"' in "".join(texts.values())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me/models/x", "x"),
        ("~/models/x/", "x"),
        ("C:\\Users\\me\\x", "x"),
        ("cannot read '/data/me/a.json': no file", "cannot read 'a.json': no file"),
        ("file:///home/me/a.py, line 3", "a.py, line 3"),
        ("https://host/path/x", "https://host/path/x"),
        ("3/4 of 1/2", "3/4 of 1/2"),
        ("org/model", "org/model"),
        ("/no_think", "/no_think"),
    ],
)
def test_paths_become_their_last_name(text: str, shown: str) -> None:
    assert without_paths({"a": [text]}) == {"a": [shown]}


def test_a_name_of_a_hub_stays_and_a_folder_does_not() -> None:
    assert public_model("org/model", "abc123") == "org/model"
    assert public_model("../runs/model", None) == "model"
    assert public_model("shiq/0123456789ab", None) == "shiq/0123456789ab"
    assert public_model("smollm2-135m-instruct", None) == "smollm2-135m-instruct"


def test_a_recipe_with_a_path_is_refused(shiq: Path, tmp_path: Path) -> None:
    cell = recast(shiq, tmp_path / "results", lambda r: r["task"]["config"].update(mdp=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"holds a path on this machine: task\.config\.mdp .*place_fields"):
        submit(str(cell), tmp_path)


def test_the_recipes_of_its_starts_are_in_it(shiq: Path, tmp_path: Path) -> None:
    first = recast(shiq, tmp_path / "results", lambda r: r.update(seed=7))
    start = digest(read_json(first / "config.json"))
    second = recast(shiq, tmp_path / "results", lambda r: r.update(seed=8, model={"cell": start}))
    third = digest(read_json(second / "config.json"))
    cell = recast(shiq, tmp_path / "results", lambda r: r.update(seed=9, model={"cell": third}))
    done = submit(str(cell), tmp_path / "out")
    assert [digest(s) for s in read_submission(done.path).contents.starts] == [third, start]
    assert [c.name for c in done.checks].count("start") == 2
    assert done.notices == []
    shutil.rmtree(first)
    shutil.rmtree(tmp_path / "out")
    again = submit(str(cell), tmp_path / "out")
    assert again.notices == [f"not packed: the recipe of its start {short(start)}, which is not in results"]


def test_the_trials_of_its_settings_are_in_it(shiq: Path, tmp_path: Path) -> None:
    shutil.copytree(shiq.parents[2], tmp_path / "results")
    model, beta = "/home/somebody/model", read_json(shiq / "config.json")["algorithm"]["config"]["beta"]
    cell = tmp_path / "results" / "mdp" / "shiq" / shiq.name
    with_manifest(cell, model=model)
    for other in (0.1, 0.2):
        cells = [f"{b:.1f}".replace(".", "") * 32 for b in (other, beta)]
        tried = zip(cells, (other, beta), strict=True)
        trials = [{"cell": c, "settings": {"algo.beta": b}, "primary": b} for c, b in tried]
        chosen = {"algo.beta": beta if other == 0.1 else other}
        write_tuned(tmp_path / "results", ("shiq", "mdp", model), trials, chosen)
        write_tuned(tmp_path / "results", ("dpo", "mdp", None), [*trials, *trials], chosen)
    files = read_submission(submit(str(cell), tmp_path / "out").path).files
    (name,) = [n for n in files if n.startswith("tuned/")]
    assert json.loads(files[name])["of"] == ["shiq", "mdp", "model"]


def test_cells_that_are_not_finished_or_not_evaluated_are_refused(shiq: Path, tmp_path: Path) -> None:
    shutil.copytree(shiq.parents[2], tmp_path / "results")
    cell = tmp_path / "results" / "mdp" / "shiq" / shiq.name
    (next((cell / "eval").iterdir()) / "DONE").unlink()
    with pytest.raises(ConfigError, match=r"has no finished evaluation .*; run it first"):
        submit(str(cell), tmp_path)
    (cell / "DONE").unlink()
    with pytest.raises(ConfigError, match=r"that cell is not finished .*; run it first"):
        submit(str(cell), tmp_path)
    shutil.copytree(shiq, tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=rf"is not mdp/shiq/{shiq.name} of a results folder"):
        submit(str(tmp_path / "elsewhere"), tmp_path)


def test_a_cell_whose_records_do_not_give_its_metrics_is_not_packed(shiq: Path, tmp_path: Path) -> None:
    shutil.copytree(shiq.parents[2], tmp_path / "results")
    evaluation = next((tmp_path / "results" / "mdp" / "shiq" / shiq.name / "eval").iterdir())
    frame = pd.read_parquet(evaluation / "records.parquet")
    frame.loc[3, "relative_regret"] = 0.0
    frame.to_parquet(evaluation / "records.parquet", index=False)
    mark_done(evaluation, [f for f in evaluation.iterdir() if f.suffix in (".json", ".parquet")])
    with pytest.raises(ConfigError, match=r"scored again: record seed-3: relative_regret is 0\.0 and must be 0"):
        submit(str(evaluation.parents[1]), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_another_file_of_this_name_is_not_overwritten(shiq: Path, tmp_path: Path) -> None:
    done = submit(str(shiq), tmp_path)
    done.path.write_bytes(b"other")
    with pytest.raises(ConfigError, match="exists already, with another content"):
        submit(str(shiq), tmp_path)
    assert done.path.read_bytes() == b"other"


def test_the_commands(shiq: Path, tmp_path: Path) -> None:
    words = ("submit", shiq.name[:6], "--results", shiq.parents[2], "--into", tmp_path / "a b")
    done = ask(*words, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["evaluations"], told["notices"]) == (0, 1, [])
    said = ask(*words).stdout.splitlines()
    assert said[0].endswith(f"1 evaluation, sha256 {told['sha256']}; next:")
    assert said[1] == f"  shiqbench verify '{told['path']}'"
    assert ask("submit", "none", "--results", shiq.parents[2]).returncode == 2
