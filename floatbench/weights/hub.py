"""The Hugging Face hub: addresses, the user's token, its cache on this machine, and the hashes it states of its files.

`huggingface_hub` gives all four; the transfer itself is `floatbench.weights.download`, which has ordered mirrors.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from floatbench.errors import UsageError

_ADDRESS = re.compile(r"hf://(?:(spaces|datasets)/)?([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)")
_FULL_REVISION = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Promise:
    """What a host itself says of a file: SHA-256 (large files of the hub), git's blob id (small ones), bytes."""

    sha256: str | None = None
    git_blob: str | None = None
    size: int | None = None


def _parts(url: str) -> dict[str, Any]:
    """`hf://[spaces/|datasets/]owner/repo[@revision]/path` as the arguments of huggingface_hub's functions."""
    found = _ADDRESS.fullmatch(url)
    if found is None:
        raise UsageError(f"{url} is no address of the hub", fix="hf://[spaces/|datasets/]owner/repo@revision/path")
    kind, repo, revision, path = found.groups()
    repo_type = None if kind is None else kind.removesuffix("s")
    return {"repo_id": repo, "filename": path, "repo_type": repo_type, "revision": revision}


def endpoint() -> str:
    """The hub in use: `HF_ENDPOINT`, else the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def web_address(url: str) -> str:
    """The `/resolve/` address of an `hf://` one."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(**_parts(url), endpoint=endpoint())


def is_hub(url: str) -> bool:
    """True for addresses at the hub itself, not at the stores that it redirects to."""
    return urlsplit(url).netloc == urlsplit(endpoint()).netloc


def authorization(url: str) -> dict[str, str]:
    """The header with the user's token (`HF_TOKEN` or `hf auth login`) for the hub; empty for every other host.

    requests takes it off when the hub redirects to another host.
    """
    if not is_hub(url):
        return {}
    from huggingface_hub import get_token

    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def refused(reply: requests.Response) -> str | None:
    """What a refusal of the hub means and what mends it; None when the status says enough.

    Source: `X-Error-Code` as read by huggingface_hub.utils.hf_raise_for_status. To strangers the hub answers 401 for
    repositories that do not exist, so as not to give away private ones.
    """
    if not is_hub(reply.url) or reply.status_code not in (401, 403, 404):
        return None
    code, page = reply.headers.get("X-Error-Code", ""), reply.url.partition("/resolve/")[0]
    if code in ("EntryNotFound", "RevisionNotFound"):
        return {"EntryNotFound": "no such file in that revision", "RevisionNotFound": "no such revision"}[code]
    if reply.status_code == 404:
        return None
    if "Authorization" not in reply.request.headers:
        what = "gated" if code == "GatedRepo" else "private, gated or gone"
        return f"{what}: `hf auth login` or HF_TOKEN lets you in, after its terms were accepted at {page}"
    return f"this token may not read it: accept its terms at {page}, or `hf auth login` as somebody who has"


def promised(reply: requests.Response) -> Promise:
    """The hash and size that the hub's own answers state, the redirecting ones included; empty for other hosts.

    Source: `X-Linked-ETag` and `X-Linked-Size` of files in its large-file store, else the ETag, which is git's blob id
    (https://huggingface.co/docs/huggingface_hub/package_reference/file_download).
    """
    sha256, git_blob, size = None, None, None
    for answer in [*reply.history, reply]:
        if not is_hub(answer.url):
            continue
        linked = answer.headers.get("X-Linked-ETag", "").strip('"')
        plain = answer.headers.get("ETag", "").removeprefix("W/").strip('"')
        if re.fullmatch(r"[0-9a-f]{64}", linked):
            sha256 = linked
        elif re.fullmatch(r"[0-9a-f]{40}", linked or plain):
            git_blob = linked or plain
        if re.fullmatch(r"\d+", answer.headers.get("X-Linked-Size", "")):
            size = int(answer.headers["X-Linked-Size"])
    return Promise(sha256, None if sha256 else git_blob, size)


def cached(url: str, known: bool) -> Path | None:
    """The file of an `hf://` address in the hub's cache on this machine (transformers fills it), else None.

    Args:
        known: the hash of the wanted file is known; without it only an address with a full revision is looked up.
    """
    if not url.startswith("hf://"):
        return None
    parts = _parts(url)
    if not known and not _FULL_REVISION.fullmatch(parts["revision"] or ""):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(parts["repo_id"], parts["filename"], None, parts["revision"], parts["repo_type"])
    return Path(found) if isinstance(found, str) else None


def cache_promise(path: Path) -> Promise:
    """What the cache says of one of its files: its blobs are named after their hash."""
    blob = path.resolve()
    if blob.parent.name != "blobs":
        return Promise()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return Promise(sha256=blob.name)
    return Promise(git_blob=blob.name if _FULL_REVISION.fullmatch(blob.name) else None)
