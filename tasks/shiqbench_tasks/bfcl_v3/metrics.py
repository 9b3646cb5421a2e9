"""Makes records from episodes, and metrics from records."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from statistics import stdev
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import Message, Record, StopReason, clustered_wilson, student, with_interval
from shiqbench_tasks.bfcl_v3.calls import Call
from shiqbench_tasks.bfcl_v3.scoring import ErrorType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench_tasks.bfcl_v3.loop import Dialogue
    from shiqbench_tasks.bfcl_v3.scoring import Verdict

_SHARES = {
    "turn_accuracy": ("right_turns", "counted_turns"),
    "turn_reward": ("turn_reward", "episodes"),
    "valid": ("valid", "episodes"),
}


def of_verdict(verdict: Verdict) -> Record:
    """The columns that say how an episode was scored."""
    return {
        "valid": verdict.valid,
        "error_type": verdict.error_type.value if verdict.error_type else None,
        "first_wrong_turn": verdict.first_wrong_turn,
        "right_turns": verdict.right_turns,
        "counted_turns": verdict.counted_turns,
        "turn_reward": verdict.turn_reward,
        "turns": json.dumps(verdict.turns),
    }


def record(dialogue: Dialogue, repeat: int, seed: int) -> Record:
    """Make one row: the score, the counts of calls and tokens, and the whole transcript, but no times.

    Args:
        dialogue: An episode that has ended.
        repeat: Number of the repeat.
        seed: Seed of the repeat.
    """
    if dialogue.stop is None:
        raise ValueError(f"episode {dialogue.entry.id} is still being played")
    verdict = dialogue.verdict()
    return {
        "id": dialogue.entry.id,
        "scenario": dialogue.entry.scenario,
        "category": dialogue.entry.category,
        "repeat": repeat,
        "seed": seed,
        **of_verdict(verdict),
        "stop": dialogue.stop.value,
        "error": dialogue.error,
        "assistant_messages": dialogue.assistant_messages,
        "parseable_messages": dialogue.assistant_messages - dialogue.malformed_messages,
        "calls": sum(len(step) for turn in dialogue.turns for step in turn.steps),
        "prompt_tokens": dialogue.prompt_tokens,
        "tokens": dialogue.tokens,
        "context_excess": dialogue.context_excess,
        "steps": json.dumps(
            [[[_call_json(c) for c in step] for step in turn.steps] for turn in dialogue.turns], default=Call.text
        ),
        "transcript": json.dumps([_message_json(m) for m in dialogue.messages]),
    }


def _call_json(call: Call) -> list[Any]:
    return [call.name, list(call.args), call.kwargs]


def _message_json(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.token_ids is not None:
        found["token_ids"] = list(message.token_ids)
    return found


def summarise(records: Sequence[Record]) -> dict[str, float]:
    """All metrics. The 95 % intervals of shares take into account that turns and repeats of one scenario are alike.

    Episodes that crashed are counted (``stop_error``) but enter no score.
    """
    scored = [r for r in records if r["stop"] != StopReason.ERROR]
    total = max(1, len(scored))
    values: dict[str, float] = {}
    for name, (part, whole) in _SHARES.items():
        values |= _share(name, _per_scenario(scored, part), _per_scenario(scored, whole))
    values |= {
        "parseable": _ratio(scored, "parseable_messages", "assistant_messages"),
        "episodes": float(len(scored)),
        "tokens_per_episode": sum(r["tokens"] for r in scored) / total,
        "steps_per_episode": sum(r["assistant_messages"] for r in scored) / total,
    }
    stops, errors = Counter(r["stop"] for r in records), Counter(r["error_type"] for r in scored)
    values |= {f"stop_{stop}": float(stops[stop]) for stop in StopReason}
    values |= {f"error_{kind.value.partition(':')[2]}": float(errors[kind.value]) for kind in ErrorType}
    categories = sorted({r["category"] for r in scored})
    if len(categories) > 1:
        for category in categories:
            rows = [r for r in scored if r["category"] == category]
            for name, (part, whole) in _SHARES.items():
                values[f"{name}_{category}"] = sum(_number(r, part) for r in rows) / max(
                    1.0, sum(_number(r, whole) for r in rows)
                )
    repeats = sorted({r["repeat"] for r in records})
    if len(repeats) < 2:
        return values
    values |= _over_repeats(scored, repeats)
    sets = len({(r["scenario"], r["category"]) for r in records})
    return values | {"pass_sets_left_out": sets - values["pass_sets"]}


def _over_repeats(records: Sequence[Record], repeats: Sequence[int]) -> dict[str, float]:
    """Metrics of k repeats in addition to the mean: its interval over repeats, pass@k and pass^k.

    Smaller numbers of tries, 1, 2, 4, ..., are in ``pass_at_1``, ``pass_all_1``, ...

    The interval over scenarios shows how the mean would change with other scenarios. The interval over repeats shows
    how it would change with other seeds on the same scenarios: Student's, on the means of the repeats. Sets of repeats
    with a crash are in neither pass@k nor pass^k; ``pass_sets`` counts the others.
    """
    values = {"repeats": float(len(repeats))}
    for name, (part, whole) in _SHARES.items():
        means = []
        for repeat in repeats:
            rows = [r for r in records if r["repeat"] == repeat]
            means.append(sum(_number(r, part) for r in rows) / max(1.0, sum(_number(r, whole) for r in rows)))
        low, high = student(means)
        values |= {
            f"{name}_repeats_sd": stdev(means),
            f"{name}_repeats_low": max(0.0, low),
            f"{name}_repeats_high": min(1.0, high),
        }
    valid: dict[tuple[int, str], list[bool]] = defaultdict(list)
    for r in records:
        valid[r["scenario"], r["category"]].append(bool(r["valid"]))
    whole_sets = {key: found for key, found in valid.items() if len(found) == len(repeats)}
    values["pass_sets"] = float(len(whole_sets))
    n, smaller = len(repeats), [2**i for i in range(10) if 2**i < len(repeats)]
    for k, name in [*((k, str(k)) for k in smaller), (n, "k")]:
        for metric, passed in ((f"pass_at_{name}", pass_at), (f"pass_all_{name}", pass_all)):
            successes: dict[int, float] = defaultdict(float)
            trials: dict[int, float] = defaultdict(float)
            for (scenario, _), found in whole_sets.items():
                successes[scenario] += passed(n, sum(found), k)
                trials[scenario] += 1
            values |= _share(metric, list(successes.values()), list(trials.values()))
    return values


def pass_at(n: int, right: int, k: int) -> float:
    """Unbiased estimate, from ``n`` repeats, of the chance that one of k is right.

    Source: M. Chen et al. (2021), arXiv 2107.03374, equation 1.
    """
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def pass_all(n: int, right: int, k: int) -> float:
    """Unbiased estimate, from ``n`` repeats, of the chance that all of k are right.

    Source: S. Yao et al. (2024), arXiv 2406.12045, section 4.
    """
    return math.comb(right, k) / math.comb(n, k)


def _number(row: Record, key: str) -> float:
    return 1.0 if key == "episodes" else float(row[key])


def _per_scenario(records: Sequence[Record], key: str) -> list[float]:
    """Sums over the records of each scenario, in one order for every key."""
    sums: dict[int, float] = {}
    for row in records:
        sums[row["scenario"]] = sums.get(row["scenario"], 0.0) + _number(row, key)
    return list(sums.values())


def _share(name: str, successes: Sequence[float], trials: Sequence[float]) -> dict[str, float]:
    return with_interval(name, sum(successes) / max(1.0, sum(trials)), clustered_wilson, successes, trials)


def _ratio(records: Sequence[Record], part: str, whole: str) -> float:
    return float(sum(r[part] for r in records) / max(1, sum(r[whole] for r in records)))
