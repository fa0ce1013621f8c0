import re
from collections import Counter

import numpy as np
import pytest

from keras_flan.data.mixtures.mixture import Mixture, MixtureGroup
from keras_flan.data.pipeline.exemplars import ExemplarPool
from keras_flan.data.pipeline.pipeline import Pipeline, build_dataset
from keras_flan.data.pipeline.settings import PipelineSettings
from keras_flan.data.pipeline.streams import Draws, split_keys
from keras_flan.data.records.example import Example
from keras_flan.data.records.shards import read_records
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.library import LIBRARY
from keras_flan.data.templates.prompts import Format, render_prompt
from keras_flan.data.templates.prompts_graph import PromptRenderer
from keras_flan.data.templates.task import Task
from keras_flan.data.vocabularies.training import (
    train_vocabulary,
    train_vocabulary_from,
)
from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import tf
from tests.data.batches import fill

ZERO_SHOT = {"zero_shot_direct": 1, "zero_shot_cot": 1}
FEW_SHOT = {"few_shot_direct": 1, "few_shot_cot": 1}
# Chunks are small, since the batches that are looked at are few.
SIZES = {
    "input_length": 128,
    "target_length": 64,
    "batch_size": 4,
    "chunk": 256,
}


def _write(directory, name, count, shards=1, words=1):
    """Records whose question names them: `<name-number>`."""
    examples = [
        Example(
            {
                "question": f"What is <{name}-{i}>" + " more" * (i % words),
                "answer": f"{name} {i * 7}",
                "rationale": f"It is {i} times 7." + " So." * (i % 5),
            },
            name,
            f"{name}:{i}",
        )
        for i in range(count)
    ]
    write_records(
        examples,
        directory / name,
        name=name,
        shards=shards,
        templates="generic",
    )
    return Task.from_directory(directory / name)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    directory = tmp_path_factory.mktemp("records")
    _write(directory, "sums", 60, shards=3, words=30)
    _write(directory, "words", 40)
    return directory


@pytest.fixture(scope="module")
def tasks(records):
    return {
        name: Task.from_directory(records / name) for name in ("sums", "words")
    }


@pytest.fixture(scope="module")
def vocabulary(records):
    words = (LIBRARY / "generic.yaml").read_text(encoding="utf-8")
    fields = [
        text
        for name in ("sums", "words")
        for example in read_records(records / name)
        for text in example.fields.values()
    ]
    return train_vocabulary([words, *fields], 400, records / "v.model")


def _mixture(tasks, formats, shots=3):
    return Mixture(
        "test",
        [MixtureGroup("all", list(tasks.values()), formats=formats)],
        shots,
    )


def _bytes(dataset, batches=6):
    return [
        np.asarray(array).tobytes()
        for batch in dataset.take(batches)
        for array in tf().nest.flatten(batch)
    ]


def _examples(dataset, vocabulary):
    """Yields the text of inputs and targets of every packed example."""
    for x, y, _ in dataset.as_numpy_iterator():
        for row in range(len(y)):
            for segment in range(1, x["decoder_segment_ids"][row].max() + 1):
                inputs = x["encoder_token_ids"][row][
                    x["encoder_segment_ids"][row] == segment
                ]
                targets = y[row][x["decoder_segment_ids"][row] == segment]
                for ids in (inputs, targets):
                    assert ids[-1] == vocabulary.eos_id
                    assert vocabulary.eos_id not in ids[:-1]
                yield vocabulary.decode(inputs), vocabulary.decode(targets)


def _marks(prompt):
    """The tasks and numbers of the questions in a prompt."""
    return [(t, int(i)) for t, i in re.findall(r"<(\w+)-(\d+)>", prompt)]


def _by_number(task):
    return dict(enumerate(task.read()))


def _is_endless(dataset):
    """Whether it tells `fit` so."""
    return int(dataset.cardinality()) == tf().data.INFINITE_CARDINALITY


def test_batches_have_fixed_shapes(tasks, vocabulary):
    dataset = build_dataset(_mixture(tasks, ZERO_SHOT), vocabulary, **SIZES)
    assert _is_endless(dataset)
    x, y, weight = dataset.element_spec
    shapes = {name: (tuple(s.shape), s.dtype.name) for name, s in x.items()}
    assert shapes == {
        "encoder_token_ids": ((4, 128), "int32"),
        "encoder_segment_ids": ((4, 128), "int32"),
        "decoder_token_ids": ((4, 64), "int32"),
        "decoder_segment_ids": ((4, 64), "int32"),
    }
    assert (tuple(y.shape), y.dtype.name) == ((4, 64), "int32")
    assert (tuple(weight.shape), weight.dtype.name) == ((4, 64), "float32")


