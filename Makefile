# SPDX-License-Identifier: GPL-2.0-only
# kvm-latency: `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
MAKEFLAGS += --no-print-directory

# BASE pins the base kernel; KREL, the kernel that modules are built for, pins the base it was made from.
ifeq ($(MAKELEVEL),0)
ifneq ($(KREL),)
BASE ?= $(shell echo '$(KREL)' | sed 's/[^0-9.].*//')
endif
endif
ifeq ($(BASE),)
KREL = $(shell tools/series/base --release 2>/dev/null)
else
export BASE
KREL ?= $(shell BASE='$(BASE)' tools/series/base --release 2>/dev/null)
endif
DEBVER = $(shell BASE='$(BASE)' tools/series/base --version 2>/dev/null)
LAB ?= vmx
export DEBVER KREL LAB

help:
	@echo 'make run             boot a Linux guest on this KVM in an emulator and print what halt polling does for it'
	@echo 'make check           all tests; its parts are check-unit, -model, -series, -lab, -quick, -vmx, -svm, -scaling, -guest'
	@echo 'make check-debug     the own tests on a kernel with lockdep and KASAN, which is built first; LABS=quick for one lab'
	@echo 'make bench           stock and series side by side (LAB=vmx, svm or host)'
	@echo 'make bench-guests    real guests with more vCPUs than CPUs: how much they get done, stock and series (ROUNDS=1)'
	@echo 'make series          the base plus patches/6.12, as commits in build/linux and as mails in build/series'
	@echo 'make refresh         write commits edited in build/linux back into patches/6.12 and the files here'
	@echo 'make modules         kvm.ko, kvm-intel.ko, kvm-amd.ko in build/modules (KREL=release for another kernel)'
	@echo 'make install         put the modules under /lib/modules/KREL/updates of the running kernel'
	@echo 'make uninstall       take them back'
	@echo 'make selftests       the kernel selftests for KVM in build/selftests'
	@echo 'make lint            checkpatch, sparse, W=1, kernel-doc, arm64, 32-bit x86, shellcheck'
	@echo 'make bisect-check    build the modules at every patch'
	@echo 'make oldest-check    apply and build on the oldest base that apt offers'
	@echo 'make deps            install the Debian packages needed (root), or say which'
	@echo 'make clean           remove build/'
	@echo
	@echo 'BASE=6.12.117 pins the base; the default is the newest linux-source-6.12 that apt offers.'

deps:
	@tools/deps

series: deps
	@tools/series/series

refresh: deps
	@tools/series/refresh

modules: series
	@tools/series/modules

install:
	@tools/series/install

uninstall:
	@tools/series/uninstall

selftests: series
	@tools/check/selftests

run: modules
	@tools/kvm/run

bench: modules selftests
	@tools/kvm/bench

bench-guests: modules
	@tools/kvm/loads $(ROUNDS)

# Each check leaves its KTAP in build/check; tools/check/summary counts them all and prints the closing line.
tap = @mkdir -p build/check && $(2) | tee build/check/$(1).tap

check:
	@rm -rf build/check
	-@$(MAKE) -k check-build check-unit check-model check-series check-lab
	-@$(MAKE) -k -j2 -Oline check-vmx check-svm check-quick check-scaling check-guest
	@tools/check/summary

check-build: deps
	$(call tap,build,tools/series/ktap 'the modules and the selftests build' $(MAKE) -s modules selftests)

check-unit: series
	$(call tap,unit,$(MAKE) -s -C tools/kvm/unit check LINUX='$(CURDIR)/build/linux/$(DEBVER)')

check-model: deps
	$(call tap,model,tools/kvm/model/check)

check-series: check-series-tools check-series-mails check-install check-bench

check-series-tools: deps
	$(call tap,series-tools,tools/series/series-test)

check-series-mails: series
	$(call tap,series-mails,tools/series/verify)

check-install: deps
	$(call tap,install,tools/series/install-test)

check-lab: modules
	$(call tap,lab,tools/lab/selftest)

check-bench: deps
	$(call tap,bench,tools/kvm/bench-test)

check-quick check-vmx check-svm check-scaling: modules selftests
	@tools/check/check $(@:check-%=%)

check-guest: modules
	$(call tap,guest,tools/check/guest)

# Not part of check: the kernel takes minutes to build, and then is slow.
check-debug: series selftests
	@tools/check/debug $(LABS)

bisect-check: series
	$(call tap,bisect,tools/series/bisect-check)

oldest-check: deps
	$(call tap,oldest,tools/series/oldest-check)

lint: series
	$(call tap,lint,tools/series/lint)

clean:
	rm -rf build

print-%:
	@echo '$($*)'

.PHONY: help deps series refresh modules install uninstall selftests run bench bench-guests clean lint bisect-check oldest-check \
	check check-build check-unit check-model check-series check-series-tools check-series-mails check-install \
	check-bench check-lab check-quick check-vmx check-svm check-scaling check-guest check-debug
