"""The leaderboard's own pipeline on some scenarios. Started by ``bfcl_official.py`` in an environment of its own.

Reads its job as JSON from standard input and writes a report to the file that the job names. The official code starts
``vllm serve``, sends completions from 100 threads, and scores. Two things are set from here: the limit of tokens per
message, and the precision.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from bfcl_eval._llm_response_generation import process_multi_turn_test_case
from bfcl_eval.constants.eval_config import POSSIBLE_ANSWER_PATH, PROMPT_PATH, RESULT_PATH, SCORE_PATH
from bfcl_eval.eval_checker.eval_runner import multi_turn_runner
from bfcl_eval.model_handler.local_inference.quick_testing_oss import QuickTestingOSSHandler
from bfcl_eval.utils import load_file

CATEGORY = "multi_turn_base"
FILE = f"BFCL_v3_{CATEGORY}.json"
MODEL = "shiqbench-benchmark"


class Handler(QuickTestingOSSHandler):  # type: ignore[misc]
    """The official handler that renders by the model's own chat template."""

    def __init__(self, dtype: str, max_tokens: int) -> None:
        super().__init__(MODEL, 0)
        self.dtype = dtype
        self.asked: list[float] = []
        self.answered: list[float] = []
        create = self.client.completions.create

        def limited(**request: Any) -> Any:
            request["max_tokens"] = min(max_tokens, request["max_tokens"])
            self.asked.append(time.time())
            found = create(**request)
            self.answered.append(time.time())
            return found

        self.client.completions.create = limited


def chosen(folder: Path, ids: list[str]) -> list[dict[str, Any]]:
    """Lines of a data file, in the order asked for."""
    lines = {line["id"]: line for line in load_file(folder / FILE)}
    return [lines[name] for name in ids]


def main() -> None:
    """Generate, score, report."""
    started = time.time()
    job = json.load(sys.stdin)
    handler = Handler(job["dtype"], job["max_tokens"])
    handler.batch_inference(
        test_entries=process_multi_turn_test_case(chosen(PROMPT_PATH, job["ids"])),
        num_gpus=1,
        gpu_memory_utilization=0.9,
        backend="vllm",
        skip_server_setup=False,
        local_model_path=job["model"],
        include_input_log=False,
        exclude_state_log=False,
        update_mode=False,
    )
    stopped = time.time()
    results = {line["id"]: line for line in load_file(RESULT_PATH / MODEL / FILE.replace(".json", "_result.json"))}
    episodes = {}
    for entry, answer in zip(chosen(PROMPT_PATH, job["ids"]), chosen(POSSIBLE_ANSWER_PATH, job["ids"]), strict=True):
        result = results[entry["id"]]
        valid, _ = multi_turn_runner(handler, [result], [entry], [answer], MODEL, CATEGORY, SCORE_PATH)
        episodes[entry["id"]] = {"valid": bool(valid), "texts": result["result"]}
    report = {
        "start": min(handler.asked) - started,
        "generation": max(handler.answered) - min(handler.asked),
        "rest": time.time() - stopped,
        "messages": len(handler.answered),
        "tokens": sum(n for r in results.values() for turn in r["output_token_count"] for n in turn),
        "episodes": episodes,
    }
    Path(job["report"]).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main()