@pytest.mark.parametrize("pack", [True, False])
def test_weights_segments_and_shift_agree(pack, tasks, vocabulary):
    dataset = build_dataset(
        _mixture(tasks, {**ZERO_SHOT, **FEW_SHOT}),
        vocabulary,
        pack=pack,
        **SIZES,
    )
    for x, y, weight in dataset.take(8).as_numpy_iterator():
        segments = x["decoder_segment_ids"]
        np.testing.assert_array_equal(weight, segments > 0)
        np.testing.assert_array_equal(y > 0, segments > 0)
        np.testing.assert_array_equal(
            x["encoder_token_ids"] > 0, x["encoder_segment_ids"] > 0
        )
        assert (
            x["encoder_segment_ids"].max(axis=1) == segments.max(axis=1)
        ).all()
        assert (segments.max(axis=1) > 1).any() == pack
        for row in range(len(y)):
            for segment in range(1, segments[row].max() + 1):
                inside = segments[row] == segment
                np.testing.assert_array_equal(
                    x["decoder_token_ids"][row][inside],
                    [0, *y[row][inside][:-1]],
                )


def test_two_builds_give_the_same_bytes(tasks, vocabulary):
    mixture = _mixture(tasks, {**ZERO_SHOT, **FEW_SHOT})
    sizes = {**SIZES, "chunk": 64}
    first = build_dataset(mixture, vocabulary, seed=3, **sizes)
    expected = _bytes(first)
    assert _bytes(first) == expected  # and so does a second pass
    tf().random.set_seed(99)
    again = build_dataset(mixture, vocabulary, seed=3, **sizes)
    options = tf().data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    assert _bytes(again.with_options(options)) == expected
    assert _bytes(build_dataset(mixture, vocabulary, seed=4, **sizes)) != (
        expected
    )


def test_closing_waits_for_no_thread_that_tunes(tasks, vocabulary):
    # One of twelve iterators that were closed after 30 s waited 18 s more.
    dataset = build_dataset(_mixture(tasks, ZERO_SHOT), vocabulary, **SIZES)
    assert not dataset.options().autotune.enabled


@pytest.mark.parametrize("pack", [True, False])
def test_every_example_comes_once(pack, tasks, vocabulary):
    dataset = build_dataset(
        _mixture(tasks, ZERO_SHOT),
        vocabulary,
        pack=pack,
        repeat=False,
        **{**SIZES, "chunk": 32},
    )
    expected = {}
    for task in tasks.values():
        for i, example in enumerate(task.read()):
            for format in ZERO_SHOT:
                prompt = render_prompt(task, example, format, i)
                key = (prompt.inputs, prompt.targets)
                expected[key] = (task.name, i)
    found = Counter(expected[pair] for pair in _examples(dataset, vocabulary))
    assert dict(found) == dict.fromkeys(expected.values(), 1)


def test_the_last_batch_is_filled_up_with_padding(tasks, vocabulary):
    dataset = build_dataset(
        _mixture(tasks, ZERO_SHOT),
        vocabulary,
        pack=False,
        repeat=False,
        **{**SIZES, "batch_size": 64},
    )
    assert not _is_endless(dataset)
    _, (x, y, weight) = dataset.as_numpy_iterator()
    assert y.shape == (64, 64)
    for array in (*x.values(), y, weight):
        assert array[:36].any()
        assert not array[36:].any()


def test_exemplars_are_others_of_the_same_task(tasks, vocabulary):
    dataset = build_dataset(
        _mixture(tasks, FEW_SHOT), vocabulary, **{**SIZES, "input_length": 256}
    )
    shown = Counter()
    for inputs, _ in _examples(dataset.take(40), vocabulary):
        *exemplars, query = _marks(inputs)
        assert len(exemplars) in (1, 2, 3)
        assert query not in exemplars
        assert len(set(exemplars)) == len(exemplars)
        assert {task for task, _ in exemplars} == {query[0]}
        shown.update(exemplars)
    assert len(shown) > 90


