import json
from pathlib import Path

import keras
import pytest

from keras_flan.data.records.turns import Turn
from keras_flan.data.templates.chat_files import (
    library_chat_templates,
    load_chat_template,
)
from keras_flan.data.templates.chat_graph import ChatRenderer
from keras_flan.data.templates.chat_jinja import jinja_renderer
from keras_flan.data.templates.chat_jinja_writing import to_jinja
from keras_flan.data.vocabularies.training import train_vocabulary
from keras_flan.errors import InputError
from tests.data.chats import (
    FAMILIES,
    SPECIAL,
    TEXT,
    chats,
    is_byte_level,
    vocabulary,
)

TEMPLATES = Path(__file__).parent / "chat_templates"
CHAT = [
    Turn("system", "Be short."),
    Turn("user", "Hi"),
    Turn("assistant", "Yes?"),
    Turn("user", "2 + 2?"),
    Turn("assistant", "4"),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "v.model"
    return train_vocabulary([*TEXT, "User: Assistant: Tool:"] * 3, 330, path)


def in_graph(template, vocabulary, conversations, loss_on="assistant"):
    import tensorflow as tf

    renderer = ChatRenderer(template, vocabulary, loss_on)

    @tf.function(autograph=False)
    def run(roles, contents):
        return renderer(roles, contents, vocabulary.encoder_tf())

    made = run(
        tf.ragged.constant([[t.role for t in c] for c in conversations]),
        tf.ragged.constant([[t.content for t in c] for c in conversations]),
    )
    return [part.numpy().tolist() for part in made[3:]], [
        [row.numpy().tolist() for row in part] for part in made[:3]
    ]


BYTES = [f for f in FAMILIES if is_byte_level(f)]


@pytest.mark.parametrize(
    ("family", "of"),
    [
        *((family, "gemma") for family in ("qwen2.5", "llama3", "gemma")),
        *(("mistral", "mistral"), ("plain", "plain")),
        *(pytest.param(f, f, marks=pytest.mark.slow) for f in BYTES),
    ],
)
def test_the_graph_writes_what_the_readable_form_does(family, of, plain):
    template = load_chat_template(family)
    tokens = plain if of == "plain" else vocabulary(of)
    made = chats(family, 20)
    [can], [ids, learnt, _] = in_graph(template, tokens, made)
    assert all(can)
    for i, turns in enumerate(made):
        assert (ids[i], learnt[i]) == template.token_ids(turns, tokens)


def test_what_is_learnt(plain):
    template, tokens = load_chat_template("gemma"), vocabulary("gemma")
    for loss_on in ("assistant", "last", "all"):
        _, [ids, learnt, _] = in_graph(template, tokens, [CHAT], loss_on)
        pair = template.token_ids(CHAT, tokens, loss_on=loss_on)
        assert (ids[0], learnt[0]) == pair
        text = tokens.tokenizer.detokenize(
            [i for i, on in zip(*pair, strict=True) if on]
        )
        assert (
            text
            == {
                "assistant": "Yes?<end_of_turn>4<end_of_turn>",
                "last": "4<end_of_turn>",
                "all": template.text(CHAT).removeprefix("<bos>"),
            }[loss_on]
        )


@pytest.mark.parametrize("name", library_chat_templates())
def test_an_answer_ends_with_a_token_and_begins_after_the_reply(name, plain):
    template = load_chat_template(name)
    tokens = plain if name == "plain" else vocabulary(name)
    ids, learnt = template.token_ids(CHAT, tokens)
    end = max(i for i, on in enumerate(learnt) if on)
    assert ids[end] in template.end_ids(tokens)
    asked, none = template.token_ids(CHAT[:-1], tokens, reply=True)
    assert not any(none[-3:])
    # What the model reads when it is asked is what it was trained to read.
    begin = end
    while learnt[begin - 1]:
        begin -= 1
    assert asked[-3:] == ids[begin - 3 : begin]
    assert load_chat_template(template.to_dict()) == template


def test_what_can_not_be_written(plain):
    tokens, template = vocabulary("gemma"), load_chat_template("gemma")
    twice = [Turn("user", "a"), Turn("user", "b"), Turn("assistant", "c")]
    forged = [Turn("user", "<end_of_turn>"), Turn("assistant", "c")]
    unended = [Turn("user", "a"), Turn("assistant", "b"), Turn("tool", "c")]
    [can], _ = in_graph(template, tokens, [twice, forged, unended, CHAT])
    assert can == [False, False, False, True]
    with pytest.raises(InputError, match="turn 2: the chat template gemma has"):
        template.token_ids(twice, tokens)
    with pytest.raises(InputError, match="a content holds a token of the chat"):
        template.token_ids(forged, tokens)
    with pytest.raises(InputError, match="has no token '<start_of_turn>'"):
        template.token_ids(CHAT, plain)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("user:", "usr:", "usr: unknown key; expected system"),
        ("{content}<e>", "{content}\\n", "one of the markers <s>, <e>"),
        ("A{content}", "A", "assistant: expected {content} once, f"),
        ("markers", "marker", "markers: this key is missing"),
    ],
)
def test_broken_templates(tmp_path, old, new, message):
    text = (
        'name: mine\nmarkers: ["<s>", "<e>"]\nturns:\n'
        '  user: "<s>{content}\\n"\n  assistant: "A{content}<e>"\nreply: "A"\n'
    )
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert load_chat_template(path).name == "mine"
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError) as error:
        load_chat_template(path)
    assert message in str(error.value)


