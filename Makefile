# What there is to do here: make help

SHELL := /bin/bash -o pipefail
MODULES := api internal source-controller kustomize-controller notification-controller image-automation-controller local e2e
LINTER := $(CURDIR)/bin/golangci-lint

# Built programs name no folder of the machine they were built on, and are the
# same bytes for the same source. Tests use the same flags, so that nothing is
# compiled twice.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath -buildvcs=false

# What `make run` works on: REPO is a folder, a bare repository or a URL;
# without it, an example is made. ONCE=1 ends after the demonstration.
REPO ?=
PATH_IN_REPO ?=
ONCE ?=

say = @printf '%s  %s\n' "$$(date +%H:%M:%S)" "$(1)"

.PHONY: help
help: ## Say what there is to do
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | expand -t 14
	@printf '\nmake run REPO=<path or URL> PATH_IN_REPO=./overlays/dev   runs your own repository\nmake run ONCE=1                                           ends after the demonstration\n'

.PHONY: build
build: ## Build the controllers and weir-local into bin/
	@tools/build.sh

.PHONY: run
run: build ## Run the toolkit on an embedded control plane and show what it does
	@bin/weir-local run --bin-dir bin --config-dir config/crd/bases \
		$(if $(REPO),--repo '$(REPO)') $(if $(PATH_IN_REPO),--path '$(PATH_IN_REPO)') $(if $(ONCE),--once)

.PHONY: test
test: build ## Run all tests
	$(call say,Vetting)
	@test -z "$$(gofmt -l $(MODULES) | tee /dev/stderr)" || { echo 'gofmt would change the files above: run gofmt -w'; exit 1; }
	@go vet work
	$(call say,Testing: unit and API-server tests, then the stories on the real programs, then a short fuzzing of each parser)
	@go test -count=1 -timeout 20m -p 2 $(addsuffix /...,$(addprefix ./,$(filter-out e2e,$(MODULES))))
	@go test -count=1 -timeout 20m -p 1 ./e2e/...
	@$(MAKE) --no-print-directory fuzz FUZZTIME=1000x

# The detector needs a C compiler. What it slows down may miss a bound of time or
# memory; look for "DATA RACE".
.PHONY: race
race: build ## Run the tests beside the code with the race detector (some forty minutes on two cores)
	@CGO_ENABLED=1 go test -race -count=1 -timeout 60m -p 2 $(addsuffix /...,$(addprefix ./,$(filter-out e2e local,$(MODULES))))

.PHONY: e2e
e2e: build ## Run the stories on the real programs, and the life of a Helm release
	@go test -count=1 -v -timeout 30m ./e2e/stories/...
	@WEIR_HELM=1 go test -count=1 -v -timeout 30m -run '^TestHelm$$' ./e2e/chart

# The cluster is the one of KUBECONFIG; e2e/cluster says what the other variables
# mean. One platform of the images will do.
.PHONY: e2e-cluster
e2e-cluster: ## Install on the cluster of KUBECONFIG and run the stories there (E2E_LOAD_IMAGE brings images to it)
	@test -n "$$KUBECONFIG" || { echo 'KUBECONFIG is not set: it names the cluster to install on'; exit 1; }
	@test -n "$$E2E_LOAD_IMAGE" || { echo 'E2E_LOAD_IMAGE is not set: it is the command that brings an image (name, archive) to the nodes, such as e2e/cluster/load/kind.sh'; exit 1; }
	$(call say,Building the images)
	@go run ./e2e/release images -out dist/e2e -version $(VERSION)-e2e -platforms linux/$$(go env GOARCH) -revision $$(git rev-parse HEAD) -created $$(git log -1 --format=%ct)
	$(call say,Installing)
	@$(CLUSTER) -run '^TestInstall$$' ./e2e/cluster
	$(call say,Running the stories)
	@WEIR_TEST_KUBECONFIG=$$KUBECONFIG $(CLUSTER) ./e2e/stories
	$(call say,Upgrading; removing; each controller alone; the Helm chart)
	@$(CLUSTER) -run '^(TestServices|TestUpgrade)$$' ./e2e/cluster
	@$(CLUSTER) -run '^TestRemove$$' ./e2e/cluster
	@$(CLUSTER) -run '^TestStandalone$$' ./e2e/cluster
	@$(CLUSTER) -run '^TestChart$$' ./e2e/cluster

CLUSTER = WEIR_E2E_CLUSTER=1 E2E_DIST=$(CURDIR)/dist/e2e go test -count=1 -v -timeout 30m

.PHONY: bench
bench: build ## Measure seconds, API requests and CPU seconds of the main jobs
	@go run ./e2e/bench -bin-dir bin $(BENCH)

# Each target runs this long; `make test` runs all of them for a moment.
FUZZTIME ?= 60s
.PHONY: fuzz
fuzz: ## Fuzz everything that parses bytes from outside (FUZZTIME=60s or 1000x each)
	@FUZZTIME=$(FUZZTIME) tools/fuzz.sh $(MODULES)

# The version that images and manifests are labelled with.
VERSION ?= v0.1.0

.PHONY: images
images: ## Build OCI images of the controllers into dist/
	@go run ./e2e/release images -version $(VERSION) -revision $$(git rev-parse HEAD) -created $$(git log -1 --format=%ct)

.PHONY: release
release: images chart ## Make the images, install.yaml, one manifest per controller and the Helm chart in dist/
	@go run ./e2e/release manifests -version $(VERSION)

.PHONY: chart
chart: ## Package the Helm chart into dist/
	@go run ./e2e/release chart -version $(VERSION) -created $$(git log -1 --format=%ct)

$(LINTER): tools/go.mod
	$(call say,Building the pinned linter: a few minutes the first time)
	@GOBIN=$(CURDIR)/bin GOWORK=off go -C tools install github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: lint
lint: $(LINTER) ## Run the linters
	@for m in $(MODULES); do (cd $$m && $(LINTER) run --config $(CURDIR)/.golangci.yml ./...) || exit 1; done

.PHONY: docs
docs: ## Build the documentation as a site into dist/docs (needs Node.js and the npm registry)
	$(call say,Installing the generator of the site)
	@cd docs && npm ci --no-audit --no-fund
	$(call say,Building the site)
	@cd docs && npm run build

.PHONY: generate
generate: ## Generate deep copies and custom resource definitions
	@tools/generate.sh

.PHONY: tidy
tidy: ## Keep the modules' requirements agreed
	@for m in $(MODULES); do GOWORK=off go -C $$m mod tidy || exit 1; done; go work sync

.PHONY: clean
clean: ## Remove what was built
	@rm -rf bin dist
