"""When a producer is renewed, and how a transaction ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from kafka_etl.contracts import Aborted, OutcomeUnknown
from kafka_etl.kafka.transactions import transactions as module
from kafka_etl.kafka.transactions.lost_answers import LostAnswers
from kafka_etl.kafka.transactions.transactions import Transactions
from tests.kit.listener import plain_listener

TIMED_OUT = KafkaError(KafkaError._TIMED_OUT, "", retriable=True)
BUSY = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, "", retriable=True)
THROWN_OUT = KafkaError(KafkaError.ILLEGAL_GENERATION, "", txn_requires_abort=True)
GAP = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "", txn_requires_abort=True)
FENCED = KafkaError(KafkaError._FENCED, "", fatal=True)


class Client:
    """A producer that does what the test wants.

    Attributes:
        calls: Names of the calls made.
        wants: Call -> what it does first, one after the other: raise an error, or anything else.
    """

    def __init__(self, log: LostAnswers, error_cb: Callable[[KafkaError], None]) -> None:
        self.log = log
        self.error_cb = error_cb
        self.calls: list[str] = []
        self.wants: dict[str, list[KafkaError | Callable[[], None]]] = {}

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if wanted := self.wants.get(name):
            first = wanted.pop(0)
            if isinstance(first, KafkaError):
                raise KafkaException(first)
            first()

    def init_transactions(self, _seconds: float) -> None:
        self._call("init")

    def begin_transaction(self) -> None:
        self._call("begin")

    def send_offsets_to_transaction(self, *_arguments: object) -> None:
        self._call("offsets")

    def commit_transaction(self, _seconds: float) -> None:
        self._call("commit")

    def abort_transaction(self, _seconds: float) -> None:
        self._call("abort")

    def poll(self, _seconds: float) -> None:
        self._call("poll")

    def flush(self, _seconds: float) -> int:
        return 0

    def says(self, facility: str, line: str = "x: TxnCoordinator/1: gone") -> Callable[[], None]:
        """A line in the client's log."""
        return lambda: self.log.log(logging.DEBUG, "%s [%s] %s", facility, "producer-1", line)

    def reports(self) -> None:
        """Something told to the error callback."""
        self.error_cb(KafkaError(KafkaError._TRANSPORT))


