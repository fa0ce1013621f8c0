"""OpenAI's interface: what it answers is what this package's functions give."""

import dataclasses
import http.client
import json

import numpy as np
import pytest

from keras_flan.data.templates.chat_files import load_chat_template
from keras_flan.generation import chat_prompt, generate, sharing
from keras_flan.generation.decoding import Run, Wanted
from keras_flan.generation.likelihood import log_likelihoods, score_tokens
from keras_flan.generation.openai.prompts import ready
from keras_flan.generation.sampling_settings import Sampling
from keras_flan.generation.sharing import Client, SharedEngine
from keras_flan.models import DecoderOnly
from tests.conftest import LetterVocabulary, make_t5
from tests.generation.fakes import cafeteria
from tests.generation.test_serving import serving
from tests.models.decoders import make_hub

PROMPTS = ["what is the time?", "the quick brown fox, 3 dogs"]


@pytest.fixture(scope="module")
def model():
    model = make_t5(seed=3)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        noise = rng.normal(scale=0.3, size=weight.shape)
        weight.assign(weight + noise.astype("float32"))
    return model


@pytest.fixture(scope="module")
def causal():
    return DecoderOnly(
        make_hub("mistral", seed=1), LetterVocabulary(), separate=False
    )


@pytest.fixture(scope="module")
def server(model):
    with serving(model, name="tiny") as server:
        yield server


def ask(server, path, body=None, **headers):
    """Returns the status, and JSON, or the events of a stream."""
    connection = http.client.HTTPConnection(
        *server.server_address[:2], timeout=60
    )
    headers = {"Content-Type": "application/json", **headers}
    if body is None:
        connection.request("GET", path, headers=headers)
    else:
        body = json.dumps({"model": server.name, **body})
        connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    connection.close()
    if answer.headers["Content-Type"].startswith("text/event-stream"):
        *events, done, rest = text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return answer.status, [json.loads(e[len("data: ") :]) for e in events]
    return answer.status, json.loads(text)


def complete(server, **body):
    status, found = ask(server, "/v1/completions", body)
    assert status == 200, found
    return found


def test_texts_and_log_probabilities_are_those_of_generate(server, model):
    asked = {"temperature": 1, "seed": 4, "max_tokens": 12, "n": 2}
    found = complete(server, prompt=PROMPTS, logprobs=2, stop="a", **asked)
    paths = generate(
        model,
        PROMPTS,
        samples=2,
        temperature=1.0,
        seed=4,
        stop=["a"],
        max_new_tokens=12,
    )
    paths = [path for of_prompt in paths for path in of_prompt]
    assert [c["index"] for c in found["choices"]] == [0, 1, 2, 3]
    for choice, path in zip(found["choices"], paths, strict=True):
        assert choice["text"] == path.text
        assert choice["finish_reason"] == (
            "stop" if path.finished else "length"
        )
        told = choice["logprobs"]
        gains = path.token_log_probabilities
        assert told["token_logprobs"] == pytest.approx(gains, abs=1e-5)
        for gain, top in zip(gains, told["top_logprobs"], strict=True):
            assert 1 <= len(top) <= 3 and max(top.values()) >= gain - 1e-5
    assert "a" not in "".join(path.text for path in paths)
    counts = [len(path.token_log_probabilities) for path in paths]
    read = sum(len(prompt) + 1 for prompt in PROMPTS)
    assert found["usage"] == {
        "prompt_tokens": read,
        "completion_tokens": sum(counts),
        "total_tokens": read + sum(counts),
    }
    # Token ids are the same prompts; without a seed, paths are others.
    ids = [model.vocabulary.encode(prompt) for prompt in PROMPTS]
    again = complete(server, prompt=ids, stop="a", **asked)
    texts = [choice["text"] for choice in found["choices"]]
    assert [choice["text"] for choice in again["choices"]] == texts
    del asked["seed"]
    assert complete(server, prompt=ids, **asked)["choices"] != again["choices"]


def test_a_stream_has_the_same_text_in_pieces(server, model):
    whole, n = complete(server, prompt=PROMPTS[0], temperature=0), 2
    events = complete(
        server,
        prompt=PROMPTS[0],
        temperature=0,
        n=n,
        stream=True,
        stream_options={"include_usage": True},
    )
    *pieces, last = events
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 32
    for index in range(n):
        own = [c for p in pieces for c in p["choices"] if c["index"] == index]
        text = "".join(choice["text"] for choice in own)
        assert text == whole["choices"][0]["text"]
        assert [c["finish_reason"] for c in own][-2:] == [None, "length"]
        assert len(own) > 2  # in rounds
    # Nothing is told that a stop string might take back.
    text = whole["choices"][0]["text"]
    asked = {"prompt": PROMPTS[0], "temperature": 0, "stop": [text[6:9]]}
    cut = complete(server, **asked)["choices"][0]["text"]
    pieces = complete(server, stream=True, **asked)
    assert cut == text[: text.index(text[6:9])]
    assert "".join(p["choices"][0]["text"] for p in pieces) == cut


