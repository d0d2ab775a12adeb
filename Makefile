# The README explains the targets that users need: build and test.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILD = CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
MODULES = . internal/integration

.PHONY: build build-all test integration lint generate generate-bpf bench bench-flows bench-api ci clean

build:
	$(BUILD) -o bin/socktally .

build-all:
	GOARCH=amd64 $(BUILD) -o bin/socktally-linux-amd64 .
	GOARCH=arm64 $(BUILD) -o bin/socktally-linux-arm64 .

# Everything that a person can run without root. Tests that need more say why they skip.
test:
	go test ./...

# The binary against receivers nobody here wrote, which this builds. What needs root is skipped
# without it; SOCKTALLY_TEST_PRIVILEGED=1 makes it fail instead. SOAK=60s is CI's soak test.
SOAK ?= 10s
integration:
	cd internal/integration && go test -v -count=1 -parallel=8 -soak=$(SOAK) ./...

# The tables of metrics and variables, from the code that they describe. A test compares them.
generate:
	go run ./internal/gendocs

# Numbers beside references measured in the same run. IDLE is how long a daemon idles before its
# memory is read. With Debian's prometheus-node-exporter installed there is a reference for it.
IDLE ?= 1m
RUNS ?= 200
bench: build
	go run ./internal/bench -idle $(IDLE) -runs $(RUNS)

# The same for flows: transfer rates with the tracer, with peers and without; time in the kernel;
# memory. Root, a kernel with BTF, iperf3; pmacct and softflowd if they are to be compared.
bench-flows:
	SOCKTALLY_TEST_PRIVILEGED=1 go test ./flows -run '^$$' -bench . -benchtime 1x -timeout 20m

# Questions to the API and its store, on disk and beside a bare look at every record.
bench-api:
	go test ./api ./store -run '^$$' -bench . -timeout 30m

# The kernel programs, with clang-19, llvm-strip-19 and the headers of libbpf-dev.
generate-bpf:
	go generate ./bpf

lint:
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "gofmt -w $$unformatted" >&2; exit 1; }
	for m in $(MODULES); do (cd $$m && go mod tidy -diff && go vet ./... && $(STATICCHECK) ./...) || exit 1; done
	shellcheck .ci/run $$(git ls-files '*.sh')

# Installs what it needs with apt-get, as root.
ci:
	bash .ci/run

clean:
	rm -rf bin dist
