# `make` alone prints what each target does.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
FACES ?= faces.tar
PHOTOS ?= photos.tar
HELD_OUT ?= held-out.tar
FACE_LABELS := --numeric age --labels 'filename:(?P<age>\d+)_(?P<gender>\d)_(?P<race>\d)_'
ALL_METHODS := $(sort $(subst _,-,$(basename $(notdir $(wildcard train/methods/[a-z]*.py)))))
METHODS := $(filter-out decoder pixelcnn pixelrnn,$(ALL_METHODS)) $(addprefix ogan:,head=linear adversary=ns adversary=ls \
  adversary=hinge adversary=wgan-gp reconstruction=mse reconstruction=none)
ABLATION := ogan-views $(addprefix ogan-views:,correlation_weight=0.25 correlation_weight=1 self_modulated=no kernel=5 \
  ema_decay=0 decay_share=0 learning_rate=0.0004 learning_rate=0.0001) ogan

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench fuzz torture reliability lock sbom train-faces train-faces-64 train-photos quality-faces \
  quality-photos ablation compare figures clean

help:  ## print this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

$(BIN)/python:
	@echo "== creating the environment $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "The venv module is incomplete. On Debian: sudo apt install python3-venv; then make again." >&2; exit 1; }

$(VENV)/.searches: $(BIN)/python pyproject.toml constraints.txt
	@echo "== installing latent with the extra cpu, without torch"
	@$(PIP) -e '.[cpu]'
	@touch $@

$(VENV)/.tests: $(BIN)/python pyproject.toml constraints.txt
	@echo "== installing what training and the tests need (torch among it)"
	@$(PIP) -e '.[cluster,copies,cpu,encoders,evaluate,faces,features,heif,map,milvus,server,stores,train,web,dev]'
	@touch $@ $(VENV)/.searches

demo: $(VENV)/.searches  ## see it work: sample pictures, index them, find an altered one, show the hits
	@echo "== latent demo"
	@$(BIN)/latent demo
	@echo "(latent is $(BIN)/latent here; to have it at hand: . $(BIN)/activate)"

test: $(VENV)/.tests  ## install what the tests need and run them all
	@echo "== pytest"
	@$(BIN)/python -m pytest -m "not alone"
	@echo "== pytest, those that start a cluster, one after the other"
	@$(BIN)/python -m pytest -m alone -n 0

lint: $(VENV)/.tests  ## ruff, mypy --strict, import contracts
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== mypy --strict"
	@$(BIN)/mypy
	@echo "== import contracts"
	@$(BIN)/lint-imports

bench: $(VENV)/.tests  ## measure speed side by side, and write the tables of docs/performance.md (two hours)
	@$(BIN)/python benchmarks/ingest.py --page
	@$(BIN)/python benchmarks/query.py --page
	@$(BIN)/python benchmarks/structures.py --page
	@$(BIN)/python benchmarks/dedup.py --page
	@$(BIN)/python benchmarks/training.py --page
	@$(BIN)/python benchmarks/training.py --preset slim-128 --batch 32 --rounds 3 --steps 6 --page

fuzz: $(VENV)/.tests  ## open millions of damaged files of all kinds (an hour); nothing may crash or escape
	@$(BIN)/python -m tests.campaigns.fuzz --seconds 600

torture: $(VENV)/.tests  ## kill, starve and disturb all commands 1,000 times (half an hour); nothing may be lost
	@$(BIN)/python -m tests.campaigns.torture

reliability: $(VENV)/.tests  ## run both for a while, and write the counts of docs/reliability.md
	@$(BIN)/python -m tests.campaigns.report

lock: $(VENV)/.tests  ## write locked.txt: the exact files, by hash, that CI installs
	@$(BIN)/python .ci/lock

sbom: $(VENV)/.searches  ## write sbom.json (CycloneDX): all packages of the environment, with versions and licences
	@$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml -o sbom.json

train-faces: $(VENV)/.tests  ## train the faces-128 model: make train-faces FACES="a.tar b.tar"
	@$(BIN)/latent train $(FACES) -o runs/faces-128 --size 128 --method ogan-views --steps 11000 \
	  $$(test -e runs/faces-128/checkpoint.pt && echo --resume)

train-faces-64: $(VENV)/.tests  ## train the faces-64 model
	@$(BIN)/latent train $(FACES) -o runs/faces-64 --width 48 --max-width 384 --steps 18000 \
	  $$(test -e runs/faces-64/checkpoint.pt && echo --resume)

train-photos: $(VENV)/.tests  ## train the photos-64 model: make train-photos PHOTOS="a.tar b.tar"
	@$(BIN)/latent train $(PHOTOS) -o runs/photos-64 --method ogan-views --views strong \
	  --width 48 --max-width 384 --minutes 80 $$(test -e runs/photos-64/checkpoint.pt && echo --resume)

quality-faces: $(VENV)/.tests  ## write docs/reports/faces-*.json: make quality-faces FACES="a.tar b.tar" HELD_OUT=c.tar
	@for model in faces-128 faces-64; do $(BIN)/latent evaluate $$model $(FACE_LABELS) -o docs/reports/$$model.json \
	  $(foreach part,$(FACES),--gallery $(part)) --queries $(HELD_OUT) || exit 1; done

quality-photos: $(VENV)/.tests  ## write docs/reports/photos-64.json: make quality-photos PHOTOS="a.tar b.tar" HELD_OUT=c.tar
	@$(BIN)/latent evaluate photos-64 --labels folder -o docs/reports/photos-64.json \
	  $(foreach part,$(PHOTOS),--gallery $(part)) --queries $(HELD_OUT)

ablation: $(VENV)/.tests  ## what each part of the recipe gives (docs/recipe.md): make ablation FACES="a.tar b.tar"
	@$(BIN)/latent benchmark $(FACES) $(FACE_LABELS) -o runs/ablation --preset slim-32 --steps 1500 \
	  $(foreach method,$(ABLATION),--method $(method))

compare: $(VENV)/.tests  ## train and compare all methods: make compare FACES="a.tar b.tar" HELD_OUT=c.tar
	@$(BIN)/latent benchmark $(FACES) --queries $(HELD_OUT) $(FACE_LABELS) -o runs/compared --preset slim-32 \
	  --steps 3000 --seeds 3 $(foreach method,$(METHODS),--method $(method))

figures: $(VENV)/.searches  ## render the figures of docs/figures.md again
	@$(BIN)/python docs/draw_figures.py

clean:  ## delete the environment and what the demo made
	@rm -rf $(VENV) build dist *.egg-info latent-demo
