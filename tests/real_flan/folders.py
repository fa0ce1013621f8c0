"""A small folder of public data, in the formats in which it is published."""

import json
import random

WORDS = [
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven"),
    *("inlet", "jetty", "knoll", "larch", "maple", "north", "ocean", "prism"),
    *("quill", "raven", "slate", "tulip", "umber", "vapor", "wheat", "yacht"),
]
# What a training row and a question share.
LEAK = " ".join(WORDS[:13])
# Task, its category is that of the paper's tables; and whether it is asked.
TASKS = {
    "task1146_country_capital": False,
    "task591_sciq_answer_generation": False,
    "task1447_drug_extraction_ade": True,
    "task1508_wordnet_antonyms": True,
    "task672_amazon_and_yelp_summarization_dataset_summarization": True,
}
LONG = "task672_amazon_and_yelp_summarization_dataset_summarization"


def sentence(seed, number=6):
    return " ".join(random.Random(seed).choices(WORDS, k=number))


def natural_instructions(name, rows=12):
    words = 20 if name == LONG else 1
    return {
        "Definition": [f"Do what {name} says."],
        "Categories": ["x"],
        "Positive Examples": [],
        "Instances": [
            {
                "id": f"{name}-{i}",
                "input": sentence(f"{name}{i}"),
                "output": [sentence(i, words)],
            }
            for i in range(rows)
        ],
    }


def write_data(root):
    """Writes the folder; returns it. MGSM, BBH and some sets are missing."""
    tasks = root / "niv2" / "tasks"
    tasks.mkdir(parents=True)
    for name in TASKS:
        content = natural_instructions(name)
        if name == "task1146_country_capital":
            content["Instances"][3]["input"] = f"Well, {LEAK}!"
        if name == "task1447_drug_extraction_ade":
            content["Instances"][5]["input"] = f"{LEAK.title()}, too."
        (tasks / f"{name}.json").write_text(json.dumps(content))
    rows = [
        {
            "template": template,
            "prompt": sentence(f"{template}{i}") + "\n",
            "completion": sentence(i, 1) + "<|endoftext|>",
        }
        for template in ("wiki_qa_exercise", "amazon_polarity_Is_this_review")
        for i in range(6)
    ]
    lines = {
        "t0/t0_train.jsonl": [json.dumps(row) for row in rows],
        "cot/gsm8k_train.tsv": [
            f"Add {i} and {i + 1}.\t{2 * i + 1}\t{i} + {i + 1} = {2 * i + 1}"
            for i in range(8)
        ],
        "nlp/sst2/stsa.binary.test": [
            f"{i % 2} {sentence(f's{i}')}" for i in range(12)
        ],
        "nlp/qqp/train.json": [
            json.dumps(
                [
                    {"sentence": sentence(f"q{i}"), "label": str(i % 2 == 0)}
                    for i in range(6)
                ]
            )
        ],
    }
    for name, content in lines.items():
        path = root / name
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(content))
    return root


PLAN = """
train:
  model: {init: flan_nano, dropout: 0.0}
  data: {input_length: 64, target_length: 16, batch_size: 2}
  optimizer: {learning_rate: 0.005}
  log_every: 1
proportions: {natural_instructions: 1, t0: 1, classification: 1, cot: 1}
formats: {zero_shot_direct: 1}
questions: 6
views:
  instructions:
    asked: instructions
    limit: 3
    new_tokens: 2
    metrics: [exact_match, rouge_l]
  ranked:
    asked: options
    mode: rank
    limit: 4
    metrics: [normalised, accuracy]
  mgsm: {asked: mgsm, limit: 3, metrics: [accuracy]}
arms:
  all: {seeds: [0, 1]}
  one_cluster: {clusters: 1, templates: 1}
claims:
- {claim: It helps., more: all, less: base, view: instructions}
- claim: More clusters help.
  more: all
  less: one_cluster
  view: instructions
"""
