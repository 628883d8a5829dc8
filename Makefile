# KubeSolo OS. `make help` says what there is; every target is a line or two, the work is
# in cmd/ksimage and test/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BUILD  ?= build
KSIMAGE = go run ./cmd/ksimage

# What an image is made of (see `make help`). Empty means the default.
BASE ?= debian
KUBESOLO ?= source
KEY_FLAGS = --out $(BUILD) $(if $(KEYS),--keys $(KEYS))
IMAGE_FLAGS = $(KEY_FLAGS) $(if $(RELEASE),--release) --base $(BASE) --kubesolo $(KUBESOLO) \
  $(if $(CORE_GZ),--core-gz $(CORE_GZ)) $(if $(VERSION),--version $(VERSION)) \
  $(if $(KUBESOLO_URL),--kubesolo-url $(KUBESOLO_URL)) $(if $(KUBESOLO_SHA256),--kubesolo-sha256 $(KUBESOLO_SHA256)) \
  $(if $(KERNEL_IMAGE),--kernel-image $(KERNEL_IMAGE)) $(if $(KERNEL_MODULES),--kernel-modules $(KERNEL_MODULES)) \
  $(if $(KERNEL_CONFIG),--kernel-config $(KERNEL_CONFIG)) $(if $(LEVEL),--level $(LEVEL))
RUN_FLAGS = --build $(BUILD) $(ARGS)
run run-disk: IMAGE_FLAGS += --need 'qemu-system-x86_64 qemu-img $(if $(findstring -uefi,$(ARGS)),/usr/share/OVMF/OVMF_CODE_4M.fd)'
bench: IMAGE_FLAGS += --need 'qemu-system-x86_64 mkfs.vfat' # asked for before the long build, not after it

.PHONY: help image update keys run run-disk test check bench test-ns test-vm test-whole fmt lint clean
help: ## this text
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo; echo 'Inputs of an image, given as NAME=value:'
	@echo '  BASE=tinycore CORE_GZ=FILE               remaster a Tiny Core core.gz'
	@echo '  KERNEL_IMAGE=FILE KERNEL_MODULES=DIR     another kernel (KERNEL_CONFIG=FILE to audit it)'
	@echo '  KUBESOLO=FILE                            a KubeSolo binary or release archive'
	@echo '  KUBESOLO=v1.2.0 KUBESOLO_SHA256=HASH     an official release (KUBESOLO_URL=mirror)'
	@echo '  KEYS=DIR RELEASE=1                       whose updates the nodes take (else: test keys)'
	@echo '  BUILD=DIR VERSION=X LEVEL=3              where to, its name, quick compression'
image: ## build the ISO and the disk image into build/
	$(KSIMAGE) build $(IMAGE_FLAGS)
update: image ## publish it in the signed repository build/repository (CHANNEL=, MIN_VERSION=)
	$(KSIMAGE) update $(KEY_FLAGS) $(if $(CHANNEL),--channel $(CHANNEL)) $(if $(MIN_VERSION),--min-version $(MIN_VERSION))
keys: ## make the keys of your releases in KEYS=DIR (docs/updates.md)
	$(KSIMAGE) keys init $(KEYS)
run: image ## build, boot the ISO in QEMU, wait until the node is Ready (ARGS='--uefi ...')
	$(KSIMAGE) run $(RUN_FLAGS)
run-disk: image ## the same from the disk image
	$(KSIMAGE) run --disk $(RUN_FLAGS)
test: ## all tests: unit, namespaces, VM, image, whole, modules
	test/tiers.sh
check: ## the quick part: formatting, vet, unit tests
	test/tiers.sh unit vet modules
test-ns: ## the namespace tier (root)
	test/tiers.sh ns
test-vm: ## the small VM tier, with all power cuts (writes docs/power-cut-matrix.md)
	test/tiers.sh small matrix
test-whole: ## the whole image to Ready
	test/tiers.sh image whole again
bench: image ## measure the budgets, print them and write build/bench.json
	go run ./test/bench
fmt: ## format all Go code
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')
lint: ## formatting and vet, in every module
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); test -z "$$out" || { echo "not formatted: $$out"; exit 1; }
	@for m in $$(git ls-files -co --exclude-standard '*go.mod'); do echo "vet $$m"; go vet -C $$(dirname $$m) ./... || exit 1; done
clean: ## remove the build directory
	rm -rf $(BUILD)