def test_exemplars_are_dropped_as_in_python(tasks, vocabulary):
    def prompts(input_length):
        dataset = build_dataset(
            _mixture({"sums": tasks["sums"]}, {"few_shot_cot": 1}),
            vocabulary,
            input_length=input_length,
            target_length=64,
            batch_size=4,
            repeat=False,
        )
        return {
            _marks(inputs)[-1][1]: (inputs, targets)
            for inputs, targets in _examples(dataset, vocabulary)
        }

    examples = _by_number(tasks["sums"])
    whole = prompts(600)
    assert len(whole) == 60
    counts = Counter()
    for limit in (125, 200):
        found = prompts(limit)
        for number, (inputs, _) in whole.items():
            exemplars = [examples[i] for _, i in _marks(inputs)[:-1]]
            prompt = render_prompt(
                tasks["sums"],
                examples[number],
                "few_shot_cot",
                number,
                exemplars,
                budget=limit - 1,
                length=lambda text: len(vocabulary.encode(text)),
            )
            counts[prompt.shots] += 1
            if prompt.shots:
                assert found[number] == (prompt.inputs, prompt.targets)
            else:
                assert number not in found
    assert counts.keys() == {0, 1, 2, 3}


def test_long_texts_are_trimmed_and_end(tasks, vocabulary):
    dataset = build_dataset(
        _mixture(tasks, ZERO_SHOT),
        vocabulary,
        input_length=8,
        target_length=4,
        batch_size=4,
        repeat=False,
        long={"inputs": "trim", "targets": "trim"},
    )
    count = 0
    for x, y, weight in dataset.as_numpy_iterator():
        for row in range(4):
            if weight[row].any():
                count += 1
                assert x["encoder_token_ids"][row][-1] == vocabulary.eos_id
                assert y[row][-1] == vocabulary.eos_id
    assert count == 100


def test_no_place_for_any_exemplar_is_an_error(tasks, vocabulary):
    with pytest.raises(
        InputError, match=r"no example can be used: 256 of 256 .* an exemplar"
    ):
        build_dataset(
            _mixture(tasks, FEW_SHOT),
            vocabulary,
            **{**SIZES, "input_length": 16},
        )


@pytest.mark.parametrize("name", ["input_length", "batch_size", "chunk"])
def test_a_size_that_is_too_small_is_an_error(name, tasks, vocabulary):
    sizes = {**SIZES, name: 0}
    with pytest.raises(InputError, match=f"{name}: expected at least"):
        build_dataset(_mixture(tasks, ZERO_SHOT), vocabulary, **sizes)


def test_settings_come_by_name_or_in_one_object(tasks, vocabulary):
    mixture = _mixture(tasks, ZERO_SHOT)
    settings = PipelineSettings(**SIZES, seed=3)
    one = build_dataset(mixture, vocabulary, settings, batch_size=2)
    other = build_dataset(
        mixture, vocabulary, seed=3, **{**SIZES, "batch_size": 2}
    )
    assert _bytes(one) == _bytes(other)
    for given in ({}, {"settings": settings}):
        with pytest.raises(InputError, match=r"setting 'chnk'.*'chunk'"):
            Pipeline(mixture, vocabulary, **given, chnk=7)
    with pytest.raises(InputError, match="hosts: expected at least 3, got 2"):
        PipelineSettings(**SIZES, host=2, hosts=2)


def test_the_buffer_of_earlier_versions_is_ignored_with_a_warning():
    with pytest.warns(FutureWarning, match="shuffle_buffer has no effect"):
        found = PipelineSettings.of(None, {**SIZES, "shuffle_buffer": 50})
    assert found == PipelineSettings(**SIZES)


def test_a_damaged_shard_is_named(tmp_path, vocabulary):
    task = _write(tmp_path, "sums", 20)
    (shard,) = task.directory.glob("*.tfrecord")
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(InputError, match=re.escape(shard.name)):
        build_dataset(_mixture({"sums": task}, ZERO_SHOT), vocabulary, **SIZES)


def test_a_flipped_bit_among_exemplars_is_named(tmp_path, vocabulary):
    task = _write(tmp_path, "sums", 20)
    (shard,) = task.directory.glob("*.tfrecord")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InputError, match=re.escape(shard.name)):
        build_dataset(_mixture({"sums": task}, FEW_SHOT), vocabulary, **SIZES)


def test_tasks_are_drawn_at_their_rates(tasks):
    mixture = Mixture(
        "test",
        [
            MixtureGroup("a", [tasks["sums"]], proportion=0.2),
            MixtureGroup("b", [tasks["words"]], proportion=0.8),
        ],
    )
    settings = PipelineSettings(**{**SIZES, "chunk": 4000})
    _, keys, _ = next(iter(Draws(mixture, settings).chunks()))
    task_ids, indices = (t.numpy() for t in split_keys(keys))
    assert np.mean(task_ids) == pytest.approx(0.8, abs=0.02)
    words = indices[task_ids == 1][:3200].reshape(80, 40)
    # Every pass shows each example once, in an order of its own.
    np.testing.assert_array_equal(
        np.sort(words[:70], axis=1), np.tile(np.arange(40), (70, 1))
    )
    assert len({row.tobytes() for row in words[:70]}) == 70


