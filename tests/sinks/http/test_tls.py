"""TLS with an authority of one's own, and certificates of clients."""

from __future__ import annotations

import ssl

import pytest

from kafka_etl.contracts import TAKEN, Again, Unreachable
from kafka_etl_connectors.http import SINK, exchange
from tests.kit.certificates import Authority
from tests.kit.http_target import Reply, target
from tests.kit.listener import served as listener
from tests.kit.rows import rows_of


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def context(authority):
    pair = authority.sign("server")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pair.cert, pair.key)
    return made


@pytest.fixture
def server(context):
    with target(context) as running:
        yield running


def test_an_authority_of_ones_own(sink, server):
    assert sink(tls={"ca": "ca.pem"}).write(rows_of([b"a", b"b"])) is TAKEN
    assert len(server.requests) == 2


def test_an_unknown_authority_is_somebodys_to_mend(sink, server):
    with pytest.raises(Unreachable, match=r"TLS: .*certificate.*mend `tls`") as raised:
        sink().write(rows_of([b"a"]))
    assert raised.value.mend
    assert server.requests == []


def test_a_certificate_of_another_host_is_refused(sink, server):
    url = server.url.replace("127.0.0.1", "localhost")
    with pytest.raises(Unreachable, match="TLS") as raised:
        sink(url=url, tls={"ca": "ca.pem"}).write(rows_of([b"a"]))
    assert raised.value.mend


def test_verification_can_be_switched_off(sink, server):
    assert sink(tls={"verify": False}).write(rows_of([b"a"])) is TAKEN


@pytest.fixture
def picky(authority, context):
    """The server wants certificates of clients."""
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca)
    return context


def test_a_certificate_of_the_client(sink, server, authority, picky):
    pair = authority.sign("client")
    tls = {"ca": "ca.pem", "cert": pair.cert.name, "key": pair.key.name}
    assert sink(tls=tls).write(rows_of([b"a"])) is TAKEN


def test_a_server_that_refuses_the_clients_certificate_blames_no_row(sink, picky):
    # Not asyncio's server, which closes without a word where others send an alert.
    with listener(picky) as port:
        with pytest.raises(Unreachable, match=r"TLS: .*certificate required") as raised:
            sink(url=f"https://127.0.0.1:{port}", tls={"ca": "ca.pem"}).write(rows_of([b"a"]))
        assert raised.value.mend


@pytest.mark.parametrize("refuses", [True, False])
def test_a_broken_connection_is_looked_at_twice(sink, server, monkeypatch, refuses):
    """A server's alert is often lost: the client writes to a connection that is closed by then."""

    async def knock(*_arguments):
        if refuses:
            raise ssl.SSLError(1, "[SSL: X] alert certificate required")

    monkeypatch.setattr(exchange, "knock", knock)
    server.behaviour = lambda _request: Reply(hang_up=True)
    writer = sink(tls={"ca": "ca.pem"})
    if refuses:
        with pytest.raises(Unreachable, match="certificate required"):
            writer.write(rows_of([b"a"]))
    else:
        assert isinstance(writer.write(rows_of([b"a"]))[0], Again)


def test_preflight_notes_that_the_server_refuses_the_clients_certificate(deployment, picky):
    with listener(picky) as port:
        given = {"url": f"https://127.0.0.1:{port}", "tls": {"ca": "ca.pem"}}
        found = SINK.check(SINK.settings.model_validate(given), deployment)
    assert "certificate required" in found.notes[0].lower().replace("_", " ")


@pytest.mark.parametrize("tls", [{"ca": "none.pem"}, {"cert": "none.pem"}, {"ca": "odd.pem"}])
def test_files_that_cannot_be_used_are_somebodys_to_mend(sink, server, tmp_path, tls):
    (tmp_path / "odd.pem").write_text("no certificate")
    with pytest.raises(Unreachable, match=r"\.pem cannot be used") as raised:
        sink(tls=tls)
    assert raised.value.mend


def test_plain_http_to_a_server_with_tls_is_no_refusal(sink, server):
    writer = sink(url=server.url.replace("https", "http"))
    try:
        answer = writer.write(rows_of([b"a"]))
    except Unreachable:
        return
    assert not answer[0].patient
