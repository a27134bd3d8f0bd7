"""Which failures are of one kind, and which are not."""

from __future__ import annotations

import pytest

from kafka_etl.envelope import fingerprint_of, normalised

FRAMES = (
    '  File "/app/shop/ops.py", line 12, in to_eur\n'
    '  File "/app/shop/rates.py", line 7, in rate_of\n'
    '  File "/venv/lib/python3.12/site-packages/httpx/_client.py", line 99, in get'
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no rate for order 17", "no rate for order 4,711"),
        ("took 0.25 s", "took 1.5e-3 s"),
        ("at 2026-01-02T03:04:05", "at 2027-11-12T13:14:15"),
        ("user 0b5f6c1e-0d0c-4a58-8b4e-0a2d4c1b9f00", "user 91e8a7c2-1111-4222-9333-abcdefabcdef"),
        ("object at 0x7f00aa", "object at 0x8a11bc"),
        ("invalid literal for int(): 'abc'", "invalid literal for int(): 'x y'"),
        ('unknown currency "XAU"', 'unknown currency "XAG"'),
        ("no rate for XAU", "no rate for EU-2"),
        ("mail to a.b@example.org failed", "mail to c@example.com failed"),
        ("GET https://a/b?c=1 gave nothing", "PUT http://d/e gave nothing"),
        ("line\n  two 1", "line two 2"),
    ],
)
def test_the_data_of_a_record_makes_no_kind(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("error", "one", "other"),
    [
        ("KeyError", "'amount' is not there", "'price' is not there"),
        ("AttributeError", "'str' object has no attribute 'get'", "'int' object has no attribute"),
        ("ValueError", "too small", "too large"),
        ("ValueError", "it can't be, and isn't", "it can't be, or isn't"),
    ],
)
def test_names_and_words_do(error: str, one: str, other: str) -> None:
    assert normalised(one, error) != normalised(other, error)


def kind(condition="OperatorError", operator="to_eur", error="E", message="m", frames=FRAMES):
    return fingerprint_of(condition, operator, error, message, frames)


def test_each_part_tells_kinds_apart() -> None:
    different = {
        kind(),
        kind(condition="Timeout"),
        kind(operator="other"),
        kind(error="F"),
        kind(message="n"),
        kind(frames=FRAMES.replace("rate_of", "rates")),
        kind(frames=""),
    }
    assert len(different) == 7


def test_lines_and_libraries_do_not_count() -> None:
    assert kind() == kind(frames=FRAMES.replace("line 7", "line 70").replace("line 99", "line 1"))
    assert kind() == kind(frames=FRAMES.replace("_client.py", "_other.py"))
    assert kind() == kind(frames=FRAMES.replace("/app/", "/srv/app/"))


def test_the_innermost_frame_counts_where_none_is_the_users() -> None:
    library = FRAMES.splitlines()[-1]
    assert kind(frames=library) != kind(frames=library.replace("get", "post"))


def test_any_text_has_a_fingerprint() -> None:
    for text in ("", "\ud800", "\0", "9" * 100_000, "'" * 999):
        assert len(kind(message=text)) == 16
