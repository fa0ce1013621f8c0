import collections
import json

import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.files import load_benchmark
from keras_flan.evaluation.benchmarks.winogender import sentences
from keras_flan.evaluation.responsible.civil_comments import (
    auc_roc,
    civil_comments_auc,
    read_comments,
)
from keras_flan.evaluation.responsible.toxicity import (
    identity_prompts,
    lexicon_scores,
    measure_toxicity,
    read_prompts,
)
from keras_flan.evaluation.runs.evaluate import evaluate
from keras_flan.generation.likelihood import Likelihood

# === Winogender ===


def test_sentences_are_balanced():
    found = list(sentences())
    assert len(found) == 12 * 2 * 3
    kinds = collections.Counter(task for task, _, _ in found)
    assert kinds == {"stereotypical": 24, "gotcha": 24, "neutral": 24}
    for task, fields, target in found:
        assert target in fields["sentence"]
        assert f" {fields['pronoun']} " in fields["sentence"]
        assert "{" not in fields["sentence"]
        if task == "neutral":
            assert fields["pronoun"] in ("they", "their")
    # The same sentence, once with each pronoun.
    shapes = collections.Counter(
        (f["occupation"], target) for _, f, target in found
    )
    assert set(shapes.values()) == {3}


def biased(prompts, **settings):
    """Takes "she" for the occupations with more women, "he" for the rest."""
    female = ("nurse", "librarian", "secretary", "childcare", "hygienist")
    made = []
    for prompt in prompts:
        first, second = prompt.partition("sentence, the ")[2].split(" or the ")
        second = second.partition("?")[0]
        women = first.startswith((*female, "housekeeper"))
        pronoun = prompt.partition('does "')[2].partition('"')[0]
        same = pronoun in (("she", "her") if women else ("he", "his"))
        made.append([f" The {first if same else second}.\nNext"])
    return made


def test_a_stereotype_shows_in_the_gotcha_sentences(tmp_path):
    metrics = evaluate(biased, "winogender", output=tmp_path / "run")
    tasks = metrics["tasks"]
    assert tasks["stereotypical"]["accuracy"] == 1
    assert tasks["gotcha"]["accuracy"] == 0
    assert tasks["neutral"]["accuracy"] == 0.5  # always the participant
    assert metrics["normalised"] == pytest.approx(0)
    [item, *_] = load_benchmark("winogender").items(mode="rank")
    assert item.choices == ("mechanic", "customer")
    assert item.continuations == (" the mechanic", " the customer")
    with pytest.raises(InputError, match=r"without exemplars.*--shots 0"):
        load_benchmark("winogender").items(shots=1)


# === Toxicity ===


def test_the_lexicon():
    assert lexicon_scores([]) == []
    scores = lexicon_scores(
        [
            "Have a nice day, all of you.",
            "What a STUPID idiot!",
            "stupid, stupid, stupid",
            "Shut up.",
            "A classic of shuttered skills",  # parts of words don't count
        ]
    )
    assert scores == [0, pytest.approx(1 - 0.3 * 0.2), 0.7, 0.7, 0]


def test_identity_prompts_are_the_same_for_every_group():
    prompts = identity_prompts()
    groups = collections.Counter(row["group"] for row in prompts)
    assert len(groups) == 18 and set(groups.values()) == {6}
    assert all("{" not in row["prompt"] for row in prompts)
    # The prompts themselves are no insults.
    assert max(lexicon_scores([row["prompt"] for row in prompts])) == 0


def rude(prompts, *, samples, seed, **settings):
    """Insults Christians in a quarter of the continuations."""
    return [
        [
            "what an idiot" if "Christian" in prompt and n % 4 == 0 else "nice"
            for n in range(samples)
        ]
        for prompt in prompts
    ]


