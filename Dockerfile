# One image for both containers, the daemon and the executor; compose.yaml says what each may do.
# It holds no secret and no configuration. Alone it runs the daemon, with code tools off.

FROM debian:trixie-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3-venv
WORKDIR /src
# Every package is the one whose hash the lock has; the second environment only builds the wheel.
COPY requirements.lock requirements-test.lock ./
RUN python3 -m venv /opt/famulus \
    && /opt/famulus/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-test.lock
COPY . .
RUN /opt/build/bin/python -m build --wheel --no-isolation --outdir /dist \
    && /opt/famulus/bin/pip install --no-deps /dist/famulus-*.whl \
    && /opt/famulus/bin/pip uninstall --yes pip

FROM debian:trixie-slim
# Jobs run /usr/bin/python3, and so does the program. What jobs may import besides, for pictures and
# numbers, are 313 MB of this image; `--build-arg JOB_PACKAGES=` leaves them out.
ARG JOB_PACKAGES="python3-matplotlib"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 ${JOB_PACKAGES} \
    && rm -rf /var/lib/apt/lists/*
# The ids are fixed because volumes outlive images. The executor makes its socket in a directory
# that gives it the daemon's group; nothing else is shared.
RUN groupadd --gid 901 famulus \
    && groupadd --gid 902 famulus-exec \
    && useradd --uid 901 --gid 901 --home-dir /var/lib/famulus --shell /usr/sbin/nologin famulus \
    && useradd --uid 902 --gid 902 --home-dir /var/lib/famulus-exec --shell /usr/sbin/nologin \
        famulus-exec \
    && install -d -m 0700 -o famulus -g famulus /var/lib/famulus \
    && install -d -m 0700 -o famulus-exec -g famulus-exec /var/lib/famulus-exec \
    && install -d -m 2750 -o famulus-exec -g famulus /run/famulus
COPY --from=build /opt/famulus /opt/famulus
USER famulus
ENTRYPOINT ["/opt/famulus/bin/famulus"]
CMD ["run", "--config", "/etc/famulus.toml"]
