"""The cache of Kafka's jars, against a Maven mirror that cuts, lies and stalls."""

from __future__ import annotations

import gc
import hashlib
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kafka_etl.broker import jars
from kafka_etl.broker.jars import Jar, classpath
from kafka_etl.errors import DownloadFailed, ExtraMissing

pytest.importorskip("jgo")

# jgo leaves the connection open when a server answers with an error.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

CONTENT = {name: name.encode() * 50_000 for name in ("one", "two", "three", "four", "five")}


def coordinate(name):
    return f"org.example.{name}:{name}:1.0"


def locked(name):
    content = CONTENT[name]
    return Jar(coordinate(name), hashlib.sha256(content).hexdigest(), len(content))


@dataclass
class Mirror:
    """What it answers for a jar, unless told otherwise: its content."""

    url: str = ""
    answers: dict[str, bytes] = field(default_factory=lambda: dict(CONTENT))
    cut: set[str] = field(default_factory=set)
    stalled: dict[str, threading.Event] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)

    def answer(self, request):
        name = request.path.split("/")[-3]
        self.requests[name] += 1
        if name in self.stalled:
            self.stalled[name].wait()
        content = self.answers.get(name)
        request.send_response(404 if content is None else 200)
        request.send_header("Content-Length", str(len(content or b"")))
        request.end_headers()
        request.wfile.write((content or b"")[: 1000 if name in self.cut else None])


@pytest.fixture(autouse=True)
def left_connections_go_here():
    yield
    gc.collect()


@pytest.fixture
def mirror(monkeypatch):
    mirror = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.endswith(".jar"):
                mirror.answer(self)
            else:
                self.send_error(404)  # checksums, which a mirror need not have

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        mirror.url = f"http://user:secret@127.0.0.1:{server.server_port}/maven2/"
        monkeypatch.setenv("KAFKA_ETL_MAVEN", mirror.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield mirror
        for stall in mirror.stalled.values():
            stall.set()
        server.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    lock = tmp_path / "kafka.lock"
    lines = [f"{jar.coordinate} {jar.sha256} {jar.size}\n" for jar in map(locked, CONTENT)]
    lock.write_text("# a comment\n" + "".join(lines))
    monkeypatch.setattr(jars, "LOCK_FILE", lock)
    monkeypatch.setenv("KAFKA_ETL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "maven"


def names_in(cache):
    return {file.stem.removesuffix("-1.0") for file in cache.glob("org/**/*.jar")}


def assert_complete(cache):
    paths = classpath()
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert names_in(cache) == set(CONTENT)
    assert not list(cache.glob(".download-*"))


def start_elsewhere():
    """A second program that wants the same jars."""
    code = "import sys; from pathlib import Path; from kafka_etl.broker import jars"
    code += "; jars.LOCK_FILE = Path(sys.argv[1]); jars.classpath()"
    return subprocess.Popen([sys.executable, "-c", code, jars.LOCK_FILE])


def wait_until(condition, process):
    while not condition():
        assert process.poll() is None
        threading.Event().wait(0.01)


def test_downloads_what_is_missing_and_tells_how_it_gets_on(mirror, cache):
    told = []
    paths = classpath(lambda *now: told.append(now))
    total = sum(map(len, CONTENT.values()))
    assert paths[0] == cache / "org/example/one/one/1.0/one-1.0.jar"
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert {of for _, of, _ in told} == {total}
    assert told[-1][0] == total
    assert {name for _, _, name in told} == {path.name for path in paths}
    assert_complete(cache)
    assert mirror.requests == dict.fromkeys(CONTENT, 1)


def test_a_truncated_jar_is_fetched_again(mirror, cache):
    (one, *_) = classpath()
    one.write_bytes(CONTENT["one"][:-1])
    assert_complete(cache)
    assert mirror.requests == dict.fromkeys(CONTENT, 1) | {"one": 2}


def test_a_jar_of_another_content_never_enters_the_cache(mirror, cache):
    mirror.answers["two"] = b"2" * len(CONTENT["two"])
    with pytest.raises(DownloadFailed, match="SHA-256"):
        classpath()
    assert "two" not in names_in(cache)
    assert mirror.requests["two"] == 2
    mirror.answers = dict(CONTENT)
    assert_complete(cache)


def test_a_cut_answer_never_enters_the_cache(mirror, cache):
    mirror.cut.add("five")
    with pytest.raises(DownloadFailed):
        classpath()
    assert "five" not in names_in(cache)
    mirror.cut.clear()
    assert_complete(cache)


def test_a_failure_names_host_jar_cause_and_what_is_there(mirror, cache):
    classpath()[-1].unlink()
    del mirror.answers["five"]
    with pytest.raises(DownloadFailed) as caught:
        classpath()
    assert caught.value.what == (
        "127.0.0.1 did not give org.example.five:five:1.0: it has no such file, or refuses it; "
        "4 of 5 jars are there"
    )
    assert "continues where it stopped" in caught.value.next_step


@pytest.mark.usefixtures("cache")
def test_a_server_out_of_reach_is_named_in_a_sentence(monkeypatch):
    monkeypatch.setenv("KAFKA_ETL_MAVEN", "http://127.0.0.1:1/maven2")
    with pytest.raises(DownloadFailed, match=r": Connection refused; 0 of 5 jars are there"):
        classpath()


def test_a_killed_download_goes_on_with_the_missing_jars(mirror, cache):
    stall = mirror.stalled["four"] = threading.Event()
    process = start_elsewhere()
    wait_until(lambda: names_in(cache) == set(CONTENT) - {"four"}, process)
    process.kill()
    process.wait()
    stall.set()
    classpath()
    assert names_in(cache) == set(CONTENT)
    assert mirror.requests == dict.fromkeys(CONTENT, 1) | {"four": 2}


def test_two_programs_at_once_do_not_disturb_each_other(mirror, cache):
    stall = mirror.stalled["three"] = threading.Event()
    other = start_elsewhere()
    wait_until(lambda: mirror.requests["three"] == 1, other)
    mine = threading.Thread(target=classpath)
    mine.start()
    wait_until(lambda: mirror.requests["three"] == 2, other)
    stall.set()
    mine.join()
    assert other.wait() == 0
    assert_complete(cache)


def test_a_full_cache_needs_no_network_and_no_jgo(mirror, cache, monkeypatch):
    classpath()
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    monkeypatch.setenv("KAFKA_ETL_MAVEN", "http://127.0.0.1:1/maven2")
    assert_complete(cache)
    assert mirror.requests == dict.fromkeys(CONTENT, 1)


@pytest.mark.usefixtures("cache")
def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(ExtraMissing) as caught:
        classpath()
    assert caught.value.next_step == "pip install 'kafka-etl[broker]'"


def test_the_lock_names_each_jar_once():
    locked_jars = jars.locked_jars()
    assert len({jar.path for jar in locked_jars}) == len(locked_jars)
    assert jars.kafka_version() in {jar.coordinate.split(":")[2] for jar in locked_jars}
