"""Numbers of the command line are whole, finite and in their range."""

import argparse

import pytest

from clsa_search.commands.argument_types import number, whole_number

WHOLE = "expected a whole number from 1 to 65535"


@pytest.mark.parametrize("text", ["1", "65535", " 80", "007"])
def test_whole_numbers_in_the_range(text):
    assert whole_number(1, 65535)(text) == int(text)


@pytest.mark.parametrize(
    "text", ["0", "-1", "65536", "70000", "1.0", "1e3", "", "x", "nan", "inf", "9" * 5000]
)
def test_other_texts_are_no_whole_numbers(text):
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        whole_number(1, 65535)(text)
    assert str(caught.value) == f"{text[:60]!r}; {WHOLE}"


def test_whole_numbers_fit_a_database():
    assert whole_number()("9223372036854775807") == 2**63 - 1
    with pytest.raises(argparse.ArgumentTypeError, match="expected a whole number from 0$"):
        whole_number()("9223372036854775808")


@pytest.mark.parametrize("text", ["0", "1", "0.25", "1e-300"])
def test_numbers_in_the_range(text):
    assert number(0, 1)(text) == float(text)


@pytest.mark.parametrize("text", ["-0.1", "1.0001", "nan", "inf", "-inf", "", "1,5", "x"])
def test_other_texts_are_no_numbers(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number from 0 to 1$"):
        number(0, 1)(text)


def test_unbounded_numbers_are_finite():
    assert number()("-1e300") == -1e300
    with pytest.raises(argparse.ArgumentTypeError, match="'1e999'; expected a number$"):
        number()("1e999")