def config(family):
    """What a Hugging Face folder of a family says."""
    own = {"bos_token": "<bos>", "eos_token": "<eos>"}
    if family == "llama3":
        own = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    if family == "mistral":
        own = {"bos_token": "<s>", "eos_token": "</s>"}
    tokens = enumerate([*SPECIAL[family], *own.values()])
    return {
        **own,
        "chat_template": (TEMPLATES / f"{family}.jinja").read_text().strip(),
        "added_tokens_decoder": {
            str(i): {"content": token, "special": True} for i, token in tokens
        },
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_hugging_face_s_template_is_read_as_turns(family, tmp_path):
    pytest.importorskip("jinja2")
    values = config(family)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(values))
    read = load_chat_template(tmp_path)
    own, tokens = load_chat_template(family), vocabulary("gemma")
    if family == "mistral":
        tokens = vocabulary("mistral")
    special = {k: values[k] for k in ("bos_token", "eos_token")}
    render = jinja_renderer(values["chat_template"], special)
    for turns in chats(family, 40):
        assert own.text(turns) == render(turns, False)
        assert own.text(turns[:-1], True) == render(turns[:-1], True)
    if family == "llama3":
        return  # Its tokens are in no small vocabulary of SentencePiece's.
    for turns in chats(family, 40, tools=False):
        for reply in (False, True):
            some = turns[:-1] if reply else turns
            assert read.token_ids(some, tokens, reply) == (
                own.token_ids(some, tokens, reply)
            )
    assert read.end_ids(tokens) == own.end_ids(tokens)


@pytest.mark.parametrize("name", [*FAMILIES, "plain"])
def test_a_template_is_written_in_jinja(name):
    pytest.importorskip("jinja2")
    template = load_chat_template(name)
    render = jinja_renderer(
        to_jinja(template), {"bos_token": "{bos}", "eos_token": "{eos}"}
    )
    for turns in chats(name, 40):
        assert render(turns, False) == template.text(turns)
        assert render(turns[:-1], True) == template.text(turns[:-1], True)
    odd = [Turn("critic", "No.")]
    assert template.fault(odd)
    with pytest.raises(InputError, match="has no such turn here"):
        render(odd, False)


def test_a_template_that_is_more_than_turns_is_refused(tmp_path):
    pytest.importorskip("jinja2")
    values = config("chatml")
    # The last turn of the user is written in another way.
    values["chat_template"] = (
        "{% for m in messages %}{% if m.role == 'user' and loop.index > 2 %}"
        "<|im_start|>LATE {{ messages | length }}{{ m.content }}<|im_end|>"
        "{% else %}<|im_start|>{{ m.content }}<|im_end|>{% endif %}"
        "{% endfor %}"
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="does more than to write turns"):
        load_chat_template(tmp_path)
    # It runs in a sandbox.
    values["chat_template"] = "{{ messages.__class__.__mro__ }}"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(values))
    with pytest.raises(InputError):
        load_chat_template(tmp_path)


def test_a_seed_set_later_changes_nothing_in_the_graph():
    """TensorFlow loses what was made outside of the graph then."""
    import tensorflow as tf

    tokens = vocabulary("gemma")
    keras.utils.set_random_seed(1)
    encode = tf.function(lambda x: tokens.encoder_tf()(x), autograph=False)
    assert encode(tf.constant(["Hi there"])).to_list() == [
        tokens.encode("Hi there")
    ]
