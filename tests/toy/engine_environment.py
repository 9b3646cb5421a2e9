"""The transformers engine, noting for each one that is made what its process looks like."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from shiqbench.engines.transformers import TransformersEngine
from shiqbench.plugin.specs import EngineSpec, hookimpl
from shiqbench.running.team import ELASTIC, VARIABLES


class NotedEngine(TransformersEngine):
    """Writes one file into the folder ``NOTED_ENGINES``, named after the process."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        seen = {
            "variables": [n for n in os.environ if n in VARIABLES or n.startswith(ELASTIC)],
            "group": torch.distributed.is_initialized(),
        }
        (Path(os.environ["NOTED_ENGINES"]) / f"{os.getpid()}.json").write_text(json.dumps(seen))
        super().__init__(*arguments, **options)


@hookimpl
def shiqbench_register_engines() -> list[EngineSpec]:
    return [
        EngineSpec(
            name="noted",
            version="1",
            summary="for tests",
            target=f"{__name__}:NotedEngine",
            distributions=("transformers",),
            install="pip install transformers",
        )
    ]
