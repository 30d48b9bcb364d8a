"""Files for Docker and systemd: they parse, their paths exist, their commands are accepted."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from clsa_search.commands.search_gallery import parse_args
from tests.support.tiny import ROOT

DEPLOY = ROOT / "docs" / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
OWN = "index", "serve"
UNITS = sorted(DEPLOY.glob("*.service"))


@pytest.mark.parametrize("name", OWN)
def test_the_commands_of_compose_are_accepted(name):
    args = parse_args(shlex.split(COMPOSE["services"][name]["command"]))
    assert args.command == name and args.store == "/data/gallery.db"


@pytest.mark.parametrize("name", [*OWN, "north"])
def test_services_have_no_rights(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "10001:10001" and service["tmpfs"] == ["/tmp"]
    assert "privileged" not in service


def test_only_the_desk_is_published_and_only_here():
    ports = {name: one["ports"] for name, one in COMPOSE["services"].items() if "ports" in one}
    assert ports == {"serve": ["127.0.0.1:8000:8000"]}
    assert COMPOSE["services"]["serve"]["secrets"] == ["token"]


def test_footage_is_read_only_but_for_the_recorders():
    for name in OWN:
        volumes = COMPOSE["services"][name]["volumes"]
        assert "./footage:/footage:ro" in volumes and "./weights:/weights:ro" in volumes


def test_milvus_is_a_profile_without_first_passwords():
    services = COMPOSE["services"]
    profiles = {name: one.get("profiles") for name, one in services.items()}
    assert {name for name, one in profiles.items() if one == ["milvus"]} == {
        *("etcd", "minio", "milvus"),
    }
    assert profiles["index"] is None and profiles["serve"] is None
    assert "minioadmin" not in (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    assert set(COMPOSE["volumes"]) == {"data", "etcd", "minio", "milvus"}


def test_the_gpu_file_changes_known_services():
    extra = yaml.safe_load((DEPLOY / "compose.cuda.yaml").read_text(encoding="utf-8"))
    assert set(extra["services"]) == set(OWN)
    for values in (COMPOSE["services"]["index"], extra["services"]["index"]):
        build = values["build"]
        context = (DEPLOY / build["context"]).resolve()
        assert context == ROOT and (context / build["dockerfile"]).is_file()


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_dockerfiles_copy_what_exists(kind):
    text = (DEPLOY / f"Dockerfile.{kind}").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    allowed = (DEPLOY / f"Dockerfile.{kind}.dockerignore").read_text(encoding="utf-8").split()
    for words in lines:
        if words[0] == "COPY" and not words[1].startswith("--from"):
            for name in words[1:-1]:
                assert (ROOT / name).exists(), name
                assert f"!{name}" in allowed, name
    assert "*" in allowed
    last = [words[0] for words in lines][::-1]
    assert ["USER", "10001:10001"] in lines
    assert last.index("USER") < last.index("RUN")  # nothing runs as root after the choice
    assert sum(words[0] == "FROM" for words in lines) == 2
    assert "latest" not in text and "ffmpeg" not in " ".join(" ".join(words) for words in lines)


def test_the_image_installs_extras_that_exist():
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    for kind in ("cpu", "cuda"):
        text = (DEPLOY / f"Dockerfile.{kind}").read_text(encoding="utf-8")
        (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", text)
        assert all(f'"{name}": [' in setup for name in extras.split(","))


def read_unit(path):
    """Return the settings of a unit; a name that comes again replaces the first."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")


@pytest.mark.parametrize("path", UNITS, ids=[path.name for path in UNITS])
def test_units_have_no_rights(path: Path):
    unit = read_unit(path)
    assert unit["NoNewPrivileges"] == "yes" and unit["ProtectSystem"] == "strict"
    assert unit["CapabilityBoundingSet"] == "" and unit["User"] != "root"
    assert unit["WantedBy"] == "multi-user.target"
    assert not re.search(r"(?<!%)%(?![%i])", unit["ExecStart"])  # systemd's own specifiers


def test_the_command_of_the_unit_is_accepted():
    unit = read_unit(DEPLOY / "clsa-search-index.service")
    words = shlex.split(unit["ExecStart"].replace("%%", "%"))
    assert words[0].endswith("/clsa-search")
    args = parse_args(words[1:])
    assert (args.command, args.watch, args.time_from) == ("index", 10, "name:%Y%m%dT%H%M%S")


def test_recorders_write_names_that_the_indexer_reads():
    recorders = [
        COMPOSE["services"]["north"]["entrypoint"][-1],
        read_unit(DEPLOY / "clsa-search-camera@.service")["ExecStart"].replace("%%", "%"),
    ]
    for text in recorders:
        assert "-c copy -f segment" in text and "%Y%m%dT%H%M%S.mp4" in text
