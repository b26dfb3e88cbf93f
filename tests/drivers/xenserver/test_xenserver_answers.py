"""Answers of XML-RPC are read as they are meant, and within bounds."""

import pytest

from hypervisors.drivers.xenserver import answers
from hypervisors.drivers.xenserver.answers import AnswerReader, BrokenAnswer, Keep


def read(document: bytes, keep: Keep | None = None) -> object:
    reader = AnswerReader(keep)
    for place in range(0, len(document), 7):  # in pieces, as they come
        reader.feed(document[place : place + 7])
    _, value = reader.finish()
    return value


def document(value: str) -> bytes:
    return f"<?xml version='1.0'?><methodResponse><params><param>{value}</param></params></methodResponse>".encode()


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("<value>plain</value>", "plain"),
        ("<value/>", ""),
        ("<value><string/></value>", ""),
        ("<value> two  spaces </value>", " two  spaces "),
        ("<value><string>&lt;a&gt; &amp; &#233;</string></value>", "<a> & é"),
        ("<value><boolean>1</boolean></value>", True),
        ("<value><double>0.25</double></value>", 0.25),
        ("<value><i4>7</i4></value>", 7),
        ("<value><nil/></value>", None),
        ("<value><dateTime.iso8601>20260101T12:00:00Z</dateTime.iso8601></value>", "20260101T12:00:00Z"),
        ("<value><array><data/></array></value>", []),
        ("<value><array><data><value>a</value><value>b</value></data></array></value>", ["a", "b"]),
        ("<value><struct/></value>", {}),
        ("<value><struct><member><name>a</name><value>b</value></member></struct></value>", {"a": "b"}),
    ],
)
def test_every_type_of_the_wire_is_read(value: str, meaning: object) -> None:
    assert read(document(value)) == meaning


def test_only_the_wanted_fields_of_records_are_kept() -> None:
    def struct(**members: str) -> str:
        inner = "".join(
            f"<member><name>{name}</name><value>{value}</value></member>" for name, value in members.items()
        )
        return f"<struct>{inner}</struct>"

    nested = struct(unwanted="deep", wanted="deep")
    record = struct(unwanted=nested, wanted=nested, other="x<!-- comment -->")
    whole = read(document(f"<value>{struct(ref=record, ref2=record)}</value>"), Keep(2, frozenset({"wanted"})))
    kept = {"wanted": {"unwanted": "deep", "wanted": "deep"}}
    assert whole == {"ref": kept, "ref2": kept}


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"<methodResponse>",
        document("<value><boolean>2</boolean></value>"),
        document("<value><i4>x</i4></value>"),
        document("<value><double>x</double></value>"),
        document(f"<value><i4>{'9' * 100_000}</i4></value>"),
        document("<value><struct><member><name>a</name></member></struct></value>"),
        document("<value><struct><member><value>a</value></member></struct></value>"),
        document("<value><script>1</script></value>"),
        document("<value>a</value><value>b</value>"),
        document("<array></array></array>"),
        b"<methodResponse><params></params></methodResponse>",
        b"\xff\xfe\x00",
        b"<a>\xc3\x28</a>",
    ],
)
def test_what_is_no_answer_is_refused(broken: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        read(broken)


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (b"<value>", b"x" * 65536),
        (b"<value><array><data>", b"<value/>" * 8192),
        (b"<value>", b"<struct><member><name>a</name><value>" * 64),
        (b"<value><struct>", b"<member><name>a</name><value>b</value></member>" * 1024),
        (b"<value><struct>", b"<member><name>" + b"x" * 65536 + b"</name><value>b</value></member>"),
        (b"<value a='", b"x" * 65536),
        (b"<value><!--", b"x" * 65536),
    ],
    ids=["a text", "values", "structs within structs", "members", "long names", "an attribute", "a comment"],
)
def test_what_has_no_end_is_given_up_while_it_comes(
    begin: bytes, again: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MAX_VALUES", 100_000)
    reader = AnswerReader()
    reader.feed(b"<methodResponse><params><param>" + begin)

    def feed_on() -> None:
        for _ in range(20_000):
            reader.feed(again)

    with pytest.raises(BrokenAnswer, match=r"more than an answer may|deeper than|has no end"):
        feed_on()
