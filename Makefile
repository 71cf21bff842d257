# What can be done here; `make` alone lists it. `make test` needs only Go, `make e2e` installs the rest by itself.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 30s

.DEFAULT_GOAL := help
.PHONY: help build check test e2e outage parts fuzz bench cover

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

build: ## the static binary: bin/linkspan
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/linkspan ./cmd/linkspan

check: ## formatting and vet, of both modules
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt -w these: $$unformatted"; exit 1; }
	$(GO) vet ./...
	cd e2e && $(GO) vet ./...
	cd bench && $(GO) vet ./...

# The race detector needs a C compiler. `go env CGO_ENABLED` says 0 where none is installed. Vet is part of the run: by itself it
# would have everything compiled a second time, without the race detector.
test: ## vet, formatting, all tests; with the race detector where a C compiler is there
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt -w these: $$unformatted"; exit 1; }
	@if [ "$$($(GO) env CGO_ENABLED)" = 1 ]; then set -x; $(GO) test -race -vet=all -timeout 10m ./...; \
	else echo 'no C compiler here: tests run without the race detector'; set -x; $(GO) test -vet=all -timeout 10m ./...; fi

parts: ## install what e2e and bench run against: Kafka, other people's clients
	./e2e/parts.sh

e2e: parts ## Linkspan between real clients and Apache Kafka, with faults
	$(GO) test -count=1 ./internal/outage
	cd e2e && $(GO) vet ./... && $(GO) test -v -count=1 -timeout 45m ./...

outage: parts ## outages of a minute each, with kill -9; writes bench/results/outage.md
	$(GO) test -count=1 -timeout 60m ./internal/outage -args -outage.seeds=20000
	cd e2e && OUTAGE_LENGTH=1m OUTAGE_REPORT=../bench/results/outage.md $(GO) test -v -count=1 -timeout 60m -run 'TestOutage' .

fuzz: ## each Fuzz function for FUZZTIME
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

bench: build parts ## measure on this machine; writes bench/results
	cd bench && $(GO) run .

cover: ## statement coverage of the tests: cover.out
	$(GO) test -coverprofile cover.out -coverpkg ./... ./...
	@$(GO) tool cover -func cover.out | tail -n 1
