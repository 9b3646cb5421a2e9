"""Turns a results folder into frames, tables and figures."""

from shiqbench.report.frames import Frames, load
from shiqbench.report.make import make_report
from shiqbench.report.rows import Report

__all__ = ["Frames", "Report", "load", "make_report"]
