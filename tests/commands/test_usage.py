"""Wrong options and arguments: one line in plain words, whichever verb it is."""

from __future__ import annotations

import pytest
import typer

from shiqbench.base.errors import ExitCode
from shiqbench.commands.app import app, main


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == ExitCode.USAGE
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("report --format md", "'md' is not one of 'markdown', 'csv', 'latex', 'json', 'html' (--format); see --help"),
        ("report --x epochs", "'epochs' is not one of 'updates', 'tokens', 'seconds' (--x); see --help"),
        ("report --columns two", "'two' is no whole number, 1 or 2 (--columns); see --help"),
        ("report --columns 3", "3 is not 1 or 2 (--columns); see --help"),
        ("report --records many", "'many' is no number, 0 or more (--records); see --help"),
        ("report --records -1", "-1 is not 0 or more (--records); see --help"),
        ("matrix file.toml --executor pbs", "'pbs' is not one of 'local', 'ray', 'slurm' (--executor); see --help"),
        ("matrix file.toml --jobs 0", "0 is not 1 or more (--jobs); see --help"),
        ("run --algo sft --task mdp --seed one", "'one' is no whole number (--seed); see --help"),
        ("compare a b --examples 1.5", "'1.5' is no whole number, 0 or more (--examples); see --help"),
        ("run --algo sft", "Missing option '--task'; see --help"),
        ("compare a", "Missing argument 'B'; see --help"),
        ("report --format", "Option '--format' requires an argument; see --help"),
    ],
)
def test_wrong_values_are_one_plain_line(capsys: pytest.CaptureFixture[str], words: str, line: str) -> None:
    assert said(capsys, *words.split()) == f"error: {line}\n"


def test_every_number_and_choice_of_every_verb_has_such_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    tried = 0
    for verb, command in commands.items():
        for param in command.params:
            info = param.get_runtime_param()
            if not param.opts[0].startswith("--") or not any(
                kind in str(info.annotation) for kind in ("int", "float", "enum")
            ):
                continue
            line = said(capsys, verb, param.opts[0], "no-such-value")
            assert line.startswith("error: 'no-such-value' is no"), line
            assert line.endswith(f"({param.opts[0]}); see --help\n"), line
            tried += 1
    assert tried > 8
