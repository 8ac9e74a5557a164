"""Every weight file floatbench can use: where it comes from, its hash, size, licence and who needs it.

One row per name. A file without a published SHA-256 has `sha256=None`: it is held to its git blob id or to the hash
that the hub states, which is recorded in `weights.lock.json` and held to from then on. Addresses are `https://...`,
`hf://[spaces/|datasets/]owner/repo@revision/path` (HF_ENDPOINT is honoured) or `gdrive://id`; they are tried in order
and any of them may serve the file, because its hash decides.
"""

from __future__ import annotations

from floatbench.weights.beyond_paper import BEYOND_PAPER
from floatbench.weights.entries import WeightEntry, WeightFile

_INSIGHTFACE_LICENCE = "InsightFace model terms: non-commercial research only (the insightface code is MIT)"
_BUFFALO_L = tuple(
    f"https://github.com/deepinsight/insightface/releases/download/{release}/buffalo_l.zip"
    for release in ("v0.7", "model-zoo")
)
_BUFFALO_L_FILES = "hf://public-data/insightface@33c1063c49c785b7652d3fd529f86fa4f149392b/models/buffalo_l"
_LATENTSYNC = "hf://ByteDance/LatentSync-1.5@32a20d29aead0498e3e885e90dbbe8027da1b61b/auxiliary"
_W2V_BASE = "hf://facebook/wav2vec2-base-960h@22aad52d435eb6dbaf354bdad9b0da84ce7d6156"
_HALLO_W2V = "hf://fudan-generative-ai/hallo@d09cdbe1df2e0a5852b58b7508ffe3d91363799f/wav2vec/wav2vec2-base-960h"
_W2V_EMOTION = "hf://r-f/wav2vec-english-speech-emotion-recognition@b9e996ed194ec1d0338aea597332c3e65a84f212"
_ARCFACE_TORCH = (
    "hf://lithiumice/ArcFace_PyTorch@5aac4346938ae100f5145f549c4540d8bf7feb6c",
    "hf://camenduru/show@064a379f415f674051145ec4862f54bd6a65073f/models/arcface",
)
_OXFORD = "https://www.robots.ox.ac.uk/~vgg/software/lipsync/data"
_MEDIAPIPE = "https://storage.googleapis.com/mediapipe-models"

