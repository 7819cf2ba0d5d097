"""Bodies are compressed where it pays, and come back as they were."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest
import zstandard

from penstock_worker import compress
from penstock_worker.compress import MIN_BYTES, decode, encode

LIMIT = 10.0

TEXT = b"the same again and again " * 100
NOISE = random.Random(1).randbytes(5000)


@pytest.mark.parametrize("body", [b"", b"x", TEXT, NOISE, bytes(1_000_000), TEXT[:MIN_BYTES]])
@pytest.mark.parametrize("content_type", [None, "text/plain", "image/png"])
@pytest.mark.parametrize("compression", [None, "zstd", "none"])
def test_what_was_encoded_decodes_to_the_same(body: bytes, content_type: str | None, compression: str | None) -> None:
    encoded = encode(memoryview(body), content_type, compression)
    assert decode(encoded.body, encoded.encoding) == body
    assert len(encoded.body) <= len(body)


@pytest.mark.parametrize(
    "content_type",
    [None, "text/html; charset=utf-8", "application/json", "image/svg+xml", "IMAGE/BMP", "audio/wav", "text/csv"],
)
def test_what_shrinks_is_compressed(content_type: str | None) -> None:
    encoded = encode(memoryview(TEXT), content_type, None)
    assert encoded.encoding == "zstd"
    assert len(encoded.body) < len(TEXT) / 5


@pytest.mark.parametrize(
    ("body", "content_type", "compression"),
    [
        (TEXT, None, "none"),
        (TEXT[: MIN_BYTES - 1], None, None),
        (NOISE, None, None),
        *((TEXT, kind, None) for kind in ("image/png", "VIDEO/mp4", "application/zip", "application/gzip; q=1")),
    ],
)
def test_what_does_not_pay_is_sent_as_it_is(body: bytes, content_type: str | None, compression: str | None) -> None:
    encoded = encode(memoryview(body), content_type, compression)
    assert (encoded.body, encoded.encoding) == (body, None)


def test_threads_do_not_share_a_compressor() -> None:
    bodies = [bytes([number]) * 100_000 for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        encoded = list(pool.map(lambda body: encode(memoryview(body), None, None), bodies))
    assert [decode(one.body, one.encoding) for one in encoded] == bodies


def test_only_what_is_urgent_or_long_does_not_wait_while_every_cpu_compresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    idle: SimpleQueue[zstandard.ZstdCompressor] = SimpleQueue()
    monkeypatch.setattr(compress, "_shared", idle)
    monkeypatch.setattr(compress, "LONG_BODY", 2 * len(TEXT))
    with ThreadPoolExecutor(3) as pool:
        waits = pool.submit(encode, memoryview(TEXT), None, None)
        try:
            assert pool.submit(encode, memoryview(TEXT), None, None, urgent=True).result(LIMIT).encoding == "zstd"
            assert pool.submit(encode, memoryview(TEXT * 3), None, None).result(LIMIT).encoding == "zstd"
            assert not waits.done()
        finally:
            for _ in range(3):  # whoever waits wrongly must end, too
                idle.put(zstandard.ZstdCompressor())
        assert waits.result(LIMIT).encoding == "zstd"
    assert idle.qsize() == 3, "the next ones need it"


@pytest.mark.parametrize("encoding", [None, "", "identity"])
def test_a_body_without_an_encoding_is_given_back_as_it_is(encoding: str | None) -> None:
    assert decode(NOISE, encoding) == NOISE


def test_a_foreign_encoding_and_a_damaged_body_are_refused() -> None:
    with pytest.raises(ValueError, match="gzip"):
        decode(TEXT, "gzip")
    with pytest.raises(ValueError, match="damaged"):
        decode(NOISE, "zstd")
    with pytest.raises(ValueError, match="damaged"):
        decode(encode(memoryview(TEXT), None, None).body[:-5], "zstd")
