"""Makes tests/model/float_golden.json: a few outputs of the official FLOAT release on seeded random weights and inputs.

    FLOATBENCH_SRC_FLOAT=CHECKOUT python tests/golden/make_float_golden.py

CHECKOUT is deepbrainai-research/float at 97cfdd51f6fba43b465802116bc53cd02e4261d1; see official_float.py beside this
file for the environment. Weights come from `floatbench.model.randomise`, inputs from `inputs_of` of the test that reads
the file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
TEST = HERE.parent / "model" / "test_golden.py"
COMMIT = "97cfdd51f6fba43b465802116bc53cd02e4261d1"


def main() -> None:
    spec = importlib.util.spec_from_file_location("test_golden", TEST)
    assert spec is not None and spec.loader is not None
    test = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(test)
    source = os.environ["FLOATBENCH_SRC_FLOAT"]
    extra = os.environ.get("FLOATBENCH_PYTHONPATH_FLOAT", "")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (extra, source)))}
    golden = {}
    for stage, prefix, build in (("autoencoder", "motion_autoencoder.", test.autoencoder), ("fmt", "fmt.", test.fmt)):
        with tempfile.TemporaryDirectory() as folder:
            names = [f"{folder}/{name}.safetensors" for name in ("weights", "inputs", "outputs")]
            save_file({prefix + k: v.clone().contiguous() for k, v in build().state_dict().items()}, names[0])
            save_file(test.inputs_of(stage), names[1])
            command = [sys.executable, str(HERE / "official_float.py"), stage, *names]
            subprocess.run(command, check=True, cwd=source, env=environment)
            golden[stage] = {key: test.digest(value) for key, value in load_file(names[2]).items()}
    document = {"reference": f"github.com/deepbrainai-research/float at {COMMIT}", "made_by": Path(__file__).name}
    test.GOLDEN.write_text(json.dumps(document | golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
