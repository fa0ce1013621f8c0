"""The pages of `docs/reference`, as Markdown, and the schemas beside them."""

import dataclasses
import json
from collections.abc import Iterator, Sequence

from keras_flan.reference.docstrings import field_texts, summary
from keras_flan.reference.examples import commented, in_yaml
from keras_flan.reference.files import ConfigFile
from keras_flan.reference.schemas import Schema, json_schema
from keras_flan.reference.words import Defs, inner_of, text_of, words_of

_MADE = (
    "<!-- Made from the docstrings by `python -m keras_flan.reference "
    "docs/reference`; change those. -->"
)
_TITLES = {
    ConfigFile.train: "A training run",
    ConfigFile.mixture: "A mixture",
    ConfigFile.template: "A template family",
    ConfigFile.protocol: "A protocol of a benchmark",
}
_TABLE = ("| key | what it is | value | default |", "|---|---|---|---|")


def reference_files() -> dict[str, str]:
    """Returns the text of each file of `docs/reference`, by name.

    Example:
        >>> sorted(reference_files())[:2]
        ['mixture.md', 'mixture.schema.json']
    """
    files = {"records.md": _records_page()}
    for file in ConfigFile:
        schema = json_schema(file)
        text = json.dumps(schema, indent=1, ensure_ascii=False)
        files[f"{file}.schema.json"] = text + "\n"
        files[f"{file}.md"] = _page(file, schema)
    return files


def _page(file: ConfigFile, schema: Schema) -> str:
    defs = schema.get("$defs", {})
    parts = [
        f"# {_TITLES[file]}: `{file}.yaml`",
        _MADE,
        schema["description"],
        f"`keras-flan config {file}` prints the file below, with every key and "
        f"its default. For editors there is [a JSON schema]({file}.schema.json)"
        f" (`keras-flan config {file} --schema`).",
        "\n".join([*_TABLE, *_rows(schema, defs)]),
    ]
    for inner in _inside(schema, defs):
        parts += [f"## {inner['title']}", inner["description"]]
        parts.append("\n".join([*_TABLE, *_rows(inner, defs)]))
    parts += ["## All of it", f"```yaml\n{commented(file)}```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _inside(schema: Schema, defs: Defs) -> list[Schema]:
    """Returns the objects that a file holds, in the order of its keys."""
    found: dict[str, Schema] = {}

    def walk(part: Schema) -> None:
        for key in part["properties"].values():
            _, inner = inner_of(key, defs)
            if inner is not None and inner["title"] not in found:
                found[inner["title"]] = inner
                walk(inner)

    walk(schema)
    return list(found.values())


def _rows(part: Schema, defs: Defs) -> Iterator[str]:
    required = part.get("required", ())
    for name, key in part["properties"].items():
        default = "" if name in required else f"`{in_yaml(key.get('default'))}`"
        _, inner = inner_of(key, defs)
        if inner is not None and key.get("default"):
            default = "see there"
        cells = (text_of(key, defs), words_of(key, defs), default)
        yield _row(f"`{name}`", *cells)


def _row(*cells: str) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def _records_page() -> str:
    from keras_flan.data.records.example import Example
    from keras_flan.data.records.info import INFO_FILE, RecordInfo, Shard
    from keras_flan.data.records.turns import Turn
    from keras_flan.data.records.writing import REJECTS_FILE

    parts = [
        "# Records",
        _MADE,
        "A task on disk is a folder: TFRecord files of `tf.train.Example`s, "
        f"`{INFO_FILE}` with the facts below, and `{REJECTS_FILE}` with the "
        "rows that could not be used, if there were any. `keras-flan import` "
        "writes it, or `keras_flan.data.write_records`; the digest of each "
        "file is checked when it is read.",
    ]
    for title, owner, names in (
        ("An example", Example, _names(Example)),
        ("A turn of a conversation", Turn, Turn._fields),
        (f"`{INFO_FILE}`", RecordInfo, _names(RecordInfo)),
        ("A shard", Shard, _names(Shard)),
    ):
        texts = field_texts(owner)
        rows = [_row(f"`{name}`", texts.get(name, "")) for name in names]
        about = summary(owner)
        table = ["| key | what it is |", "|---|---|", *rows]
        parts += [f"## {title}", about, "\n".join(table)]
    return "\n\n".join(parts) + "\n"


def _names(owner: type) -> Sequence[str]:
    return [field.name for field in dataclasses.fields(owner)]