def test_formats_are_drawn_by_weight(tasks, vocabulary):
    formats = {"zero_shot_direct": 3, "zero_shot_cot": 1}
    dataset = build_dataset(_mixture(tasks, formats), vocabulary, **SIZES)
    targets = [t for _, t in _examples(dataset.take(60), vocabulary)]
    share = np.mean(["times" in target for target in targets])
    assert share == pytest.approx(0.25, abs=0.05)


def test_what_validates_is_never_seen_in_training(tasks, vocabulary):
    """Neither asked nor shown as an exemplar; it is asked once itself."""
    settings = {**SIZES, "validation": 0.3}
    mixture = _mixture(tasks, {"few_shot_direct": 1})
    apart = build_dataset(
        mixture, vocabulary, split="validation", repeat=False, **settings
    )
    asked = [_marks(text)[-1] for text, _ in _examples(apart, vocabulary)]
    assert len(asked) == len(set(asked)) > 10
    trained = build_dataset(mixture, vocabulary, **settings).take(20)
    seen = {
        mark
        for text, _ in _examples(trained, vocabulary)
        for mark in _marks(text)
    }
    assert len(seen) > 50 and not seen.intersection(asked)


@pytest.mark.parametrize("count", [2, 3, 200])
def test_pool_draws_without_replacement(count, tmp_path):
    task = _write(tmp_path, "sums", count)
    renderer = PromptRenderer([task, task])
    pool = ExemplarPool([None, task], renderer, seed=1)
    n = 3000
    asked = [example.fields for example in task.read()]
    fields = {
        name: tf().constant([asked[i % count][name] for i in range(n)])
        for name in renderer.field_names
    }
    ones = tf().ones([n], "int32")
    identities = renderer.identities(ones, fields)
    slots, shown = pool.draw(ones, identities, shots=3, seed=[1, 2])
    assert (shown.numpy() == min(3, count - 1)).all()
    texts = pool.values(slots)["question"].numpy().astype(str)
    seen = Counter()
    for i, row in enumerate(texts):
        drawn = [m for t in row[: shown[i]] for m in _marks(t)]
        assert len(set(drawn)) == len(drawn)
        assert ("sums", i % count) not in drawn
        seen.update(drawn)
    assert len(seen) == min(count, 128)
    assert max(seen.values()) < 2 * min(seen.values())


@pytest.mark.realdata
def test_real_chain_of_thought_mixture_fills_its_rows(realdata, tmp_path):
    from keras_flan.data.importers import import_file

    for source in sorted((realdata / "flan_cot").iterdir()):
        name = source.name.split("_")[0]
        import_file("flan-cot", source, tmp_path / name, limit=2000)
    tasks = {
        path.name: Task.from_directory(path)
        for path in sorted(tmp_path.iterdir())
    }
    assert len(tasks) == 7
    vocabulary = train_vocabulary_from([tmp_path], 4000, tmp_path / "v.model")
    dataset = build_dataset(
        _mixture(tasks, dict.fromkeys(Format, 1.0)),
        vocabulary,
        input_length=1024,
        target_length=256,
        batch_size=8,
    )
    assert fill(dataset.take(150))["inputs"] > 0.98


@pytest.mark.slow
def test_headers_options_and_templates_are_those_of_python(
    tmp_path, vocabulary
):
    fields = [
        {
            "definition": "Pick the colour <{}>.",
            "question": f"<colours-{i}>",
            "options": "red\nblue\ngreen",
            "answer": "ABC"[i % 3],
        }
        for i in range(12)
    ]
    family = tmp_path / "colours.yaml"
    family.write_text(
        """\
family: colours
fields: [definition, question, options, answer]
shots: 2
zero_shot_direct:
- {input: "{question}\\n{styled_options_}", target: "{styled_choice_}"}
few_shot_direct:
- {header: "{definition}\\n", input: "{question}", target: "{choice_}"}
- {header: "{definition}|", input: "Q {question}", target: "{choice_}"}
- {header: "{definition}.", input: "{question} ?", target: "{choice_}"}
"""
    )
    write_records(
        [Example(one, "colours") for one in fields],
        tmp_path / "colours",
        name="colours",
        templates=str(family),
        answer_kind="option",
    )
    task = Task.from_directory(tmp_path / "colours")
    examples = [Example(one, "colours") for one in fields]
    for format in ("zero_shot_direct", "few_shot_direct", "few_shot_mixed"):
        dataset = build_dataset(
            _mixture({"colours": task}, {format: 1}),
            vocabulary,
            input_length=400,
            target_length=64,
            batch_size=4,
            repeat=False,
            seed=7,
        )
        found = list(_examples(dataset, vocabulary))
        assert len(found) == 12
        for inputs, targets in found:
            *shown, number = [
                int(i) for i in re.findall(r"<colours-(\d+)>", inputs)
            ]
            prompt = render_prompt(
                task,
                examples[number],
                format,
                number,
                [examples[i] for i in shown],
                seed=7,
            )
            assert (inputs, targets) == (prompt.inputs, prompt.targets)
            assert number not in shown
            assert len(shown) == (2 if "few" in format else 0)


