"""The client in Python of docs/api.md, as it stands there."""

import re

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from clsa_search.desk import serving
from tests.support.desk_cases import RED, make_gallery
from tests.support.footage import write_image
from tests.support.tiny import ROOT


def test_the_documented_client_finds_a_person(tmp_path, capsys):
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, flags=re.S)[1]
    assert len(code.splitlines()) < 45
    image = write_image(tmp_path / "person.jpg", {RED: 10})
    token_file = tmp_path / "token"
    with make_gallery(tmp_path) as gallery, serving(gallery, token_file=token_file) as url:
        token = token_file.read_text().strip()
        code = code.replace("Desk()", f"Desk({url!r}, {token!r})")
        code = code.replace("person.jpg", str(image)).replace('"north"', '"street"')
        exec(compile(code, "docs/api.md", "exec"), {})
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("1 ") and "street" in rows[0] and len(rows) == 2
