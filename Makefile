# The commands of README.md, and what they are made of.

CARGO ?= cargo
# Attaching takes privileges; as root no sudo is used. Only what runs needs it, not what builds.
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo "sudo -E env PATH=$$PATH")
# Most tests wait for most of their time.
TEST_THREADS := $(shell echo $$((2 * $$(nproc))))
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')

.PHONY: bpf demo test bench fuzz soak test-kernels test-matrix test-core build install setup format

# A simulated node, tapped: /metrics and a live summary until Ctrl-C, or for DURATION seconds.
demo: setup
	$(CARGO) build --release --workspace --bins
	@SUDO='$(SUDO)' scripts/demo

# Everything that CI runs. BITCOIND_EXE names a bitcoind with tracepoints, for the tests against a real node.
test:
	@scripts/setup test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --lib --no-default-features --locked -- -D warnings
	$(CARGO) clippy --lib --no-default-features --features http --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) deny check licenses bans sources
	scripts/fuzz 5 --dev
	$(CARGO) build --workspace --bins --locked
	@[ -z '$(SUDO)' ] || echo 'sudo is needed to attach to tracepoints'
	$(if $(SUDO),CARGO_TARGET_$(HOST)_RUNNER='$(SUDO)') RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --workspace --locked

# What bitcointap costs the node and the machine: a table of figures of one run, and what each step of an event takes. Some minutes.
bench: setup
	$(CARGO) build --release --workspace --bins --locked
	$(SUDO) target/release/bench
	$(CARGO) bench --locked

# Each fuzz target for so many seconds.
SECONDS ?= 60
fuzz:
	@scripts/setup test
	scripts/fuzz $(SECONDS)

# An hour of traffic, churn, readers and restarts of the node, with what bitcointap then holds; how soon it ends; hundreds of restarts.
# One after another, as how soon it ends is for a quiet machine.
SOAK_SECONDS ?= 3600
soak: setup
	$(CARGO) build --release --workspace --bins --locked
	$(if $(SUDO),CARGO_TARGET_$(HOST)_RUNNER='$(SUDO)') SOAK_SECONDS=$(SOAK_SECONDS) \
		$(CARGO) test --release --locked --test integration soak:: -- --nocapture --test-threads 1

# On other kernels, in qemu: the oldest that is supported, the newest of Debian, and one between; with TARGET=aarch64-unknown-linux-gnu on
# those of another processor, for which this machine can then build.
test-kernels: setup
	$(CARGO) build --release --workspace --bins --locked $(if $(TARGET),--target $(TARGET))
	TARGET=$(TARGET) scripts/test-kernels

# The tests that have to do with Prometheus and Wireshark, with each version of these that a release of Debian has.
test-matrix: setup
	$(CARGO) build --workspace --bins --locked
	$(if $(SUDO),CARGO_TARGET_$(HOST)_RUNNER='$(SUDO)') scripts/test-matrix

# Bitcoin Core's own functional tests, with a tap beside each of their nodes; scripts/test-core says what is to be in the environment.
test-core: setup
	cd scripts/test_core && python3 -B -m unittest compare_test
	$(CARGO) build --release --locked
	$(SUDO) scripts/test-core

# What clang makes of bpf/, which is kept in bpf/objects, so that nobody else needs it.
bpf:
	@scripts/setup test
	BLESS=1 $(CARGO) test --features build-bpf --test integration the_objects_are

build:
	@scripts/setup build
	$(CARGO) build --release --locked

# What `make build` has made, for root or a packager: DESTDIR stands before all paths, and is in none that is written down.
PREFIX ?= /usr/local
BINARY ?= target/release/bitcointap
TO = $(DESTDIR)$(PREFIX)
install:
	install -D -m 755 $(BINARY) $(TO)/bin/bitcointap
	$(BINARY) man | install -D -m 644 /dev/stdin $(TO)/share/man/man1/bitcointap.1
	$(BINARY) completions bash | install -D -m 644 /dev/stdin $(TO)/share/bash-completion/completions/bitcointap
	$(BINARY) completions zsh | install -D -m 644 /dev/stdin $(TO)/share/zsh/site-functions/_bitcointap
	$(BINARY) completions fish | install -D -m 644 /dev/stdin $(TO)/share/fish/vendor_completions.d/bitcointap.fish
	install -D -m 644 dist/bitcointap.socket $(TO)/lib/systemd/system/bitcointap.socket
	sed 's|/usr/local/|$(PREFIX)/|' dist/bitcointap.service | install -D -m 644 /dev/stdin $(TO)/lib/systemd/system/bitcointap.service

setup:
	@scripts/setup

.PHONY: uninstall
# What `make install` has put there, but for settings in /etc that were changed.
uninstall:
	@BINARY='$(BINARY)' PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/uninstall

format:
	$(CARGO) fmt --all
	clang-format -i bpf/*.h bpf/*.c bench/bpf/*.c simnode/*.c tests/*/*.c
