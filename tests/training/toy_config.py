"""The small configuration that the tests of the command and of the launch files train."""

TOY = """
base = "float-tiny"
name = "toy"
[model]
channel_max = 8
channel_base = 512
dim_w = 48
dim_a = 16
dim_h = 32
dim_m = 20
depth = 2
heads = 2
window = 10
previous = 4
mel_bands = 12
mel_width = 12
image_size = 64
[data]
identities = 2
per_identity = 1
seconds = 0.8
still = 0.4
[autoencoder]
steps = 2
batch = 4
[reader]
people = 2
stills = 2
speakers = 1
steps = 2
batch = 4
[painter]
pairs = 4
steps = 2
batch = 4
[flow]
steps = 2
batch = 4
"""
