"""What a manifest says about the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiqbench.base.manifest import _packages


def test_packages_that_are_half_installed_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"half-1.0": None, "empty-1.0": "", "whole-2.0": "Name: whole\nVersion: 2.0\n"}.items():
        folder = tmp_path / f"{name}.dist-info"
        folder.mkdir()
        if text is not None:
            (folder / "METADATA").write_text(text)
    before = _packages.__wrapped__()
    monkeypatch.syspath_prepend(tmp_path)
    assert _packages.__wrapped__() == {**before, "whole": "2.0"}
