"""The `openai` package and lm-eval, asking a server of ours.

What they get is what `generate`, `log_likelihoods` and `evaluate` give for the
same prompts: 20 questions of two tasks, ranked and generated, of a T5 and of a
decoder-only model. Nothing is downloaded.
"""

import csv
import json

import keras
import pytest
import yaml

from keras_flan.evaluation.runs.evaluate import evaluate
from keras_flan.files import read_jsonl
from keras_flan.generation import extract_answer, generate
from keras_flan.generation.likelihood import log_likelihoods
from keras_flan.models import DecoderOnly
from keras_flan.models.loading import load
from tests.generation.test_serving import serving
from tests.models.decoders import make_hub

pytestmark = pytest.mark.parity

QUESTIONS = 20
NEW = 16
SUBJECT = "elementary_mathematics"


@pytest.fixture(scope="module", params=["t5", "causal"])
def model(request):
    t5 = load("flan_nano")
    if request.param == "t5":
        return t5
    keras.utils.set_random_seed(1)
    sizes = {"vocabulary_size": t5.vocabulary.size}
    return DecoderOnly(
        make_hub("llama", seed=1, **sizes), t5.vocabulary, separate=False
    )


@pytest.fixture(scope="module")
def server(model):
    with serving(model, name="ours") as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    openai = pytest.importorskip("openai")
    return openai.OpenAI(
        base_url=f"{server.url}v1", api_key="none", max_retries=0
    )


@pytest.fixture(scope="module")
def prompts():
    return [f"What is {n} + {3 * n}?" for n in range(QUESTIONS)]


def test_openai_gets_the_texts_of_generate(client, model, prompts):
    assert [m.id for m in client.models.list()] == ["ours"]
    found = client.completions.create(
        model="ours",
        prompt=prompts,
        max_tokens=NEW,
        n=2,
        temperature=0.7,
        top_p=0.9,
        seed=5,
        stop=["\n"],
        logprobs=3,
    )
    paths = generate(
        model,
        prompts,
        samples=2,
        temperature=0.7,
        top_p=0.9,
        seed=5,
        stop=["\n"],
        max_new_tokens=NEW,
    )
    paths = [path for of_prompt in paths for path in of_prompt]
    assert len(found.choices) == len(paths) == 2 * QUESTIONS
    for choice, path in zip(found.choices, paths, strict=True):
        assert choice.text == path.text
        assert choice.logprobs.token_logprobs == pytest.approx(
            path.token_log_probabilities, abs=1e-3
        )
    assert found.usage.completion_tokens == sum(
        len(path.token_log_probabilities) for path in paths
    )


def test_openai_streams_and_names_errors(client, model, prompts):
    import openai

    [[path]] = generate(model, prompts[:1], max_new_tokens=NEW)
    asked = {"model": "ours", "max_tokens": NEW, "temperature": 0}
    stream = client.completions.create(prompt=prompts[0], stream=True, **asked)
    assert "".join(piece.choices[0].text for piece in stream) == path.text
    with pytest.raises(openai.NotFoundError, match="this server has 'ours'"):
        client.completions.create(model="gpt", prompt="x")
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model="ours", prompt="x", n=1000)
    assert error.value.param == "n"
    turns = [{"role": "user", "content": prompts[0]}]
    if isinstance(model, DecoderOnly):
        with pytest.raises(openai.BadRequestError, match="chat template"):
            client.chat.completions.create(messages=turns, **asked)
        return
    said = client.chat.completions.create(
        messages=turns, logprobs=True, top_logprobs=2, **asked
    )
    assert said.choices[0].message.content == path.text
    told = [token.logprob for token in said.choices[0].logprobs.content]
    assert told == pytest.approx(path.token_log_probabilities, abs=1e-3)
    stream = client.chat.completions.create(
        messages=turns,
        stream=True,
        stream_options={"include_usage": True},
        **asked,
    )
    pieces = list(stream)
    assert pieces[-1].usage.completion_tokens == len(
        path.token_log_probabilities
    )
    texts = [p.choices[0].delta.content or "" for p in pieces[:-1]]
    assert "".join(texts) == path.text


def test_openai_ranks_by_echo(client, model, prompts):
    choices = [" yes", " no", " maybe it is"]
    expected = log_likelihoods(model, prompts, [choices] * QUESTIONS)
    apart, end = not isinstance(model, DecoderOnly), "</s>"
    texts = [
        f"{prompt}{end}{choice.strip()}{end}" if apart else prompt + choice
        for prompt in prompts
        for choice in choices
    ]
    found = client.completions.create(
        model="ours", prompt=texts, max_tokens=0, echo=True, logprobs=1
    )
    scores = [score for of_prompt in expected for score in of_prompt]
    for answer, score in zip(found.choices, scores, strict=True):
        gains = answer.logprobs.token_logprobs[-score.token_count :]
        assert sum(gains) == pytest.approx(score.log_probability, abs=1e-3)


# === lm-eval ===


