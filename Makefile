# `make` alone prints what each target does.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
FACES ?= faces.tar
PHOTOS ?= photos.tar
HELD_OUT ?= held-out.tar
FACE_LABELS := --numeric age --labels 'filename:(?P<age>\d+)_(?P<gender>\d)_(?P<race>\d)_'
METHODS := ogan ogan-views ogan:head=linear ogan:adversary=ns ogan:adversary=ls ogan:adversary=hinge \
  ogan:adversary=wgan-gp ogan:reconstruction=mse ogan:reconstruction=none gan-qp bigan-qp bigan ali ae vae aae cvae-gan

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench train-faces train-photos quality-faces quality-photos compare figures clean

help:  ## print this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

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
	@$(PIP) -e '.[cpu,evaluate,features,heif,map,train,dev]'
	@touch $@ $(VENV)/.searches

demo: $(VENV)/.searches  ## see it work: sample pictures, index them, find an altered one, draw the hits
	@echo "== latent demo"
	@$(BIN)/latent demo
	@echo "(latent is $(BIN)/latent here; to have it at hand: . $(BIN)/activate)"

test: $(VENV)/.tests  ## install what the tests need and run them all
	@echo "== pytest"
	@$(BIN)/python -m pytest

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
	@$(BIN)/python benchmarks/joins.py --page
	@$(BIN)/python benchmarks/dedup.py --page
	@$(BIN)/python benchmarks/training.py --page
	@$(BIN)/python benchmarks/training.py --preset slim-128 --batch 32 --rounds 3 --steps 6 --page

train-faces: $(VENV)/.tests  ## train the faces-64 model: make train-faces FACES="a.tar b.tar"
	@$(BIN)/latent train $(FACES) -o runs/faces-64 --width 48 --max-width 384 --minutes 90 \
	  $$(test -e runs/faces-64/checkpoint.pt && echo --resume)

train-photos: $(VENV)/.tests  ## train the photos-64 model: make train-photos PHOTOS="a.tar b.tar"
	@$(BIN)/latent train $(PHOTOS) -o runs/photos-64 --method ogan-views --views strong \
	  --width 48 --max-width 384 --minutes 80 $$(test -e runs/photos-64/checkpoint.pt && echo --resume)

quality-faces: $(VENV)/.tests  ## write docs/reports/faces-64.json: make quality-faces FACES="a.tar b.tar" HELD_OUT=c.tar
	@$(BIN)/latent evaluate faces-64 $(foreach part,$(FACES),--gallery $(part)) --queries $(HELD_OUT) \
	  $(FACE_LABELS) -o docs/reports/faces-64.json

quality-photos: $(VENV)/.tests  ## write docs/reports/photos-64.json: make quality-photos PHOTOS="a.tar b.tar" HELD_OUT=c.tar
	@$(BIN)/latent evaluate photos-64 $(foreach part,$(PHOTOS),--gallery $(part)) --queries $(HELD_OUT) \
	  --labels folder -o docs/reports/photos-64.json

compare: $(VENV)/.tests  ## train and compare all methods: make compare FACES="a.tar b.tar" HELD_OUT=c.tar
	@$(BIN)/latent benchmark $(FACES) --queries $(HELD_OUT) $(FACE_LABELS) -o runs/compared --preset slim-32 \
	  --steps 3000 --seeds 3 $(foreach method,$(METHODS),--method $(method))

figures: $(VENV)/.searches  ## draw the figures of docs/figures.md again
	@$(BIN)/python docs/draw_figures.py

clean:  ## delete the environment and what the demo made
	@rm -rf $(VENV) build dist *.egg-info latent-demo
