"""Programs that play a small game, and go wrong on request."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from shiqbench_tasks.environment.config import EnvironmentConfig

# The model looks for the last digit of the example's id. Some words of the model, or arguments, make it go wrong.
GAME = """
import json, os, signal, sys, time

arguments, live, most, said = {}, {}, 0, 0


def answer(asked):
    global most
    if asked["ask"] == "describe":
        with open(arguments.get("log", os.devnull), "a") as log:
            print(os.getpid(), file=log)
        if "broken" in arguments and os.path.exists(arguments["broken"]):
            sys.exit("it is broken")
        count = arguments.get("count", 40)
        found = {"name": "digits", "version": arguments.get("version", "1"), "examples": [str(n) for n in range(count)]}
        if "at_once" in arguments:
            found["at_once"] = arguments["at_once"]
        return found
    if asked["ask"] == "reset":
        if asked["example"] in arguments.get("no_board", []):
            return {"error": "no board"}
        live[asked["episode"]] = int(asked["example"]) % 10
        most = max(most, len(live))
        with open(arguments.get("most", os.devnull), "w") as file:
            print(most, file=file)
        return {"messages": [{"role": "system", "content": "A game."}, {"role": "user", "content": f"Digit?{now()}"}]}
    if asked["ask"] == "cut":
        del live[asked["episode"]]
        return {"reward": arguments.get("consolation", 0.0)}
    text, number = asked["text"], live[asked["episode"]]
    if "die" in text:
        os.kill(os.getpid(), signal.SIGKILL)
    if "leave" in text:
        sys.exit("tired of it")
    if "sleep" in text:
        time.sleep(60)
    if "raise" in text:
        del live[asked["episode"]]
        return {"error": "ValueError: no such move"}
    if str(number) in text:
        del live[asked["episode"]]
        return {"messages": [{"role": "user", "content": "Yes."}], "reward": 1.0, "done": True}
    return {"messages": [{"role": "user", "content": f"No.{now()}"}], "reward": -0.25}


def now():
    return f" It is {time.time_ns()}." if arguments.get("clock") else ""


for line in sys.stdin:
    asked = json.loads(line)
    arguments = asked.get("arguments", arguments)
    print(arguments.get("raw", {}).get(asked["ask"]) or json.dumps(answer(asked)), flush=True)
if arguments.get("stays"):
    time.sleep(60)
"""


def game(folder: Path, **settings: Any) -> EnvironmentConfig:
    """The configuration of a game whose program is in a file of this folder."""
    file = folder / "game.py"
    file.write_text(GAME)
    return EnvironmentConfig(environment=f"{sys.executable} {file}", **settings)
