# The worker, the exporter and the commands. Everything that is installed is pinned with its hash by requirements-*.txt.
#   docker build -t registry.example/penstock:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
# Both stages need the same Python, 3.11 or newer with venv; pin BASE by digest for builds that are equal bit by bit.
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# The runtime's environment holds no pip; another one fills it.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/penstock
COPY requirements-build.txt requirements-worker.txt ./
RUN /build/bin/pip install --require-hashes --only-binary :all: -r requirements-build.txt \
 && /build/bin/pip --python /opt/penstock/bin/python install --require-hashes --only-binary :all: -r requirements-worker.txt
COPY pyproject.toml README.md LICENSE ./
COPY producer producer
COPY worker worker
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /build/bin/pip --python /opt/penstock/bin/python install --no-deps /wheels/*.whl

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="penstock" \
      org.opencontainers.image.description="A durable write-behind queue for S3: worker, exporter and commands" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A name for the number, so that `penstock audit` can say who changed something.
RUN echo 'penstock:x:10001:10001::/nonexistent:/usr/sbin/nologin' >> /etc/passwd && echo 'penstock:x:10001:' >> /etc/group
COPY --from=builder /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
EXPOSE 9191
STOPSIGNAL SIGTERM
ENTRYPOINT ["penstock"]
CMD ["worker"]
