# floatbench in a container; it ends in `floatbench demo`.
#
#   docker build -t floatbench .
#   docker run --rm -v "$PWD:/work" floatbench                          # demo.mp4 in this folder
#   docker run --rm -v "$PWD:/work" floatbench run --protocol synthetic --methods float-tiny
#
# On a GPU (the host needs NVIDIA's container toolkit; the CUDA libraries come with torch, any base of NVIDIA's will do):
#
#   docker build -t floatbench:cuda --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 --build-arg TORCH=cu132 .
#   docker run --rm --gpus all -v "$PWD:/work" floatbench:cuda
#
# What is checked where no image can be built (tests/packaging/test_container.py): every source of COPY is there and is
# all that the package is built from, the RUN lines parse, uv knows both values of TORCH, and the entry point's command
# makes its video in a bare environment with the wheel. What is not: the base images, apt and the download of torch.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 PATH=/opt/floatbench/bin:$PATH FLOATBENCH_HOME=/home/floatbench

# OpenCV's libraries of the system, and Python where the base has none
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libxcb-shape0 libxcb-shm0 libxcb-xfixes0 \
 && { command -v python3 || apt-get install -y --no-install-recommends python3 python3-venv; } \
 && rm -rf /var/lib/apt/lists/*

RUN python3 -m venv /opt/floatbench && /opt/floatbench/bin/python -m pip install uv==0.13.8

WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY floatbench floatbench
COPY baselines baselines
COPY protocols protocols
COPY results results
RUN uv pip install --python /opt/floatbench/bin/python --torch-backend ${TORCH} --constraint constraints.txt \
    '.[metrics,report]' \
 && rm -rf /source

# anybody may run it: `docker run --user "$(id -u)"` leaves files that are one's own
RUN mkdir -p /home/floatbench /work && chmod 777 /home/floatbench /work
WORKDIR /work
ENTRYPOINT ["floatbench"]
CMD ["demo"]
