"""One offline HTML page that shows what a mixture holds."""

import os
from collections.abc import Iterator, Mapping, Sequence

from keras_flan.data.analysis.contamination import check_contamination
from keras_flan.data.analysis.fates import fates_card
from keras_flan.data.analysis.statistics import measure_stages
from keras_flan.data.mixtures.inspection import inspect
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.settings import KEEP_WHOLE, Long
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.pages import html as page

# Chance alone takes a share further off than this 3 times in 1,000.
_STANDARD_ERRORS = 3
# What is trained may be so many points off.
POINTS = 2
# A longer table of tasks is folded up.
_SHORT_TABLE = 12


def write_mixture_report(
    path: str | os.PathLike,
    mixture: Mixture,
    vocabulary: Vocabulary | None = None,
    *,
    input_length: int = 1024,
    target_length: int = 256,
    samples: int = 10,
    seed: int = 0,
    against: str | os.PathLike | None = None,
    long: Long | Mapping[str, str] = KEEP_WHOLE,
) -> dict:
    """Writes a self-contained page: no scripts, no fonts, no network.

    Args:
        path: The `.html` file to write, atomically.
        mixture: The mixture.
        vocabulary: As for `measure_mixture`; with one, the page also says
            how full packed rows are, and how much is trimmed.
        input_length: Tokens of a row for the inputs.
        target_length: Tokens of a row for the targets.
        samples: Prompts shown of each group.
        seed: Seeds everything that is random.
        against: A benchmark's file or folder, of which the page then says
            whether its texts are in the records.
        long: What is done about texts that are too long, see `Long`.

    Returns:
        What `measure_stages` returned. With `against`, `contamination` has what
        `check_contamination` returned.

    Example:
        >>> mixture = Mixture.from_yaml("cot.yaml")
        >>> found = write_mixture_report("cot.html", mixture, vocabulary)
        >>> found["fill"]
        {'inputs': 0.587, 'targets': 0.998}
    """
    realised = measure_stages(
        mixture,
        vocabulary,
        input_length=input_length,
        target_length=target_length,
        seed=seed,
        long=long,
    )
    stages = realised.get("stages", [realised])
    parts = [
        part
        for stage, found in zip(mixture.stages, stages, strict=True)
        for part in _stage(stage, found, samples, seed)
    ]
    if against is not None:
        leaks = check_contamination(mixture, against)
        realised["contamination"] = leaks
        parts.append(page.card("Contamination", _contamination(leaks)))
    parts.append(_settings(mixture, stages[0], vocabulary))
    page.write(path, mixture.name, parts)
    return realised


def _settings(
    mixture: Mixture, found: dict, vocabulary: Vocabulary | None
) -> str:
    settings = {"seed": found["seed"], "shots": mixture.shots}
    if vocabulary:
        for side in ("input", "target"):
            limit = found["lengths"][f"{side}s"]["limit"]
            settings[f"{side} length"] = f"{limit:,} tokens"
        known = f"{vocabulary.path}, {vocabulary.size:,} pieces"
        settings["vocabulary"] = known
    return page.card("Settings", page.pairs(settings))


def _stage(
    mixture: Mixture, found: dict, samples: int, seed: int
) -> Iterator[str]:
    """Yields the parts of the page about one stage of the mixture."""
    yield page.heading(mixture.name, _lead(found))
    yield page.tiles(_tiles(found))
    yield fates_card(found)
    yield page.card(
        "Sub-mixtures",
        _shares(found["groups"], found["draws"]) + _skipped(mixture),
    )
    formats = [
        row | {"name": row["name"].replace("_", " ")}
        for row in found["formats"]
    ]
    languages = _languages(found["languages"], found["scripts"])
    yield page.pair(
        page.card("Formats", _shares(formats, found["examples"])),
        page.card("Languages", languages),
        page.card("Lengths of inputs", _lengths(found, "inputs")),
        page.card("Lengths of targets", _lengths(found, "targets")),
    )
    yield page.card("Tasks", _tasks(found))
    for group in mixture.groups:
        rows = inspect(mixture, samples, seed=seed, group=group.name)
        yield _samples(group.name, rows)


def _percent(share: float) -> str:
    return page.percent(share, 2)


def untrue(rows: Sequence[Mapping]) -> list[Mapping]:
    """Returns the rows of which what is trained is too far off."""
    return [
        row for row in rows if 100 * abs(row["trained"] - row["share"]) > POINTS
    ]


def _within(rows: Sequence[Mapping]) -> list[bool]:
    return [abs(row["off"]) <= _STANDARD_ERRORS for row in rows]


