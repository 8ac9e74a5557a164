"""Weight files: where a name lies on this machine, verified before anybody opens it, and how it gets here.

The functions of `floatbench.weights.store` under the room's name: `weights.path("syncnet")`.
"""

from floatbench.weights.store import (
    SPEECH,
    available,
    entry,
    expected_hash,
    fabricate,
    fabricated_allowed,
    folder,
    import_file,
    is_fabricated,
    load_state_dict,
    load_torchscript,
    mend,
    names,
    path,
    sha256,
    state,
    verify,
)

__all__ = [
    "SPEECH",
    "available",
    "entry",
    "expected_hash",
    "fabricate",
    "fabricated_allowed",
    "folder",
    "import_file",
    "is_fabricated",
    "load_state_dict",
    "load_torchscript",
    "mend",
    "names",
    "path",
    "sha256",
    "state",
    "verify",
]
