"""What a sweep searches: one line of text, checked before anything starts."""

import pytest

from tests.support.made_runs import experiment_of
from tp1.base.errors import TP1Error
from tp1.sweeps.space import EXAMPLE, Dimension, parse_space


def space_of(text: str, **fixed):
    return parse_space(text, experiment_of("cnnv3"), fixed)


def test_ranges_logarithmic_ranges_whole_numbers_and_values():
    space, corners = space_of("learning_rate=log:1e-4..1e-2,dropout=0.1..0.6,batch_size=32..128,augment=none|flip")
    assert space.dimensions == (
        Dimension("batch_size", low=32, high=128),
        Dimension("learning_rate", low=1e-4, high=1e-2, log=True),
        Dimension("dropout", low=0.1, high=0.6),
        Dimension("augment", values=("flip", "none")),
    )
    assert {corner.optimizer.learning_rate for corner in corners} == {1e-4, 1e-2}
    assert {(corner.batch_size, corner.dropout, corner.augment) for corner in corners} == {
        *((32, 0.1, "flip"), (128, 0.1, "flip"), (32, 0.6, "flip"), (32, 0.1, "none"))
    }
    space_of(EXAMPLE)  # what messages and help show


def test_one_space_has_one_text_however_it_is_spelled():
    one, _ = space_of("dropout=0.10..6e-1, batch-size=128|32 ,learning_rate=log:0.0001..0.01")
    other, _ = space_of("learning_rate=log:1e-4..1e-2,batch_size=32|128,dropout=.1...6")
    assert str(one) == str(other) == "batch_size=32|128,learning_rate=log:0.0001..0.01,dropout=0.1..0.6"
    assert space_of(str(one))[0] == one


def test_the_points_of_a_grid():
    space, _ = space_of("batch_size=32|64,dropout=0.1|0.2|0.3")
    assert space.size == 6
    points = [space.point(number) for number in range(6)]
    assert points[:4] == [{"batch_size": 32, "dropout": rate} for rate in (0.1, 0.2, 0.3)] + [
        {"batch_size": 64, "dropout": 0.1}
    ]
    assert len({tuple(point.values()) for point in points}) == 6
    assert space_of("batch_size=1..3,dropout=0.1|0.2")[0].size == 6
    assert space_of("dropout=0.1..0.2,batch_size=32|64")[0].size is None


def test_where_a_value_is_and_what_a_store_says_of_it():
    space, _ = space_of("learning_rate=log:1e-4..1e-2,batch_size=32|64|128,dropout=0.2..0.6")
    by_name = {one.name: one for one in space.dimensions}
    assert by_name["learning_rate"].place(1e-3) == pytest.approx(0.5)
    assert by_name["dropout"].place(0.3) == pytest.approx(0.25)
    assert [by_name["batch_size"].place(value) for value in (32, 64, 128)] == [0, 0.5, 1]
    value = 0.0031415926535897933
    assert by_name["learning_rate"].read(str(value)) == value
    for name, text in (("learning_rate", "0.1"), ("batch_size", "48"), ("dropout", "much"), ("dropout", "nan")):
        with pytest.raises(ValueError, match=text):
            by_name[name].read(text)


def test_parameters_of_the_optimiser_go_with_every_one_that_is_tried():
    _, corners = space_of("optimizer=sgd|muon,momentum=0.8..0.99")
    assert {(type(corner.optimizer).__name__, corner.optimizer.momentum) for corner in corners} == {
        *(("SGD", 0.8), ("SGD", 0.99), ("Muon", 0.8), ("Muon", 0.99))
    }
    with pytest.raises(TP1Error, match="optimizer=adam has no momentum"):
        space_of("optimizer=adam|sgd,momentum=0.8..0.99")
    with pytest.raises(TP1Error, match="optimizer=adam has no momentum"):
        space_of("optimizer=adam|sgd", momentum=0.9)
    assert {corner.optimizer.learning_rate for corner in space_of("optimizer=adam|sgd", learning_rate=0.5)[1]} == {0.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "space is empty: give what to search, such as learning_rate=log"),
        (" ", "space is empty"),
        ("dropout", "'dropout' is no NAME=RANGE"),
        ("dropout=0.1..0.5,", "'' is no NAME=RANGE"),
        ("drop_out=0.1..0.5", "there is no parameter 'drop_out': did you mean dropout?"),
        ("x=1..2", "there is no parameter 'x': there are image_size, batch_size, optimizer"),
        ("=1..2", "there is no parameter ''"),
        ("dropout=0.1..0.5,dropout=0.1|0.2", "dropout is given twice."),
        ("seed=0..9", "seed cannot be searched: the best of several seeds is luck"),
        ("epochs=1..9", "epochs cannot be searched: a trial with more of them nearly always wins"),
        ("dataset=digits|eurosat", "dataset cannot be searched: accuracies on other images"),
        ("tta=none|flip", "tta cannot be searched: it changes test figures alone"),
        ("device=cpu|cuda", "device cannot be searched: it does not belong to what is trained."),
        ("weight_decay=0.1|0.2", "weight_decay=0.5 is fixed, and also in the space: give one of the two."),
        ("dropout=0.5..0.1", "dropout=0.5..0.1: the first number must be below the last."),
        ("dropout=0.5..0.5", "the first number must be below the last."),
        ("dropout=0.1..nan", "the first number must be below the last."),
        ("learning_rate=1e-3..inf", "the first number must be below the last."),
        ("learning_rate=log:0..1", "learning_rate=log:0..1: a logarithmic range starts above 0."),
        ("learning_rate=log:1e-3|1e-2", "log: stands before a range of numbers"),
        ("optimizer=log:adam|sgd", "log: stands before a range of numbers"),
        ("dropout=0.1..", "dropout=0.1..: '' is not among the numbers that dropout takes."),
        ("dropout=", "dropout=: '' is not among the numbers that dropout takes."),
        ("augment=|flip", "'' is not among the values that augment takes."),
        ("dropout=a|b", "'a' is not among the numbers"),
        ("batch_size=1.5..3", "'1.5' is not among the whole numbers that batch_size takes."),
        ("dropout=0.5", "dropout=0.5 is one value: search low..high or a|b|c, or give it outside the space."),
        ("optimizer=adam..sgd", "optimizer=adam..sgd is one value: search a|b|c, or"),
        ("dropout=0.1|0.10", "dropout=0.1|0.10 has a value twice."),
        ("dropout=0.1..1.5", "space: dropout=1.5 is out of range: it must be a number from 0 up to, but not, 1."),
        ("dropout=0.1|0.2|7", "space: dropout=7.0 is out of range"),
        ("learning_rate=-1..1", "space: learning_rate=-1.0 is out of range"),
        (f"batch_size=1..{10**400}", "is out of range: it must be a whole number below 2^31."),
        ("optimizer=adam|sdg", "space: optimizer=sdg is not known: choose adam or sgd or muon."),
        (
            "momentum=0.8..0.9",
            "space: momentum=0.8: optimizer=adam has no momentum; it has",
        ),
        ("warmup=0.1..0.2", "space: warmup=0.1: schedule=constant has no warmup"),
    ],
)
def test_a_mistake_is_named_in_one_line(text, message):
    with pytest.raises(TP1Error) as caught:
        space_of(text, weight_decay=0.5)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
