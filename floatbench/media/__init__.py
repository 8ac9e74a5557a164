"""Decode, encode, resample and crop: the only place that touches video and sound files."""

from floatbench.media.clip import read_clip
from floatbench.media.frames import read_video
from floatbench.media.image import read_image, write_image
from floatbench.media.probe import MediaInfo, probe
from floatbench.media.sound import read_audio, write_wav
from floatbench.media.writers import LosslessWriter, Mp4Writer, write_lossless, write_mp4

__all__ = [
    "LosslessWriter",
    "MediaInfo",
    "Mp4Writer",
    "probe",
    "read_audio",
    "read_clip",
    "read_image",
    "read_video",
    "write_image",
    "write_lossless",
    "write_mp4",
    "write_wav",
]
