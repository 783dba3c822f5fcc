# Latchkey. `make` alone lists the targets.
SHELL := /bin/bash
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS = -s -w -X main.version=$(VERSION)
TOOL = $(GO) tool -modfile=tools/go.mod
T ?= 30s

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-20s %s\n", $$1, $$2}'

.DEFAULT_GOAL := help

.PHONY: demo
demo: ## Serve a company of 40 people with a rehearsal Atlassian Cloud beside it
	$(GO) run ./cmd/latchkey demo $(ARGS)

.PHONY: run
run: ## Serve with data in ./latchkey-data
	$(GO) run ./cmd/latchkey serve $(ARGS)

.PHONY: build
build: ## Build bin/latchkey, one program; on Linux it needs glibc (build-static doesn't)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/latchkey ./cmd/latchkey

.PHONY: build-static
build-static: ## Build bin/latchkey without libcrypto: linked statically, for images without glibc
	CGO_ENABLED=0 $(GO) build -trimpath -tags nolibcrypto -ldflags '$(LDFLAGS)' -o bin/latchkey ./cmd/latchkey

.PHONY: test
test: ## Run all tests; installs what they need on Debian, starts and ends its own PostgreSQL
	./test/run.sh

.PHONY: test-race
test-race: ## The tests of all packages with the race detector
	./test/run.sh -race

.PHONY: postgres
postgres: ## Start the tests' PostgreSQL on loopback and leave it running
	./test/postgres.sh start

.PHONY: postgres-stop
postgres-stop: ## End the tests' PostgreSQL and delete its data
	./test/postgres.sh stop

.PHONY: e2e
e2e: build ## Only the scripts against the built program
	$(GO) test -count=1 ./test/e2e/...

.PHONY: browser
browser: ## Only the browser tests; screenshots in test/browser/shots
	npm ci --prefix test/browser --ignore-scripts --no-audit --no-fund --silent
	$(GO) test -count=1 ./test/browser/...

.PHONY: pictures
pictures: ## Take the README's pictures anew
	$(GO) test -count=1 -tags pictures -run TestPictures ./test/browser

.PHONY: check
check: fmt-check vet lint test ## Formatting, vet, lint and all tests: run it before a commit

.PHONY: fmt
fmt: ## Format the code
	git ls-files '*.go' | grep -v '_templ.go$$' | xargs $(TOOL) gofumpt -w

.PHONY: fmt-check
fmt-check:
	@out=$$(git ls-files '*.go' | grep -v '_templ.go$$' | xargs gofmt -l); [ -z "$$out" ] || { echo "not formatted (run make fmt):"; echo "$$out"; exit 1; }

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...

.PHONY: lint
lint: ## golangci-lint
	$(GO) run -modfile=tools/lint/go.mod github.com/golangci/golangci-lint/v2/cmd/golangci-lint run ./...

.PHONY: generate
generate: ## Write all generated files anew
	$(TOOL) templ generate -path internal

.PHONY: golden
golden: ## Write golden files anew (look at the diff)
	$(GO) test ./internal/api ./internal/saml/... ./internal/catalog ./internal/scim/... ./internal/provision/plan ./cmd/latchkey -update

.PHONY: verify
verify: generate ## Generated files are fresh
	git diff --exit-code -- '*_templ.go'

.PHONY: fuzz
fuzz: ## Fuzz every parser for T each (T=30s)
	./test/fuzz.sh $(T)

.PHONY: mutation
mutation: ## Take out each semantic check in turn: a test must notice (ARGS='-only ^sign-on')
	$(GO) run ./test/mutation $(ARGS)

.PHONY: model
model: ## Random events, faults and crashes against a model of what should be at the target (N=200 runs on each database)
	$(GO) test ./internal/provision -run TestModel -rapid.checks=$(or $(N),200) -timeout 90m

.PHONY: bench
bench: ## Micro-benchmarks
	$(GO) test -run xxx -bench . -benchmem ./internal/saml/... ./internal/keys/... ./internal/catalog ./internal/provision/plan ./internal/work ./internal/store ./internal/authn ./internal/directory ./internal/idp

# Each ends with one line: VERDICT <name> pass|short <what>.
.PHONY: bench-sso bench-login bench-provisioning bench-lists bench-footprint interop interop-page contract chaos
bench-sso: build ## Sign-on: the whole exchange beside the bare signature
	$(GO) run ./test/load sso
bench-login: build ## Password, session and response beside the bare hash
	$(GO) run ./test/load login
bench-provisioning: build ## First load, repeat and change beside a plain client
	$(GO) run ./test/load provisioning
bench-lists: build ## Lists at size
	$(GO) run ./test/load lists
bench-footprint: build ## Size, start and memory
	$(GO) run ./test/load footprint
interop: build ## Foreign service providers sign people on; installs them on Debian where they are missing
	$(GO) run ./test/interop
interop-page: build ## The same, and writes docs/saml-interoperation.md anew
	$(GO) run ./test/interop -write docs/saml-interoperation.md
contract: build ## Connectors against targets that play their quirks
	$(GO) run ./test/load contract
chaos: build ## Faults, crashes and replicas
	$(GO) run ./test/load chaos
