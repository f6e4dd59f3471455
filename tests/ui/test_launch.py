"""Where the app's files are, which port it takes, and who may reach it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from streamlit.web import cli

import mha_viz
from mha_viz.errors import MhaVizError
from mha_viz.ui import launch


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What Streamlit was asked to do, instead of doing it."""
    given: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda args, **_: given.append(args))
    monkeypatch.delenv("STREAMLIT_SERVER_ALLOWED_HOSTS", raising=False)
    return given


@pytest.fixture
def taken() -> int:
    """A port at which something listens already."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_in_a_checkout_the_script_is_that_of_make_run(repository: Path) -> None:
    assert launch.script_path() == repository / "app.py"


def test_in_a_wheel_the_script_lies_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mha_viz"
    (package / "site" / ".streamlit").mkdir(parents=True)
    monkeypatch.setattr(mha_viz, "__file__", str(package / "__init__.py"))
    (tmp_path / "app.py").touch()  # somebody else's
    with pytest.raises(MhaVizError) as caught:
        launch.script_path()
    places = f"{package / 'site'} or {tmp_path}"
    assert str(caught.value) == f"The app must lie in {places}, but neither holds app.py: install it again."
    (package / "site" / "app.py").touch()
    (package / "site" / ".streamlit" / "config.toml").touch()
    assert launch.script_path() == package / "site" / "app.py"


def test_it_prints_its_address_and_hands_over_to_streamlit(
    commands: list[list[str]], repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch.serve(host="127.0.0.1", page="your_model", browser=False) == 0
    ((command, script, *flags),) = commands
    port = flags[flags.index("--server.port") + 1]
    assert (command, script) == ("run", str(repository / "app.py"))
    assert capsys.readouterr().out == f"MHA Viz: http://127.0.0.1:{port}/your_model\nControl+C stops it.\n"


@pytest.mark.parametrize(("host", "local"), [("localhost", True), ("127.0.0.1", True), ("0.0.0.0", False)])
def test_only_local_names_reach_a_local_app(host: str, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMLIT_SERVER_ALLOWED_HOSTS", raising=False)
    flags = launch.flags(host, 8501)
    names = [flags[i + 1] for i, flag in enumerate(flags) if flag == "--server.allowedHosts"]
    assert names == (["localhost", "127.0.0.1", "::1"] if local else [])
    monkeypatch.setenv("STREAMLIT_SERVER_ALLOWED_HOSTS", '["school.example"]')
    assert "--server.allowedHosts" not in launch.flags(host, 8501)


@pytest.mark.parametrize(
    ("host", "address"), [("0.0.0.0", "localhost"), ("localhost", "localhost"), ("127.0.0.1", "127.0.0.1")]
)
def test_the_printed_address_can_be_opened(
    host: str, address: str, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    launch.serve(host=host, browser=False)
    assert len(commands) == 1
    assert capsys.readouterr().out.startswith(f"MHA Viz: http://{address}:")


def test_a_taken_port_is_passed_over_unless_it_was_asked_for(
    taken: int, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "PORT", taken)
    launch.serve(host="127.0.0.1", browser=False)
    (command,) = commands
    assert taken < int(command[command.index("--server.port") + 1]) < taken + launch.TRIES
    with pytest.raises(MhaVizError) as caught:
        launch.serve(host="127.0.0.1", port=taken, browser=False)
    rest = "address already in use; choose another --host or --port."
    assert str(caught.value) == f"The app can't listen at 127.0.0.1:{taken}: {rest}"


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "a" * 70])
def test_an_address_of_another_machine_is_refused(host: str, commands: list[list[str]]) -> None:
    with pytest.raises(MhaVizError, match=rf"The app can't listen at {host}, ports 8501 to 8600: .+; choose another"):
        launch.serve(host=host, browser=False)
    assert commands == []


def test_control_c_is_the_way_to_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(**_: object) -> None:
        raise RuntimeError from KeyboardInterrupt()

    def broken(**_: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(cli, "main", stopped)
    assert launch.serve(host="127.0.0.1", browser=False) == 0
    monkeypatch.setattr(cli, "main", broken)
    with pytest.raises(RuntimeError, match="something else"):
        launch.serve(host="127.0.0.1", browser=False)


@pytest.mark.parametrize("screen", [True, False])
def test_a_browser_is_opened_once_the_app_answers_and_only_where_it_is_seen(
    screen: bool, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, str]] = []
    monkeypatch.setattr(launch, "_open_when_up", lambda url, page: started.append((url, page)))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0" if screen else "")
    launch.serve(host="127.0.0.1", page="your_model")
    assert [page for _, page in started] == ["your_model"] * screen
    launch.serve(host="127.0.0.1", page="your_model", browser=False)
    assert len(started) == screen
    assert len(commands) == 2
