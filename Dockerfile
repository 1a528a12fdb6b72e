# The edge as an image: `docker run ingest-edge [COMMAND]`, where the command picks the process (`serve` by default).

FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all:
WORKDIR /src

# Wheels only: nothing is compiled, and what has no wheel or another hash fails the build.
COPY requirements.lock ./
RUN python -m venv /opt/ingest \
    && /opt/ingest/bin/pip install --require-hashes --requirement requirements.lock

# What builds our own wheel, from the same locked hashes; pip fails if a part of it is missing in the list.
COPY requirements-dev.lock ./
RUN awk '/^[a-z]/ { keep = $1 ~ /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } keep' \
        requirements-dev.lock > build.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --requirement build.lock

COPY pyproject.toml README.md ./
COPY ingest ingest
COPY normalize normalize
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheels . \
    && /opt/ingest/bin/pip install --no-deps --no-index /tmp/wheels/*.whl \
    && /opt/ingest/bin/pip check \
    && /opt/ingest/bin/python -m compileall -q /opt/ingest/lib \
    && /opt/ingest/bin/pip uninstall --yes pip


FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin ingest \
    && install --directory --owner ingest --group ingest --mode 0700 /var/lib/ingest
COPY --from=build /opt/ingest /opt/ingest

# On all addresses, because a container is reached from outside of it; the admin port stays on loopback unless told.
ENV PATH=/opt/ingest/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    INGEST_HOST=0.0.0.0 \
    INGEST_DATA_DIR=/var/lib/ingest
USER 10001
WORKDIR /var/lib/ingest
EXPOSE 8080

# Asked directly, whatever proxy the environment names, and on TLS whatever name the certificate has.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", "import os, ssl, urllib.request as r; e = os.environ.get; r.build_opener(r.ProxyHandler({}), r.HTTPSHandler(context=ssl._create_unverified_context())).open('%s://127.0.0.1:%s/health' % ('https' if e('INGEST_TLS_CERTIFICATE_FILE') else 'http', e('INGEST_PORT') or 8080), timeout=2)"]

ENTRYPOINT ["ingest"]
CMD ["serve"]
