"""A command reports wrong input in one line."""

import pytest

from clsa_search.errors import InputError, reported_input_errors


def test_an_input_error_is_one_line_without_control_characters(capsys):
    with pytest.raises(SystemExit) as stop, reported_input_errors():
        raise InputError("bad\x1b[31m\nname-ü.jpg: is wrong")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: bad\\x1b[31m\\nname-ü.jpg: is wrong\n"
