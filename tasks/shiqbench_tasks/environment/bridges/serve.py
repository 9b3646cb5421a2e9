"""Answers requests in JSON lines with a player of this folder: ``python serve.py PLAYER NAME``.

It runs in an interpreter that does not have shiqbench, so it imports nothing of it.
"""

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Serve standard input until it is closed."""
    # What the environment prints goes to standard error; only answers go to standard output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    player: Any = None
    module = importlib.import_module(sys.argv[1])
    # Files of this folder must not be found by the names of packages; modules of the user's folder must be.
    sys.path = [p for p in sys.path if Path(p or ".").resolve() != HERE] + [str(Path.cwd())]
    for line in sys.stdin:
        request = json.loads(line)
        what = request.pop("ask")
        try:
            if what == "describe":
                player = module.Player(sys.argv[2], **request)
            answer = getattr(player, what)() if what == "describe" else getattr(player, what)(**request)
        except Exception as error:
            answer = {"error": said(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    with contextlib.suppress(AttributeError):
        player.close()


def said(error: BaseException | None) -> str:
    """An error in one line, with its cause; a refusal of a player's own is its text."""
    texts: list[str] = []
    while error is not None and len(texts) < 3:
        text = " ".join(str(error).split())[:300]
        if type(error).__name__ == "Refused":  # it says everything
            return ", because of ".join([*texts, text])
        texts.append(f"{type(error).__name__}: {text}")
        error = error.__cause__
    return ", because of ".join(texts)


if __name__ == "__main__":
    main()
