"""Files for Docker and systemd: they parse, their paths exist, their commands are accepted."""

import ast
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


def read_dockerfile(kind):
    """Return the instructions of a Dockerfile as lists of words."""
    text = (DEPLOY / f"Dockerfile.{kind}").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_dockerfiles_copy_what_exists(kind):
    text = (DEPLOY / f"Dockerfile.{kind}").read_text(encoding="utf-8")
    lines = read_dockerfile(kind)
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


@pytest.mark.parametrize("kind", ["cpu", "cuda", "camera"])
def test_images_have_a_base_that_can_be_pinned(kind):
    lines = read_dockerfile(kind)
    (base,) = (words[1] for words in lines if words[0] == "ARG" and words[1].startswith("BASE="))
    assert re.fullmatch(r"BASE=[a-z]+:[\w.]*(-slim-)?bookworm(-slim)?", base)
    assert {words[1] for words in lines if words[0] == "FROM"} == {"$BASE"}
    assert ["USER", "10001:10001"] in lines
    assert (DEPLOY / f"Dockerfile.{kind}.dockerignore").read_text(encoding="utf-8").count("*")


def test_all_that_images_install_is_pinned():
    pinned = {
        re.split("[=<> ;]", line)[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    (call,) = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_setup(node))
    (needed,) = (one.value for one in call.keywords if one.arg == "install_requires")
    extras = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXTRAS"
    )
    names = [*ast.literal_eval(needed), *extras["page"], *extras["milvus"], "tzdata"]
    found = {re.split("[=<>! \\[;]", name)[0].lower().replace("_", "-") for name in names}
    assert found <= pinned, found - pinned


def is_setup(call):
    return ast.unparse(call.func) == "setup"


KEYS = {
    *("image", "build", "user", "read_only", "tmpfs", "cap_drop", "security_opt", "restart"),
    *("stop_grace_period", "command", "entrypoint", "volumes", "ports", "secrets", "depends_on"),
    *("healthcheck", "environment", "profiles"),
}


def test_compose_has_known_keys_only():
    assert set(COMPOSE) == {"x-search", "x-camera", "services", "volumes", "secrets"}
    for name, service in COMPOSE["services"].items():
        assert set(service) <= KEYS, name
        assert service["restart"] in ("always", "unless-stopped"), name
        assert "latest" not in service["image"], name
        for volume in service["volumes"]:
            source, target, *mode = volume.split(":")
            assert source.startswith("./") or source in COMPOSE["volumes"], volume
            assert target.startswith("/") and mode in ([], ["ro"]), volume
        assert set(service.get("depends_on", ())) <= set(COMPOSE["services"])
        if build := service.get("build"):
            assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_what_containers_write_is_a_volume_or_in_memory():
    for name in OWN:
        service = COMPOSE["services"][name]
        assert "data:/data" in service["volumes"]
        words = shlex.split(service["command"])
        assert words[words.index("--store") + 1].startswith("/data/")
    for kind in ("cpu", "cuda"):
        (env,) = (one for one in read_dockerfile(kind) if one[0] == "ENV" and "HOME=/tmp" in one)
        assert "MPLCONFIGDIR=/tmp" in env
    assert "./footage:/footage" in COMPOSE["services"]["north"]["volumes"]


def test_the_health_of_the_desk_is_asked_where_it_answers():
    check = COMPOSE["services"]["serve"]["healthcheck"]
    assert check["test"][:3] == ["CMD", "python", "-c"]
    compile(check["test"][3], "healthcheck", "exec")
    args = parse_args(shlex.split(COMPOSE["services"]["serve"]["command"]))
    assert f"http://127.0.0.1:{args.port}/healthz" in check["test"][3]
    assert args.host == "0.0.0.0" and str(args.token_file) == "/run/secrets/token"


def test_the_header_of_compose_names_what_it_needs():
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    header = text[: text.index("x-search")]
    for name in set(re.findall(r"\$\{(\w+)", text)):
        assert f"{name}=" in header, name
    assert "-o 10001" in header and "chown 10001 footage" in header
    profiles = {name for one in COMPOSE["services"].values() for name in one.get("profiles", ())}
    assert profiles == {"cameras", "milvus"}
    assert all(f"--profile {name} up" in header for name in profiles)


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


def test_the_desk_of_the_unit_stays_on_this_machine():
    unit = read_unit(DEPLOY / "clsa-search-desk.service")
    args = parse_args(shlex.split(unit["ExecStart"])[1:])
    assert (args.command, args.host) == ("serve", "127.0.0.1")
    index = read_unit(DEPLOY / "clsa-search-index.service")["ExecStart"]
    assert f"--store {args.store} " in index and str(args.token_file).startswith("/var/lib/")


def test_recorders_write_names_that_the_indexer_reads():
    recorders = [
        COMPOSE["services"]["north"]["entrypoint"][-1],
        read_unit(DEPLOY / "clsa-search-camera@.service")["ExecStart"].replace("%%", "%"),
    ]
    for text in recorders:
        assert "-c copy -f segment" in text and "%Y%m%dT%H%M%S.mp4" in text