_METRICS: tuple[WeightEntry, ...] = (
    WeightEntry(
        name="inception-fid",
        title="InceptionV3 of pytorch-fid (TensorFlow weights of 2015-12-05)",
        files=(
            WeightFile(
                path="pt_inception-2015-12-05-6726825d.pth",
                urls=(
                    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
                    "pt_inception-2015-12-05-6726825d.pth",
                    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
                    "weights-inception-2015-12-05-6726825d.pth",
                ),
                sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
                size=95_628_359,
            ),
        ),
        licence="Apache-2.0",
        commercial=True,
        used_by=("fid",),
        format="pickle",
        fabricate="floatbench.metrics.inception:fabricate",
    ),
    WeightEntry(
        name="i3d-torchscript",
        title="I3D, Kinetics-400, TorchScript port of StyleGAN-V",
        files=(
            WeightFile(
                path="i3d_torchscript.pt",
                urls=(
                    "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
                    f"{_LATENTSYNC}/i3d_torchscript.pt",
                    "hf://flateon/FVD-I3D-torchscript@1c2d61711c52571ad617a1063e6fa691b212e184/i3d_torchscript.pt",
                ),
                sha256="bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
                size=51_235_320,
            ),
        ),
        licence="Apache-2.0 as commonly stated for the TF-hub weights; the port carries no statement of its own",
        commercial=True,
        used_by=("fvd",),
        format="torchscript",
        fabricate="floatbench.metrics.i3d:fabricate_torchscript",
        note="TorchScript is executable code: it is opened only after its hash has matched",
    ),
    WeightEntry(
        name="i3d-400",
        title="I3D, Kinetics-400 logits, state dict of the VideoGPT port",
        files=(
            WeightFile(
                path="i3d_pretrained_400.pt",
                urls=(
                    "https://github.com/songweige/TATS/raw/03bbce1daa3da7e9bff8221e9ec433df9484817f/tats/fvd/i3d_pretrained_400.pt",
                    "gdrive://1mQK8KD8G6UWRa5t87SRMm5PVXtlpneJT",
                    "hf://spaces/LanguageBind/Open-Sora-Plan-v1.0.0@810fa8c4bdb3a4c8eec9bd57375c29bde6fb46de/"
                    "opensora/eval/fvd/videogpt/i3d_pretrained_400.pt",
                ),
                sha256="55095f049e706479d48e221adcdb145b2b9dc930ba28b081ed72367ffaa32343",
                git_blob="a867b87ac3a9097d200598b1d48a1b890d8ec744",
            ),
        ),
        licence="weights Apache-2.0 as commonly stated for the TF-hub model; port MIT",
        commercial=True,
        used_by=("fvd",),
        format="pickle",
        fabricate="floatbench.metrics.i3d:fabricate",
        note="the hash is of the copies on the hub, which have the git blob id of the authors' repository",
    ),
    WeightEntry(
        name="arcface-w600k-r50",
        title="ArcFace recogniser w600k_r50 of InsightFace's buffalo_l",
        files=(
            WeightFile(
                path="w600k_r50.onnx",
                urls=(f"{_BUFFALO_L_FILES}/w600k_r50.onnx", *_BUFFALO_L),
                sha256="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
                size=174_383_860,
                member="w600k_r50.onnx",
            ),
        ),
        licence=_INSIGHTFACE_LICENCE,
        commercial=False,
        used_by=("csim-source", "csim-gt"),
        format="onnx",
        fabricate="floatbench.metrics.arcface:fabricate",
    ),
    WeightEntry(
        name="arcface-torch-r50",
        title="ArcFace iresnet r50 as a torch state dict (arcface_torch, ms1mv3_arcface_r50_fp16)",
        files=(
            WeightFile(
                path="backbone.pth",
                urls=tuple(f"{place}/ms1mv3_arcface_r50_fp16.pth" for place in _ARCFACE_TORCH),
                sha256="ef005ba502a2d0f40e7b94245054d3a23e375776f7035080fcbce45ae49cfb01",
                size=174_680_546,
            ),
        ),
        licence=_INSIGHTFACE_LICENCE,
        commercial=False,
        used_by=("csim-source-torch-r50", "csim-gt-torch-r50"),
        format="pickle",
        fabricate="floatbench.metrics.arcface:fabricate_torch",
        note="insightface hands it out on a share without a stable address; these are copies on the hub",
    ),
    WeightEntry(
        name="arcface-torch-r100",
        title="ArcFace iresnet r100 as a torch state dict (arcface_torch, ms1mv3_arcface_r100_fp16)",
        files=(
            WeightFile(
                path="backbone.pth",
                urls=tuple(f"{place}/ms1mv3_arcface_r100_fp16.pth" for place in _ARCFACE_TORCH),
                sha256="a566a62357f0c55b679d9ff2f022a294486568be0c00665d39029d0e46a8109b",
                size=261_223_796,
            ),
        ),
        licence=_INSIGHTFACE_LICENCE,
        commercial=False,
        used_by=("csim-source-torch-r100", "csim-gt-torch-r100"),
        format="pickle",
        fabricate="floatbench.metrics.arcface:fabricate_r100",
        note="insightface hands it out on a share without a stable address; these are copies on the hub",
    ),
    WeightEntry(
        name="scrfd-det-10g",
        title="SCRFD face detector det_10g of InsightFace's buffalo_l",
        files=(
            WeightFile(
                path="det_10g.onnx",
                urls=(f"{_BUFFALO_L_FILES}/det_10g.onnx", *_BUFFALO_L),
                sha256="5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
                size=16_923_827,
                member="det_10g.onnx",
            ),
        ),
        licence=_INSIGHTFACE_LICENCE,
        commercial=False,
        used_by=("csim-source", "csim-gt", "efid", "pfid-aligned"),
        format="onnx",
        fabricate="floatbench.metrics.scrfd:fabricate",
    ),
    WeightEntry(
        name="reconnet-epoch20",
        title="Deep3DFaceRecon ReconNet, epoch 20 (first release)",
        files=(
            WeightFile(
                path="epoch_20.pth",
                urls=(
                    "hf://vinthony/SadTalker@4aedd064359e623398a2d73eb8c253ebb2bd516c/epoch_20.pth",
                    "https://github.com/Winfredy/SadTalker/releases/download/v0.0.2/epoch_20.pth",
                ),
                sha256="6d17a6b23457b521801baae583cb6a58f7238fe6721fc3d65d76407460e9149b",
                size=288_860_037,
            ),
        ),
        licence="code MIT; the weights carry no statement and were trained with the Basel Face Model: research only",
        commercial=False,
        used_by=("efid", "pfid-aligned", "pfid-fixedcrop"),
        format="pickle",
        fabricate="floatbench.metrics.reconnet:fabricate",
    ),
    WeightEntry(
        name="syncnet-v2",
        title="SyncNet v2 of the University of Oxford",
        files=(
            WeightFile(
                path="syncnet_v2.model",
                urls=(f"{_LATENTSYNC}/syncnet_v2.model", f"{_OXFORD}/syncnet_v2.model"),
                sha256="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
                size=54_573_114,
            ),
        ),
        licence="code MIT; no licence is stated for the weights (trained on BBC material): research only",
        commercial=False,
        used_by=("lse-direct-d", "lse-direct-c", "lse-ffmpeg-d", "lse-ffmpeg-c"),
        format="pickle",
        fabricate="floatbench.metrics.syncnet:fabricate",
    ),
    WeightEntry(
        name="s3fd-sfd-face",
        title="S3FD face detector of the SyncNet pipeline",
        files=(
            WeightFile(
                path="sfd_face.pth",
                urls=(f"{_LATENTSYNC}/sfd_face.pth", f"{_OXFORD}/sfd_face.pth"),
                sha256="d54a87c2b7543b64729c9a25eafd188da15fd3f6e02f0ecec76ae1b30d86c491",
                size=89_844_381,
            ),
        ),
        licence="code MIT; no licence is stated for the weights: research only",
        commercial=False,
        used_by=("lse-direct-d", "lse-direct-c", "lse-ffmpeg-d", "lse-ffmpeg-c"),
        format="pickle",
        fabricate="floatbench.metrics.s3fd:fabricate",
        note="not the same file as s3fd-face-alignment: other key names, R-G-B input",
    ),
)

