# Everything project-local except the build folder, which outlives a clone.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/d2r/target
D2R := $(CARGO_TARGET_DIR)/debug/d2r
PYTHON := .venv/bin/python
OUT ?= demo
# What test-nfs unpacks.
NFS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/d2r/nfs

PREVIEW ?= batch/models/preview

PREFIX ?= $(HOME)/.local
IMAGE ?= d2r
BASE ?= debian:stable-slim
# A report model and a preview model that the demo trained; batch/models/README.md names the commands.
SHIPPED := batch/models/reporter
QUICKSTART_IMAGES := 12

.PHONY: book bench-real image test-image bench-term bench-scale fuzz test-kill bench-first-hour bench-speedrun quickstart shipped-models install dist test-dist setup parity-setup build demo test test-python test-browser test-slurm test-ranks test-nfs check lint deny wasm viewer serve bench bench-viewer bench-pipeline bench-detector bench-decode bench-quality-semi bench-quality-report bench-quality-preview clean d2r-path

## Install what is missing into this folder; TORCH=cpu takes the CPU build of PyTorch, LIBTORCH=FOLDER a libtorch that is there.
setup:
	@scripts/setup.sh

## Build the d2r command.
build: setup
	cargo build --locked -p d2r-batch

## Reports, boxes and links for drawn radiographs by the shipped model, without training; open quickstart/report.html afterwards.
quickstart: build
	$(D2R) phantom --images $(QUICKSTART_IMAGES) --seed 1000 --out quickstart/phantom
	$(D2R) report --preset demo --images quickstart/phantom/mimic/files --reporter $(SHIPPED) --out quickstart
	@echo "open quickstart/report.html in a browser; boxes that were drawn: quickstart/phantom/truth"

## Everything on drawn radiographs, in about nine minutes on two cores; open demo/report.html afterwards.
demo: build
	@echo "two models are trained now; 'make quickstart' in another terminal shows reports of a shipped model meanwhile"
	$(D2R) pipeline --preset demo --out $(OUT)

## The optimised d2r with its libtorch, manual pages, completions and presets, into PREFIX.
install: setup
	scripts/install.sh $(PREFIX)

## The Airflow wheel, the browser library, bills of materials and checksums, into dist/.
dist: setup
	scripts/dist.sh

## A container image of the installed command, by podman or docker; IMAGE=NAME, BASE=IMAGE with /bin/sh and newer libraries.
image: setup
	scripts/image.sh $(IMAGE) $(BASE)

## The image under Docker's daemon, hardened, on a base of this machine's Debian packages; root, docker.io, mmdebstrap.
test-image: setup
	cd tests/container && $(CURDIR)/$(PYTHON) -m unittest -v test_image

## The wheel in a clean environment: its DAGs parse.
test-dist: airflow-setup
	tests/airflow/wheel.sh

## All tests; no GPU, no network beyond the package registries.
test: build
	cargo test --locked --workspace --no-fail-fast
	$(MAKE) wasm test-python test-browser

test-python: build
	D2R=$(D2R) $(PYTHON) -m unittest discover -s tests/python -p 'test_*.py' -v

## One training on 1, 2 and 4 processes, 200 steps of each model: the same bits.
test-ranks: build
	cargo test --locked -p d2r-acceptance --test ranks -- --include-ignored

## Array jobs under a Slurm of its own: exit codes, time limit, a killed element.
test-slurm: build
	scripts/slurm_setup.sh
	cd tests/slurm && D2R=$(D2R) $(CURDIR)/$(PYTHON) -m unittest -v test_array

## The lake on NFS (v4.2, v3, without locks) from two machines, in a kernel in user mode that is unpacked, not installed.
test-nfs: build
	@scripts/nfs_setup.sh $(NFS) && { [ ! -e $(NFS)/complete ] || \
	$(PYTHON) tests/nfs/mounts.py --d2r $(D2R) --packages $(NFS) --out bench-results/nfs.json; }

## What must hold before anything is measured: format, lints as errors, licences and sources of all packages, the tree's structure
## and words, digests of downloads, DAGs without a scheduler.
check: lint deny build
	cargo test --locked -p d2r-acceptance --test structure --test words --test downloads
	$(MAKE) test-dags

lint: setup
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

## Licences, sources, banned and yanked packages, by cargo-deny; advisories where their database can be reached.
deny:
	@scripts/deny.sh

## The browser crate for wasm32, with SIMD and with relaxed SIMD.
wasm:
	scripts/wasm.sh

## The page of the browser viewer, into site/, with the shipped preview model (or PREVIEW=FOLDER).
viewer:
	scripts/viewer.sh site $(PREVIEW) packed

## The shipped models anew, from a finished demo (or OUT=FOLDER) into batch/models.
shipped-models: build
	test -f $(OUT)/summary.json || $(MAKE) demo
	scripts/shipped_models.sh $(D2R) $(OUT)

## The built page on this machine's loopback, with the headers that it should be served with.
serve:
	$(or $(wildcard $(PYTHON)),python3) scripts/serve.py site

## The page in a real browser, with the preview model of a tiny pipeline.
test-browser: build
	scripts/browser.sh
	node --test tests/browser/library.test.mjs tests/browser/offline_copy.test.mjs
	D2R=$(D2R) node --test tests/browser/viewer.test.mjs

## Our module beside onnxruntime-web on the same graphs, and what each sends, into bench-results/viewer.json.
bench-viewer: viewer
	scripts/browser.sh tests/bench/viewer
	node tests/bench/viewer/bench.mjs --site site --out bench-results/viewer.json

bench: bench-pipeline bench-detector bench-decode bench-quality-semi bench-quality-report bench-viewer

