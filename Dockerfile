# bitcointap, and with --target simnode the simulated node of the demo. `docker compose` builds both as it needs them.

FROM rust:1.95.0-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends libelf-dev make pkg-config systemtap-sdt-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The commit, which is not among the files: docker build --build-arg REVISION=$(git rev-parse --short=12 HEAD) .
ARG REVISION
# Everything is linked into the program, so that its image has nothing else in it. A target that is named keeps the flags from what runs
# while building, which cannot be linked like that.
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
    && export ${REVISION:+BITCOINTAP_REVISION=$REVISION} RUSTFLAGS='-C target-feature=+crt-static' \
        LIBBPF_SYS_LIBRARY_PATH="/usr/lib/$(gcc -print-multiarch)" \
    && cargo build --release --locked --target "$target" --bin bitcointap --features static \
    && cargo build --release --locked --target "$target" --package simnode --bin simnode-v31 \
    && mv "target/$target/release/bitcointap" "target/$target/release/simnode-v31" /

# Runs under the name by which a node is found.
FROM debian:12.12-slim AS simnode
COPY --from=build /simnode-v31 /usr/local/bin/bitcoind
USER nobody
ENTRYPOINT ["bitcoind"]

# The last one is what `docker build .` makes.
FROM scratch AS bitcointap
COPY --from=build /bitcointap /usr/local/bin/
ARG REVISION
LABEL org.opencontainers.image.title="bitcointap" \
    org.opencontainers.image.description="Taps Bitcoin Core's tracepoints by eBPF: Prometheus metrics and JSON events" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.source="https://github.com/bitcointap/bitcointap" \
    org.opencontainers.image.licenses="MIT"
# As root: an engine gives added capabilities to no other user. It is to run with these three alone, as docker-compose.yml
# has it; all else that root may do is dropped there.
EXPOSE 10833
# Whether it serves. Whether a node is tapped is told by bitcointap_up: without one the exporter waits, and is well.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["bitcointap", "healthcheck"]
ENTRYPOINT ["bitcointap"]
CMD ["export", "--web.listen-address", ":10833"]
