"""The same results give the same bytes, in every format and figure, whatever the cache and the hash seed are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from made_up import cell, evaluation

from shiqbench.base.files import write_text
from shiqbench.store.cell import mark_done


def results(folder: Path) -> Path:
    for name in ("base", "sft", "dpo", "shiq"):
        for seed in range(1 if name == "base" else 3):
            of = cell(folder, name, seed)
            write_text(
                of / "train.jsonl", "".join(f'{{"update": {u}, "relative_regret": {1 / u}}}\n' for u in (1, 5, 9))
            )
            mark_done(of, list(of.glob("*.json*")))
            evaluation(of, [0.1 * seed + 0.01 * i for i in range(12)])
            evaluation(of, [0.2] * 4, task="toys", metric="wins", higher=True)
            if name != "base":
                evaluation(of, [0.3] * 12, split="validation", update=5)
    return folder


RUN = """
import sys
from shiqbench.commands.app import main
results, out, forms = sys.argv[1:]
for form in forms.split():
    options = ["--format", form, "--output", f"{out}/{form}"]
    options += ["--figures", f"{out}/figures"] if form == "markdown" else []
    try:
        main(["report", results, "--baseline", "sft", *options])
    except SystemExit as left:
        assert not left.code
"""


def test_the_same_command_writes_the_same_bytes(tmp_path: Path) -> None:
    here, written = results(tmp_path / "results"), []
    for seed, forms in (("1", "markdown csv latex json"), ("2", "json latex csv markdown")):
        out = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed, "SHIQBENCH_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-c", RUN, str(here), str(out), forms]
        subprocess.run(command, check=True, capture_output=True, env=environment)  # the second reads from the cache
        written.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert written[0] == written[1]
    assert [p.suffix for p in written[0]].count(".svg") == 2
