# bitcointap, and with --target simnode the simulated node of the demo. `docker compose` builds both as it needs them.

FROM rust:1.95.0-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        clang libelf-dev linux-libc-dev make pkg-config systemtap-sdt-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --workspace --bin bitcointap --bin simnode-v31

# Runs under the name by which a node is found.
FROM debian:12.12-slim AS simnode
COPY --from=build /src/target/release/simnode-v31 /usr/local/bin/bitcoind
USER nobody
ENTRYPOINT ["bitcoind"]

# The last one is what `docker build .` makes.
FROM debian:12.12-slim AS bitcointap
RUN apt-get update \
    && apt-get install -y --no-install-recommends libelf1 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/bitcointap /usr/local/bin/
# As root: an engine gives added capabilities to no other user. It is to run with these three alone, as docker-compose.yml
# has it; all else that root may do is dropped there.
EXPOSE 10833
ENTRYPOINT ["bitcointap"]
CMD ["export", "--web.listen-address", ":10833"]
