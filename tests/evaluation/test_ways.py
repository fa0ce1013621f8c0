from keras_flan.evaluation.benchmarks.ways import MODES, WRITTEN, Way


def test_every_way_is_a_mode_of_one_path_or_of_several_that_vote():
    assert {way.mode for way in Way} == set(MODES)
    assert [way.name for way in WRITTEN] == ["direct", "cot", "cot_vote"]
    assert [way.value for way in Way if way.votes] == ["cot-vote"]
    assert Way.cot_vote.label == "CoT + vote" and Way.rank.mode == "rank"
