# The README explains the targets that users need: build and test.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILD = CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
STATICCHECK_VERSION = v0.8.0

.PHONY: build build-all test lint generate bench clean

build:
	$(BUILD) -o bin/socktally .

build-all:
	GOARCH=amd64 $(BUILD) -o bin/socktally-linux-amd64 .
	GOARCH=arm64 $(BUILD) -o bin/socktally-linux-arm64 .

# Everything that a person can run without root. Tests that need more say why they skip.
test:
	go test ./...

clean:
	rm -rf bin dist
