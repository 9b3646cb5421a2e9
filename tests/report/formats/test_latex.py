"""LaTeX: tables that fit, aligned numbers, every character; compiled where pdflatex is installed."""

from __future__ import annotations

import re
import shutil
import string
import subprocess
import unicodedata
from pathlib import Path

import pytest
from wide_report import LABELS, wide

from shiqbench.report.formats.latex import latex
from shiqbench.report.formats.latex_fit import Column, aligned, with_letters
from shiqbench.report.formats.latex_text import NEEDS_T1, escaped

TOOLS = [tool for tool in ("pdflatex", "pdftotext") if shutil.which(tool) is None]
compiled = pytest.mark.skipif(bool(TOOLS), reason=f"not installed: {', '.join(TOOLS)}")

GREEK = "".join(
    c for c in map(chr, range(0x391, 0x3CA)) if unicodedata.category(c) != "Cn" and "WITH" not in unicodedata.name(c)
)
SYMBOLS = "²³¹×÷±µ°·§éöüñçøåßł–—“”‘’≤≥≠≈→←∞∈−⁴₀₁†‡…•"
CLASSES = {
    1: r"\documentclass{article}",
    2: r"\documentclass[twocolumn]{article}",
}
LATIN_MODERN = CLASSES[1] + r"\usepackage[T1]{fontenc}\usepackage{lmodern}"


def compile_pdf(folder: Path, body: str, preamble: str = CLASSES[1]) -> tuple[str, str]:
    """The log and the text of the compiled pages."""
    document = f"{preamble}\\usepackage{{booktabs}}\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (folder / "x.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-no-shell-escape", "x.tex"]
    for _ in range(2):  # the second run knows the labels
        subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    subprocess.run(["pdftotext", "-layout", "x.pdf"], cwd=folder, check=True, timeout=60)
    return (folder / "x.log").read_text(encoding="utf-8", errors="replace"), (folder / "x.txt").read_text("utf-8")


def faults(log: str) -> list[str]:
    """Errors, warnings, and boxes that are more than 1 pt too wide."""
    wide_boxes = [m[0] for m in re.finditer(r"Overfull \\hbox \(([\d.]+)pt.*", log) if float(m[1]) > 1]
    return wide_boxes + re.findall(r"^(?:!|LaTeX Warning|Missing character).*", log, re.M)


@compiled
@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("rows", [2, 20, 90])
def test_a_wide_table_fits(tmp_path: Path, columns: int, rows: int) -> None:
    report = wide(rows)
    log, text = compile_pdf(tmp_path, latex(report, columns), CLASSES[columns])
    assert faults(log) == []
    for said in ("shiq", "1.23e6", "train", "(a) beta=0.0125", "metrics.json."):
        assert said in text.replace("\n", " ")


@compiled
@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 2])
def test_a_bold_row_fits(tmp_path: Path, columns: int) -> None:
    report = wide(6, ("value_of_setting=0123456789", "the start"))
    report.blocks[0].rows[0].mark = "+"
    text = latex(report, columns)
    assert r"\textbf{shiq}" in text
    log, _ = compile_pdf(tmp_path, text, CLASSES[columns])
    assert faults(log) == []


@compiled
@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 2])
def test_many_long_texts_fit(tmp_path: Path, columns: int) -> None:
    labels = tuple(f"value_of_setting_{i}={'x' * 90} data.sha256={'f' * 64}" for i in range(60))  # more than letters
    log, _ = compile_pdf(tmp_path, latex(wide(60, labels), columns), CLASSES[columns])
    assert faults(log) == []


@compiled
@pytest.mark.slow
def test_every_character_is_the_right_glyph(tmp_path: Path) -> None:
    printable = string.printable.strip()
    lines = [*printable, *GREEK, *SYMBOLS, "a--b---c", "?`!`", "``x''", ",,y", "<<z>>", "日本"]
    body = "\n\n".join(rf"\noindent x{escaped(c)}x" for c in lines)
    log, _ = compile_pdf(tmp_path, body)
    assert faults(log) == []
    log, text = compile_pdf(tmp_path, body, LATIN_MODERN)  # its glyphs have the names that pdftotext needs
    assert faults(log) == []
    found = [line.strip() for line in text.splitlines() if line.strip().startswith("x")]
    wanted = [_seen(f"x{c}x") for c in lines]
    assert [_seen(f) for f in found] == wanted


