"""Counts, returns and lengths of a task's training episodes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.progress import Display
from shiqbench.models.embedded import EMBEDDED_MODEL
from shiqbench.models.sources import find_model
from shiqbench.planning.settings import sections
from shiqbench.plugin.registry import Registry, registry
from shiqbench.plugin.start_model import StartModel
from shiqbench.plugin.task import Task
from shiqbench.store.cell import find_cell, verified_weights
from shiqbench.training.facts import Statistics, by_behaviour, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from shiqbench.episodes.episode import Episode
    from shiqbench.episodes.rendering import Rendered

SHOWN = 200  # characters of a message of the first episode
SAME_RETURN = 1e-9  # returns are sums of fractions, so equal ones may differ by rounding


def training_data(
    task_name: str,
    algo: str | None = None,
    *,
    model: str | None = None,
    preset: str = "cpu",
    settings: Mapping[str, Any] | None = None,
    results: Path,
    plugins: tuple[Path, ...] = (),
) -> Statistics:
    """Make a task's training episodes in the same way as a run, and describe them.

    Args:
        task_name: Name of a task that is trained on episodes, or a file of the user's own.
        algo: Algorithm whose selection and units are described; if left out, every episode is described.
        model: Model whose tokenizer counts the tokens; if left out, the preset's model.
        preset: Preset of the task.
        settings: ``section.key`` -> value.
        results: Results folder, in which ``cell:DIGEST`` is searched.
        plugins: Local plugin files.

    Raises:
        ConfigError: The task has no episodes to show, or the request is wrong.
    """
    found = registry(plugins)
    task_name, settings = _task_of(task_name, settings or {}, found)
    spec = found.task(task_name)
    if not issubclass(spec.load(), Task):
        raise ConfigError(
            f"{task_name} has no episodes to show: it brings its own policy and trains it by itself",
            where="--data",
            do=f"`shiqbench show {task_name}` shows its settings",
        )
    algorithm_spec = found.algorithm(algo or "base")
    section = sections(algorithm_spec, spec, preset, settings)
    task: Task = spec.load()(section.task)
    if not task.trainable:
        raise ConfigError(
            f"{task_name} has no training episodes: it only evaluates", where="--data", do="name another task"
        )
    from shiqbench.training.units import make_units, pairs_left_out

    text = model or spec.presets[preset].get("model", EMBEDDED_MODEL)
    from shiqbench.engines.holder import open_engine

    how: dict[str, Any] = {"bar": Display().bar, "opener": open_engine, "template": section.model.template}
    start = StartModel(_weights(text, results), **how)
    task.fetch()
    task.use_model(start)
    held_out: dict[str, int] = {}
    for split in ("validation", "test"):
        held_out[split] = len({e.group for e in task.episodes(split)})
    offered: list[Episode] = task.episodes("train")
    told: Statistics = {"task": task_name, "preset": preset, "model": text, "held_out_groups": held_out}
    used, units, limit = offered, None, None
    if algorithm_spec.trains:
        algorithm = algorithm_spec.load()(section.algo)
        used = algorithm.select(offered)
        made = make_units(algorithm, used)
        units, told["pairs_left_out"] = len(made), pairs_left_out(algorithm, used, made)
        limit = getattr(section.train, "max_tokens", None)
        told["algorithm"] = algorithm_spec.name
    rendered = [start.renderer.render(e) for e in used]
    return told | data_statistics(offered, rendered, units=units, max_tokens=limit)


def _task_of(name: str, settings: Mapping[str, Any], found: Registry) -> tuple[str, Mapping[str, Any]]:
    """Return the task to show and its settings; a path is shown by the task that takes files of the user's own.

    Raises:
        ConfigError: Several tasks take such files, or there is no such file.
    """
    if name in found.tasks:
        return name, settings
    if not Path(name).expanduser().exists():
        if "/" in name or Path(name).suffix:  # no task is named like that
            raise ConfigError(f"no file or folder {name!r}", where="show --data", do="check the path")
        return name, settings
    takers = {spec.name: spec.file_setting for spec in found.tasks.values() if spec.file_setting}
    if len(takers) != 1:
        raise ConfigError(
            f"{len(takers)} tasks take files: {', '.join(takers) or 'none'}",
            where=f"show {name} --data",
            do="name the task: shiqbench show TASK --data --set task.SETTING=FILE",
        )
    ((task, setting),) = takers.items()
    return task, {**settings, f"task.{setting}": name}


def _weights(text: str, results: Path) -> Path:
    if text.startswith("cell:"):
        return verified_weights(find_cell(text.removeprefix("cell:"), results))[0]
    return find_model(text).folder()


def data_statistics(
    offered: Sequence[Episode], rendered: Sequence[Rendered], *, units: int | None = None, max_tokens: int | None = None
) -> Statistics:
    """Compute the statistics of a data set.

    Args:
        offered: All training episodes of the task.
        rendered: Episodes that are used for training, in the model's tokens.
        units: Number of units that the algorithm makes from them.
        max_tokens: Longest sequence that training accepts, in tokens.
    """
    used = [r.episode for r in rendered]
    groups: dict[str, list[float]] = defaultdict(list)
    for episode in used:
        groups[episode.group].append(episode.total_reward)
    longest = [max(len(s.ids) for s in r.sequences) for r in rendered]
    found: Statistics = {
        "episodes": len(offered),
        "used": len(used),
        "groups": len(groups),
        "groups_with_mixed_returns": sum(max(g) - min(g) > SAME_RETURN for g in groups.values()),
        "return": spread(e.total_reward for e in used),
        "centre": _centre(used),
        "behaviours": by_behaviour(offered, used),
        "per_episode": {
            "action tokens": spread(r.actions for r in rendered),
            "tokens": spread(r.tokens for r in rendered),
            "messages": spread(len(e.messages) for e in used),
            "messages of the model": spread(sum(m.action for m in e.messages) for e in used),
        },
        "longest_sequence": max(longest, default=0),
        "first": _as_shown(used[0]) if used else None,
    }
    if used and all("calls" in e.meta for e in used):
        found["per_episode"]["calls"] = spread(e.meta["calls"] for e in used)
    if units is not None:
        found["units"] = units
    if max_tokens is not None:
        found |= {"max_tokens": max_tokens, "episodes_too_long": sum(n > max_tokens for n in longest)}
    return found


def _as_shown(episode: Episode) -> Statistics:
    """Return an episode for readers; long messages are cut, and their length is there."""
    return {
        "id": episode.id,
        "group": episode.group,
        "return": episode.total_reward,
        "tools": len(episode.tools),
        "messages": [
            {
                "role": m.role,
                "action": m.action,
                "reward": m.reward,
                "characters": len(m.content),
                "content": m.content[:SHOWN],
                **({"tool_calls": m.extra["tool_calls"]} if m.extra.get("tool_calls") else {}),
            }
            for m in episode.messages
        ],
    }


def _centre(episodes: Sequence[Episode]) -> str:
    """What the task subtracted from the returns, and divided them by, as its episodes report it."""
    names = {str(e.meta["centre"]) for e in episodes if "centre" in e.meta} or {"not stated"}
    values = {e.meta["centre_value"] for e in episodes if "centre_value" in e.meta}
    scales = {e.meta["scale"] for e in episodes if "scale" in e.meta}
    what = ", ".join(sorted(names))
    what += f" ({values.pop():.3f})" if len(values) == 1 and names != {"none"} else ""
    return what + (f"; divided by {scales.pop():.3f}" if len(scales) == 1 else "")


def as_tables(found: Statistics) -> list[RenderableType]:
    """Return the statistics as tables for a terminal."""
    from rich.table import Table
    from rich.text import Text

    who = [found["task"], f"preset {found['preset']}", f"tokens of {found['model']}"]
    held_out = ", ".join(f"{split} {groups} groups" for split, groups in found["held_out_groups"].items())
    head = [
        ", ".join(who),
        _counts(found),
        f"held out: {held_out} (a group is an example; eval.examples may take fewer)",
    ]
    if "max_tokens" in found:
        over = found["episodes_too_long"]
        refused = f"; {over} episodes are longer, training will refuse them" if over else ""
        head.append(f"longest sequence {found['longest_sequence']} of train.max_tokens {found['max_tokens']}{refused}")
    head.append(f"returns are as trained on; subtracted mean: {found['centre']}")
    behaviours = Table("behaviour", box=None, pad_edge=False, header_style="bold")
    for heading in ("episodes", "used", "mean return", "min", "max"):
        behaviours.add_column(heading, justify="right")
    for name, row in found["behaviours"].items():
        returns = [f"{row['return'][key]:.3f}" for key in ("mean", "min", "max")]
        behaviours.add_row(name, str(row["episodes"]), str(row["used"]), *returns)
    lengths = Table("per episode", box=None, pad_edge=False, header_style="bold")
    for heading in ("mean", "median", "min", "max"):
        lengths.add_column(heading, justify="right")
    for name, row in found["per_episode"].items():
        lengths.add_row(name, f"{row['mean']:,.1f}", *(f"{row[key]:,g}" for key in ("median", "min", "max")))
    first = [Text(), *_first_episode(found["first"])] if found["first"] else []
    return [Text("\n".join(head)), Text(), behaviours, Text(), lengths, *first]


def _first_episode(shown: Statistics) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    table = Table("first episode", box=None, pad_edge=False, header_style="bold")
    table.add_column("reward", justify="right")
    table.add_column("content", overflow="fold")
    for m in shown["messages"]:
        calls = "".join(f" [call] {json.dumps(call.get('function', call))}" for call in m.get("tool_calls", ()))
        cut = f" ... ({m['characters']} characters)" if m["characters"] > len(m["content"]) else ""
        who = f"{m['role']}, action" if m["action"] else m["role"]
        reward = "" if m["reward"] is None else f"{m['reward']:.3f}"
        table.add_row(Text(who), reward, Text(f"{' '.join(m['content'].split())}{cut}{calls}"))
    tools = f", {shown['tools']} tools" if shown["tools"] else ""
    return [Text(f"first episode: {shown['id']} of group {shown['group']}, return {shown['return']:.3f}{tools}"), table]


def _counts(found: Statistics) -> str:
    words = [
        f"{found['episodes']} episodes" + (f", {found['used']} used" if found["used"] != found["episodes"] else ""),
        f"{found['groups']} groups, {found['groups_with_mixed_returns']} of them with mixed returns",
    ]
    if "units" in found:
        words.append(f"{found['units']} units of {found['algorithm']}")
    if found.get("pairs_left_out"):
        words.append(f"{found['pairs_left_out']} pairs that differ in more than one turn are left out")
    return "; ".join(words)