def test_conversations_are_answered(server, model):
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    ]
    asked = {
        "messages": messages,
        "max_completion_tokens": 12,
        "temperature": 0,
    }
    [[path]] = generate(model, ["be brief\n\nhello"], max_new_tokens=12)
    status, found = ask(
        server, "/v1/chat/completions", {**asked, "logprobs": True}
    )
    [choice] = found["choices"]
    assert (status, found["object"]) == (200, "chat.completion")
    assert choice["message"]["content"] == path.text
    told = [token["logprob"] for token in choice["logprobs"]["content"]]
    assert told == pytest.approx(path.token_log_probabilities, abs=1e-5)
    _, events = ask(server, "/v1/chat/completions", {**asked, "stream": True})
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(d.get("content", "") for d in deltas) == path.text
    refused = {"messages": [*messages, {"role": "assistant", "content": "x"}]}
    status, found = ask(server, "/v1/chat/completions", refused)
    assert status == 400 and "the last turn" in found["error"]["message"]


def test_echoed_prompts_rank_answers_as_log_likelihoods(server, model):
    """With the end token between prompt and answer."""
    choices = ["yes", "no", "neither"]
    [scores] = log_likelihoods(model, PROMPTS[:1], [choices])
    asked = {"temperature": 0, "echo": True, "logprobs": 1, "max_tokens": 1}
    found = complete(
        server, prompt=[f"{PROMPTS[0]}</s>{c}</s>" for c in choices], **asked
    )
    begin = len(PROMPTS[0])
    for choice, score in zip(found["choices"], scores, strict=True):
        gains = choice["logprobs"]["token_logprobs"]
        # As lm-eval takes it: the last token was generated.
        assert gains[:begin] == [None] * begin
        assert sum(gains[begin:-1]) == pytest.approx(
            score.log_probability, abs=1e-3
        )
    only = complete(server, prompt="x", echo=True, max_tokens=0)
    assert only["choices"][0]["text"] == "x"


@pytest.mark.slow
def test_a_text_that_goes_on_is_ranked_as_it_stands(causal):
    choices, begin = ["yes", "no", "neither"], len(PROMPTS[0])
    [scores] = log_likelihoods(causal, PROMPTS[:1], [choices])
    ids = [causal.vocabulary.encode(PROMPTS[0] + c) for c in choices]
    with serving(causal, name="causal") as server:
        found = complete(
            server,
            prompt=ids,
            temperature=0,
            echo=True,
            logprobs=1,
            max_tokens=1,
        )
    for choice, score in zip(found["choices"], scores, strict=True):
        told = choice["logprobs"]
        gains = told["token_logprobs"]
        assert gains[0] is None
        assert sum(gains[begin:-1]) == pytest.approx(
            score.log_probability, abs=1e-3
        )
        # Greedy is what generating would go on with.
        assert max(told["top_logprobs"][-1].values()) == gains[-1]
        assert "".join(told["tokens"]) == choice["text"]


