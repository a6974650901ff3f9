"""Files that come in over HTTP: to a file of our own first, then into the store of content, in a thread."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import trio
from swarmd.node.content.adding import Added, Adder
from swarmd.node.content.repo import ContentRepo
from swarmd.protocol.faults import LocalFault

# A body that comes slower than this for so long is given up.
LEAST_BYTES_PER_S = 8_192
PATIENCE_S = 15.0
MAX_AT_ONCE = 4


class Uploads:
    """At most MAX_AT_ONCE; memory stays at a chunk each, whatever comes."""

    def __init__(self, repo: ContentRepo, scratch: Path, max_bytes: int) -> None:
        self._repo = repo
        self._scratch = scratch
        self._max_bytes = max_bytes
        self._running = 0

    async def take(self, chunks: AsyncIterator[bytes], declared: str) -> Added:
        """LocalFault `content-too-big`, `request-timeout`, `busy`, `disk-error`; nothing is kept then."""
        if declared.isdigit() and int(declared[:20]) > self._max_bytes:
            raise self._too_big()
        if self._running >= MAX_AT_ONCE:
            raise LocalFault("busy", f"{MAX_AT_ONCE} uploads are running", fix="wait for one of them to end")
        self._running += 1
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._scratch) as file:
                await self._receive(chunks, file)
                file.seek(0)
                return await trio.to_thread.run_sync(self._add, file)
        except OSError as error:
            raise LocalFault("disk-error", error.strerror or str(error), fix="see swarmd doctor") from None
        finally:
            self._running -= 1

    async def _receive(self, chunks: AsyncIterator[bytes], file: BinaryIO) -> None:
        begun, size = trio.current_time(), 0
        with trio.CancelScope() as scope:
            scope.deadline = begun + PATIENCE_S
            async for chunk in chunks:
                size += len(chunk)
                if size > self._max_bytes:
                    raise self._too_big()
                file.write(chunk)  # to the page cache: a thread for each chunk costs more
                scope.deadline = begun + PATIENCE_S + size / LEAST_BYTES_PER_S
        if scope.cancelled_caught:
            raise LocalFault(
                "request-timeout",
                f"the body came slower than {LEAST_BYTES_PER_S} bytes a second",
                fix="send it again",
            )

    def _add(self, file: BinaryIO) -> Added:
        added = Adder(self._repo.put_group).add_stream(file)
        self._repo.sync()
        return added

    def _too_big(self) -> LocalFault:
        return LocalFault(
            "content-too-big",
            f"an upload has at most {self._max_bytes} bytes",
            fix="swarmd content add takes larger files",
        )
