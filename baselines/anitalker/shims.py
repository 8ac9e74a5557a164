"""What stands between AniTalker's code as published and today's torch. The checkout itself stays as it is."""


def torch_qr():
    """`torch.qr`: replaced by `torch.linalg.qr`, with the same reduced factors."""
    import torch

    def qr(matrix, some=True):
        return torch.linalg.qr(matrix, mode="reduced" if some else "complete")

    torch.qr = qr


BY_NAME = {"torch_qr": torch_qr}


def apply(names):
    """Puts the named shims in place."""
    for name in names:
        BY_NAME[name]()
