"""From a results folder to frames, tables and figures."""

from shiqbench.report.frames import Frames, load
from shiqbench.report.verb import Report, make_report

__all__ = ["Frames", "Report", "load", "make_report"]
