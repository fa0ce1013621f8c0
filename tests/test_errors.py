from keras_flan.errors import did_you_mean


def test_the_choices_are_said():
    names = [f"name{number:02d}" for number in range(22)]
    assert did_you_mean("nane05", names) == " Did you mean 'name05'?"
    assert did_you_mean("?", names[:2]) == " Choose from: name00, name01."
    assert did_you_mean("?", names).endswith(", name19 and 2 more.")
    assert did_you_mean("?", []) == ""