## What benchmarks and some parity tests compare with, into .venv.
parity-setup: setup
	scripts/parity.sh

## Our detectors' speed beside torchvision's, into bench-results/detector.json.
bench-detector: build parity-setup
	cargo build --locked -p d2r-batch --example detector_speed
	$(PYTHON) tests/bench/detector.py --d2r $(D2R) --speed $(CARGO_TARGET_DIR)/debug/examples/detector_speed --out bench-results/detector.json

## Beam search beside a straight one in PyTorch, into bench-results/decode.json.
bench-decode: build parity-setup
	cargo build --locked -p d2r-batch --example decode_speed
	$(PYTHON) tests/bench/decode.py --d2r $(D2R) --speed $(CARGO_TARGET_DIR)/debug/examples/decode_speed --out bench-results/decode.json

## What unlabelled images gain, into bench-results/quality-semi.json; one to two hours on two cores.
bench-quality-semi: build parity-setup
	$(PYTHON) tests/bench/quality_semi.py --d2r $(D2R) --out bench-results/quality-semi.json

## A detector on a sample of real radiographs, NIH=FOLDER in the layout of NIH ChestX-ray14, into bench-results/real.json.
bench-real: build
	$(PYTHON) tests/bench/real.py --d2r $(D2R) --data $(or $(NIH),$(error NIH=FOLDER names the sample)) --out bench-results/real.json

## What each part of the report model gains, into bench-results/quality-report.json; hours on two cores.
bench-quality-report: build
	cargo build --locked -p d2r-batch --example mirror_agreement
	$(PYTHON) tests/bench/quality_report.py --d2r $(D2R) --mirror $(CARGO_TARGET_DIR)/debug/examples/mirror_agreement --out bench-results/quality-report.json

## The preview model beside the report model, into bench-results/quality-preview.json; DEMO=... names a finished folder of
## `d2r pipeline --config tests/bench/presets/preview_bench.toml`, else one is made first.
bench-quality-preview: build
	$(PYTHON) tests/bench/quality_preview.py --d2r $(D2R) --out bench-results/quality-preview.json $(if $(DEMO),--demo $(DEMO))

## Setup, build, quickstart and demo in a fresh clone, each alone, into bench-results/first-hour.json.
bench-first-hour:
	python3 tests/bench/first_hour.py --out bench-results/first-hour.json

## Minutes from phantoms to a stated quality, median of three seeds, into bench-results/speedrun.json; CONFIG=FILE: other settings.
bench-speedrun: build
	$(PYTHON) tests/bench/speedrun.py --d2r $(D2R) --out bench-results/speedrun.json $(if $(CONFIG),--config $(CONFIG))

## Kills at 200 random moments over all stages, with a reader beside them; the results are those of an undisturbed run.
test-kill: build
	$(PYTHON) tests/kill/storm.py --d2r $(D2R) --out bench-results/kill-storm.json

## How long every verb takes to end after SIGTERM, into bench-results/term.json.
bench-term: build
	$(PYTHON) tests/bench/term.py --d2r $(D2R) --out bench-results/term.json

## Every reader of foreign bytes under libFuzzer, into bench-results/fuzz.json; FUZZ="--targets png --share 0.1": a part of it.
fuzz: setup
	python3 tests/fuzz/run.py --out bench-results/fuzz.json $(FUZZ)

## Memory and time of every stage on a thousand to a hundred thousand images, into bench-results/scale.json; hours.
bench-scale: build
	$(PYTHON) tests/bench/scale.py --d2r $(D2R) --out bench-results/scale.json

## Times of every stage of the demo, into bench-results/pipeline.json.
bench-pipeline: build
	$(PYTHON) tests/bench/pipeline.py --d2r $(D2R) --out bench-results/pipeline.json

## The pages of docs/ as a site with search, into book/.
book:
	@scripts/book.sh

d2r-path:
	@echo $(D2R)

clean:
	rm -rf demo bench-results

# Airflow: its own environment in .venv-airflow, its own folder .airflow; `d2r` must be built (D2R=... names another binary).
AIRFLOW_PYTHON := .venv-airflow/bin/python
.PHONY: airflow airflow-setup airflow-smoke test-dags test-airflow test-airflow-scale

airflow-setup:
	@scripts/airflow_venv.sh

## Airflow with these DAGs on this machine's loopback; prints the address and the password. Ctrl-C stops it.
airflow: build airflow-setup
	D2R_BIN=$(D2R) scripts/airflow_start.sh

## Starts Airflow in a folder of its own, runs d2r_smoke, prints the outcome, stops it.
airflow-smoke: airflow-setup
	$(AIRFLOW_PYTHON) tests/airflow/smoke.py --d2r $(D2R)

## The DAGs without a scheduler: lints, graph, forms, operator, command lines against the built command's help.
test-dags: airflow-setup
	.venv-airflow/bin/ruff check dags --select AIR --preview
	D2R_BIN=$(D2R) $(AIRFLOW_PYTHON) -m pytest -q tests/airflow/unit

## Under a real scheduler: kills, full disk, two runs on one GPU slot, approval, alerts, the asset graph.
test-airflow: airflow-setup
	D2R_BIN=$(D2R) $(AIRFLOW_PYTHON) -m pytest -q -p no:cacheprovider tests/airflow/live -m "not scale"

## LocalExecutor and CeleryExecutor with two workers, on a PostgreSQL and a Redis of their own.
test-airflow-scale:
	@scripts/airflow_venv.sh scale
	D2R_BIN=$(D2R) $(AIRFLOW_PYTHON) -m pytest -q -p no:cacheprovider tests/airflow/live -m scale
