"""``compare``: finds two evaluations, and shows them in a terminal, in a pipe, as JSON and as a page."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from made_up import cell, evaluation
from rich.console import Console
from support import ask

from shiqbench.base.errors import ConfigError
from shiqbench.commands.compare import compare, evaluations_of, show_example

pytestmark = pytest.mark.usefixtures("own_cache")
STANDING = {  # what the task says about its reward model
    f"reward_{name}": 1.0 for name in ("accuracy", "accuracy_low", "accuracy_high", "accuracy_pairs", "meaningless")
} | {"length_accuracy": 1.0}
REWARD: dict[str, Any] = {"task": "ultrafeedback", "metric": "reward", "higher": True, "engine": "vllm 1"}


def answered(results: Path, name: str, plus: float, answer: str, **more: Any) -> Path:
    """An evaluation of ultrafeedback in which every answer is the same, and its cell."""
    rows = {"prompt": ['[["user", "What is 2 and 2?"]]'] * 12, "answer": [answer] * 12, "stop": ["finished"] * 12}
    of = cell(results, name, more.pop("seed", 0), task="ultrafeedback")
    return evaluation(
        of, [0.1 * n + plus for n in range(12)], records=rows, metrics=STANDING, **{**REWARD, "split": "test", **more}
    )


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return answered(tmp_path, "dpo", 0.5, "It is four."), answered(tmp_path, "sft", 0.0, "It is five.\x1b[2J")


def test_cells_and_evaluations_are_found_by_folder_and_digits(two: tuple[Path, Path], tmp_path: Path) -> None:
    left, right = two
    of = left.parent.parent
    names = [
        left,
        left.name[:8],
        of,
        of.name[:6],
        f"cell:{of.name}",
        f"dpo/{of.name[:4]}",
        f"ultrafeedback/dpo/{of.name}",
    ]
    for name in names:
        (found,) = evaluations_of(str(name), tmp_path)
        assert Path(found.folder) == left.resolve()
        assert found.cell.algorithm == "dpo"
    found_two = compare(str(left), f"sft/{right.parent.parent.name}", tmp_path)
    assert found_two.difference is not None
    assert found_two.difference.estimate.value == pytest.approx(0.5)


def test_folders_of_two_results_folders_are_compared(tmp_path: Path) -> None:
    left, right = answered(tmp_path / "a", "dpo", 0.5, "x"), answered(tmp_path / "b", "dpo", 0.0, "y")
    found = compare(str(left.parent.parent), str(right.parent.parent), tmp_path / "none")
    assert [r.name for r in found.block.rows] == ["dpo A", "dpo B"]
    assert found.differs == {}


@pytest.mark.parametrize("name", ["zz", "dpo/zz", "a/b/c/d", "/no/such", "[", "*", "../*"])
def test_what_is_not_found_is_said_in_one_line(two: tuple[Path, Path], name: str, tmp_path: Path) -> None:
    done = ask("compare", name, two[1], "--results", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: no cells or evaluations match {name!r}")
    assert done.stderr.count("\n") == 1


def test_several_cells_are_listed(two: tuple[Path, Path], tmp_path: Path) -> None:
    other = answered(tmp_path, "dpo", 0.2, "", seed=1).parent.parent
    said = ask("compare", "dpo/", two[1], "--results", tmp_path).stderr
    assert "2 cells or evaluations match 'dpo/'" in said
    assert f"dpo/{other.name}" in said


def test_several_common_settings_are_listed(two: tuple[Path, Path], tmp_path: Path) -> None:
    more = [answered(tmp_path, n, 0.0, "", split="validation") for n in ("dpo", "sft")]
    cells = [str(f.parent.parent) for f in two]
    with pytest.raises(ConfigError) as error:
        compare(cells[0], cells[1], tmp_path)
    said = str(error.value)
    assert "they have 2 settings in common" in said
    for (left, right), split in ((two, "test"), (more, "validation")):
        assert f"{left.name} and {right.name} (ultrafeedback {split} reward vllm 1)" in said
    assert compare(cells[0], more[1].name, tmp_path).left.folder == str(more[0].resolve())


def test_checkpoints_are_compared_only_by_name(two: tuple[Path, Path], tmp_path: Path) -> None:
    early = answered(tmp_path, "dpo", 0.1, "It", update=5)
    assert compare("dpo/", "sft/", tmp_path).left.folder == str(two[0].resolve())
    found = compare(str(two[0]), early.name, tmp_path)
    assert [r.name for r in found.block.rows] == ["dpo update last", "dpo update 5"]


def test_what_is_not_finished_is_refused(two: tuple[Path, Path], tmp_path: Path) -> None:
    left = two[0]
    (left / "DONE").unlink()
    with pytest.raises(ConfigError, match="that evaluation is not finished"):
        compare(str(left), "sft/", tmp_path)
    with pytest.raises(ConfigError, match="that cell has no finished evaluation"):
        compare("dpo/", "sft/", tmp_path)


def test_a_changed_file_is_said_in_one_line(two: tuple[Path, Path], tmp_path: Path) -> None:
    (two[0] / "metrics.json").write_text("{}")
    done = ask("compare", *two, "--results", tmp_path)
    assert done.returncode == 1
    assert "metrics.json has another sha256" in done.stderr


def test_a_pipe_gets_markdown(two: tuple[Path, Path], tmp_path: Path) -> None:
    done = ask("compare", *two, "--results", tmp_path, "--examples", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("## A (dpo) and B (sft)\n")
    assert "### The examples that differ most (2 of 12)" in done.stdout
    assert "message 2 (assistant), word 3, after `It is`\n  - A: `four.`\n  - B: `five.␛[2J`" in done.stdout
    assert "\x1b" not in done.stdout
    target = tmp_path / "compared.md"
    ask("compare", *two, "--results", tmp_path, "--examples", "2", "--output", target)
    assert target.read_text() == done.stdout


def test_json_has_every_example(two: tuple[Path, Path], tmp_path: Path) -> None:
    found = json.loads(ask("compare", *two, "--results", tmp_path, "--json").stdout)
    assert len(found["examples"]) == 12
    assert found["difference"]["examples"] == 12
    assert found["examples"][0]["first_difference"]["word"] == 3
    one = json.loads(ask("compare", *two, "--results", tmp_path, "--json", "--example", "x3").stdout)
    assert [e["example"] for e in one["examples"]] == ["x3"]


@pytest.mark.parametrize("width", [80, 140])
def test_an_example_is_side_by_side_where_there_is_room(two: tuple[Path, Path], width: int, tmp_path: Path) -> None:
    found = compare(str(two[0]), str(two[1]), tmp_path)
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")
    show_example(found, found.example("x4"), console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[2J" not in text
    (line,) = (line for line in text.splitlines() if "four" in line)
    assert ("five" in line) == (width > 110)
    assert "\x1b[1;4;31mfour\x1b[0m" in text  # only the word that differs
    plain = io.StringIO()
    show_example(found, found.example("x4"), Console(file=plain, width=width))
    assert "A and B, message 1 (user)\nWhat is 2 and 2?\n" in plain.getvalue()
    assert max(map(len, plain.getvalue().splitlines())) <= width


def test_texts_that_are_not_alike_have_no_marks(tmp_path: Path) -> None:
    folders = [answered(tmp_path, n, 0.0, text) for n, text in (("dpo", "[call(a=1)]"), ("sft", "I am so sorry."))]
    found = compare(str(folders[0]), str(folders[1]), tmp_path)
    console = Console(file=io.StringIO(), width=140, force_terminal=True, color_system="truecolor")
    show_example(found, found.example("x4"), console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[31m[call(a=1)]" in text
    assert "\x1b[32mI am so sorry." in text


def test_a_page_is_written(two: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "two.html"
    done = ask("compare", *two, "--results", tmp_path, "--format", "html", "--output", target)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert f"page: {target}" in done.stderr
    assert "The examples that differ most (12 of 12)" in target.read_text()
    assert '"opens":""' in target.read_text()
    ask("compare", *two, "--results", tmp_path, "--format", "html", "--output", target, "--example", "x2")
    assert '"opens":"#b0-r0-r1-xx2"' in target.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "html"], "an html page is a file"),
        (["--open"], "only a page can be opened"),
        (["--json", "--output", "x.json"], "prints JSON to standard output"),
        (["--example", "x99"], "no example 'x99'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    two: tuple[Path, Path], words: list[str], said: str, tmp_path: Path
) -> None:
    done = ask("compare", *two, "--results", tmp_path, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.glob("x.*"))
