# syntax=docker/dockerfile:1
# A worker for ArmoniK: `docker build -t REGISTRY/armoflow-worker:0.1.0 .`, see docs/deploy.md.
# Its minor version of Python is that of the clients. To pin the base for good, name its digest:
# --build-arg BASE=python:3.11-slim-bookworm@sha256:...
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY <<PINS pins.txt
armonik==3.29.4
cffi==2.1.1
click==8.5.1
cloudpickle==3.1.3
cryptography==50.0.2
deprecation==2.1.0
grpcio==1.85.3
grpcio-health-checking==1.85.1
grpcio-reflection==1.85.1
hatchling==1.33.0
markdown-it-py==4.3.0
mdurl==0.1.2
msgpack==1.2.4
networkx==3.6.1
packaging==26.4
protobuf==7.36.2
pycparser==3.12
Pygments==2.21.0
PyYAML==6.0.4
rich==15.0.0
rich-click==1.9.9
typing_extensions==4.16.0
uvloop==0.23.0
PINS
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY armoflow armoflow
RUN python -m venv /opt/armoflow
RUN PIP_CONSTRAINT=pins.txt /opt/armoflow/bin/pip install --no-cache-dir .

FROM ${BASE}
# The user that ArmoniK's pods run as; agent and worker meet in /cache.
RUN groupadd --gid 5000 armonikuser \
    && useradd --home-dir /home/armonikuser --create-home --uid 5000 --gid 5000 \
        --shell /bin/sh --skel /dev/null armonikuser \
    && mkdir -p /cache/shared \
    && chown -R armonikuser: /cache
COPY --from=build /opt/armoflow /opt/armoflow
ENV PATH=/opt/armoflow/bin:$PATH \
    PYTHONUNBUFFERED=1
USER armonikuser
WORKDIR /home/armonikuser
ENTRYPOINT ["armoflow", "worker"]
