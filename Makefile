# The README explains the targets that users need: build and test.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILD = CGO_ENABLED=0 go build -v -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
ARCHES = amd64 arm64
# Where packages and the parts of the image go.
export DIST ?= dist
NFPM = go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
.DEFAULT_GOAL = build
MODULES = . internal/integration

# What dpkg and rpm both sort as meant: v1.2.0 is 1.2.0, v1.2.0-rc1 is 1.2.0~rc1 and earlier, three
# commits after v1.2.0 are 1.2.0+3.gHASH and later, and without a tag it is 0~HASH, before all.
PACKAGE_VERSION ?= $(shell echo '$(VERSION)' | sed -E 's/^v//; s/^[^0-9]|^[0-9a-f]{7,}/0~&/; s/-([0-9]+)-g/+\1.g/; s/-dirty/+dirty/; s/-/~/; s/-/./g')

.PHONY: help build build-all package lint-packages image test integration long lint generate generate-bpf bench bench-build bench-cost bench-flows bench-api ci clean

# What there is to make.
help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the binary, in bin/
	$(BUILD) -o bin/socktally .

build-all: $(ARCHES:%=build-%) ## the binary for amd64 and arm64

build-%:
	GOARCH=$* $(BUILD) -o bin/socktally-linux-$* .

# The .deb and the .rpm of both architectures in DIST, the same bytes for the same commit.
package: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
package: export PACKAGE_VERSION := $(PACKAGE_VERSION)
package: $(ARCHES:%=build-%) ## a .deb and an .rpm of each architecture, in dist/
	mkdir -p $(DIST)
	gzip -9nc packaging/man/socktally.1 >$(DIST)/socktally.1.gz
	for arch in $(ARCHES); do for format in deb rpm; do \
		ARCH=$$arch $(NFPM) package -f packaging/nfpm.yaml -p $$format -t $(DIST)/ || exit 1; \
	done; done

# With Debian's lintian and rpmlint. What they may find, and why, is in the two files named here.
lint-packages: ## lintian and rpmlint over dist/
	lintian --fail-on error,warning --suppress-tags-from-file packaging/lintian-exceptions $(DIST)/*.deb
	rpmlint --strict -c packaging/rpmlint.toml $(DIST)/*.rpm

# The container image, for this machine's architecture, as socktally:VERSION. No registry has it: push
# it to one of your own.
DOCKER ?= docker
image: build-$(shell go env GOARCH) ## the container image, for this machine's architecture
	rm -rf $(DIST)/image
	mkdir -p $(DIST)/image/state
	cp bin/socktally-linux-$(shell go env GOARCH) $(DIST)/image/socktally
	cp /etc/ssl/certs/ca-certificates.crt $(DIST)/image/
	$(DOCKER) build -q -t 'socktally:$(subst ~,-,$(subst +,-,$(VERSION)))' -f packaging/container/Dockerfile $(DIST)/image

# Everything that a person can run. Tests that need root, a program or a kernel that is not here say so and
# skip; SOCKTALLY_TEST_PRIVILEGED=1 makes them fail instead.
test: ## all tests that can run here
	go test $(TESTFLAGS) ./...

# The binary against receivers nobody here wrote, which this builds, and the packages and the image where
# they are installed. What needs root is skipped without it; SOCKTALLY_TEST_PRIVILEGED=1 makes it fail
# instead. SOAK=60s is CI's soak test.
SOAK ?= 10s
integration: ## against real receivers, packages, containers and kernels
	cd internal/integration && go test -v -count=1 -timeout=25m -parallel=8 -soak=$(SOAK) ./...

# All tests of package flows in emulated machines with Debian's kernels 6.1 and 6.12. As root.
long: ## the tests of flows in two emulated kernels, all of them
	cd internal/integration && SOCKTALLY_TEST_LONG=1 go test -v -count=1 -timeout=60m -run '^TestFlowsOnOtherKernels$$' .

# The tables of metrics and variables, the man page, the completions and the sample settings, from the
# code that they describe. A test compares them.
generate: ## documents, man page, completions and samples from the code
	go run ./internal/gendocs

# Numbers beside references measured in the same run. IDLE is how long a daemon idles before its
# memory is read. With Debian's prometheus-node-exporter installed there is a reference for it.
IDLE ?= 1m
RUNS ?= 200
bench: build ## the whole against references
	go run ./internal/bench -idle $(IDLE) -runs $(RUNS)

# A build with empty caches, and what each module adds to the binary.
bench-build: build ## what a cold build costs, and each module
	go run ./internal/bench -build

# What counting flows costs a host, in processor time: COST='-case write -budget 3m', -way, -rounds,
# -width, -spin 1 and -before PATH, which holds another build against this one. Root, a kernel with BTF;
# nginx and wrk, pmacct and softflowd where they are to be compared.
bench-cost: build ## what counting flows costs, with an interval
	go build -o bin/bench-cost ./internal/bench/cost
	bin/bench-cost $(COST)

# Of flows, what is no cost of an operation: walks, memory, records, and the kernel's own statistics of
# the programs. Root, a kernel with BTF.
bench-flows: ## flows: walks, memory, records
	SOCKTALLY_TEST_PRIVILEGED=1 go test ./flows -run '^$$' -bench . -benchtime 1x -timeout 20m

# Questions to the API and its store, on disk and beside a bare look at every record.
bench-api: ## questions to the API and its store
	go test ./api ./store -run '^$$' -bench . -timeout 30m

# The kernel programs, with clang-19, llvm-strip-19 and the headers of libbpf-dev.
generate-bpf: ## the kernel programs, with clang-19
	go generate ./bpf

lint: ## gofmt, vet, staticcheck, tidy, shellcheck
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "gofmt -w $$unformatted" >&2; exit 1; }
	for m in $(MODULES); do (cd $$m && go mod tidy -diff && go vet ./... && $(STATICCHECK) ./...) || exit 1; done
	shellcheck .ci/run .ci/cold-start $$(git ls-files '*.sh')

# Installs what it needs with apt-get, as root.
ci: ## all that CI does, as root on Debian 12
	bash .ci/run

clean: ## what the other targets made
	rm -rf bin dist