_FACES: tuple[WeightEntry, ...] = (
    WeightEntry(
        name="s3fd-face-alignment",
        title="S3FD face detector of face-alignment",
        files=(
            WeightFile(
                path="s3fd-619a316812.pth",
                urls=(
                    "https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",
                    f"{_LATENTSYNC}/s3fd-619a316812.pth",
                ),
                sha256="619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",
                size=89_843_225,
            ),
        ),
        licence="face-alignment BSD-3-Clause; no separate statement for the weights",
        commercial=False,
        used_by=("pp1 boxes", "float face crop", "train"),
        format="pickle",
        fabricate="floatbench.media.boxes_s3fd:fabricate_s3fd",
        note="B-G-R input; face-alignment flips the R-G-B it is given",
    ),
    WeightEntry(
        name="mediapipe-face-landmarker",
        title="MediaPipe Face Landmarker (float16, version 1)",
        files=(
            WeightFile(
                path="face_landmarker.task",
                urls=(f"{_MEDIAPIPE}/face_landmarker/face_landmarker/float16/1/face_landmarker.task",),
                sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
                size=3_758_596,
            ),
        ),
        licence="Apache-2.0",
        commercial=True,
        used_by=("efid-mp52", "pfid-mp6", "avcorr-excess", "pp1 boxes", "train autoencoder"),
        format="task",
    ),
    WeightEntry(
        name="mediapipe-blaze-face",
        title="MediaPipe BlazeFace, short range (float16, version 1)",
        files=(
            WeightFile(
                path="blaze_face_short_range.tflite",
                urls=(f"{_MEDIAPIPE}/face_detector/blaze_face_short_range/float16/1/blaze_face_short_range.tflite",),
                sha256="b4578f35940bf5a1a655214a1cce5cab13eba73c1297cd78e1a04c2380b0152f",
                size=229_746,
            ),
        ),
        licence="Apache-2.0",
        commercial=True,
        used_by=("pp1 boxes",),
        format="tflite",
    ),
)