@pytest.fixture(scope="module")
def own(tmp_path_factory, model, prompts):
    """Our own evaluation of two benchmarks, and lm-eval's tasks of the same."""
    folder = tmp_path_factory.mktemp("own")
    with open(folder / f"{SUBJECT}_test.csv", "w", newline="") as file:
        for n, prompt in enumerate(prompts):
            options = [4 * n, 4 * n + 1, 3 * n - 1, 2 * n - 2]
            csv.writer(file).writerow([prompt, *options, "ABCD"[n % 4]])
    ranked = evaluate(
        model,
        "mmlu",
        folder,
        output=folder / "ranked",
        mode="rank",
        shots=0,
        tasks=[SUBJECT],
    )
    # What it answers itself is right in half of the cases.
    asked = [f"Q: {prompt}\nA:" for prompt in prompts]
    answers = generate(model, asked, max_new_tokens=NEW, stop=["\nQ:"])
    rows = []
    for n, (prompt, [path]) in enumerate(zip(prompts, answers, strict=True)):
        said = extract_answer(path.text, "number")
        right = said.value if said and n % 2 else 12345
        rows.append({"question": prompt, "answer": f"So.\n#### {right}"})
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    generated = evaluate(
        model,
        "gsm8k",
        folder / "test.jsonl",
        output=folder / "generated",
        mode="direct",
        shots=0,
        max_new_tokens=NEW,
    )
    return folder, ranked, generated


def write_tasks(folder, model):
    """Two tasks of lm-eval, of what our evaluation logged."""
    end = "" if isinstance(model, DecoderOnly) else "</s>"
    for kind in ("ranked", "generated"):
        rows = read_jsonl(folder / kind / "predictions.jsonl")
        lines = [
            json.dumps({"prompt": row["prompt"], "target": row["target"]})
            for row in rows
        ]
        (folder / f"{kind}.jsonl").write_text("\n".join(lines))
        task = {
            "task": f"ours_{kind}",
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {"test": str(folder / f"{kind}.jsonl")}
            },
            "test_split": "test",
            "doc_to_text": "{{prompt}}",
            "target_delimiter": end,
        }
        if kind == "ranked":
            blank = "" if end else " "
            task |= {
                "output_type": "multiple_choice",
                "doc_to_choice": [f"{blank}{letter}{end}" for letter in "ABCD"],
                "doc_to_target": "{{'ABCD'.index(target)}}",
                "metric_list": [{"metric": "acc"}],
            }
        else:
            task |= {
                "output_type": "generate_until",
                "doc_to_target": "{{target}}",
                "generation_kwargs": {
                    "until": ["\nQ:"],
                    "max_gen_toks": NEW,
                    "temperature": 0,
                },
                "process_results": "PROCESS",
                "metric_list": [{"metric": "acc"}],
            }
        text = yaml.safe_dump(task, sort_keys=False)
        (folder / f"{kind}.yaml").write_text(
            text.replace("PROCESS", "!function own_answers.process")
        )
    (folder / "own_answers.py").write_text(
        "from keras_flan.generation import extract_answer\n\n\n"
        "def process(doc, results):\n"
        "    found = extract_answer(results[0], 'number')\n"
        "    right = found is not None and found.value == doc['target']\n"
        "    return {'acc': float(right)}\n"
    )


def lm_eval_of(server, folder, tasks, kind="local-completions", **settings):
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    path = "chat/completions" if "chat" in kind else "completions"
    return lm_eval.simple_evaluate(
        model=kind,
        model_args={
            "model": "ours",
            "base_url": f"{server.url}v1/{path}",
            "num_concurrent": 4,
        },
        tasks=tasks,
        task_manager=TaskManager(
            include_path=str(folder), include_defaults=False
        ),
        log_samples=True,
        bootstrap_iters=0,
        **settings,
    )


def samples_of(found, task):
    return sorted(found["samples"][task], key=lambda row: row["doc_id"])


def test_lm_eval_gets_our_scores(server, model, own, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, ranked, generated = own
    write_tasks(folder, model)
    found = lm_eval_of(server, folder, ["ours_ranked", "ours_generated"])
    results = found["results"]
    # Of likelihoods, and which answer that makes.
    rows = list(read_jsonl(folder / "ranked" / "predictions.jsonl"))
    samples = samples_of(found, "ours_ranked")
    assert len(rows) == len(samples) == QUESTIONS
    for row, sample in zip(rows, samples, strict=True):
        told = [float(pair[0]) for pair in sample["filtered_resps"]]
        ours = row["ranking"]["log_probabilities"]
        assert told == pytest.approx(ours, abs=1e-3)
    score = results["ours_ranked"]["acc,none"]
    assert score == pytest.approx(ranked["accuracy"])
    # Of texts, and what is found in them.
    rows = list(read_jsonl(folder / "generated" / "predictions.jsonl"))
    samples = samples_of(found, "ours_generated")
    for row, sample in zip(rows, samples, strict=True):
        text = row["outputs"][0].partition("\nQ:")[0]
        assert sample["filtered_resps"] == [text]
    score = results["ours_generated"]["acc,none"]
    assert score == pytest.approx(generated["accuracy"])
    assert 0 < score < 1


def test_lm_eval_chats(server, model, own, monkeypatch):
    if isinstance(model, DecoderOnly):
        pytest.skip("it has no chat template")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, _, generated = own
    write_tasks(folder, model)
    found = lm_eval_of(
        server,
        folder,
        ["ours_generated"],
        "local-chat-completions",
        apply_chat_template=True,
    )
    rows = read_jsonl(folder / "generated" / "predictions.jsonl")
    samples = samples_of(found, "ours_generated")
    for row, sample in zip(rows, samples, strict=True):
        text = row["outputs"][0].partition("\nQ:")[0]
        assert sample["filtered_resps"] == [text]
    assert found["results"]["ours_generated"]["acc,none"] == (
        pytest.approx(generated["accuracy"])
    )