def _seen(text: str) -> str:
    """Glyphs as a reader sees them: capital Greek letters that look Latin are Latin, and script forms are plain."""
    looks = str.maketrans("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo") | str.maketrans("−∗∆", "-*Δ", " ")
    text = text.replace("日本", "[U+65E5][U+672C]").translate(looks).replace("\u0338=", "≠")  # a bar over the sign
    return unicodedata.normalize("NFKC", text).translate(looks)


@compiled
@pytest.mark.slow
def test_characters_of_the_other_encoding_say_so(tmp_path: Path) -> None:
    report = wide(2, ("Đ «ą»", ""))
    text = latex(report)
    assert "T1 of fontenc" in text.splitlines()[0]
    assert "fontenc" not in latex(wide(2))
    log, _ = compile_pdf(tmp_path, text + "\n\n".join(sorted(NEEDS_T1)), LATIN_MODERN)
    assert faults(log) == []


def test_numbers_are_aligned_and_minus_signs_are_true() -> None:
    assert aligned(Column("x", ["-1.5", "10.25", "-", "3e-05"])) == [
        [r"\phantom{0}$-$1.5\phantom{0}"], [r"\phantom{$-$}10.25"], [r"\textendash"], ["3e$-$5"],
    ]  # fmt: skip
    (first, second, third) = aligned(Column("x", ["0.5 [-0.1, 0.9] *", "-0.2 [-0.3, 0.1]", "-"]))
    assert first == [r"\phantom{$-$}0.5", r"[$-$0.1, 0.9]~{*}"]
    assert second == ["$-$0.2", r"[$-$0.3, 0.1]"]
    assert third == [r"\textendash", ""]
    assert aligned(Column("x", ["a-b", "-"])) == [["a-b"], [r"\textendash"]]


def test_a_float_has_a_label_a_caption_and_notes_that_are_sentences() -> None:
    text = latex(wide(notes=["seeds differ: dpo lacks 3", "dpo lacks 8"]))
    assert text.startswith("% needs booktabs; at most 345 pt wide at 10 pt (--columns 1)")
    assert r"\label{tab:ultrafeedback-on-test-mean-reward-vllm-0-32-1-setting-012345}" in text
    labels = re.findall(r"\\label{(.*?)}", text)
    assert len(labels) == len(set(labels)) == text.count(r"\begin{table}[tb]") == text.count(r"\caption{")
    assert "Seeds differ: dpo lacks 3." in text
    assert "dpo lacks 8." in text  # a name keeps its letters
    assert text.index("Seeds differ") > text.rindex(r"\bottomrule")


def test_only_the_corrected_test_makes_the_best_row_bold() -> None:
    report = wide()
    assert r"\textbf" not in latex(report)
    best = report.blocks[0].rows[0]
    best.mark = "*"
    assert r"\textbf{shiq}" in latex(report)
    report.blocks[0].higher_is_better = False
    assert r"\textbf" not in latex(report)


@pytest.mark.parametrize("labels", [("",), ("the start", "beta=0.01"), LABELS])
def test_value_difference_and_p_are_in_the_first_part(labels: tuple[str, ...]) -> None:
    first = latex(wide(5, labels)).split(r"\midrule")[0]
    assert all(head in first for head in (r"mean\_reward", "less base", "(Holm)"))
    assert "{[}95 " + r"\%]" in first  # in one line


def test_a_name_that_is_too_wide_is_its_first_word_if_that_tells_the_rows_apart() -> None:
    import pandas as pd

    both = ["bfcl_v3 turn_accuracy", "mdp relative_regret"]
    found, notes = with_letters(pd.DataFrame({"task": both, "value": ["1", "2"]}), 229.0)
    assert (list(found["task"]), notes) == (["bfcl_v3", "mdp"], [f"{b.split()[0]}: {b}" for b in both])
    same = ["mdp relative_regret", "mdp turn_accuracy__"]
    found, notes = with_letters(pd.DataFrame({"task": same, "value": ["1", "2"]}), 229.0)
    assert (list(found["task"]), notes) == (same, [])