class Rig:
    """Transactions on such clients, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clients: list[Client] = []
        self.told: list[str] = []
        self.now = 100.0
        monkeypatch.setattr(module, "make_client", self._make)
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        self.transactions = Transactions({"transactional.id": "t"}, None, self.told.append)
        self.transactions.open()

    def _make(self, _kind: object, settings: dict[str, Any], log: LostAnswers) -> Client:
        self.clients.append(Client(log, settings["error_cb"]))
        return self.clients[-1]

    @property
    def client(self) -> Client:
        return self.clients[-1]

    @property
    def renewals(self) -> int:
        return len(self.clients) - 1

    def wait(self, seconds: float) -> Callable[[], None]:
        """Time that a call takes."""

        def passes() -> None:
            self.now += seconds

        return passes

    def commit(self, write: Callable[[Producer], None] = lambda _producer: None) -> None:
        self.transactions.begin(write, 1, [], b"lease")()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


@pytest.mark.parametrize("call", ["begin", "offsets", "commit"])
@pytest.mark.parametrize("facility", ["FAIL", "REQTMOUT"])
def test_a_connection_lost_in_a_transaction_renews_the_producer_once(
    rig: Rig, call: str, facility: str
) -> None:
    rig.client.wants[call] = [rig.client.says(facility)]
    rig.commit()
    assert rig.renewals == 0
    rig.commit()
    rig.commit()
    assert rig.renewals == 1


def test_a_line_that_is_served_after_the_commit_is_of_its_transaction(rig: Rig) -> None:
    def serve_later() -> None:
        rig.client.wants["poll"] = [rig.client.says("FAIL")]

    rig.client.wants["commit"] = [serve_later]
    rig.commit()
    rig.commit()
    assert rig.renewals == 1


def test_a_connection_lost_between_transactions_is_of_no_importance(rig: Rig) -> None:
    rig.client.says("FAIL")()
    rig.commit()
    rig.client.wants["poll"] = [rig.client.says("FAIL")]
    rig.commit()
    rig.commit()
    assert rig.renewals == 0


def test_after_an_abort_records_may_be_on_their_way_so_every_line_counts(rig: Rig) -> None:
    rig.client.wants["offsets"] = [THROWN_OUT]
    with pytest.raises(Aborted):
        rig.commit()
    rig.client.says("FAIL")()
    rig.commit()
    assert rig.renewals == 1


@pytest.mark.parametrize("facility", ["WAKEUP", "RETRY", "CONNECT", "STATE"])
def test_other_lines_say_nothing_of_answers(rig: Rig, facility: str) -> None:
    rig.client.wants["commit"] = [rig.client.says(facility)]
    rig.commit()
    rig.commit()
    assert rig.renewals == 0


def test_the_connection_that_was_only_for_finding_brokers_may_go(rig: Rig) -> None:
    rig.client.wants["commit"] = [rig.client.says("FAIL", "[thrd:b:1/bootstrap]: b:1/bootstrap: x")]
    rig.commit()
    rig.commit()
    assert rig.renewals == 0


def test_a_far_network_renews_nothing_and_tells_no_trouble(rig: Rig) -> None:
    for _ in range(50):
        rig.client.wants["offsets"] = [rig.wait(0.6)]
        rig.client.wants["commit"] = [rig.wait(0.3), rig.wait(0.3)]
        rig.commit()
    assert rig.renewals == 0
    assert rig.told == []


def test_a_commit_that_is_waited_for_in_pieces_repeats_nothing(rig: Rig) -> None:
    rig.client.wants["commit"] = [TIMED_OUT, TIMED_OUT]
    rig.commit()
    rig.commit()
    assert rig.renewals == 0
    assert rig.told == []


def test_an_abort_that_is_waited_for_in_pieces_tells_no_trouble(rig: Rig) -> None:
    rig.client.wants["offsets"] = [THROWN_OUT]
    rig.client.wants["abort"] = [TIMED_OUT, TIMED_OUT]
    with pytest.raises(Aborted):
        rig.commit()
    assert rig.client.calls.count("abort") == 3
    assert rig.told == []


def test_a_call_of_many_seconds_renews_the_producer_and_is_told(rig: Rig) -> None:
    def slowly() -> None:
        rig.now += 3
        raise KafkaException(TIMED_OUT)

    rig.client.wants["commit"] = [slowly]
    rig.commit()
    assert rig.told == ["committing: _TIMED_OUT: "]
    rig.commit()
    assert rig.renewals == 1


@pytest.mark.parametrize(("call", "error"), [("offsets", TIMED_OUT), ("commit", BUSY)])
def test_a_call_that_is_given_up_and_made_again_renews_the_producer(
    rig: Rig, call: str, error: KafkaError
) -> None:
    rig.client.wants[call] = [error]
    rig.commit()
    rig.commit()
    assert rig.renewals == 1


def test_what_the_error_callback_tells_renews_the_producer(rig: Rig) -> None:
    rig.commit()
    rig.client.wants["poll"] = [rig.client.reports]
    rig.commit()
    assert rig.renewals == 1


def test_a_rebalance_renews_nothing(rig: Rig) -> None:
    rig.client.wants["offsets"] = [THROWN_OUT]
    with pytest.raises(Aborted) as aborted:
        rig.commit()
    assert aborted.value.routine
    rig.commit()
    assert rig.renewals == 0


@pytest.mark.parametrize(("lost", "fenced"), [(True, False), (False, True)])
def test_who_is_fenced_after_a_lost_answer_has_fenced_itself(
    rig: Rig, lost: bool, fenced: bool
) -> None:
    if lost:
        rig.client.wants["offsets"] = [rig.client.says("FAIL")]
    rig.client.wants["commit"] = [FENCED]
    with pytest.raises(OutcomeUnknown) as unknown:
        rig.commit()
    assert unknown.value.fenced is fenced
    rig.commit()
    assert rig.renewals == 1


def test_a_gap_in_the_numbers_makes_the_whole_transaction_twice(rig: Rig) -> None:
    written: list[None] = []
    rig.client.wants["commit"] = [GAP]
    rig.commit(lambda _producer: written.append(None))
    assert len(written) == 2
    calls = [call for call in rig.client.calls if call != "poll"]
    assert calls == ["init", "begin", "offsets", "commit", "abort", "begin", "offsets", "commit"]
    assert rig.renewals == 0


def test_what_is_told_of_renewals_speaks_of_no_loss(rig: Rig) -> None:
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            rig.client.wants["commit"] = [rig.client.says("FAIL")]
            rig.commit()
            rig.commit()
    assert [line["log_level"] for line in lines] == ["debug", "debug", "warning"]
    assert "nothing is lost" in lines[-1]["event"]


def test_the_client_itself_tells_of_a_lost_connection() -> None:
    """In the very words that are waited for, which a new version of the client may change."""
    with plain_listener() as port:
        place = {"bootstrap.servers": f"127.0.0.1:{port}", "log.connection.close": False}
        answers = LostAnswers(place)
        told: list[tuple[str, str]] = []

        class Log:
            def log(self, _level: int, _text: str, facility: str, _client: str, line: str) -> None:
                told.append((facility, line))

        producer = Producer({**place, **answers.settings}, logger=Log())
        with pytest.raises(KafkaException):
            producer.list_topics(timeout=0.5)
        producer.poll(0)
    lost = [line for facility, line in told if facility == "FAIL"]
    assert lost
    assert all("/bootstrap: " in line for line in lost)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"log_level": 3}, ["CRITICAL", "ERROR"]),
        ({"log_level": 0}, ["CRITICAL"]),
        ({"log_level": 6}, ["CRITICAL", "ERROR", "WARNING", "INFO"]),
        ({"log_level": 7}, ["CRITICAL", "ERROR", "WARNING", "INFO"]),
        ({"log_level": 7, "debug": "eos"}, ["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"]),
    ],
)
def test_of_the_clients_log_the_user_sees_what_was_asked_for(
    caplog: pytest.LogCaptureFixture, settings: dict[str, Any], shown: list[str]
) -> None:
    logger = logging.getLogger("kafka_etl.client")
    answers = LostAnswers(settings)
    caplog.set_level(logging.DEBUG, logger=logger.name)
    logger.addHandler(caplog.handler)
    try:
        for level in (
            logging.CRITICAL,
            logging.ERROR,
            logging.WARNING,
            logging.INFO,
            logging.DEBUG,
        ):
            answers.log(level, "%s [%s] %s", "FAIL", "producer-1", "gone")
    finally:
        logger.removeHandler(caplog.handler)
    assert list(dict.fromkeys(r.levelname for r in caplog.records)) == shown
    assert answers.settings["debug"] == ("eos,broker" if "debug" in settings else "broker")
