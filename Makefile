# What there is to do. Needs Rust, a C compiler and make; `test` and `bench` install what else they
# use (Chromium and its driver, Node, npm, pip, openssl, wrk) from Debian's packages when it is missing, and `test` the
# libraries of tests/sdk from npm and PyPI.

CARGO ?= cargo

.PHONY: run test lint fmt bench soak tools-test tools-bench

run:
	$(CARGO) run --locked --release

test: tools-test lint
	$(CARGO) test --locked

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

fmt:
	$(CARGO) fmt

# Ratios in one run on this machine; FAST=1 for a short one, ROWS=single_64,… for some rows,
# PILLARBOX_BIN=… for another build (docs/performance.md).
bench: tools-bench
	$(CARGO) build --locked --release
	$(CARGO) bench --locked --bench bench

# The suites that kill the box, at length, and the measurement beside silent webhooks with its strict bound.
soak:
	PILLARBOX_TEST_KILLS=200 PILLARBOX_TEST_DUPLICATES=10000 $(CARGO) test --locked --release --test it -- --nocapture kill
	PILLARBOX_TEST_STRICT=1 $(CARGO) test --locked --release --test it -- --nocapture two_thousand_silent

tools-test:
	@./tests/install-tools chromium:chromium chromedriver:chromium-driver node:nodejs npm:npm \
		python3:python3 pip3:python3-pip openssl:openssl
	@./tests/install-sdks

tools-bench:
	@./tests/install-tools wrk:wrk
