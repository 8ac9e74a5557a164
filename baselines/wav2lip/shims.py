"""What stands between Wav2Lip's code as published and today's librosa; the checkout itself stays as it is."""


def librosa_mel():
    """`librosa.filters.mel`: rate and window length became keywords in librosa 0.10."""
    import librosa

    mel = librosa.filters.mel

    def by_position(sr, n_fft, **kwargs):
        return mel(sr=sr, n_fft=n_fft, **kwargs)

    librosa.filters.mel = by_position


def librosa_stft():
    """`librosa.stft`: pads by reflection again, as up to librosa 0.9."""
    import librosa

    stft = librosa.stft

    def by_reflection(y, **kwargs):
        kwargs.setdefault("pad_mode", "reflect")
        return stft(y, **kwargs)

    librosa.stft = by_reflection


BY_NAME = {shim.__name__: shim for shim in (librosa_mel, librosa_stft)}


def apply(names):
    """Puts the named shims in place."""
    for name in names:
        BY_NAME[name]()
