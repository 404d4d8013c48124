FROM python:3.11-slim AS build
# The default build of torch brings CUDA (several GB). For a CPU, give the index that holds its CPU wheels:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=<index> --tag active-tagger .
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/venv
COPY requirements.txt .
RUN /opt/venv/bin/pip install -r requirements.txt

FROM python:3.11-slim
LABEL org.opencontainers.image.title="Active Tagger" \
      org.opencontainers.image.licenses="Apache-2.0"
# Writes to DATA_DIR and /tmp alone: the root file system may be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/data/huggingface \
    HOME=/tmp \
    HOST=0.0.0.0 \
    PORT=9090 \
    DATA_DIR=/data
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tagger \
    && install --directory --mode=0700 --owner=tagger --group=tagger /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY . .
USER 10001
VOLUME /data
EXPOSE 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=3)"]
CMD ["python", "-m", "server"]
