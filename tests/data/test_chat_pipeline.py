import pytest

from keras_flan.data.importers import import_file
from keras_flan.data.mixtures.groups import MixtureGroup
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.pipeline import Pipeline
from keras_flan.data.records.example import Example
from keras_flan.data.records.turns import Turn
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.chat_files import load_chat_template
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError
from tests.data.chats import chats, vocabulary

TOKENS = vocabulary("gemma")
TEMPLATE = load_chat_template("gemma")


def folder_of(conversations, folder, name="chats"):
    examples = [
        Example({"question": "q", "answer": "a"}, name, str(i), tuple(turns))
        for i, turns in enumerate(conversations)
    ]
    write_records(
        examples,
        folder,
        name=name,
        templates="conversation",
        extra={"record_type": "conversation"},
    )
    return Task.from_directory(folder)


def pipeline(tasks, **settings):
    values = {
        "input_length": 96,
        "target_length": 64,
        "batch_size": 2,
        "decoder_only": True,
        "chat": "gemma",
        "repeat": False,
        **settings,
    }
    mixture = Mixture("m", [MixtureGroup("all", tasks)], shots=0)
    return Pipeline(mixture, TOKENS, **values)


def rows_of(made):
    """Returns token ids (without the last), and weights, of each segment."""
    found = []
    for x, y, weight in made.dataset().as_numpy_iterator():
        x = {**x, "y": y, "weight": weight}
        for row in range(len(y)):
            for segment in range(1, x["segment_ids"][row].max() + 1):
                inside = x["segment_ids"][row] == segment
                part = {k: v[row][inside].tolist() for k, v in x.items()}
                # A segment is one conversation, read whole.
                assert part["token_ids"][1:] == part["y"][:-1]
                found.append(part)
    return found


def test_conversations_are_packed_whole_with_the_assistant_s_weights(tmp_path):
    made = chats("gemma", 30, tools=False)
    batches = pipeline([folder_of(made, tmp_path)])
    rows = rows_of(batches)
    expected = [TEMPLATE.token_ids(turns, TOKENS) for turns in made]
    short = [pair for pair in expected if len(pair[0]) <= 161]
    assert len(short) > 10
    seen = {(*r["token_ids"], r["y"][-1]): r["weight"] for r in rows}
    for ids, learnt in short:
        assert seen.get(tuple(ids)) in (learnt[1:], None)
    whole = {tuple(ids) for ids, _ in short}
    assert len(whole & set(seen)) == len({*seen}) - sum(
        ids not in whole for ids in seen
    )
    # 30 rows are three rounds of ten templates; none is lost here.
    cuts = batches.cuts()
    assert cuts["examples"] == 30
    assert len(rows) == 30 - cuts["left_out"]
    assert cuts["inputs"] == sum(ids not in whole for ids in seen)
    for ids in seen:
        text = TOKENS.tokenizer.detokenize(list(ids))
        assert text.rstrip("\n").endswith("<end_of_turn>")


def test_a_conversation_that_is_too_long_loses_whole_turns(tmp_path):
    turns = [Turn("user", "4"), Turn("assistant", "4")]
    late = [Turn("user", "4" * 60), Turn("assistant", "4" * 60)]
    first, last = [*turns, *turns, *late], [*late, *turns]
    task = folder_of([first, last] * 10, tmp_path)
    batches = pipeline([task], input_length=48, target_length=16)
    rows = rows_of(batches)
    ids, learnt = TEMPLATE.token_ids([*turns, *turns], TOKENS)
    # Up to the end of the last answer that is there.
    assert {tuple(row["token_ids"]) for row in rows} == {tuple(ids[:-2])}
    assert rows[0]["weight"] == learnt[1:-1]
    assert batches.cuts() == {
        **{"examples": 20, "left_out": 10, "inputs": 10, "targets": 0}
    }
    with pytest.raises(InputError, match=r"used: 20 of 20 .* no answer fits"):
        pipeline([task], input_length=4, target_length=4)


def test_other_tasks_are_a_turn_each(tmp_path):
    (tmp_path / "sums.csv").write_text(
        "question,answer\n" + "".join(f"{i} + 1?,{i + 1}\n" for i in range(10))
    )
    import_file(
        *("csv", tmp_path / "sums.csv", tmp_path / "sums"), templates="generic"
    )
    sums = Task.from_directory(tmp_path / "sums")
    rows = rows_of(
        pipeline([sums, folder_of(chats("gemma", 10), tmp_path / "chats")])
    )
    texts = [TOKENS.tokenizer.detokenize(row["token_ids"]) for row in rows]
    [asked] = [text for text in texts if "Q: 1 + 1?\nA:" in text]
    assert asked == (
        "<start_of_turn>user\nQ: 1 + 1?\nA:<end_of_turn>\n"
        "<start_of_turn>model\n2<end_of_turn>"
    )
    mixture = Mixture("m", [MixtureGroup("all", [sums])], shots=1)
    settings = {"input_length": 64, "target_length": 64, "batch_size": 1}
    with pytest.raises(InputError, match="set `shots: 0`"):
        Pipeline(mixture, TOKENS, **settings, decoder_only=True, chat="gemma")
    with pytest.raises(InputError, match="only decoder-only models"):
        Pipeline(mixture, TOKENS, **settings, chat="gemma")
