"""A file on a web server that can be read and sought like a local one, by ranges: only what is read is transferred."""

from __future__ import annotations

import io
import re
from collections import OrderedDict
from collections.abc import Mapping

import requests
import urllib3

from floatbench.weights.download import Settings, settings
from floatbench.weights.web import pause_asked, session

BLOCK = 1 << 20
KEPT_BLOCKS = 16


class RemoteGone(Exception):
    """The server will not serve this file, however often it is asked."""


class RemoteBroken(Exception):
    """The connection failed again and again; `pause`: seconds that the server asked for, None when it did not."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class RemoteFile(io.RawIOBase):
    """Reads an address block by block, each block tried again with growing pauses.

    Args:
        url, headers: of the request; how: patience.

    Raises:
        RemoteGone: there is no such file; RemoteBroken: it did not come after all attempts.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, how: Settings | None = None) -> None:
        super().__init__()
        self._url, self._how = url, how or settings()
        self._session = session()
        self._headers = {**(headers or {}), "Accept-Encoding": "identity"}
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self.transferred = 0
        self.size = BLOCK  # replaced by the first answer
        self._block(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self.size if size < 0 else min(self._position + size, self.size)
        parts = []
        while self._position < end:
            index, offset = divmod(self._position, BLOCK)
            piece = self._block(index)[offset : offset + end - self._position]
            parts.append(piece)
            self._position += len(piece)
        return b"".join(parts)

    def close(self) -> None:
        self._session.close()
        super().close()

    def _block(self, index: int) -> bytes:
        if index in self._blocks:
            self._blocks.move_to_end(index)
            return self._blocks[index]
        data = self._tried(index)
        self._blocks[index] = data
        if len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return data

    def _tried(self, index: int) -> bytes:
        reason, pause = "", 0.0
        for attempt in range(self._how.attempts):
            if attempt:
                self._how.sleep(max(pause, min(2.0 ** (attempt - 1), 30.0)))
            try:
                return self._request(index)
            except (RemoteBroken, requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = " ".join(str(error).split())[:120]
                pause = error.pause or 0.0 if isinstance(error, RemoteBroken) else 0.0
                if pause > self._how.longest_pause:
                    break
        raise RemoteBroken(f"{reason} ({self._how.attempts} attempts)")

    def _request(self, index: int) -> bytes:
        start, stop = index * BLOCK, min((index + 1) * BLOCK, self.size)
        headers = {**self._headers, "Range": f"bytes={start}-{stop - 1}"}
        with self._session.get(self._url, headers=headers, timeout=self._how.timeout, stream=True) as reply:
            if reply.status_code in (404, 410):
                raise RemoteGone(f"HTTP {reply.status_code}")
            if reply.status_code == 200:
                raise RemoteBroken("the server sends whole files only")
            if reply.status_code != 206:  # 403 and 429 too: sites say so when they are asked too often
                raise RemoteBroken(f"HTTP {reply.status_code}", pause_asked(reply))
            total = re.fullmatch(r"bytes \d+-\d+/(\d+)", reply.headers.get("Content-Range", ""))
            if total is None:
                raise RemoteBroken("the server does not say how long the file is")
            self.size = int(total.group(1))
            data = reply.raw.read(stop - start)
        wanted = min(stop, self.size) - start
        if len(data) != wanted:
            raise RemoteBroken(f"connection cut after {len(data)} of {wanted} bytes")
        self.transferred += len(data)
        return data
