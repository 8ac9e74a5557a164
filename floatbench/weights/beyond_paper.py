"""The rows of the table for networks of measures that the paper does not print.

Those of 2024 to 2026 are large, and their measures are asked for by name only.

V-JEPA's authors publish no hash: its two files are held to what the first fetch from their own host gave.
"""

from __future__ import annotations

from floatbench.weights.entries import WeightEntry, WeightFile

_CLIP = "hf://openai/clip-vit-large-patch14-336@ce19dc912ca5cd21c8a653c79e251e808ccabcd1"
_VIDEOMAE = "hf://OpenGVLab/VideoMAE2@97d119d270aca7a1217fff7f413c0c543eb325d9/mae-g"
_LATENTSYNC = "hf://ByteDance/LatentSync-1.5@32a20d29aead0498e3e885e90dbbe8027da1b61b/auxiliary"
_JEPA = "https://dl.fbaipublicfiles.com/jepa/vith16"
_SYNCHFORMER = "https://a3s.fi/swift/v1/AUTH_a235c0f452d648828f745589cde1219a/sync/sync_models/24-01-04T16-39-21"

BEYOND_PAPER: tuple[WeightEntry, ...] = (
    WeightEntry(
        name="alexnet",
        title="AlexNet of torchvision (LPIPS)",
        files=(
            WeightFile(
                path="alexnet-owt-7be5be79.pth",
                urls=("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",),
                sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
                size=244_408_911,
            ),
        ),
        licence="torchvision BSD-3-Clause; trained on ImageNet",
        commercial=True,
        used_by=("lpips-alex",),
        format="pickle",
        fabricate="floatbench.metrics.lpips:fabricate_alexnet",
    ),
    WeightEntry(
        name="lpips-alex",
        title="Linear weights of LPIPS v0.1 on AlexNet",
        files=(
            WeightFile(
                path="alex.pth",
                urls=(
                    "https://files.pythonhosted.org/packages/9b/13/"
                    "1df50c7925d9d2746702719f40e864f51ed66f307b20ad32392f1ad2bb87/lpips-0.1.4-py3-none-any.whl",
                ),
                sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
                size=6_009,
                member="lpips/weights/v0.1/alex.pth",
            ),
        ),
        licence="BSD-2-Clause",
        commercial=True,
        used_by=("lpips-alex",),
        format="pickle",
        fabricate="floatbench.metrics.lpips:fabricate_heads",
        note="taken out of the wheel lpips 0.1.4 (54 KB); the package itself is not installed",
    ),
    WeightEntry(
        name="clip-vit-l14-336",
        title="CLIP ViT-L/14 at 336 px (OpenAI)",
        files=(
            WeightFile(
                path="pytorch_model.bin",
                urls=(f"{_CLIP}/pytorch_model.bin",),
                sha256="c6032c2e0caae3dc2d4fba35535fa6307dbb49df59c7e182b1bc4b3329b81801",
                size=1_711_974_081,
            ),
        ),
        licence="MIT (code and weights, as OpenAI's repository says)",
        commercial=True,
        used_by=("cmmd",),
        format="pickle",
        fabricate="floatbench.metrics.clip_vision:fabricate",
        note="only the picture half is read",
    ),
    WeightEntry(
        name="videomae-g-ssv2",
        title="VideoMAE V2 ViT-g/14, fine-tuned on Something-Something V2",
        files=(
            WeightFile(
                path="vit_g_hybrid_pt_1200e_ssv2_ft.pth",
                urls=(
                    f"{_VIDEOMAE}/vit_g_hybrid_pt_1200e_ssv2_ft.pth",
                    f"{_LATENTSYNC}/vit_g_hybrid_pt_1200e_ssv2_ft.pth",
                ),
                sha256="5a210a92f035dff30c53b46157b612e7a1a5d3c99700e1b2d71da5c399ca7e70",
                size=2_023_804_201,
            ),
        ),
        licence="code MIT; the weights are given for research on a form (VideoMAE V2's model zoo)",
        commercial=False,
        used_by=("fvd-videomae",),
        format="pickle",
        fabricate="floatbench.metrics.video_features:fabricate_videomae",
    ),
    WeightEntry(
        name="vjepa-vith16",
        title="V-JEPA ViT-H/16 (Meta)",
        files=(WeightFile(path="vith16.pth.tar", urls=(f"{_JEPA}/vith16.pth.tar",)),),
        licence="CC BY-NC 4.0",
        commercial=False,
        used_by=("jedi",),
        format="pickle",
        fabricate="floatbench.metrics.video_features:fabricate_vjepa",
        note="some 10 GB: encoder, target encoder, predictor and optimiser; only the target encoder is read",
    ),
    WeightEntry(
        name="vjepa-ssv2-probe",
        title="V-JEPA's attentive probe of Something-Something V2 (Meta)",
        files=(WeightFile(path="ssv2-probe.pth.tar", urls=(f"{_JEPA}/ssv2-probe.pth.tar",)),),
        licence="CC BY-NC 4.0",
        commercial=False,
        used_by=("jedi",),
        format="pickle",
        fabricate="floatbench.metrics.video_features:fabricate_probe",
    ),
    WeightEntry(
        name="synchformer",
        title="Synchformer, trained on AudioSet (24-01-04T16-39-21)",
        files=(
            WeightFile(
                path="24-01-04T16-39-21.pt",
                urls=(f"{_SYNCHFORMER}/24-01-04T16-39-21.pt",),
                sha256="5b4b3557fbd96b61aaffa8bc70b28f9ff53f8fa98edc202655c5d94ab3c719ee",
                size=1_131_153_989,
            ),
        ),
        licence="MIT (code; the weights carry no statement of their own)",
        commercial=True,
        used_by=("desync",),
        format="pickle",
        fabricate="floatbench.metrics.desync:fabricate",
        note="the file holds its training's configuration, too, which is read as nothing",
    ),
)