@pytest.mark.slow
def test_tokens_are_scored_by_a_forward_pass(causal):
    prompt, target = [5, 6, 7], [9, 10, 11, 12]
    [scores] = score_tokens(causal, [prompt], [target], top=3)
    ids = np.array([[*prompt, *target]])
    logits = np.asarray(
        causal({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    )[0, 2:-1].astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = log_p[np.arange(4), target]
    assert scores.log_probabilities == pytest.approx(expected, abs=1e-4)
    order = np.argsort(-log_p, axis=-1)[:, :3]
    assert [[t for t, _ in top] for top in scores.top] == order.tolist()


class Waiting(Client):
    """Greedy paths of some prompts, and the turn in which each is done."""

    def __init__(self, model, prompts, temperature=0.0):
        # No token of the model ends a path: all are as long as they may be.
        super().__init__(Sampling(temperature=temperature), ends=(99,))
        self.turns, self.texts, self.error = [], [], None
        self.missing = len(prompts)
        for prompt in prompts:
            self.paths.append(
                Wanted(
                    (self, prompt),
                    ready(model, prompt, False).framed,
                    range(1),
                    16,
                    lambda _: np.full(16, 0.5, "float32"),
                )
            )

    def made(self, made):
        if made.path is not None:
            self.turns.append(self.now)
            self.left = len(self.turns) == self.missing

    def failed(self, error):
        self.error = error


def run(engine, *clients):
    """Takes turns until all are done; returns the last turn of each."""
    for turn in range(1000):
        for client in clients:
            client.now = turn
        if not engine.turn():
            break
    return [client.turns[-1:] for client in clients]


def test_many_prompts_of_one_client_keep_no_other_waiting(model, monkeypatch):
    monkeypatch.setattr(sharing, "_BATCH_PATHS", 4)
    engine = SharedEngine(model)
    many = Waiting(model, [f"prompt {i}" for i in range(20)])
    engine.add(many)
    many.now = -1
    engine.turn()
    # One like it joins its batch; another samples otherwise, and takes turns.
    few, other = Waiting(model, ["a"]), Waiting(model, ["b"], temperature=0.5)
    engine.add(few)
    engine.add(other)
    [last], [joined], [taken] = run(engine, many, few, other)
    assert joined < last and taken < last
    assert len(many.turns) == 20
    assert engine.turn() is False


@pytest.mark.slow
def test_few_prompts_are_not_kept_in_a_large_batch(model, monkeypatch):
    monkeypatch.setattr(sharing, "_BATCH_PATHS", 16)
    opened = []

    def opening(model, bucket, *rest, **more):
        opened.append(bucket.slots)
        return Run(model, bucket, *rest, **more)

    monkeypatch.setattr(sharing, "Run", opening)
    engine = SharedEngine(model)
    many = Waiting(model, [f"prompt {i}" for i in range(16)])
    late = Waiting(model, ["a"])
    for place in range(15):
        many.paths[place] = dataclasses.replace(many.paths[place], length=4)
    engine.add(many)
    many.now = 0
    engine.turn()
    assert len(many.turns) == 15
    engine.add(late)
    run(engine, many, late)
    assert opened == [16, 4]
    assert many.left and late.left


def test_what_fails_is_told_and_the_others_go_on(model, monkeypatch):
    engine = SharedEngine(model)
    bad, good = Waiting(model, ["a"]), Waiting(model, ["b"])
    monkeypatch.setattr(bad, "made", lambda made: 1 / 0)
    engine.add(bad)
    engine.add(good)
    run(engine, good)
    assert isinstance(bad.error, ZeroDivisionError)
    assert good.turns and good.error is None


@pytest.mark.parametrize(
    ("body", "status", "param", "says"),
    [
        ({"prompt": "x", "model": "gpt"}, 404, "model", "has 'tiny'"),
        ({}, 400, "prompt", "missing"),
        ({"prompt": []}, 400, "prompt", "found 0 prompts"),
        ({"prompt": "x" * 3000}, 400, "prompt", "expected up to 2,048"),
        ({"prompt": [64]}, 400, "prompt", "found the token 64"),
        ({"prompt": "x", "n": 0}, 400, "n", "greater than or equal to 1"),
        ({"prompt": "x", "top_p": 0}, 400, "top_p", "greater than 0"),
        ({"prompt": "x", "best_of": 3}, 400, "best_of", "leave it out"),
        ({"prompt": "x", "nn": 3}, 400, "nn", "unknown key"),
        (
            {"prompt": "x", "echo": True, "logprobs": 1},
            400,
            "echo",
            "put the end token </s>",
        ),
        ({"prompt": [9, 1, 9]}, 400, "prompt", "can't go on"),
    ],
)
def test_errors_have_openais_form(server, body, status, param, says):
    code, found = ask(server, "/v1/completions", body)
    error = found["error"]
    assert (code, error["param"]) == (status, param)
    assert says in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_names_tokens_and_other_hosts(server):
    assert ask(server, "/v1/models")[1]["data"][0]["id"] == "tiny"
    assert ask(server, "/v1/models/tiny")[1]["id"] == "tiny"
    assert ask(server, "/v1/models/other")[0] == 404
    # What does not change an answer may be sent.
    neutral = {"best_of": 1, "logit_bias": {}, "user": "me", "stop": None}
    complete(server, prompt="x", max_tokens=0, **neutral)
    _, found = ask(server, "/tokenize", {"prompt": "ab</s>c"})
    assert found["tokens"] == [3, 4, 1, 5]
    _, found = ask(server, "/detokenize", {"tokens": [3, 4, 1, 5]})
    assert found["prompt"] == "ab</s>c"
    assert ask(server, "/tokenizer_info")[1]["eos_token"] == "</s>"
    status, found = ask(server, "/v1/models", Host="evil.example")
    assert (status, found["error"]["message"]) == (
        403,
        "this server is for localhost",
    )
    status, found = ask(server, "/v1/nothing")
    assert (status, found["error"]["type"]) == (404, "not_found_error")


def test_what_has_no_tokens_does_not_speak_it():
    with serving(cafeteria) as server:
        status, found = ask(server, "/v1/completions", {"prompt": "x"})
        assert status == 400 and "a model's stead" in found["error"]["message"]


def test_a_conversation_ends_where_its_template_does():
    class Marked(LetterVocabulary):
        adds_blank = False

        def token_id(self, token):
            return {"<|im_start|>": 50, "<|im_end|>": 51}.get(token)

    model = DecoderOnly(
        make_hub("mistral", seed=1), Marked(), chat=load_chat_template("chatml")
    )
    prompt = ready(
        model, chat_prompt(model, [{"role": "user", "content": "hi"}]), False
    )
    assert prompt.framed[0] == 50 and 51 in prompt.ends and 1 in prompt.ends
