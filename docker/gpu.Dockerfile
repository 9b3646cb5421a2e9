# shiqbench with vLLM on NVIDIA GPUs; the driver comes from the host (NVIDIA Container Toolkit):
#   docker build -f docker/gpu.Dockerfile -t shiqbench:gpu .
# torch's wheels bring the libraries of CUDA, so the image needs none.
FROM python:3.11-slim-bookworm

# git: manifests name the commit of a mounted checkout. g++: Triton and vLLM compile small kernels as they run.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY shiqbench shiqbench
COPY algorithms algorithms
COPY tasks tasks
# Git is not copied, so the version is given.
ARG VERSION=0.dev0
# hadolint ignore=DL3013
RUN SETUPTOOLS_SCM_PRETEND_VERSION_FOR_SHIQBENCH="$VERSION" \
    pip install --no-cache-dir ".[gpu,int8,lm-eval,tensorboard]" \
    && shiqbench doctor --fix

RUN useradd --create-home --uid 1000 shiqbench && mkdir /cache /work && chown shiqbench /cache /work
USER 1000
ENV SHIQBENCH_CACHE=/cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /work
ENTRYPOINT ["shiqbench"]
CMD ["--help"]
