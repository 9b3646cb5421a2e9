"""What several tests build upon: paths."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared" / "data"
TOY = HERE / "toy" / "plugin.py"