@pytest.mark.often
def test_what_does_not_fit_is_counted(tasks, vocabulary):
    sizes = {**SIZES, "input_length": 60, "target_length": 16}

    def made(**settings):
        pipeline = Pipeline(
            _mixture(tasks, {**ZERO_SHOT, **FEW_SHOT}),
            vocabulary,
            repeat=False,
            **{**sizes, **settings},
        )
        assert set(pipeline.cuts().values()) == {0}
        for _ in range(2):
            found = list(_examples(pipeline.dataset(), vocabulary))
            cuts = pipeline.cuts()
            assert cuts["examples"] == 100
            assert cuts["left_out"] == 100 - len(found)
        rows = pipeline.fates()
        assert {(row["task"], row["format"]) for row in rows} == {
            (task, format)
            for task in ("sums", "words")
            for format in (*ZERO_SHOT, *FEW_SHOT)
        }
        assert sum(row["left_out"] for row in rows) == cuts["left_out"]
        assert sum(row["trained"] for row in rows) == pytest.approx(1)
        return cuts, [target for _, target in found], pipeline

    whole, targets, _ = made(target_length=64)
    long = [t for t in targets if len(vocabulary.encode(t)) > 15]
    assert whole["left_out"] > 0 and long
    cut, trimmed, _ = made(long={"targets": "trim"})
    assert cut == {**whole, "targets": len(long)}
    assert len(set(trimmed) & set(long)) == 0
    # By default no target is cut.
    left, kept, pipeline = made()
    assert left["left_out"] == whole["left_out"] + len(long)
    assert Counter(kept) == Counter(targets) - Counter(long)
    exemplar, target, *_ = pipeline.advice("data.")
    assert "no place for an exemplar within data.input_length 60" in exemplar
    assert target.startswith(f"{len(long)} of 100 examples")
    longest = max(len(vocabulary.encode(t)) for t in long)
    assert longest < int(target.rpartition(" ")[2]) <= 64
    # What is shortened keeps the answer, and what says that it is one.
    short, made_short, _ = made(long={"targets": "shorten"})
    assert short == cut
    ends = {text.rpartition(" So")[2][-12:] for text in long}
    assert {t[-12:] for t in made_short if t not in targets} <= ends


def test_a_text_that_is_too_long_may_be_an_error(tasks, vocabulary):
    sizes = {**SIZES, "target_length": 16, "chunk": 8, "repeat": False}
    with pytest.raises(
        InputError,
        match=r"example \d+ of '(sums|words)', asked zero_shot_cot: its target "
        r"has \d+ tokens, target_length 16 allows 15; raise it",
    ):
        pipeline = Pipeline(
            _mixture(tasks, ZERO_SHOT),
            vocabulary,
            **sizes,
            long={"targets": "fail"},
        )
        with pytest.raises(tf().errors.InvalidArgumentError, match="tokens"):
            list(pipeline.dataset())
        raise pipeline.failure
    for long, message in (
        ({"inputs": "cut"}, "long.inputs: expected trim, drop, fail, shorten"),
        ({"input": "trim"}, "long: expected inputs, targets; found 'input'"),
    ):
        with pytest.raises(InputError, match=message):
            Pipeline(_mixture(tasks, ZERO_SHOT), vocabulary, **SIZES, long=long)


def test_no_place_for_any_text_is_an_error(tasks, vocabulary):
    with pytest.raises(
        InputError,
        match=r"test: no example can be used: 256 of 256 .* have targets "
        r"longer than target_length 4, .*; 99% of these would fit into target_",
    ):
        build_dataset(
            _mixture(tasks, {"zero_shot_cot": 1}),
            vocabulary,
            **{**SIZES, "target_length": 4},
        )
