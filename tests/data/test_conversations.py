import json

import pytest

from keras_flan.data.records.shards import read_records
from keras_flan.data.templates.prompts import render_prompt
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError

SYSTEM = {"role": "system", "content": "Be short."}
USER = {"role": "user", "content": "What is 2 + 2?"}
ASSISTANT = {"role": "assistant", "content": "4"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"function": {"name": "add", "arguments": '{"a": 2, "b": 2.50}'}}
    ],
}
TOOL = {"role": "tool", "tool_call_id": "1", "content": "4.5"}
CALLED = (
    '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 2.5}}\n'
    "</tool_call>"
)
PARTS = {"role": "user", "content": [{"text": "Hi"}]}


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def turns(folder):
    return [[tuple(t) for t in e.turns] for e in read_records(folder)]


def test_messages(imported, tmp_path):
    rows = [
        {"messages": [SYSTEM, USER, ASSISTANT]},
        {"messages": [USER, CALL, TOOL, ASSISTANT, USER], "tools": []},
        {
            "messages": [
                {"role": "user", "content": [{"text": "Hi"}]},
                ASSISTANT,
            ]
        },
    ]
    info, fields, reasons = imported("messages", "chat.jsonl", lines(*rows))
    assert info["templates"] == "conversation" and not reasons
    assert info["record_type"] == "conversation"
    assert turns(tmp_path / "out") == [
        [
            ("system", "Be short."),
            ("user", "What is 2 + 2?"),
            ("assistant", "4"),
        ],
        [
            ("user", "What is 2 + 2?"),
            ("assistant", CALLED),
            ("tool", "4.5"),
            ("assistant", "4"),
            # What has no answer yet is kept.
            ("user", "What is 2 + 2?"),
        ],
        [("user", "Hi"), ("assistant", "4")],
    ]
    # The system never becomes the question, nor the user the answer.
    assert fields == [
        {"question": "Be short.\n\nWhat is 2 + 2?", "answer": "4"},
        {
            "question": f"User: What is 2 + 2?\nAssistant: {CALLED}\nTool: 4.5",
            "answer": "4",
        },
        {"question": "Hi", "answer": "4"},
    ]
    task = Task.from_directory(tmp_path / "out")
    example = next(task.read())
    prompt = render_prompt(task, example, "zero_shot_direct", 0)
    assert prompt.inputs == "Be short.\n\nWhat is 2 + 2?"
    assert prompt.targets == "4"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (3, "messages: expected a list of messages, found 3"),
        ([], "messages: no turns of a user"),
        ([USER], "messages: no turn of the assistant"),
        ([ASSISTANT], "messages: turn 1: expected the user, found the assi"),
        ([USER, SYSTEM, ASSISTANT], "messages: turn 2: expected a system turn"),
        ([{"role": "bot", "content": "x"}], r"messages\[0\].role: expected"),
        ([{"content": "x"}], r"messages\[0\]: no 'role' \(or 'from'\), found"),
        ([USER, {"role": "assistant"}], r"messages\[1\].content: the text is"),
        ([{**USER, "content": 3}], r"messages\[0\].content: expected a text"),
        (
            [{**USER, "content": [{"type": "image_url"}]}, ASSISTANT],
            r"content\[0\]: expected a part of text, found 'image_url'",
        ),
        ([USER, {**ASSISTANT, "weight": 0}], r"messages\[1\].weight: found 0"),
        (
            [USER, {**CALL, "tool_calls": [{"function": {}}]}],
            r"messages\[1\].tool_calls\[0\]: expected a function with a name",
        ),
    ],
)
def test_bad_messages_name_file_row_and_field(imported, messages, reason):
    text = lines({"messages": messages})
    with pytest.raises(InputError, match=r"chat\.jsonl:1: .*" + reason):
        imported("messages", "chat.jsonl", text, strict=True)


def test_sharegpt(imported, tmp_path):
    rows = [
        {
            "id": "a",
            "system": "Be short.",
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello!"},
                {"from": "human", "value": "Bye"},
                {"from": "gpt", "value": "Bye."},
            ],
        },
        # Files of this kind often hold the rest of a long conversation.
        {"conversations": [{"from": "gpt", "value": "and so on"}]},
    ]
    _, fields, reasons = imported("sharegpt", "s.json", json.dumps(rows))
    assert reasons == [
        "conversations: turn 1: expected the user, found the assistant"
    ]
    [example] = read_records(tmp_path / "out")
    assert example.source_id == "a"
    assert [turn.role for turn in example.turns] == [
        *("system", "user", "assistant", "user", "assistant")
    ]
    assert fields[0]["question"] == (
        "Be short.\n\nUser: Hi\nAssistant: Hello!\nUser: Bye"
    )


def test_alpaca_keeps_its_input(imported, tmp_path):
    rows = [
        {"instruction": "Add.", "input": "2 and 3", "output": "5"},
        {"instruction": "Say hi.", "input": "", "output": "Hi."},
        {"instruction": "Say bye.", "output": "Bye.", "history": [["a", "b"]]},
        {"instruction": "Add.", "input": 3, "output": "5"},
        {"instruction": "Add.", "input": "3"},
    ]
    info, fields, reasons = imported("alpaca", "alpaca.json", json.dumps(rows))
    assert info["templates"] == "instruction"
    assert [row["question"] for row in fields] == [
        "Add.\n\n2 and 3",
        "Say hi.",
        "User: a\nAssistant: b\nUser: Say bye.",
    ]
    assert fields[0]["input"] == "2 and 3"
    assert turns(tmp_path / "out")[0][0] == ("user", "Add.\n\n2 and 3")
    assert reasons[0] == "input: expected a text, found 3"
    assert reasons[1].startswith("expected a text under 'output'")


def test_prompt_completion_and_columns(imported, tmp_path):
    rows = [
        {"q": "Hi", "completion": "Hello"},
        {"q": [SYSTEM, USER], "completion": [ASSISTANT]},
        {"question": "Hi", "completion": "Hello"},
    ]
    _, fields, reasons = imported(
        "prompt-completion", "p.jsonl", lines(*rows), columns={"prompt": "q"}
    )
    assert fields[0] == {"question": "Hi", "answer": "Hello"}
    assert turns(tmp_path / "out")[1][0] == ("system", "Be short.")
    assert reasons == ["no 'q'. Choose from: completion, question."]
    with pytest.raises(
        InputError, match=r"has no 'promt'\. Did you mean 'prom"
    ):
        imported("prompt-completion", "p", "", columns={"promt": "q"})


def test_preferences_are_kept_and_never_trained_by_chance(imported, tmp_path):
    better, worse = ASSISTANT, {**ASSISTANT, "content": "5"}
    rows = [
        {"prompt": "Hi", "chosen": "Hello", "rejected": "What?"},
        {"chosen": [USER, better], "rejected": [USER, worse]},
        {"prompt": "Hi", "chosen": "a", "rejected": "a"},
        {"chosen": [USER, better], "rejected": [worse]},
    ]
    info, fields, reasons = imported("preference", "p.jsonl", lines(*rows))
    assert info["record_type"] == "preference"
    assert fields == [
        {"question": "Hi", "chosen": "Hello", "rejected": "What?"},
        {"question": "What is 2 + 2?", "chosen": "4", "rejected": "5"},
    ]
    assert turns(tmp_path / "out") == [
        [("user", "Hi")],
        [("user", "What is 2 + 2?")],
    ]
    assert reasons == [
        "'chosen' and 'rejected' are the same",
        "chosen: no turns of a user",
    ]
    with pytest.raises(InputError, match="the records name no templates"):
        Task.from_directory(tmp_path / "out")
