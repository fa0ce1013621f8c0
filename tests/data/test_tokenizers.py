import io

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.vocabularies.assets import read_vocabulary, save_vocabulary
from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.data.vocabularies.training import (
    train_vocabulary,
    train_vocabulary_from,
)
from keras_flan.errors import InputError

TEXTS = [
    f"Tom has {i} apples and buys {i + 2} more.\nHow many apples has he now?"
    for i in range(60)
] + ["Q: Is the sky {blue}?\tYes, it is.  The answer is yes."] * 20


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return train_vocabulary(
        TEXTS, 305, tmp_path_factory.mktemp("vocabulary") / "v.model"
    )


def test_special_ids_and_size(vocabulary):
    assert vocabulary.size == 305
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (
        (0, 1, 2)
    )
    assert vocabulary.path.read_bytes() == vocabulary.proto
    assert len(vocabulary.sha256) == 64


# U+2581 is SentencePiece's own mark for a blank.
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\u2581"))
    | st.text(" \n\tTom{}059日", max_size=20)
)
@settings(max_examples=200, deadline=None)
def test_round_trip_is_lossless(vocabulary, text):
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert vocabulary.eos_id not in ids
    assert vocabulary.pad_id not in ids


def test_the_graph_gives_the_same_ids(vocabulary):
    texts = ["", "\n", " a  b \n\n", "12345 apples", "日本 {x}\r\n", *TEXTS]
    ragged = vocabulary.encode_tf(texts)
    assert ragged.dtype == "int32"
    assert ragged.to_list() == vocabulary.encode_batch(texts)


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=5))
@settings(max_examples=50, deadline=None)
def test_the_graph_gives_the_same_ids_for_any_text(vocabulary, texts):
    texts = [*texts, "end"]
    expected = [vocabulary.encode(text) for text in texts]
    assert vocabulary.encode_tf(texts).to_list() == expected


def test_decode_stops_at_the_end_and_drops_what_has_no_piece(vocabulary):
    ids = vocabulary.encode("has he")
    assert vocabulary.decode([0, *ids, 0, 99_999, -1, 1, *ids]) == "has he"
    assert vocabulary.decode([]) == ""


def test_digits_are_pieces_of_their_own(vocabulary):
    assert len(vocabulary.encode("1234")) == 5  # the leading blank is one


def test_whole_numbers_may_be_pieces(tmp_path):
    vocabulary = train_vocabulary(TEXTS, 395, tmp_path / "v.model", numbers=100)
    blank, ten = vocabulary.encode("10")
    assert vocabulary.encode("+ 10")[-2:] == [blank, ten]
    for text, count in (
        ("7", 1),
        ("42", 1),
        ("99", 1),
        ("100", 2),
        ("1234", 2),
    ):
        assert len(vocabulary.encode(text)) == 1 + count
        assert vocabulary.decode(vocabulary.encode(text)) == text
    texts = ["23 - 20 = 3", "(42)", "1999 apples", "0.75"]
    assert vocabulary.encode_tf(texts).to_list() == vocabulary.encode_batch(
        texts
    )


def test_newlines_keep_words_apart(vocabulary):
    newline = vocabulary.encode("\n")[-1]
    assert vocabulary.encode("a\n\nb").count(newline) == 2


def test_training_is_deterministic(vocabulary, tmp_path):
    again = train_vocabulary(iter(TEXTS), 305, tmp_path / "again.model")
    assert again.proto == vocabulary.proto
    assert Vocabulary(again.proto).path is None


@pytest.mark.parametrize("size", [265, 5000])
def test_a_wrong_size_names_one_that_works(size, tmp_path):
    with pytest.raises(InputError) as error:
        train_vocabulary(TEXTS, size, tmp_path / "v.model")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
    advised = int(str(error.value).split(" at ")[1].split()[1].strip(","))
    assert train_vocabulary(TEXTS, advised, tmp_path / "v.model").size == (
        advised
    )


@pytest.mark.parametrize("texts", [[], [""], ["\n\n"]])
def test_no_text_is_an_error(texts, tmp_path):
    with pytest.raises(InputError, match="no text"):
        train_vocabulary(texts, 300, tmp_path / "v.model")


def test_sources_are_record_folders_and_text_files(tmp_path):
    examples = [
        Example({"question": t, "answer": "yes"}, "sky", str(i))
        for i, t in enumerate(TEXTS)
    ]
    write_records(examples, tmp_path / "records" / "sky" / "train", name="sky")
    (tmp_path / "more.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    sources = [tmp_path / "records", tmp_path / "more.txt"]
    vocabulary = train_vocabulary_from(sources, 305, tmp_path / "v.model")
    assert vocabulary.decode(vocabulary.encode("yes\nno")) == "yes\nno"


@pytest.mark.parametrize("source", ["missing", "empty"])
def test_a_source_without_text_is_an_error(source, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=source):
        train_vocabulary_from([tmp_path / source], 300, tmp_path / "v.model")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\x00" * 99, "half"],
    ids=["empty", "text", "zeros", "half"],
)
def test_a_file_that_is_no_model_is_an_error(content, vocabulary, tmp_path):
    path = tmp_path / "bad.model"
    half = vocabulary.proto[: len(vocabulary.proto) // 2]
    path.write_bytes(half if content == "half" else content)
    with pytest.raises(InputError, match=r"bad\.model"):
        Vocabulary(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.model: cannot be read"):
        Vocabulary(tmp_path / "none.model")


def test_other_special_ids_are_refused():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        vocab_size=50,
        minloglevel=2,
    )
    with pytest.raises(InputError, match=r"found the ids .*\(-1, 2, 0\)"):
        Vocabulary(model.getvalue())


def test_an_id_of_padding_may_be_a_token_and_a_text_may_have_two_ends(tmp_path):
    import keras_hub

    # As in Llama 3 and Qwen: "!" is token 0, which fills up rows as well.
    ends = ["<|end_of_text|>", "<|eot_id|>"]
    special = ["<|begin_of_text|>", *ends]
    pieces = ["!", *"abH", "ab", *special]
    pieces += ["<|start_header_id|>", "<|end_header_id|>"]
    tokenizer = keras_hub.tokenizers.Llama3Tokenizer(
        vocabulary={piece: i for i, piece in enumerate(pieces)}, merges=["a b"]
    )
    vocabulary = HubVocabulary(tokenizer)
    ids = vocabulary.encode("Ha!b!")
    assert vocabulary.pad_id == 0 in ids
    begin, *found = (pieces.index(piece) for piece in special)
    assert vocabulary.end_ids == tuple(found)
    for end in found:
        assert vocabulary.decode([begin, *ids, end, 1]) == "Ha!b!"
    # Beside a model, in a `.keras` file.
    vocabulary.bos_id = None
    save_vocabulary(vocabulary, tmp_path)
    again = read_vocabulary(tmp_path)
    assert again.encode("Ha!b!") == ids
    assert (again.bos_id, again.end_ids) == (None, vocabulary.end_ids)
