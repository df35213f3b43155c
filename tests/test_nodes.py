"""Training on two machines: two ``torchrun`` on this one, which meet at a port. Run as a script it is one process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from itertools import islice
from pathlib import Path

import torch

from retrieval.models.model import load_model
from tests.conftest import draw_shapes, write_shapes
from train.checkpoint import new_state
from train.data import CachedPictures, shuffled
from train.devices import Processes, join_processes, leave_processes
from train.loop import Hooks
from train.recipe import Budget, Recipe
from train.session import Setting, new_run, open_together, run_session
from train.step import Trainer

CPU = torch.device("cpu")
SMALL = Recipe(image_size=32, latent_dim=8, width=4, max_width=8, batch_size=8, warmup_steps=10)
STEPS = 10


def on_two_nodes(*words: list[object]) -> None:
    """Run a ``torchrun`` for each of two nodes, with the words of each."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launcher = Path(sys.executable).with_name("torchrun")
    meeting = ["--nnodes", 2, "--nproc-per-node", 1, "--master-addr", "127.0.0.1", "--master-port", port]
    nodes = [
        subprocess.Popen(
            [str(one) for one in (launcher, *meeting, "--node-rank", rank, *its)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank, its in enumerate(words)
    ]
    try:
        told = [node.communicate(timeout=120) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], told


def weights_after_some_steps(processes: Processes) -> dict[str, torch.Tensor]:
    """The weights after steps on this process' share of each batch. BatchNorm's statistics are fixed: each process
    would take those of its own share."""
    state = new_state(SMALL, CPU, "float32")
    state.model.eval()
    batches = shuffled(64, SMALL, 0, processes.rank, processes.world)
    trainer = Trainer(state, CPU, processes)
    for examples in CachedPictures(draw_shapes(64)[0]).batches(islice(batches, STEPS)):
        trainer.step(examples, 1e-4)
    return {name: weight.detach().clone() for name, weight in state.model.named_parameters()}


def be_one_process(folder: Path) -> None:
    """Save the weights after some steps; then train as ``latent train`` does, in a folder of this node alone."""
    torch.set_num_threads(1)
    processes = join_processes("cpu")
    torch.save(weights_after_some_steps(processes), folder / f"rank-{processes.rank}-of-{processes.world}.pt")
    run = folder / f"node-{processes.rank}" / "run"
    setting = Setting(run, CPU, "float32", processes, run / "cache", 1 << 30, workers=1)
    pictures = open_together([run.parent / "photos"], SMALL, setting)
    run_session(new_run(SMALL, setting), pictures, Budget(steps=STEPS), setting, Hooks(), {})
    leave_processes(processes)


def test_two_nodes_learn_the_weights_of_one_process_and_share_no_disk(tmp_path: Path) -> None:
    for rank in range(2):
        write_shapes(tmp_path / f"node-{rank}" / "photos", 24)
    on_two_nodes(*[["--module", "tests.test_nodes", tmp_path]] * 2)
    first, second = (torch.load(tmp_path / f"rank-{rank}-of-2.pt", weights_only=True) for rank in range(2))
    begun = {name: one.detach() for name, one in new_state(SMALL, CPU, "float32").model.named_parameters()}
    alone = weights_after_some_steps(Processes())
    assert first.keys() == alone.keys()
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name])
        moved = (weight - begun[name]).abs().max()
        assert moved > 0 and (first[name] - weight).abs().max() <= 1e-3 * moved, name
    model = load_model(tmp_path / "node-0" / "run" / "bundle", "cpu")
    assert model.facts["steps"] == STEPS and model.encode(draw_shapes(3)[0]).shape == (3, 8)
    assert not (tmp_path / "node-1" / "run" / "bundle").exists()  # the first node alone writes


if __name__ == "__main__":
    be_one_process(Path(sys.argv[1]))
