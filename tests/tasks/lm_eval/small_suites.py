"""Suites of a few questions, one of each kind that lm-eval knows, with their data beside them."""

from __future__ import annotations

import json
from pathlib import Path

NAMES = ("small_choice", "small_answer", "small_next", "small_text")

CHOICE = """
task: small_choice
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: label
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
ANSWER = """
task: small_answer
output_type: generate_until
doc_to_text: question
doc_to_target: answer
generation_kwargs: {until: ["e"], max_gen_toks: 12, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
NEXT = """
task: small_next
output_type: loglikelihood
doc_to_text: question
doc_to_target: " {{answer}}"
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
TEXT = """
task: small_text
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}} {{answer}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
"""
ROWS = [
    {"question": f"What follows {word}?", "answer": word[::-1], "choices": [word, word[::-1], "no"], "label": i % 3}
    for i, word in enumerate(("red", "blue", "green", "gray", "pink", "teal", "gold", "lime", "plum", "navy"))
]


def write_suites(folder: Path) -> Path:
    """The suites in a folder that ``task.task_path`` takes: six questions of test, four of validation."""
    for split, rows in (("test", ROWS[:6]), ("validation", ROWS[6:])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {split: str(folder / f"{split}.jsonl") for split in ("test", "validation")}
    for name, text in zip(NAMES, (CHOICE, ANSWER, NEXT, TEXT), strict=True):
        local = f"dataset_path: json\ndataset_kwargs: {json.dumps({'data_files': data})}\n"
        (folder / f"{name}.yaml").write_text(f"{text}{local}test_split: test\nvalidation_split: validation\n")
    return folder


IFEVAL = """
task: ifeval
dataset_path: json
dataset_kwargs: {data_files: {train: input_data.jsonl}}
output_type: generate_until
test_split: train
num_fewshot: 0
doc_to_text: prompt
doc_to_target: 0
generation_kwargs: {until: [], do_sample: false, temperature: 0.0, max_gen_toks: 1280}
process_results: !function checks.process_results
metric_list:
  - {metric: prompt_level_strict_acc, aggregation: mean, higher_is_better: true}
  - {metric: inst_level_strict_acc, aggregation: !function checks.agg_inst_level_acc, higher_is_better: true}
  - {metric: prompt_level_loose_acc, aggregation: mean, higher_is_better: true}
  - {metric: inst_level_loose_acc, aggregation: !function checks.agg_inst_level_acc, higher_is_better: true}
"""


def write_ifeval(folder: Path, data: Path) -> Path:
    """IFEval as docs/lm_eval.md shows it: a local copy of the prompts, lm-eval's own verifier."""
    (folder / "ifeval.yaml").write_text(IFEVAL)
    (folder / "input_data.jsonl").symlink_to(data)
    (folder / "checks.py").write_text("from lm_eval.tasks.ifeval.utils import agg_inst_level_acc, process_results\n")
    return folder
