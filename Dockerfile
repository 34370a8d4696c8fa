# syntax=docker/dockerfile:1
# One image for all of it: `stoker` with its services and command line, and `stoker-operator`.
#
#   docker build -t stoker:0.1.0 .
#
# Dependencies are compiled again only when they change: they and what was downloaded stay in caches of the builder.

# That of rust-toolchain.toml, on the distribution whose C library the last stage has.
FROM docker.io/library/rust:1.95.0-trixie AS build
WORKDIR /src
# The toolchain that is there: rust-toolchain.toml asks for more of it than a build needs.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --locked --release --package stoker --package stoker-operator \
    && install --directory /out \
    && install target/release/stoker target/release/stoker-operator /out/

# glibc, libgcc, certificates of authorities, time zones; no shell. Its tags move: name a digest where builds must repeat,
# by --build-arg BASE=gcr.io/distroless/cc-debian13@sha256:…
ARG BASE=gcr.io/distroless/cc-debian13:nonroot
FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="Stoker" \
      org.opencontainers.image.description="Controllers dial one hostname, through every upgrade: gateway, core, notifier, portal, operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/ /usr/local/bin/
# `nonroot`, by number: Kubernetes can't tell of a name that it isn't root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/stoker"]
CMD ["--help"]
