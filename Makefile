# SPDX-License-Identifier: GPL-2.0
#
# For people: what to build, run and test. Kbuild describes the module itself, and
# qemu/setup/ does the work; each of its scripts returns at once when its result is there.

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
# The scripts use every processor on their own.
.NOTPARALLEL:

setup := qemu/setup
enter := $(setup)/enter.sh
target := $(abspath $(or $(CARGO_TARGET_DIR),target))
triple := x86_64-unknown-linux-gnu
static := $(target)/$(triple)/release
cargo_flags := --locked --offline
# ERODAX_KERNEL=debug makes every target use the debug kernel.
kernel := $(if $(KDIR),,$(if $(filter debug,$(ERODAX_KERNEL)),kernel-debug,kernel))

all: module ## Build erodax.ko, doing all of the set-up that is missing (default)

module: $(kernel)
	@$(setup)/module.sh

run: tools module payload ## Boot a Debian tree in place from an initrd, and print a report
	@$(enter) $(static)/erodax-vm run $(ARGS)

shell: tools module payload ## An interactive console in the same machine
	@$(enter) $(static)/erodax-vm shell $(ARGS)

bench: tools module payload ## What in place costs, and the other ways to boot from memory (ARGS=--help)
	@$(enter) $(static)/erodax-vm bench $(ARGS)

host_tests = $(enter) cargo test --workspace --exclude erodax-tests $(cargo_flags) --no-fail-fast $(ARGS)
suites = $(enter) cargo test -p erodax-tests $(cargo_flags)

# What the virtual machines say comes last.
test: tools module payload erofs-utils gdb ## Every test, those in virtual machines included (ARGS='-- NAME' selects)
	@status=0; $(host_tests) || status=1; \
	$(suites) --no-fail-fast --lib --bins --test '[!g]*' $(ARGS) || status=1; \
	$(suites) --test guest $(ARGS) || status=1; exit $$status

test-guest: tools module payload erofs-utils gdb ## Only the tests in virtual machines (ARGS='NAME')
	$(suites) --test guest -- $(ARGS)

test-debug: ## Those on a kernel that checks itself: KASAN, lockdep, fault injection (ARGS='NAME')
	$(MAKE) ERODAX_KERNEL=debug test-guest

test-host: crates erofs-utils ## The tests that need neither a kernel nor a virtual machine
	$(host_tests)

# In virtual machines: GUEST=1 has erodax serve mutated images on pmem, GUEST=carve-out in memory of its own,
# GUEST=compare the kernel's own EROFS as well.
fuzz_guest = $(enter) $(static)/erodax-vm fuzz $(if $(filter compare carve-out,$(GUEST)),--$(GUEST)) \
	$(if $(SEED),--seed $(SEED)) $(if $(IMAGES),--images $(IMAGES)) $(if $(SECONDS),--seconds $(SECONDS)) \
	$(if $(INPUT),--input $(INPUT)) $(ARGS)

fuzz: $(if $(GUEST),tools module) crates erofs-utils ## Fuzz the decoders (SECONDS=60 for each TARGET=…; INPUT=FILE: only that), or in VMs (GUEST=1)
	@$(if $(GUEST),$(fuzz_guest),$(if $(INPUT),$(setup)/fuzz.sh again '$(TARGET)' '$(INPUT)',$(setup)/fuzz.sh run \
		'$(or $(SECONDS),60)' '$(TARGET)'))

coverage: crates erofs-utils ## Measure how much of src/format its tests run, and fail under 90 % of lines
	@$(setup)/coverage.sh

miri: crates ## Run the tests of src/format and of the LZ4 decoder under Miri (fetches a nightly Rust, 120 MB)
	@$(setup)/miri.sh

lint: crates $(kernel) ## Formatting, clippy and the table of unsafe code, of host's crates and module
	$(enter) cargo fmt --all --check
	$(enter) rustfmt --check --edition 2021 $$(find src dax tests/fuzz -name '*.rs' ! -name '*_generated.rs')
	$(enter) cargo clippy --workspace --all-targets $(cargo_flags) -- -D warnings
	$(setup)/fuzz.sh lint
	$(setup)/module.sh clippy
	$(enter) cargo test -q -p erodax-tests --test unsafe_code $(cargo_flags) -- --nocapture

paths: $(kernel) ## Print KDIR, KERNEL_IMAGE, KERNEL_MODULES, KERNEL_RELEASE and KO for scripts
	@$(setup)/module.sh >&2
	@$(setup)/paths.sh

# Static: they run as /init without a C library, and the host's tools on any machine.
tools: crates ## Build the host tool erodax, the harness and the guests' programs
	@$(enter) env RUSTFLAGS='-C target-feature=+crt-static' cargo build --release \
		--target $(triple) $(cargo_flags) --workspace --bins

buildroot:
	@$(setup)/buildroot.sh

kernel: buildroot
	@$(setup)/kernel.sh

kernel-debug: buildroot ## Build the kernel of test-debug (10 minutes on 2 processors)
	@$(setup)/debug-kernel.sh

crates: buildroot
	@$(setup)/crates.sh

payload: buildroot
	@$(setup)/payload.sh

erofs-utils: buildroot
	@$(setup)/erofs-utils.sh

gdb: buildroot
	@$(setup)/gdb.sh

clean: ## Remove what was built in the checkout
	@$(setup)/clean.sh checkout

clean-cache: ## Remove from $ERODAX_CACHE what is out of date (ALL=1: everything)
	@$(setup)/clean.sh cache $(if $(ALL),all)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  KDIR=DIR               build against this prepared kernel tree'
	@echo '  KERNEL_IMAGE=FILE      boot this image, with its modules in KERNEL_MODULES=DIR'
	@echo '  ERODAX_KERNEL=debug    build for, and boot, the debug kernel instead of the stock one'
	@echo '  ERODAX_CACHE=DIR       where everything fetched or prepared is kept (~/.cache/erodax)'
	@echo '  ERODAX_FLAVOUR=amd64   the flavour of the stock kernel (cloud-amd64)'
	@echo '  ERODAX_MIRROR=URL      the Debian mirror (the one that this machine uses)'
	@echo '  ERODAX_STRESS_SECONDS=N  how long stress tests last (15)'
	@echo '  ERODAX_CYCLES=N        how often the module is loaded and unloaded in search of leaks (100)'
	@echo '  V=1                    show the commands of Kbuild'

.PHONY: all module run shell bench test test-guest test-debug test-host fuzz coverage miri lint paths tools buildroot \
	kernel kernel-debug crates payload erofs-utils gdb clean clean-cache help