_FLOAT: tuple[WeightEntry, ...] = (
    WeightEntry(
        name="float",
        title="FLOAT, official checkpoint (motion auto-encoder, audio projection, flow transformer)",
        files=(
            WeightFile(
                path="float.pth",
                urls=(
                    "gdrive://1rvWuM12cyvNvBQNCLmG4Fr2L1rpjQBF0",
                    "hf://yuvraj108c/float@main/float.pth",
                    "hf://clinno/float@main/float.pth",
                ),
                sha256="f5cd815510908284eca7c5b9e81bdd63fc4cbef761f83bfb8fbe5e2880b2b830",
            ),
        ),
        licence=(
            "two public texts disagree: the LICENSE file says CC BY-NC 4.0, the README says CC BY-NC-ND 4.0; both "
            "exclude commercial use, the second also forbids sharing changed versions"
        ),
        commercial=False,
        used_by=("float", "generate"),
        format="pickle",
        fabricate="floatbench.model.checkpoint:fabricate",
        note="0.83 GB; the hash is of the copies on the hub, none is published; needs both wav2vec2 entries too",
    ),
    WeightEntry(
        name="wav2vec2-base-960h",
        title="wav2vec 2.0 base, 960 h of LibriSpeech (FLOAT's audio encoder)",
        files=(
            WeightFile(
                path="config.json",
                urls=(f"{_W2V_BASE}/config.json", f"{_HALLO_W2V}/config.json"),
                sha256="d3ec255c063d9f95057b553b19c20135b259875834a4fe9deb218a6be25b4cf3",
                size=1_596,
            ),
            WeightFile(
                path="preprocessor_config.json",
                urls=(f"{_W2V_BASE}/preprocessor_config.json", f"{_HALLO_W2V}/preprocessor_config.json"),
                sha256="b225d617c025463b9e157e06afea8b90dc7078fc70b013c533328423e0486b4a",
                size=159,
            ),
            WeightFile(
                path="model.safetensors",
                urls=(f"{_W2V_BASE}/model.safetensors", f"{_HALLO_W2V}/model.safetensors"),
                sha256="8aa76ab2243c81747a1f832954586bc566090c83a0ac167df6f31f0fa917d74a",
                size=377_607_901,
            ),
        ),
        licence="Apache-2.0",
        commercial=True,
        used_by=("float", "generate", "train flow"),
        format="folder",
        fabricate="floatbench.model.checkpoint:fabricate_speech",
    ),
    WeightEntry(
        name="wav2vec2-speech-emotion",
        title="wav2vec 2.0 large XLSR-53, English speech emotion, 7 classes (FLOAT's emotion encoder)",
        files=(
            WeightFile(path="config.json", urls=(f"{_W2V_EMOTION}/config.json",)),
            WeightFile(path="preprocessor_config.json", urls=(f"{_W2V_EMOTION}/preprocessor_config.json",)),
            WeightFile(path="pytorch_model.bin", urls=(f"{_W2V_EMOTION}/pytorch_model.bin",)),
        ),
        licence="Apache-2.0",
        commercial=True,
        used_by=("float", "generate", "train flow"),
        format="folder",
        fabricate="floatbench.model.checkpoint:fabricate_emotion",
        note="1.27 GB; held to the hash that the hub states at the fetch, recorded then",
    ),
)

_TRAINING: tuple[WeightEntry, ...] = (
    WeightEntry(
        name="vgg19",
        title="VGG-19 of torchvision (perceptual loss of the auto-encoder's training)",
        files=(
            WeightFile(
                path="vgg19-dcbb9e9d.pth",
                urls=("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",),
                sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
                size=574_673_361,
            ),
        ),
        licence="torchvision BSD-3-Clause; trained on ImageNet",
        commercial=True,
        used_by=("train autoencoder",),
        format="pickle",
    ),
    WeightEntry(
        name="hsemotion",
        title="HSEmotion EfficientNet-B2, 7 classes (image emotion of the A-S2E+I2E ablation)",
        files=(
            WeightFile(
                path="enet_b2_7.onnx",
                urls=(
                    "https://raw.githubusercontent.com/sb-ai-lab/EmotiEffLib/520a051c64cd191521e5934655314e769a319684/"
                    "models/affectnet_emotions/onnx/enet_b2_7.onnx",
                    "https://github.com/HSE-asavchenko/face-emotion-recognition/raw/main/models/affectnet_emotions/onnx/"
                    "enet_b2_7.onnx",
                ),
                git_blob="cdd6a6070b72ed2e59e15e810ae0ecdbcb0f7626",
            ),
        ),
        licence="code and weights Apache-2.0; trained on AffectNet (non-commercial research data)",
        commercial=False,
        used_by=("ablate", "emo-acc", "emo-prob", "emo-fid"),
        format="onnx",
        note="29 MB; no SHA-256 was published: held to its id in the authors' git repository",
    ),
)

_SOUND: tuple[WeightEntry, ...] = (
    WeightEntry(
        name="silero-vad",
        title="Silero voice activity, 16 kHz, ONNX operators of version 15",
        files=(
            WeightFile(
                path="silero_vad_16k_op15.onnx",
                urls=(
                    "https://files.pythonhosted.org/packages/84/ef/"
                    "9099037ed6f180ea33220178df4107112c0ce2bf5fb4d6f6ab19db2844ed/silero_vad-6.2.3-py3-none-any.whl",
                ),
                sha256="7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
                size=1_289_603,
                member="silero_vad/data/silero_vad_16k_op15.onnx",
            ),
        ),
        licence="MIT",
        commercial=True,
        used_by=("theval-silent-lips", "theval-lipsync"),
        format="onnx",
        note="taken out of the wheel silero-vad 6.2.3 (11 MB); the package itself is not installed",
    ),
)

ENTRIES: tuple[WeightEntry, ...] = (*_METRICS, *_FACES, *_SOUND, *BEYOND_PAPER, *_FLOAT, *_TRAINING)
