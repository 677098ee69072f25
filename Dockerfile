# The guard in a container. docs/docker.md has how to run it.
#
#   docker build -t mcp-guard .                        # full: Node.js, Python and uv, for npx and uvx
#   docker build -t mcp-guard:slim --target slim .     # the guard alone, before a URL
#
# `node` and `python` have one of the two. All of them run as user 65532, and their root file system
# may be read-only: what is to be kept is in /data.

ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
ARG NODE_IMAGE=docker.io/library/node:26-bookworm-slim
ARG PYTHON_IMAGE=docker.io/library/python:3.14-slim-bookworm
ARG UV_IMAGE=ghcr.io/astral-sh/uv:0.13.8

FROM ${RUST_IMAGE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends musl-tools \
    && rm -rf /var/lib/apt/lists/* \
    && rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /src
# The commit's time, for the same bytes as the release.
ARG SOURCE_DATE_EPOCH=0
# The dependencies by themselves, before a program that does nothing: they change seldom.
COPY release/build release/
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/programs \
    && touch src/lib.rs \
    && echo 'fn main() {}' >src/main.rs \
    && cp src/main.rs benches/programs/ \
    && release/build
COPY askama.toml ./
COPY src src
# Whatever the files' dates, they are newer than that program.
RUN touch src/lib.rs src/main.rs \
    && mkdir /built \
    && cp "$(release/build)" /built/
# What an image without a distribution lacks: roots, a name for the user, the directories.
RUN mkdir -p /system/usr/local/bin /system/etc/ssl/certs \
    && cp /built/mcp-guard /system/usr/local/bin/ \
    && cp /etc/ssl/certs/ca-certificates.crt /system/etc/ssl/certs/ \
    && echo 'guard:x:65532:65532::/:/sbin/nologin' >/system/etc/passwd \
    && echo 'guard:x:65532:' >/system/etc/group \
    && mkdir -m 1777 /system/tmp \
    && mkdir /state \
    && mkdir -m 0700 /state/data

FROM scratch AS slim
COPY --from=build /system/ /
COPY --from=build --chown=65532:65532 /state/ /
ENV PATH=/usr/local/bin \
    MCP_GUARD_LISTEN=[::]:8080 \
    MCP_GUARD_DATA_PATH=/data
USER 65532:65532
VOLUME ["/data"]
EXPOSE 8080 443
ENTRYPOINT ["mcp-guard"]
HEALTHCHECK --start-period=5s --timeout=5s CMD ["mcp-guard", "healthcheck"]

# What servers run on. npx and uvx keep what they download in HOME, which is a volume: the root may be
# read-only.
FROM ${NODE_IMAGE} AS node-runtime
RUN echo 'guard:x:65532:65532::/cache:/usr/sbin/nologin' >>/etc/passwd \
    && echo 'guard:x:65532:' >>/etc/group \
    && install -d -o 65532 -g 65532 -m 0700 /data /cache
ENV HOME=/cache \
    NPM_CONFIG_UPDATE_NOTIFIER=false \
    MCP_GUARD_LISTEN=[::]:8080 \
    MCP_GUARD_DATA_PATH=/data
USER 65532:65532
VOLUME ["/data", "/cache"]
EXPOSE 8080 443
ENTRYPOINT ["mcp-guard"]
CMD []
HEALTHCHECK --start-period=5s --timeout=5s CMD ["mcp-guard", "healthcheck"]

FROM ${UV_IMAGE} AS uv

FROM ${PYTHON_IMAGE} AS python-runtime
COPY --from=uv /uv /uvx /usr/local/bin/
RUN echo 'guard:x:65532:65532::/cache:/usr/sbin/nologin' >>/etc/passwd \
    && echo 'guard:x:65532:' >>/etc/group \
    && install -d -o 65532 -g 65532 -m 0700 /data /cache
ENV HOME=/cache \
    MCP_GUARD_LISTEN=[::]:8080 \
    MCP_GUARD_DATA_PATH=/data
USER 65532:65532
VOLUME ["/data", "/cache"]
EXPOSE 8080 443
ENTRYPOINT ["mcp-guard"]
CMD []
HEALTHCHECK --start-period=5s --timeout=5s CMD ["mcp-guard", "healthcheck"]

FROM python-runtime AS full-runtime
USER 0:0
# Node.js 26 needs libatomic, which its own image brings.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libatomic1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=node-runtime /usr/local/bin/node /usr/local/bin/
COPY --from=node-runtime /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
    && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
ENV NPM_CONFIG_UPDATE_NOTIFIER=false
USER 65532:65532

# The guard comes last: a new one leaves everything below it as it is.
FROM node-runtime AS node
COPY --from=slim /usr/local/bin/mcp-guard /usr/local/bin/

FROM python-runtime AS python
COPY --from=slim /usr/local/bin/mcp-guard /usr/local/bin/

FROM full-runtime AS full
COPY --from=slim /usr/local/bin/mcp-guard /usr/local/bin/
