"""Conversations: what a model reads, and where its answers end."""

import json

import pytest
from typer.testing import CliRunner

from keras_flan import cli
from keras_flan.data.records.turns import Turn
from keras_flan.errors import InputError
from keras_flan.generation import ask, chat_prompt, generate
from keras_flan.models import DecoderOnly, load, save
from tests.data.chats import vocabulary
from tests.models.decoders import make_hub, numpy

CHAT = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Why?"},
]
TOKENS = vocabulary("gemma")
END = TOKENS.token_id("<end_of_turn>")


@pytest.fixture(scope="module")
def model():
    """A model that ends a turn at once: all it ever says."""
    hub = make_hub("gemma2", vocabulary_size=TOKENS.size, num_layers=1)
    embedding = hub.backbone.token_embedding
    weights = numpy(embedding.embeddings) * 0.01
    weights[END] = 9 * weights[TOKENS.encode("\n")[-1]]
    embedding.embeddings.assign(weights)
    return DecoderOnly(hub, TOKENS, separate=False, chat="gemma")


def test_a_conversation_is_read_as_tokens_and_ends_with_its_turn(model):
    prompt = chat_prompt(model, CHAT)
    assert prompt == (
        "<bos><start_of_turn>user\nBe short.\n\nWhy?<end_of_turn>\n"
        "<start_of_turn>model\n"
    )
    turns = [Turn(**message) for message in CHAT]
    ids, _ = model.chat_template.token_ids(turns, TOKENS, reply=True)
    assert prompt.token_ids == ids
    [answered] = ask(model, messages=CHAT, max_new_tokens=8)
    assert answered.prompt == prompt
    [[path]] = generate(model, [prompt], max_new_tokens=8)
    # Without the template only <eos> would end it.
    [[plain]] = generate(model, [str(prompt)], max_new_tokens=8)
    assert path.finished and END not in path.token_ids
    assert END in plain.token_ids and not plain.finished
    with pytest.raises(InputError, match=r"has \d+ tokens, more than max_in"):
        generate(model, [prompt], max_input_tokens=8)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages: no turns of a user"),
        ([{"role": "user", "content": 3}], r"messages\[0\].content: expected"),
        ([{"role": "usr", "content": ""}], r"messages\[0\].role: .* 'user'"),
        ([*CHAT, {"role": "assistant", "content": "x"}], "the last turn is"),
        ([*CHAT, CHAT[1]], "turn 3: the chat template gemma has no user af"),
        (["Hi"], r"messages\[0\]: expected a role and a content, found 'Hi'"),
    ],
)
def test_bad_conversations_are_named(model, messages, message):
    with pytest.raises(InputError, match=message):
        ask(model, messages=messages)


def test_models_without_a_template(model):
    other = model.with_settings(chat=None)
    with pytest.raises(InputError, match="no chat template; give it the one"):
        chat_prompt(other, CHAT)
    # An encoder-decoder reads one text, and so does a callable.
    seen = []

    def answer(prompts, **settings):
        seen.extend(prompts)
        return [["So."] for _ in prompts]

    talk = [CHAT, [CHAT[1], {"role": "assistant", "content": "a"}, CHAT[1]]]
    made = ask(answer, messages=talk)
    assert [one.vote.winner for one in made] == ["so", "so"]
    assert seen[0] == "Be short.\n\nWhy?"
    assert seen[1] == "User: Why?\nAssistant: a\nUser: Why?"
    with pytest.raises(InputError, match="not both"):
        ask(answer, "Why?", messages=CHAT)


def test_the_template_is_saved_and_the_command_answers(model, tmp_path):
    folder = tmp_path / "model"
    save(model, folder)
    assert load(folder).chat_template == model.chat_template
    rows = tmp_path / "chats.jsonl"
    rows.write_text(json.dumps({"messages": CHAT}) + "\n")
    command = ["generate", "--model", str(folder), "--chat", "--json"]
    command += ["--max-new-tokens", "4"]
    run = CliRunner().invoke(cli.app, [*command, "--input", str(rows)])
    assert run.exit_code == 0, run.output
    [found] = json.loads(run.stdout)
    assert found["prompt"].endswith("<start_of_turn>model\n")
    same = [*command, "--prompt", "Why?", "--system", "Be short."]
    run = CliRunner().invoke(cli.app, same)
    assert json.loads(run.stdout)[0]["prompt"] == found["prompt"]
    run = CliRunner().invoke(
        cli.app, ["generate", "--model", "x", "--prompt", "a", "--system", "b"]
    )
    assert "go with --chat" in str(run.exception)