def _lead(found: dict) -> str:
    return (
        f"Counted on {found['draws']:,} draws of the input pipeline, of which "
        f"the first {found['examples']:,} were rendered as training renders "
        "them."
    )


def _tiles(found: dict) -> Iterator[tuple[str, str, str]]:
    right = _within(found["groups"])
    yield (
        "Proportions",
        f"{sum(right)} of {len(right)}",
        f"within {_STANDARD_ERRORS} standard errors of the stated ones",
    )
    compared = [*found["groups"], *found["formats"], *found["tasks"]]
    wrong = len(untrue(compared))
    yield (
        "Trained as stated",
        f"{len(compared) - wrong} of {len(compared)}"
        if not wrong
        else _red(f"{len(compared) - wrong} of {len(compared)}"),
        f"groups, formats and tasks within {POINTS} points",
    )
    yield (
        "Tasks",
        f"{len(found['tasks']):,}",
        f"in {len(right)} sub-mixture" + ("s" if len(right) > 1 else ""),
    )
    lengths = found["lengths"]
    if not found["fill"]:
        for side in lengths:
            yield (
                f"Mean of {side}",
                f"{lengths[side]['mean']:,.0f}",
                found["unit"],
            )
        return
    first, second = sorted(found["fill"], key=found["fill"].get, reverse=True)
    yield (
        "Fill of packed rows",
        page.percent(found["fill"][first]),
        f"of the {first}, which bind; "
        f"{page.percent(found['fill'][second])} of the {second}; rows of "
        f"{found['balanced']['inputs']:,} + {found['balanced']['targets']:,} "
        "would be about full on both sides",
    )
    yield (
        "Inputs longer than a row",
        _percent(lengths["inputs"]["trimmed"]),
        f"of targets: {_percent(lengths['targets']['trimmed'])}; left out: "
        f"{_percent(found['left_out'])} of the examples",
    )


def _shares(rows: Sequence[Mapping], number: int) -> str:
    """Stated and realised shares, and how far they are apart."""
    cells = [
        (
            page.text(row["name"]),
            _percent(row["share"]),
            _percent(row["realised"]) + page.bar(row["realised"]),
            f"{row['off']:+.1f} {'✓' if right else '✗'}",
            _trained(row),
        )
        for row, right in zip(rows, _within(rows), strict=True)
    ]
    header = ("", "Stated", "Realised", "Off", "Trained")
    return page.table(header, cells) + page.note(
        f"Realised in {number:,} draws. Off: in standard errors; up to "
        f"{_STANDARD_ERRORS} is what chance does (✓). Trained: of the examples "
        f"that are not left out; ✗ if it is more than {POINTS} points from "
        "what is stated."
    )


def _trained(row: Mapping) -> str:
    shown = _percent(row["trained"])
    return _red(f"{shown} ✗") if untrue([row]) else f"{shown} ✓"


def _red(content: str) -> str:
    return f'<span class="wrong">{content}</span>'


def _skipped(mixture: Mixture) -> str:
    """What the proportions were meant to be, if tasks have no records."""
    groups = mixture.summary()["groups"]
    if not any(group.get("skipped") for group in groups):
        return ""
    cells = [
        (
            page.text(group["name"]),
            "" if group["stated"] is None else _percent(group["stated"]),
            _percent(group["proportion"]),
            f"{len(group['skipped']):,}",
        )
        for group in groups
    ]
    header = ("Tasks without records", "Meant", "Became", "Skipped")
    return page.table(header, cells)


def _languages(languages: Sequence[Mapping], scripts: Sequence[Mapping]) -> str:
    """What the tasks state, and what the letters of the texts show."""
    stated = page.table(
        ("", "Stated", "Draws", "Trained", *_CUT), map(_language, languages)
    )
    looked = page.table(("Script", "Examples"), map(_share, scripts))
    return (
        page.folded(
            f"Languages, or pairs, that the tasks state: {len(languages)}",
            stated,
            len(languages) <= _SHORT_TABLE,
        )
        + looked
        + page.note(
            "Stated by the task's file or the registry. Tokens per word "
            "(scripts with blanks only) and per character, and the share of "
            "unknown tokens, are of texts as they are in the records. The "
            "script is that of most letters in the texts of a record, without "
            "the template: a simple look at the letters, which does not tell "
            "English from French."
        )
    )


# Columns that a vocabulary fills.
_CUT = ("Tokens per word", "Per character", "Unknown")


