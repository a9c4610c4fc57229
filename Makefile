# Muster: what a person runs. `make up` and `make test` do all their own set-up; they need Go and npm.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)
MODULES := $(shell sed -n 's|^[[:space:]]*\./|./|p' go.work)
ARGS    ?=
FUZZTIME ?= 10s
SEED    ?=
CRASHES ?= 200
RUN     ?= ^TestTorture|^TestADeath|^TestMembersThat|^TestAProcessThatWasStopped

.PHONY: help up build agent engine test check format vet lint tidy house race fuzz bench eval measure torture e2e trial image clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

# What would stop it at the end is told before the compiling and the fetching that would be for nothing.
up: ## the local stack in the foreground (ARGS="--devices 100")
	@.ci/engine --check
	@$(MAKE) build
	@bin/muster up --check $(ARGS)
	@.ci/engine
	@exec bin/muster up $(ARGS)

build: ## bin/muster
	@command -v go >/dev/null || { echo "Muster is written in Go, and go is not installed: get Go 1.26 from https://go.dev/dl, then run this again." >&2; exit 1; }
	@[ -x bin/muster ] || echo "building bin/muster (the first time takes a minute)" >&2
	@go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/muster ./cmd/muster

agent: ## bin/muster-agent, static, for this machine or another (GOARCH=arm GOARM=6)
	@CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/muster-agent ./fleet/agent/cmd/muster-agent

engine: ## the embedded ClickHouse, by npm ci
	@.ci/engine

# Two packages at a time for each core: tests wait more than they compute. The longest begin first, for one that begins last is
# waited for alone. The time-out is for what hangs: on a busy machine a package may take ten times what it takes on an idle one.
LONGEST := ./services/ingest/sink ./cmd/muster ./cmd/muster/torture ./services/ingest/gateway ./services/retention/rollup
test: engine ## every test of every module
	go test -p $$(( $$(getconf _NPROCESSORS_ONLN) * 2 )) -timeout 40m $(LONGEST) work

check: format vet lint tidy house ## format, vet, lint, tidy, the house's rules

format:
	@bad=$$(gofmt -l $(MODULES)); [ -z "$$bad" ] || { echo "gofmt would change:"; echo "$$bad"; exit 1; }

vet:
	go vet work

lint: bin/tools/staticcheck
	@bad=; for m in $(MODULES); do echo "staticcheck $$m"; (cd $$m && "$(CURDIR)/bin/tools/staticcheck" ./...) || bad="$$bad $$m"; done; \
	  [ -z "$$bad" ] || { echo "staticcheck found something in$$bad"; exit 1; }

bin/tools/staticcheck: tools/go.mod tools/go.sum
	@mkdir -p bin/tools
	cd tools && GOWORK=off go build -o ../bin/tools/staticcheck honnef.co/go/tools/cmd/staticcheck

tidy:
	@bad=; for m in $(MODULES) ./tools; do echo "tidy $$m"; (cd $$m && GOWORK=off go mod tidy -diff) || bad="$$bad $$m"; done; \
	  [ -z "$$bad" ] || { echo "go mod tidy would change$$bad"; exit 1; }

house: ## imports, names, words and sizes that the house allows
	go test -count=1 -run '^TestHouse' ./cmd/muster/house

race: engine ## every test under the race detector
	go test -race -timeout 30m work

fuzz: ## each fuzz target for FUZZTIME
	@.ci/fuzz $(FUZZTIME)

.PHONY: test-kafka
test-kafka: engine ## what speaks to the log, on a real one: .ci/kafka/run make test-kafka
	@[ -n "$${MUSTER_TEST_KAFKA:-}" ] || { echo "MUSTER_TEST_KAFKA names no broker; .ci/kafka/run make test-kafka starts one"; exit 2; }
	go test -count=1 -p 1 -timeout 40m ./platform/eventlog/... ./platform/roster ./platform/principals ./services/registry ./services/registry/topics ./services/registry/writer ./services/registry/linear ./services/ingest ./services/ingest/sink

bench: engine ## the figures, beside the machine's floor of the same run
	@mkdir -p bin
	MUSTER_BENCH_JSON="$(CURDIR)/bin/bench.json" go test -run '^$$' -bench '^BenchmarkPipeline$$' -benchtime 1x -count 1 -timeout 30m ./cmd/muster/bench

# NAB is a folder of labelled series, laid out as the Numenta Anomaly Benchmark is; without one they are left out.
NAB ?= $(wildcard ../shared/data/nab)

eval: build ## what the detectors make of the library of scenarios and of labelled series (NAB=DIR, ARGS="--seed 11,12")
	bin/muster evaluate --all $(ARGS) $(if $(NAB),--nab $(NAB))
	@[ -n "$(NAB)" ] || echo "no labelled series were scored: NAB=DIR names a folder of them" >&2

measure: engine ## false incidents, delays and verdicts of thousands of simulated cohorts and rollouts, the detectors' size: an hour or more
	go test -count=1 -v -timeout 4h -run '^TestMeasured' ./services/anomaly/silence -eval
	go test -count=1 -v -timeout 4h -run '^TestABadUpdate' ./services/anomaly/update -eval
	go test -count=1 -run '^$$' -bench '^BenchmarkDetector$$|^BenchmarkReplay$$' -benchtime 1x -timeout 2h ./cmd/muster/bench
	go test -count=1 -v -timeout 4h -run '^TestMeasured' ./services/anomaly/series -eval

torture: engine build ## the fault matrix in full; SEED=n replays a run, RUN='^TestTortureThree' is one part of it
	MUSTER_TORTURE=full MUSTER_SEED=$(SEED) MUSTER_TEST_SEED=$(SEED) MUSTER_TEST_CRASHES=$(CRASHES) \
	  go test -count=1 -v -p 1 -timeout 6h -run '$(RUN)' work

e2e: engine ## the whole stack through its public surface
	go test -count=1 -v -timeout 15m -run '^TestStack|^TestReadme' ./cmd/muster

trial: engine ## the Compose stack on a Docker engine, with stand-ins for images that cannot be pulled
	deploy/standin/try

image: ## the services' image
	docker build -f deploy/compose/Dockerfile -t muster/services:local .

clean: ## what was built; the data stays
	rm -rf bin
