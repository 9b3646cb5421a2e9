"""Commands of the tutorial are run, and print what its pages show; commands of all pages have options that exist."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import typer
from tutorial_pages import ROOT, TUTORIAL, Step, pages, steps

from shiqbench.commands.app import app, main

VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


class Terminal(io.StringIO):
    """What a reader's terminal shows."""

    def isatty(self) -> bool:
        return True


def run(command: str, folder: Path, patch: pytest.MonkeyPatch) -> str:
    """Run a line as a shell would, ``shiqbench`` in this process, and return what it prints.

    Raises:
        AssertionError: The exit code is not 0.
    """
    words = shlex.split(command)
    if words[0] != "shiqbench":
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout
    words = [path for word in words[1:] for path in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    shown, said, code = Terminal(), io.StringIO(), 0
    patch.setattr(sys, "stdin", io.StringIO())
    with redirect_stdout(shown), redirect_stderr(said):
        try:
            main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
    assert code == 0, f"{command}: {said.getvalue()}"
    return said.getvalue() + shown.getvalue()


def shape(text: str) -> str:
    """A text without its numbers, digests, rules and spacing, which differ from one machine or terminal to the next."""
    text = re.sub(r"\b(?=\w*\d)[0-9a-f]{12}\b", "DIGEST", re.sub(r"[─│]+", "", text))
    return " ".join(re.sub(r"<?\d[\d,.]*(e[-+]?\d+)?", "N", text).split())


def missing(expected: str, printed: str) -> list[str]:
    """The parts of a page's block, between lines with three dots, that the command did not print in this order."""
    wrong, text = [], shape(printed)
    for part in map(shape, re.split(r"^\.\.\.$", expected, flags=re.MULTILINE)):
        _, found, after = text.partition(part)
        if found or not part:
            text = after
        else:
            wrong.append(part)
    return wrong


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("a 1.5\n...\nb  2e-06 -", True),
        ("a 2\nmore b", True),
        ("b 1\n...\na 2", False),
        ("a 1 b", False),
        ("c", False),
    ],
)
def test_a_block_may_differ_in_numbers_and_spacing_only(expected: str, found: bool) -> None:
    assert (missing(expected, "a 0.25\n more\n b 1e-9 -\n") == []) is found


def save(step: Step, folder: Path) -> None:
    (folder / step.file).write_text(step.text)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "dumb")  # 80 columns, no colours
    (plugin,) = re.findall(r"```python\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "weighted.py").write_text(plugin)
    printed, wrong = "", []
    for step in [step for page in pages() for step in steps(page)]:
        if step.kind == "text":
            wrong += [f"{step.page}: {part}" for part in missing(step.text, printed)]
        elif step.kind != "sh":
            save(step, tmp_path)
        elif not step.reason:
            printed = "\n".join(run(command, tmp_path, monkeypatch) for command in step.commands)
    assert wrong == []


@pytest.mark.parametrize("page", sorted(TUTORIAL.glob("*.md")), ids=lambda p: p.stem)
def test_every_block_of_a_page_is_run_or_says_why_not(page: Path) -> None:
    text, found = page.read_text(), steps(page)
    assert text.count("```") == 2 * len(found)
    assert not re.search(r"^(    |\t|.*\$ )", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    assert page in pages() or page.name == "index.md"
    for step in found:
        assert step.kind in ("sh", "text") or step.file
        assert not step.reason or len(step.reason.split()) > 3


def commands_of(page: Path) -> list[tuple[str, str]]:
    """Verb and arguments of every ``shiqbench`` command in blocks of a page."""
    text = page.read_text()
    blocks = [*re.findall(r"```sh\n(.*?)```", text, re.DOTALL), *re.findall(r"(?:^ {4}\S.*\n)+", text, re.MULTILINE)]
    return re.findall(r"(?<!-m )shiqbench (\w+)((?:\\\n|[^&|`;\n#])*)", "\n".join(blocks).replace("|slurm", "slurm"))


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.stem)
def test_commands_of_a_page_have_the_options_that_they_use(page: Path) -> None:
    for verb, rest in commands_of(page):
        assert verb in VERBS, rest
        known = {option for param in VERBS[verb].params for option in (*param.opts, *param.secondary_opts)}
        assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", rest)) <= {*known, "--help"}, f"{verb}{rest}"
