# The front door. `make demo` and `make test` each work as the first command on a fresh Debian 12 machine; the work is
# done by CMake (CMakePresets.json) and by scripts/.
.DEFAULT_GOAL := help
.PHONY: help setup build test chaos recovery demo bench lint format clean
.NOTPARALLEL:

JOBS ?= $(shell nproc)

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup: ## install Debian packages and libtorch (into .deps/); seconds when nothing is missing
	@scripts/setup

build: setup ## build everything into build/release (with CUDA where nvcc is found)
	@cmake --preset release
	@cmake --build --preset release --parallel $(JOBS)

test: build ## run every test that needs no GPU
	@ctest --preset release

chaos: build ## SECONDS=600 WORKERS=50 SEED=...: random faults on a fleet; nothing is lost, nothing comes twice
	@build/release/bin/audiobook-chaos --seconds $(or $(SECONDS),600) --workers $(or $(WORKERS),50) $(if $(SEED),--seed $(SEED))

recovery: build ## how long a job stands still when its worker is killed (30 kills, a few minutes)
	@build/release/bin/audiobook-recovery

demo: build ## render demo/lighthouse.txt through a private Redis into demo-output/
	@scripts/demo

bench: build ## run the benchmarks
	@scripts/bench

lint: build ## clang-format, clang-tidy, shellcheck and the borders between rooms
	@scripts/setup lint
	@scripts/lint

format: ## lay out every source with clang-format
	@scripts/setup lint
	@git ls-files -z '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -0 clang-format -i

clean: ## remove what was built; .deps/ stays
	@rm -rf build demo-output
