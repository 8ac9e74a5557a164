"""Prints the golden logits of tests/metrics/test_synchformer.py from github.com/v-iashin/Synchformer at b66668a1.

Run from the repository root, in an environment with omegaconf, einops, timm 0.6 and transformers 4.44:
FLOATBENCH_SRC_SYNCHFORMER=<checkout> python -m tests.golden.make_synchformer
Their classes, made small by their own configuration objects, on our seeded weights under the published key names; with
`full` the published size is taken and its logits are printed beside ours.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import torch

from floatbench.metrics.network import seeded_state
from floatbench.metrics.synchformer import BANDS, SEGMENT, SEGMENTS, SPECTRUM, Sizes, Synchformer

SMALL = Sizes(width=24, heads=2, depth=2, last_heads=4, last_depth=2)


def inputs(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Seeded segments (14, 3, 16, side, side) in [-1, 1] and spectrograms (14, 66, 128)."""
    rng = np.random.default_rng(3)
    coarse = rng.uniform(-1, 1, (SEGMENTS, 3, SEGMENT, side // 16, side // 16)).astype(np.float32)
    pictures = torch.from_numpy(coarse).repeat_interleave(16, 3).repeat_interleave(16, 4)
    return pictures, torch.from_numpy(rng.normal(0, 0.5, (SEGMENTS, SPECTRUM, BANDS)).astype(np.float32))


def theirs(sizes: Sizes) -> torch.nn.Module:
    """Their Synchformer with the arguments of configs/sync.yaml, at other widths and depths."""
    checkout = os.environ["FLOATBENCH_SRC_SYNCHFORMER"]
    visual = f"{checkout}/model/modules/feat_extractors/visual"
    sys.path[:0] = [checkout, visual]
    from omegaconf import OmegaConf  # pyright: ignore[reportMissingImports]

    config = OmegaConf.load(f"{checkout}/configs/sync.yaml").model.params
    read = OmegaConf.load

    def small(path: object) -> object:
        found = read(path)
        if "VIT" in found:
            found.VIT.EMBED_DIM, found.VIT.NUM_HEADS, found.VIT.DEPTH = sizes.width, sizes.heads, sizes.depth
        return found

    OmegaConf.load = small
    from model.modules.feat_extractors.audio import ast  # pyright: ignore[reportMissingImports]
    from model.sync_model import Synchformer as Theirs  # pyright: ignore[reportMissingImports]

    def spectrogram_config() -> object:
        return original(
            hidden_size=sizes.width, num_attention_heads=sizes.heads, num_hidden_layers=sizes.depth,
            intermediate_size=4 * sizes.width, attn_implementation="eager",
        )  # fmt: skip

    original, ast.ASTConfig = ast.ASTConfig, spectrogram_config
    for projection in (config.aproj, config.vproj):
        projection.params = {"in_features": sizes.width, "out_features": sizes.width}
    last = config.transformer.params
    last.n_layer, last.n_head, last.n_embd = sizes.last_depth, sizes.last_heads, sizes.width
    last.pos_emb_cfg.params = {"block_shape": [198], "n_embd": sizes.width}
    last.off_head_cfg.params = {"in_features": sizes.width, "out_features": 21}
    config.afeat_extractor.params.ckpt_path = config.vfeat_extractor.params.ckpt_path = None
    return Theirs(**config)


def main() -> None:
    """Prints their logits."""
    sizes = Sizes() if "full" in sys.argv else SMALL
    ours, reference = Synchformer(sizes).eval(), theirs(sizes).eval()
    state = seeded_state(ours, 0)
    ours.load_state_dict(state)
    reference.load_state_dict(dict(state))  # strict, by their own method
    pictures, sound = inputs(sizes.side)
    with torch.inference_mode():
        _, logits = reference(pictures.transpose(1, 2)[None], sound.transpose(1, 2)[None, :, None], for_loop=True)
        difference = (ours(pictures, sound) - logits[0]).abs().max()
    print([round(value, 6) for value in logits[0].tolist()])
    print("largest difference from ours", float(difference))


if __name__ == "__main__":
    main()
