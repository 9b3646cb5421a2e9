"""A report as markdown, CSV, LaTeX or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.report.formats.data import as_csv, as_json
from shiqbench.report.formats.latex import latex
from shiqbench.report.formats.markdown import markdown

if TYPE_CHECKING:
    from collections.abc import Callable

    from shiqbench.report.rows import Report

FORMATS: dict[str, Callable[..., str]] = {"markdown": markdown, "csv": as_csv, "latex": latex, "json": as_json}


def render(report: Report, form: str, **options: Any) -> str:
    """A report in one of the formats.

    Args:
        report: The report.
        form: ``markdown``, ``csv``, ``latex`` or ``json``.
        options: Options of that format: ``columns`` of ``latex``.
    """
    return FORMATS[form](report, **options)
