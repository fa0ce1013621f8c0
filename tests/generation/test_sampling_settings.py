"""How to sample: one object, or its fields by name."""

import pytest

from keras_flan.errors import InputError
from keras_flan.generation import Sampling, ask, generate
from keras_flan.generation.sampling_settings import sampling_of


def test_votes_are_sampled_as_in_the_paper_and_one_path_is_greedy():
    votes = Sampling.for_votes(8, seed=3)
    assert votes == Sampling(8, temperature=0.7, top_k=40, seed=3)
    assert Sampling.for_votes().temperature == 0
    assert Sampling.for_votes(8, 0.5).temperature == 0.5


def test_idle_settings_are_not_told():
    sampling = Sampling(samples=2)
    assert list(sampling.to_dict()) == [
        *("samples", "temperature", "top_k", "seed", "max_new_tokens")
    ]
    sampling = Sampling(top_p=0.9, stop=["Q:"])
    assert Sampling(**sampling.to_dict()) == sampling
    assert hash(sampling) == hash(Sampling(top_p=0.9, stop=("Q:",)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples=0"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"temperature": 1e-40}, "from 1e-37. Received: .*temperature=1e-40"),
        ({"top_p": float("nan")}, "top_p=nan"),
        ({"top_k": -1}, "top_k=-1"),
        ({"top_p": 0}, "top_p=0"),
        ({"stop": "Q:"}, "list of stop strings, none empty. Received: 'Q:'"),
        ({"stop": [""]}, "list of stop strings"),
        ({"stop": ["\ud800"]}, r"stop\[0\]: holds a lone surrogate"),
        ({"temperature": None}, "temperature: expected a number, found None"),
        ({"temperature": "0.7"}, "temperature: expected a number, found '0.7'"),
        ({"samples": 1.5}, "samples: expected a whole number, found 1.5"),
        ({"max_new_tokens": None}, "max_new_tokens: expected a whole number"),
        ({"top_k": True}, "top_k: expected a whole number, found True"),
        ({"seed": float("nan")}, "seed: expected a whole number, found nan"),
    ],
)
def test_what_is_out_of_range_is_named(settings, message):
    with pytest.raises(InputError, match=message):
        Sampling(**settings)


def test_unknown_names_and_two_ways_of_saying_are_refused():
    for function in (ask, generate):
        with pytest.raises(InputError, match="Did you mean 'top_k'"):
            function(None, ["a"], topk=3)
        with pytest.raises(InputError, match="sampling or seed, which it says"):
            function(None, ["a"], sampling=Sampling(), seed=3)
    with pytest.raises(InputError, match="Did you mean 'adaptive'"):
        sampling_of(None, {"adaptve": 0.9}, ask)
