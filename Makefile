# Every target creates the environment that it needs; a fresh machine needs only Python (3.11 or later) and make.
PYTHON ?= python3
UV_VERSION := 0.13.8
BOOTSTRAP := .venvs/bootstrap
UV := $(BOOTSTRAP)/bin/uv
RUN := .venv/bin

export UV_PYTHON_DOWNLOADS := never
# Material for MkDocs advertises its successor at each build.
export NO_MKDOCS_2_WARNING := 1

.PHONY: help demo test conformance kube check docs docs-serve bench microbench chaos chaos-primitives generate clean

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/.synced  ## index Python's standard library, kill a runner and the worker on the way, compare the results
	@$(RUN)/python tools/demo.py $(ARGS)

test: .venv/.synced  ## linters, type checkers, and the tests on every Python and API server found
	@$(RUN)/python tools/run_tests.py --uv $(UV) $(ARGS)

conformance: .venv/.synced $(if $(KONTINUE_TEST_KUBECONFIG),,kube)  ## one suite over both API servers: the local one and a real control plane
	@KONTINUE_REQUIRE_KUBE=1 $(RUN)/pytest -q tests/conformance $(ARGS)

kube:  ## build a real control plane and Go clients for tests into ~/.cache/kontinue (needs Go; some minutes, once)
	@$(PYTHON) tools/kube/build.py

check: .venv/.synced  ## linters and type checkers only
	@$(RUN)/python tools/run_tests.py --uv $(UV) --only-checks

docs: .venv/.synced  ## build the documentation's site into site/; a broken link or name fails
	@$(RUN)/mkdocs build $(ARGS)

docs-serve: .venv/.synced  ## show it on http://127.0.0.1:8000 while you write
	@$(RUN)/mkdocs serve --no-strict --dev-addr 127.0.0.1:8000 $(ARGS)

bench: .venv/.synced  ## measure, print a table, write .bench/latest.json
	@PYTHONPATH=tests/support $(RUN)/python -m bench $(ARGS)

microbench: .venv/.synced  ## measure single functions of the hot path
	@$(RUN)/pytest -q bench --benchmark-enable --benchmark-columns=median,iqr,ops $(ARGS)

chaos: .venv/.synced  ## strike processes at random under load: ROUNDS=n, API_SERVER=kube, SEED=n; or ROLLING=n rolling restarts
	@PYTHONPATH=tests/support $(RUN)/python -m chaos --rounds $(or $(ROUNDS),20) --api-server $(or $(API_SERVER),local) \
	  $(if $(SEED),--seed $(SEED)) $(if $(ROLLING),--rolling $(ROLLING))

chaos-primitives: .venv/.synced  ## crowds at WaitGroups, locks, Semaphores, Barriers, then deaths at random: ROUNDS=n, API_SERVER=kube, SEED=n
	@PYTHONPATH=tests/support $(RUN)/python -m primitives_chaos --rounds $(or $(ROUNDS),20) \
	  --api-server $(or $(API_SERVER),local) $(if $(SEED),--seed $(SEED))

generate: .venv/.synced  ## write crds/ from the typed API, and the built-in kinds from Kubernetes' Go modules
	@$(RUN)/python tools/generate_crds.py
	@$(RUN)/python tools/generate_built_in_kinds.py

clean:  ## remove environments and caches
	rm -rf .venv .venvs site .demo .bench .chaos .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kontinue needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(BOOTSTRAP) || \
	  { echo "$(PYTHON) cannot create environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BOOTSTRAP)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.synced: $(UV) pyproject.toml uv.lock
	@$(UV) sync --quiet --frozen --python $(PYTHON)
	@touch $@
