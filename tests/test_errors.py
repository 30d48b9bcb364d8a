"""The one error of user-facing faults, as a command tells it."""

import pytest

from clsa_search.errors import InputError, reported_input_errors


def test_a_fault_ends_a_command_with_one_line_that_moves_no_terminal(capsys):
    with pytest.raises(SystemExit) as stop, reported_input_errors():
        raise InputError("bad\x1b[31m\nname-ü.jpg: is wrong")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: bad\\x1b[31m\\nname-ü.jpg: is wrong\n"
