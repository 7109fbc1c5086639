# bitcointap, and with --target simnode the simulated node of the demo. `docker compose` builds both as needed.

FROM rust:1.95.0-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends libelf-dev make pkg-config systemtap-sdt-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The commit is not in a file: docker build --build-arg REVISION=$(git rev-parse --short=12 HEAD) .
ARG REVISION
# Everything is linked into the program, so that its image contains nothing else. A named target keeps these flags away
# from programs that run during the build, which cannot be linked like this.
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
    && export ${REVISION:+BITCOINTAP_REVISION=$REVISION} RUSTFLAGS='-C target-feature=+crt-static' \
        LIBBPF_SYS_LIBRARY_PATH="/usr/lib/$(gcc -print-multiarch)" \
    && cargo build --release --locked --target "$target" --bin bitcointap --features static \
    && cargo build --release --locked --target "$target" --package simnode --bin simnode-v31 \
    && mv "target/$target/release/bitcointap" "target/$target/release/simnode-v31" /

# bitcointap finds a node by this name.
FROM debian:12.12-slim AS simnode
COPY --from=build /simnode-v31 /usr/local/bin/bitcoind
USER nobody
ENTRYPOINT ["bitcoind"]

# `docker build .` makes the last one.
FROM scratch AS bitcointap
COPY --from=build /bitcointap /usr/local/bin/
ARG REVISION
LABEL org.opencontainers.image.title="bitcointap" \
    org.opencontainers.image.description="Taps Bitcoin Core's tracepoints by eBPF: Prometheus metrics and JSON events" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.source="https://github.com/bitcointap/bitcointap" \
    org.opencontainers.image.licenses="MIT"
# As root: an engine gives added capabilities to no other user. Run it with these three only, as docker-compose.yml
# does, which drops everything else that root may do.
EXPOSE 10833
# Healthy means that it serves. bitcointap_up says whether a node is tapped: without one the exporter waits, and is
# healthy.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["bitcointap", "healthcheck"]
ENTRYPOINT ["bitcointap"]
CMD ["export", "--web.listen-address", ":10833"]
