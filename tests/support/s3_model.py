"""S3 as the promises see it: what each object holds, and requests that are still on their way there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from penstock_worker.stores import ObjectInfo
from tests.support.queue_parts import Write

SIGNATURE_SECONDS = 900.0
"""A SigV4 signature dies 15 minutes after its date."""


@dataclass(eq=False)
class Request:
    """A PUT or DELETE under way, by the claim ``token``. ``over``: its claim has ended, or was taken back.

    ``lost``: Redis has forgotten the claim.
    """

    token: str
    write: Write
    date: int
    over: bool = False
    lost: bool = False


@dataclass
class S3Model:
    now: int
    """Microseconds. Unlike the queue's clock it is never set back."""
    objects: dict[bytes, Write] = field(default_factory=dict)
    network: list[Request] = field(default_factory=list)

    def sent(self, token: str, name: bytes) -> Request | None:
        return next((one for one in self.network if (one.token, one.write.name) == (token, name)), None)

    def send(self, token: str, write: Write) -> Request:
        """One request a claim and write: the engines' own retries are off."""
        request = self.sent(token, write.name)
        if request is None:
            request = Request(token, write, self.now)
            self.network.append(request)
        return request

    def alive(self, request: Request) -> bool:
        return self.now < request.date + round(SIGNATURE_SECONDS * 1e6)

    def land(self, request: Request) -> None:
        """S3 applies it, unless its signature is too old."""
        self.network.remove(request)
        if self.alive(request):
            self.objects[request.write.name] = request.write

    def refuse(self, token: str, name: bytes) -> None:
        """The worker knows that S3 did not apply its request, if it sent one."""
        request = self.sent(token, name)
        if request is not None:
            self.network.remove(request)

    def head(self, name: bytes) -> ObjectInfo | None:
        write = self.objects.get(name)
        if write is None or write.is_delete:
            return None
        return ObjectInfo(len(write.body), "etag", {"penstock-seq": str(write.seq)}, None, None)

    def check(self, marks: Collection[bytes], settled: Mapping[bytes, int]) -> None:
        """What may still land late belongs to a marked name: else nobody would look. One of a claim that Redis forgot
        matters only where something newer of its name was stored."""
        for request in self.network:
            matters = not request.lost or settled.get(request.write.name, 0) > request.write.seq
            if request.over and matters and self.alive(request):
                assert request.write.name in marks, f"{request.write.name!r}: an old request may land unseen"
