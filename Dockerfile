# An image of musegen. Its commands have been run one by one on Debian 12, with Python 3.11 and without Docker; no image has been
# built of it yet.
# For a CPU:       docker build -t musegen --build-arg VERSION=0.2.0 .
# For an NVIDIA GPU, on a base with CUDA and Ubuntu 24.04, with torch's build for it:
#                  docker build -t musegen-cuda --build-arg BASE=nvidia/cuda:VERSION-runtime-ubuntu24.04 --build-arg TORCH=cu130 .
# Run it in a folder of files, as yourself:
#                  docker run --rm --user "$(id -u)" -v "$PWD:/work" musegen generate chorale -n 4 --out hymns
ARG BASE=python:3.12-slim
FROM ${BASE}
ARG TORCH=cpu
# The tags of git do not come along: without VERSION it is that of the last release.
ARG VERSION=
# Bases differ in the versions of Python that their packages have.
# hadolint ignore=DL3008
RUN command -v python3 || (apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*)
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/musegen \
    && /opt/musegen/bin/pip install --no-cache-dir uv \
    && if [ -n "${VERSION}" ]; then export SETUPTOOLS_SCM_PRETEND_VERSION="${VERSION}"; fi \
    && /opt/musegen/bin/uv pip install --no-cache --python /opt/musegen/bin/python --torch-backend "${TORCH}" -c constraints.txt . \
    && rm -rf /src/*
ENV PATH=/opt/musegen/bin:$PATH HOME=/tmp
WORKDIR /work
USER 1000
ENTRYPOINT ["musegen"]
CMD ["--help"]
