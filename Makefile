# The commands of README.md, and their parts.

CARGO ?= cargo
# Attaching needs privileges. Only running uses sudo, building does not; root needs no sudo.
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo "sudo -E env PATH=$$PATH")
# Most tests wait for most of their time.
TEST_THREADS := $(shell echo $$((2 * $$(nproc))))
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')

.PHONY: bpf dashboards demo test bench fuzz soak test-kernels test-matrix test-core test-package release package build install uninstall setup format

# Taps a simulated node: /metrics and a live summary until Ctrl-C, or for DURATION seconds.
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
	$(CARGO) clippy --lib --no-default-features --features nats --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) deny check licenses bans sources
	scripts/fuzz 5 --dev
	$(CARGO) build --workspace --bins --locked
	@[ -z '$(SUDO)' ] || echo 'sudo is needed to attach to tracepoints'
	$(if $(SUDO),CARGO_TARGET_$(HOST)_RUNNER='$(SUDO)') RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --workspace --locked

# Measures what bitcointap costs the node and the machine, in a table of one run, and what each step of an event takes.
# Some minutes.
bench: setup
	$(CARGO) build --release --workspace --bins --locked
	$(SUDO) target/release/bench
	$(CARGO) bench --locked

# Runs each fuzz target for SECONDS.
SECONDS ?= 60
fuzz:
	@scripts/setup test
	scripts/fuzz $(SECONDS)

# An hour of traffic, churn, readers and restarts of the node, and what bitcointap then holds; how soon it ends;
# hundreds of restarts. One after another, since how soon it ends needs a quiet machine.
SOAK_SECONDS ?= 3600
soak: setup
	$(CARGO) build --release --workspace --bins --locked
	$(if $(SUDO),CARGO_TARGET_$(HOST)_RUNNER='$(SUDO)') SOAK_SECONDS=$(SOAK_SECONDS) \
		$(CARGO) test --release --locked --test integration soak:: -- --nocapture --test-threads 1

# On other kernels, in qemu: the oldest supported, the newest of Debian, and one between. With
# TARGET=aarch64-unknown-linux-gnu on kernels of another processor; this machine must be able to build for it.
test-kernels: setup
	$(CARGO) build --release --workspace --bins --locked $(if $(TARGET),--target $(TARGET))
	TARGET=$(TARGET) scripts/test-kernels

# The tests about Prometheus and Wireshark, with each version of these in a release of Debian.
test-matrix: setup
	$(CARGO) build --workspace --bins --locked
	$(if $(SUDO),CARGO_TARGET_$(HOST)_RUNNER='$(SUDO)') scripts/test-matrix

# Bitcoin Core's own functional tests, with a tap beside each of their nodes. scripts/test-core says what the
# environment needs.
test-core: setup
	cd scripts/test_core && python3 -B -m unittest compare_test
	$(CARGO) build --release --locked
	$(SUDO) scripts/test-core

# Compiles bpf/ into bpf/objects with clang. bpf/objects is committed, so that nobody else needs clang.
bpf:
	@scripts/setup test
	BLESS=1 $(CARGO) test --features build-bpf --test integration the_objects_are

# Makes the dashboards for Grafana from their definitions.
dashboards:
	$(CARGO) run --quiet --package bitcointap-dashboards

# Makes a commit, a tag and packages of a version if all tests pass. Then it prints what is left to do by hand.
release: setup
	scripts/release '$(VERSION)'

build:
	@scripts/setup build
	$(CARGO) build --release --locked

# The downloads of a release, in target/packages, for both architectures or for TARGET.
package:
	TARGET=$(TARGET) scripts/package

# Tests the result of `make package`: the same bytes when built elsewhere; installed, upgraded and purged on Debian 12
# and 13.
test-package: setup
	$(CARGO) build --workspace --bins --locked
	$(SUDO) scripts/test-package

# Installs the result of `make build`, for root or a packager. scripts/install describes the places and the variables.
PREFIX ?= /usr/local
BINARY ?= target/release/bitcointap
install:
	@BINARY='$(BINARY)' PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install

# Removes the same files, except changed settings in /etc.
uninstall:
	@BINARY='$(BINARY)' PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/uninstall

setup:
	@scripts/setup

format:
	$(CARGO) fmt --all
	clang-format -i bpf/*.h bpf/*.c bench/bpf/*.c simnode/*.c tests/*/*.c
