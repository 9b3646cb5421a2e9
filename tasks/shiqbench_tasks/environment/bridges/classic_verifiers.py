"""Plays classic environments of verifiers (before 0.4): their own turns, stop conditions and rubrics.

The package's own loop asks a model through a client. Here the loop is driven from outside, one message at a time, and
the environment gets the message as if its client had returned it.
"""

import asyncio
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

ELSEWHERE = "set task.python to an interpreter with 'verifiers>=0.1.14,<0.4'"
NEEDED = ("init_state", "setup_state", "is_completed", "get_prompt_messages", "add_model_response", "cleanup")


class Refused(Exception):  # noqa: N818 - its name is not shown
    """Something that cannot be played, in one line."""


class Player:
    """The episodes of one environment.

    Args:
        name: As for ``load_environment``.
        arguments: Further arguments of it.
    """

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        try:
            self.vf: Any = importlib.import_module("verifiers")
        except ImportError as error:
            raise Refused(f"{sys.executable} cannot import verifiers ({error}); {ELSEWHERE}") from error
        self.version = importlib.metadata.version("verifiers")
        if not hasattr(self.vf, "load_environment") or not hasattr(self.vf, "MultiTurnEnv"):
            raise Refused(f"verifiers {self.version} has no classic environments; {ELSEWHERE}")
        self.name, self.loop = name, asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.env: Any = self.vf.load_environment(name, **arguments)
        self.rows: dict[str, dict[str, Any]] = {}
        self.played: dict[int, dict[str, Any]] = {}
        self._refuse()
        self.no_model = _no_model()  # made here, because it imports much, and a start may take longer than a reset
        self.faults = Faults()
        logging.getLogger("verifiers").addHandler(self.faults)

    def _refuse(self) -> None:
        """Refuse what would be played in another way than verifiers plays it."""
        env, kind = self.env, type(self.env).__name__
        if not isinstance(env, self.vf.MultiTurnEnv):
            raise Refused(f"{kind} is no MultiTurnEnv; only MultiTurnEnv and SingleTurnEnv are played")
        if isinstance(env, self.vf.ToolEnv) or getattr(env, "tool_defs", None):
            raise Refused(f"{kind} needs native tool calls, which are not supported; only text is passed on")
        missing = [name for name in NEEDED if not hasattr(env, name)]
        if missing:
            raise Refused(f"verifiers {self.version} is not known: no {missing[0]}; {ELSEWHERE}")
        if type(env).rollout is not self.vf.MultiTurnEnv.rollout:
            raise Refused(f"{kind} has a rollout of its own, which cannot be driven from outside")
        if env.message_type != "chat":
            raise Refused(f"{kind} asks for a completion without messages, which is not supported")
        if env.rubric.has_group_rewards:
            raise Refused(f"{kind} compares rollouts of a group; rewards must be those of one rollout")
        if not getattr(env, "score_rollouts", True):
            raise Refused(f"{kind} does not score its rollouts")

    def describe(self) -> dict[str, Any]:
        """Name, versions and examples."""
        env, examples = self.env, {}
        for split, build in (("train", env.build_dataset), ("test", env.build_eval_dataset)):
            dataset = build()
            if dataset is None:
                continue
            found = {f"{split}-{number}": row for number, row in enumerate(dataset.to_list())}
            examples[split] = [{"id": id_, "group": _sha256(row["prompt"])} for id_, row in found.items()]
            self.rows.update(found)
        tools = [id_ for id_, row in self.rows.items() if _has_tools(row)]
        if tools:
            raise Refused(f"example {tools[0]} offers tools for native calls, which are not supported")
        version = f"{_source(self.name)}, rows {_sha256(self.rows)[:12]}, verifiers {self.version}"
        return {"name": self.name, "version": version, "examples": examples}

    def reset(self, episode: int, example: str) -> dict[str, Any]:
        """Begin an episode."""
        return dict(self._run(self._reset(episode, self.rows[example])))

    async def _reset(self, episode: int, row: dict[str, Any]) -> dict[str, Any]:
        state = await self.env.init_state(row, self.no_model, "the model is asked elsewhere", None)
        state = await self.env.setup_state(state) or state
        self._check(state)
        if await self.env.is_completed(state):
            raise Refused("the episode is over before its first message")
        prompt = await self._prompt(state)
        shown = [_plain(m) for m in prompt]  # as text: environments may change the messages themselves
        self.played[episode] = {"state": state, "prompt": prompt, "shown": shown, "given": 0.0}
        return {"messages": shown}

    def step(self, episode: int, text: str) -> dict[str, Any]:
        """Tell the environment what the model says."""
        return dict(self._run(self._step(self.played.pop(episode), episode, text)))

    async def _step(self, live: dict[str, Any], episode: int, text: str) -> dict[str, Any]:
        env, state = self.env, live["state"]
        await env.add_model_response(state, live["prompt"], self._response(text))
        if await env.is_completed(state):
            self._check(state)
            return {"messages": [], "reward": await self._score(live), "done": True}
        prompt = await self._prompt(state)
        final = state.get("final_env_response")
        if final is not None and await env.is_completed(state):
            shown = [_plain(m) for m in self._messages(final)]
            return {"messages": shown, "reward": await self._score(live), "done": True}
        old = [*live["shown"], {"role": "assistant", "content": text}]
        new = [_plain(m) for m in prompt]
        if new[: len(old)] != old or len(new) == len(old):
            raise Refused("the environment rewrites messages of before, which is not supported")
        reward = state["trajectory"][-1].get("reward")
        given = live["given"] + (reward or 0.0)
        self.played[episode] = {"state": state, "prompt": prompt, "shown": new, "given": given}
        return {"messages": new[len(old) :], "reward": reward, "done": False}

    def cut(self, episode: int, why: str) -> dict[str, Any]:
        """Score an episode that a limit ended, as verifiers scores it."""
        live = self.played.pop(episode)
        live["state"]["is_truncated"] = True
        if why == "context_limit":
            live["state"]["prompt_too_long"] = True
        return {"reward": self._run(self._score(live))}

    async def _prompt(self, state: Any) -> list[Any]:
        found = self._messages(await self.env.get_prompt_messages(state))
        self._check(state)
        return found

    async def _score(self, live: dict[str, Any]) -> float:
        """The rubric's reward, less what earlier messages got: the sum over the episode is what verifiers reports."""
        env, state = self.env, live["state"]
        await getattr(env, "_finalize_rollout", env.cleanup)(state)
        self.faults.clear()
        await env.rubric.score_rollout(state)
        await env.rubric.cleanup(state)
        if self.faults.texts:  # verifiers would count 0
            raise Refused(self.faults.texts[0])
        return float(state["reward"]) - float(live["given"])

    def _check(self, state: Any) -> None:
        """Refuse an episode whose environment failed; verifiers would score it as far as it came."""
        if state.get("error") is not None:
            raise Refused(f"{type(state['error']).__name__}: {state['error']}")

    def _run(self, job: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(job)

    def _messages(self, found: Any) -> list[Any]:
        return list(importlib.import_module("verifiers.utils.message_utils").normalize_messages(found))

    def _response(self, text: str) -> Any:
        types = importlib.import_module("verifiers.types")
        message = types.ResponseMessage(content=text, finish_reason="stop", is_truncated=False)
        return types.Response(id="", created=0, model="", message=message)


class Faults(logging.Handler):
    """Collects errors of reward functions, which verifiers only logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep errors of rubrics."""
        if ".rubric" in record.name:
            self.texts.append(record.getMessage())

    def clear(self) -> None:
        """Forget them."""
        self.texts.clear()


def _no_model() -> Any:
    """A client that refuses: the model is asked elsewhere, and no environment may ask one."""
    base: Any = importlib.import_module("verifiers.clients").Client

    def refuse(*_: Any, **__: Any) -> Any:
        raise Refused("the environment asks a model itself, which is not supported")

    methods = dict.fromkeys((*base.__abstractmethods__, "get_response"), refuse)
    return type("NoModel", (base,), methods)(None)


def _plain(message: Any) -> dict[str, str]:
    """Role and text of a message.

    Raises:
        Refused: It has something else.
    """
    if getattr(message, "tool_calls", None):
        raise Refused("a message has tool calls, which are not supported")
    content = message.content
    if isinstance(content, list):
        parts = [p if isinstance(p, dict) else p.model_dump() for p in content]
        other = [p.get("type") for p in parts if p.get("type") != "text"]
        if other:
            raise Refused(f"a message has {other[0]}, only text is supported")
        content = "".join(p["text"] for p in parts)
    if message.role == "text":
        raise Refused("a prompt without roles is not supported")
    return {"role": message.role, "content": content or ""}


def _has_tools(row: dict[str, Any]) -> bool:
    info = row.get("info")
    found = json.loads(info) if isinstance(info, str) and info.startswith("{") else info
    return isinstance(found, dict) and bool(found.get("tool_defs") or found.get("oai_tools"))


def _source(name: str) -> str:
    """Distribution and version of the environment's module, and the sha256 of its files."""
    module = name.replace("-", "_").split("/")[-1]
    owners = importlib.metadata.packages_distributions().get(module, [])
    installed = [f"{owner} {importlib.metadata.version(owner)}" for owner in sorted(set(owners))]
    spec = importlib.util.find_spec(module)
    files = sorted(Path(p) for p in [spec.origin] if p) if spec else []
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        files = sorted(Path(folder).rglob("*.py"))
    return ", ".join([*installed, f"sha256 {_sha256([p.read_text(encoding='utf-8') for p in files])[:12]}"])


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