def _language(row: Mapping) -> tuple[str, ...]:
    measured = row.get("fertility")
    cut = [""] * len(_CUT)
    if measured:
        words = measured["tokens_per_word"]
        cut = [
            "" if words is None else f"{words:.2f}",
            f"{measured['tokens_per_character']:.2f}",
            _percent(measured["unknown"]),
        ]
    shares = [_percent(row[key]) for key in ("stated", "share", "trained")]
    return (page.text(row["name"]), *shares, *cut)


def _share(row: Mapping) -> tuple[str, str]:
    return (
        page.text(row["name"]),
        _percent(row["share"]) + page.bar(row["share"]),
    )


def _lengths(found: dict, side: str) -> str:
    """A histogram with steps of a doubling."""
    lengths = found["lengths"][side]
    most = max(share for _, share in lengths["histogram"]) or 1
    cells, begin = [], 0
    for end, share in lengths["histogram"]:
        bar = page.bar(share / most, "quiet" if share == 0 else "")
        cells.append((f"{begin:,} to {end:,}", _percent(share) + bar))
        begin = end + 1
    note = (
        f"Mean {lengths['mean']:,.0f}, longest {lengths['longest']:,} "
        f"{found['unit']}, before anything is cut."
    )
    if lengths["limit"]:
        note += (
            f" A row holds {lengths['limit']:,}; "
            f"{_percent(lengths['trimmed'])} are longer."
        )
    else:
        note += " Give a vocabulary to see tokens, fill, and what is left out."
    header = (found["unit"].capitalize(), "Examples")
    return page.table(header, cells) + page.note(note)


def _tasks(found: dict) -> str:
    rows = sorted(found["tasks"], key=lambda row: -row["share"])
    cells = [
        (
            f"{page.text(row['name'])} "
            f'<span class="id">{page.text(row["group"])}</span>',
            _percent(row["share"]),
            _percent(row["realised"]),
            f"{row['off']:+.1f}",
            _trained(row),
        )
        for row in rows
    ]
    table = page.table(("", "Stated", "Realised", "Off", "Trained"), cells)
    right = sum(_within(rows))
    summary = (
        f"{right:,} of {len(rows):,} tasks are within {_STANDARD_ERRORS} "
        "standard errors"
    )
    return page.folded(summary, table, len(rows) <= _SHORT_TABLE)


def _contamination(leaks: dict) -> str:
    """Which tasks and which of the benchmark's files share texts."""
    benchmark, kinds = leaks["benchmark"], ("overlapping", "near_duplicates")
    tables = []
    for title, rows, name in (
        ("Tasks", leaks["mixture"]["tasks"], "name"),
        ("Files of the benchmark", benchmark["files"], "file"),
    ):
        cells = [
            (
                page.text(row[name]),
                f"{row['examples']:,}",
                *(f"{row[kind]:,}" for kind in kinds),
            )
            for row in rows
            if any(row[kind] for kind in kinds)
        ]
        header = (title, "Examples", f"{leaks['ngram']} words", "Alike")
        tables.append(page.table(header, cells) if cells else "")
    pairs = [
        (
            f"{page.text(pair['task'])} #{pair['index']}<br>"
            f'<span class="id">{page.text(pair["benchmark"])}</span>',
            page.text(pair.get("words") or pair["text"]),
        )
        for pair in leaks["found"]
    ]
    note = page.note(
        f"{benchmark['overlapping']:,} of the "
        f"{benchmark['compared']:,} examples of {page.text(leaks['against'])} "
        f"with {leaks['ngram']} words in a row share such a run with a record "
        f"of the mixture; {benchmark['near_duplicates']:,} of "
        f"{benchmark['examples']:,} have a near-duplicate there (Jaccard "
        f"similarity {leaks['alike']} or more)."
    )
    if not pairs:
        return note
    shown = page.table(("Record and example", "What they share"), pairs)
    return (
        note
        + "".join(tables)
        + page.folded(f"{len(pairs)} of the pairs", shown)
    )


def _samples(name: str, rows: Sequence[Mapping]) -> str:
    samples = "\n".join(
        page.folded(
            f'<span class="task">{page.text(row["task"])}</span> '
            f'<span class="id">#{row["index"]}, '
            f"{page.text(row['format']).replace('_', ' ')}, template "
            f"{row['template']}</span>",
            f'<div class="split"><div>{page.prompt(row["inputs"])}</div>'
            f'<div><h3>Target</h3><div class="prompt"><pre>'
            f"{page.text(row['targets'])}</pre></div></div></div>",
            is_open=number == 0,
        )
        for number, row in enumerate(rows)
    )
    title = f"{page.text(name)}: {len(rows)} draws"
    return page.card(title, samples)
