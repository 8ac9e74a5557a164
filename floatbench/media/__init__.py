"""Decode, encode, resample and crop: the only place that touches video and sound files."""

from floatbench.media.backends import box_backend
from floatbench.media.boxes import BoxBackend
from floatbench.media.clip import read_clip
from floatbench.media.crop import crop_still
from floatbench.media.frames import read_video
from floatbench.media.image import read_image, write_image
from floatbench.media.manifest import ManifestRow, read_manifest, write_manifest
from floatbench.media.pp1 import load_prepared, prepare_clip
from floatbench.media.probe import MediaInfo, probe
from floatbench.media.sound import read_audio, write_wav
from floatbench.media.verify import VerifyResult, verify_prepared
from floatbench.media.writers import Encoder, LosslessWriter, Mp4Writer, usable_encoder, write_lossless, write_mp4

__all__ = [
    "BoxBackend",
    "Encoder",
    "LosslessWriter",
    "ManifestRow",
    "MediaInfo",
    "Mp4Writer",
    "VerifyResult",
    "box_backend",
    "crop_still",
    "load_prepared",
    "prepare_clip",
    "probe",
    "read_audio",
    "read_clip",
    "read_image",
    "read_manifest",
    "read_video",
    "usable_encoder",
    "verify_prepared",
    "write_image",
    "write_lossless",
    "write_manifest",
    "write_mp4",
    "write_wav",
]
