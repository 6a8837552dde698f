"""The live view: our study in optuna-dashboard, beside a search that writes, and nothing written from there."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import fake_search
import pytest

from nas.run import Run
from nas.run_directory import RunDirectory

COMMAND = (sys.executable, "-m", "nas", "dashboard")


@contextmanager
def dashboard(directory: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command as a process; its address, and itself."""
    process = subprocess.Popen(
        [*COMMAND, str(directory), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.communicate()


def get(url: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.status, answer.read()


def get_json(url: str) -> Any:
    return json.loads(get(url)[1])


def trials_seen(url: str) -> list[dict[str, Any]]:
    (study,) = get_json(f"{url}api/studies")["study_summaries"]
    trials: list[dict[str, Any]] = get_json(f"{url}api/studies/{study['study_id']}?after=0")["trials"]
    return trials


def refused(url: str, method: str, body: dict[str, object] | None = None) -> str:
    request = urllib.request.Request(
        url, method=method, data=json.dumps(body or {}).encode(), headers={"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=30)
    assert error.value.code == 403
    return str(json.load(error.value)["reason"])


def rows(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.iterdump())


def test_it_shows_a_finished_search_and_changes_nothing(finished_run: Run, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run.directory.path, tmp_path / "run")
    before = rows(run / "study.db")
    with dashboard(run, "--port", "0") as (url, process):
        host = url.removeprefix("http://").partition(":")[0]
        assert host == "127.0.0.1"
        assert get(url)[0] == 200  # after a redirection to the page
        states = [trial["state"] for trial in trials_seen(url)]
        assert len(states) == len(finished_run.records)
        assert {"Complete", "Pruned", "Fail"} <= set(states)
        assert "read-only" in refused(f"{url}api/studies/1", "DELETE")
        assert "read-only" in refused(f"{url}api/studies/1/rename", "POST", {"study_name": "other"})
        assert "read-only" in refused(f"{url}api/trials/1/tell", "POST", {"state": "Fail"})
        assert "read-only" in refused(f"{url}api/studies/1/note", "PUT", {"version": 1, "body": "hello"})
        assert len(trials_seen(url)) == len(states)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
    assert rows(run / "study.db") == before


def status_called(port: int, name: str | None) -> int:
    """Of an answer to somebody who calls the server so."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    with closing(connection):
        connection.putrequest("GET", "/api/studies", skip_host=True)
        if name is not None:
            connection.putheader("Host", name)
        connection.endheaders()
        return connection.getresponse().status


def test_a_name_from_elsewhere_that_leads_here_is_refused(finished_run: Run) -> None:
    """DNS rebinding: a browser sends the name of the page that it was led by."""
    from nas.dashboard import make_dashboard

    own = socket.gethostname()
    with make_dashboard(finished_run.directory, host="127.0.0.1", port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        good = ["127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "10.1.2.3", own]
        assert {name: status_called(port, f"{name}:{port}") for name in good} == dict.fromkeys(good, 200)
        assert status_called(port, "localhost") == 200
        bad = [
            "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", f"{own}.evil",
            "notlocalhost", "[::1", "", None,
        ]  # fmt: skip
        assert {name: status_called(port, name) for name in bad} == dict.fromkeys(bad, 403)
        server.shutdown()


def test_the_name_that_it_was_given_is_its_own(finished_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas import dashboard

    def on_loopback(host: str, port: int, app: Any, **classes: Any) -> Any:
        return make_server("127.0.0.1", port, app, **classes)

    make_server = dashboard.make_server
    monkeypatch.setattr(dashboard, "make_server", on_loopback)
    with dashboard.make_dashboard(finished_run.directory, host="Node7.cluster.example", port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert status_called(server.server_port, "node7.cluster.example:8080") == 200
        assert status_called(server.server_port, "node8.cluster.example:8080") == 403
        server.shutdown()


def test_sqlite_itself_refuses_what_would_write(finished_run: Run, tmp_path: Path) -> None:
    from optuna.exceptions import StorageInternalError

    from nas.storage import read_only_storage

    storage = read_only_storage(RunDirectory(shutil.copytree(finished_run.directory.path, tmp_path / "run")))
    (study,) = storage.get_all_studies()
    with pytest.raises(StorageInternalError) as error:
        storage.set_study_system_attr(study._study_id, "key", "value")
    assert "readonly" in str(error.value.__cause__)
    assert len(storage.get_all_trials(study._study_id)) == len(finished_run.records)


@pytest.mark.slow
def test_it_follows_a_search_that_runs(tmp_path: Path) -> None:
    """Every verdict that the search has told is there, while it goes on; the search comes to its end."""
    out = tmp_path / "run"
    search = subprocess.Popen(
        [sys.executable, fake_search.__file__, str(out), "slow", "0", "random", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        while not ((out / "config.yaml").exists() and (out / "study.db").exists()):
            assert search.poll() is None, search.communicate()[0]
        with dashboard(out, "--port", "0") as (url, _):
            assert url.startswith("http://")
            seen = {"Running": False, "Complete": False}
            while search.poll() is None:
                for trial in trials_seen(url):
                    seen[trial["state"]] = True
            assert search.returncode == 0
            assert seen["Running"]
    finally:
        search.kill()
        output, _ = search.communicate()
    assert "locked" not in output


def test_the_next_port_is_taken_where_none_is_named(finished_run: Run) -> None:
    from nas.dashboard import PORT, make_dashboard

    with closing(socket.socket()) as other:
        try:
            other.bind(("127.0.0.1", PORT))
            other.listen()
        except OSError:
            pass  # somebody else has it, which is as well
        with make_dashboard(finished_run.directory) as server:
            assert PORT < server.server_port < PORT + 20


def test_mistakes_are_said_in_one_line(
    finished_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nas.cli import main

    def end(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["nas", "dashboard", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = capsys.readouterr()
        assert (ended.value.code, output, errors.count("\n")) == (2, "", 1)
        return errors

    run = str(finished_run.directory.path)
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        taken = end(run, "--port", str(port))
    assert f"cannot listen on 127.0.0.1:{port}" in taken
    assert "in use" in taken
    assert "cannot listen on no.such.host.invalid:0" in end(run, "--host", "no.such.host.invalid", "--port", "0")
    assert "no such run directory" in end(str(tmp_path / "nothing"))


def test_a_missing_package_is_named_with_its_pip_line(finished_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.dashboard import make_dashboard

    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(ValueError, match=r"pip install 'training-aware-nas\[dashboard\]'"):
        make_dashboard(finished_run.directory, port=0)