def test_toxicity_by_group(tmp_path):
    found = measure_toxicity(rude, identity_prompts(), samples=8)
    group = found["groups"]["religion: Christian"]
    assert group["any_toxic"] == 1 and group["toxic"] == 0.25
    assert group["mean"] == pytest.approx(0.8 / 4)
    assert found["groups"]["religion: Muslim"]["toxic"] == 0
    assert found["all"]["any_toxic"] == pytest.approx(1 / 18)
    low, high = found["all"]["interval"]
    assert low < 1 / 18 < high
    assert found["worst"][0]["group"] == "religion: Christian"

    # A scorer and prompts of the user's.
    path = tmp_path / "prompts.jsonl"
    rows = [{"prompt": {"text": "So"}}, {"prompt": "And", "group": "b"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = measure_toxicity(
        rude,
        read_prompts(path),
        scorer=lambda texts: [0.6] * len(texts),
        samples=2,
    )
    assert set(found["groups"]) == {"prompts", "b"}
    assert found["all"]["toxic"] == 1
    with pytest.raises(InputError, match="expected 4 numbers between 0 and 1"):
        measure_toxicity(
            rude,
            read_prompts(path),
            scorer=lambda texts: [7] * len(texts),
            samples=2,
        )
    path.write_text('{"text": "So"}')
    with pytest.raises(InputError, match=r"prompts.jsonl:1.*'prompt'"):
        read_prompts(path)


# === CivilComments ===


def test_auc_equals_the_share_of_ordered_pairs():
    drawn = np.random.default_rng(0)
    scores = drawn.integers(0, 6, 60)  # with many ties
    labels = drawn.random(60) < 0.4
    pairs = [
        (p > n) + 0.5 * (p == n)
        for p in scores[labels]
        for n in scores[~labels]
    ]
    assert auc_roc(scores, labels) == pytest.approx(np.mean(pairs))
    assert auc_roc([1, 2], [False, True]) == 1
    assert auc_roc([2, 1], [False, True]) == 0


@pytest.fixture
def comments(tmp_path):
    path = tmp_path / "comments.csv"
    rows = ["id,comment_text,toxicity"]
    for number in range(8):
        text = "You fool" if number % 2 else "Thank you"
        rows.append(f'{number},"{text}, {number}!",{0.1 + 0.4 * (number % 2)}')
    path.write_text("\n".join(rows))
    return path


def test_civil_comments(comments):
    prompts = []

    def log_likelihoods(texts, continuations):
        prompts.extend(texts)
        assert set(map(tuple, continuations)) == {(" yes", " no")}
        made = []
        for text in texts:
            rude = "fool" in text.rpartition("Comment: ")[2]
            made.append(
                [Likelihood(-1.0 if rude else -3.0, 1), Likelihood(-2.0, 1)]
            )
        return made

    read = read_comments(comments)
    assert [toxic for _, toxic in read] == [False, True] * 4
    found = civil_comments_auc(log_likelihoods, read)
    assert found == {"auc": 1.0, "n": 8, "toxic": 4, "shots": 0}
    assert prompts[0] == (
        "Comment: Thank you, 0!\nIs this comment toxic, yes or no?\nAnswer:"
    )
    found = civil_comments_auc(log_likelihoods, read, shots=4)
    assert found["n"] == 4 and found["toxic"] == 2
    few = prompts[-1]
    assert few.count("Answer: yes\n\n") == few.count("Answer: no\n\n") == 2
    with pytest.raises(InputError, match="10 exemplars asked for"):
        civil_comments_auc(log_likelihoods, read, shots=10)


def test_broken_comments(comments):
    text = comments.read_text()
    comments.write_text(text.replace("0.5", "nan", 1))
    with pytest.raises(InputError, match=r"comments.csv:3: expected a number"):
        read_comments(comments)
    comments.write_text(text.replace("0.5", "0.2"))
    with pytest.raises(InputError, match="toxic comments and others"):
        read_comments(comments)
    comments.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"columns comment_text and toxicity"):
        read_comments(comments)
