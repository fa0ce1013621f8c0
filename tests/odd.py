"""A task of two hundred rows, its mixture and its vocabulary."""

from keras_flan.data import Example, train_vocabulary, write_records


def write_odd(folder, one_row=False):
    """Writes `odd/`, `odd.yaml` and `v.model`; returns the examples.

    Args:
        folder: Where to.
        one_row: Whether the mixture has a task of a single row too.
    """
    examples = [
        Example(
            {"question": f"is {i} odd?", "answer": str(i % 2)}, "odd", str(i)
        )
        for i in range(200)
    ]
    tasks = {"odd": examples, **({"one_row": examples[:1]} if one_row else {})}
    for name, some in tasks.items():
        write_records(some, folder / name, name=name, templates="generic")
    (folder / "odd.yaml").write_text(
        f"name: odd\nrecords: .\ngroups: {{all: {{tasks: [{', '.join(tasks)}], "
        "formats: {zero_shot_direct: 1}}}\n"
    )
    texts = [text for e in examples for text in e.fields.values()] * 9
    train_vocabulary(texts, 276, folder / "v.model")
    return examples
