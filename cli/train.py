"""``latent train``: learn an O-GAN of one's own from a folder of pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cli.console import Finite, FiniteRange, bar, counted, say, shown_path, size, tell, workers_option
from cli.training import budget_of, own_setting_options, require_torch, stop_flag, training_bar
from retrieval.errors import TrainingError
from train.methods import declared_settings, method_names

FEWEST_STEPS, SHIPPED_STEPS = 1000, "11,000 to 18,000 steps"
CPU_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
MINUTES = 60.0  # where nothing is said, and the run has no budget of its own


def _print_settings(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """The options that --help leaves out."""
    if not value or ctx.resilient_parsing:
        return
    formatter = ctx.make_formatter()
    rows = [
        ("/".join([*one.opts, *one.secondary_opts]), str(one.help))
        for one in ctx.command.params
        if isinstance(one, click.Option) and one.hidden
    ]
    formatter.write_dl(rows)
    tell(*formatter.getvalue().splitlines())
    ctx.exit()


@click.command(
    epilog="""\b
Examples:
  latent train ~/Pictures -o runs/mine --minutes 60
  latent train faces.tar -o runs/faces --preset paper-128 --steps 100000
  latent train faces.tar -o runs/faces --steps 100000 --resume
  torchrun --nproc-per-node 4 --no-python latent train faces.tar -o runs/faces
"""
)
@click.argument("photos", nargs=-1, required=True, type=click.Path(), metavar="PHOTOS...")
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False), metavar="RUN", help="The run's folder."
)
@click.option(
    "--method", type=click.Choice(method_names()), help="What is learnt, see docs/methods.md [default: ogan]."
)
@click.option(
    "--size", "image_size", type=click.Choice(["32", "64", "128", "256"]), help="Pixels [default: the preset's]."
)
@click.option("--preset", "preset_name", metavar="NAME", help="slim-SIZE (default) or paper-SIZE.")
@click.option("--minutes", type=FiniteRange(min=0, min_open=True), help="Train so long, over all resumed sessions,")
@click.option("--steps", type=click.IntRange(min=1), help="or so many steps [default: the run's, 60 minutes].")
@click.option("--resume", is_flag=True, help="Go on from the run's checkpoint.")
@click.option(
    "--settings",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_settings,
    help="List further options, such as widths.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option(
    "--labels",
    metavar="SPEC",
    help="Classes, for methods that know any: folder, filename:REGEX, or a CSV with a column path.",
)
@own_setting_options
@click.option("--dim", "latent_dim", type=int, help="Numbers in a code.")
@click.option("--width", type=int, help="Channels of the first stage.", hidden=True)
@click.option("--max-width", type=int, help="Channels at most.", hidden=True)
@click.option("--kernel", type=int, help="4 or 5.", hidden=True)
@click.option("--self-modulated/--plain-norm", default=None, help="Self-modulated BatchNorm in G.", hidden=True)
@click.option("--batch", "batch_size", type=int, help="Pictures a step.", hidden=True)
@click.option("--learning-rate", type=Finite(), help="The optimizer's.", hidden=True)
@click.option("--ema", "ema_decay", type=Finite(), help="Decay of the averaged weights; 0: none.", hidden=True)
@click.option("--mirror/--no-mirror", default=None, help="Show mirror images too.", hidden=True)
@click.option("--seed", type=int)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
@click.option("--deterministic", is_flag=True, help="The same bits each time on the same machine; needs --steps.")
@click.option(
    "--cache", "cache_dir", type=click.Path(file_okay=False), metavar="DIR", help="Decoded pictures [RUN/cache]."
)
@click.option(
    "--cache-budget", type=FiniteRange(min=0), default=16.0, metavar="GB", help="Beyond, stream [default: 16]."
)
@click.option("--data-name", help="What the pictures are, for the model's card.")
@click.option("--data-licence", help="Their licence, for the model's card.")
@workers_option
def train(photos: tuple[str, ...], output: str, **options: Any) -> None:
    """Learn a latent space from PHOTOS: folders, or uncompressed .tar archives, of pictures.

    The finished model is RUN/bundle, for `latent index build --model RUN/bundle`. RUN also receives stats.jsonl,
    grids of samples and reconstructions, and a checkpoint. Ctrl-C saves and leaves; --resume goes on.
    """
    require_torch()
    import torch

    from train import devices

    budget = _budget(options)
    processes = devices.join_processes(options["device"])
    device = devices.pick_device(options["device"], processes.local_rank)
    precision = devices.pick_precision(options["precision"], device)
    if options["deterministic"]:
        torch.use_deterministic_algorithms(True)
    setting = _setting(Path(output), options, device, precision, processes)
    classes, label_of = _classes(photos, setting.run, options["labels"])
    asked_for = _asked_for(options, classes)
    if options["dry_run"]:
        _dry_run(photos, asked_for, options, setting, budget)
    else:
        _run(photos, asked_for, options, setting, budget, label_of)


def _setting(run: Path, options: dict[str, Any], device: Any, precision: str, processes: Any) -> Any:
    from train.session import Setting

    return Setting(
        run,
        device,
        precision,
        processes,
        cache_dir=Path(options["cache_dir"] or run / "cache"),
        cache_budget_bytes=int(options["cache_budget"] * 1e9),
        workers=options["workers"],
    )


def _classes(photos: tuple[str, ...], run: Path, labels: str | None) -> Any:
    """Names of the classes, and what tells a picture's, where there are labels."""
    from train.labelled import read_classes
    from train.labels import label_reader

    return read_classes(photos, label_reader(labels), run) if labels else (None, None)


def _asked_for(options: dict[str, Any], classes: tuple[str, ...] | None) -> dict[str, Any]:
    """The settings that were named on the command line; None where they were not."""
    from train.recipe import COMMON

    known = {*COMMON, *(name for method in method_names() for name in declared_settings(method))}
    named = {key: value for key, value in options.items() if key in known}
    return named | {"image_size": int(options["image_size"]) if options["image_size"] else None, "classes": classes}


def _recipe(preset_name: str | None, asked_for: dict[str, Any]) -> Any:
    from train.recipe import preset

    return preset(preset_name or f"slim-{asked_for['image_size'] or 64}", **asked_for)


def _dry_run(
    photos: tuple[str, ...], asked_for: dict[str, Any], options: dict[str, Any], setting: Any, budget: Any
) -> None:
    import torch

    from train.devices import is_for_absent_gpu
    from train.plan import plan
    from train.recipe import Budget
    from train.sources import find_sources

    if options["resume"]:
        state = _resumed(asked_for, options, setting)
        recipe, budget = state.recipe, budget or state.budget
    else:
        recipe = _recipe(options["preset_name"], asked_for)
    found = len(find_sources(photos, setting.run))
    if is_for_absent_gpu(torch.version.cuda, torch.cuda.is_available()):
        say(f"Note: this torch is built for GPUs, and there is none. A much smaller one: {CPU_TORCH}")
    _print_plan(plan(recipe, found, setting.device, setting.precision), recipe, budget or Budget(minutes=MINUTES))


def _budget(options: dict[str, Any]) -> Any:
    """What the command line says of when to stop; None where it says nothing."""
    budget = budget_of(options)
    if options["deterministic"] and not options["steps"]:
        raise click.UsageError("--deterministic needs --steps: a clock is not deterministic")
    return budget


def _resumed(asked_for: dict[str, Any], options: dict[str, Any], setting: Any) -> Any:
    from train.session import resumed_run

    state = resumed_run(asked_for, setting, options["preset_name"])
    if options["precision"] not in ("auto", state.precision):
        raise TrainingError(f"{setting.run} was begun in {state.precision}; leave --precision away to go on")
    return state


def _run(
    photos: tuple[str, ...],
    asked_for: dict[str, Any],
    options: dict[str, Any],
    setting: Any,
    budget: Any,
    label_of: Any,
) -> None:
    from train import session
    from train.devices import leave_processes
    from train.loop import Hooks
    from train.networks import count_parameters
    from train.recipe import Budget

    if options["resume"]:
        state = _resumed(asked_for, options, setting)
    else:
        state = session.new_run(_recipe(options["preset_name"], asked_for), setting)
    begun, budget = state.budget, budget or state.budget or Budget(minutes=MINUTES)
    is_first = setting.processes.is_first
    with bar("file", "decoding") as on_progress:
        pictures = session.open_together(photos, state.recipe, setting, on_progress, label_of)
    if is_first:
        networks = " + ".join(f"{name} {count_parameters(net):,}" for name, net in state.model.named_children())
        where = f"{setting.device}, {state.precision}"
        if begun not in (None, budget):
            say(f"to end after {budget}, in place of {begun}: the learning rate follows from here on")
        say(f"{len(pictures):,} pictures at {state.recipe.image_size} px; {networks} parameters; {where}")
    with stop_flag() as stopped, training_bar(is_first) as report_progress:
        hooks = Hooks(report_progress, lambda: bool(stopped))
        model = session.run_session(state, pictures, budget, setting, hooks, _facts(options))
    leave_processes(setting.processes)
    if not is_first:
        return
    if model is None:
        say(f"Saved at step {state.step:,}. Go on with the same command and --resume.")
        sys.exit(130)
    tell(shown_path(str(model.folder)))
    if short := _too_short(state.recipe, state.step, state.step * state.recipe.batch_size / len(pictures)):
        say(f"Warning: {short}")
    say(f"Done after {state.step:,} steps. Try: latent index build PHOTOS --model {shown_path(str(model.folder))}")


def _facts(options: dict[str, Any]) -> dict[str, Any]:
    name, licence = options["data_name"] or "its owner's own pictures", options["data_licence"] or "not stated"
    return {"training_data": {"name": name, "licence": licence}}


def _print_plan(plan: dict[str, Any], recipe: Any, budget: Any) -> None:
    per_step = plan["seconds_per_step"]
    steps = budget.steps or round(60 * budget.minutes / per_step)
    seen = steps * recipe.batch_size / max(1, plan["pictures"])
    lines = {
        "files": f"{plan['pictures']:,}",
        "cache": f"{size(plan['cache_bytes'])} on disk at {recipe.image_size} px",
        **{name: f"{count:,} parameters" for name, count in plan["parameters"].items()},
        "memory": f"about {size(plan['memory_bytes'])} beside torch and the pictures",
        "device": f"{plan['device']}, {plan['precision']}",
        "rate": f"{plan['pictures_per_s']:,.0f} pictures/s (measured on a few steps)",
        "steps": f"{steps:,} of {recipe.batch_size} pictures: each is seen {seen:.1f} times",
        "time": f"{steps * per_step / 60:.0f} minutes",
    }
    for name, value in lines.items():
        tell(f"{name:<12}{value}")
    if short := _too_short(recipe, steps, seen):
        say(f"Warning: {short}")


def _too_short(recipe: Any, steps: int, seen: float) -> str:
    """What a run of so few steps is worth, in which each picture is ``seen`` so often; "" if it is long enough."""
    if steps >= FEWEST_STEPS and seen >= 1:
        return ""
    why = f"{counted(steps, 'step')} are few" if steps < FEWEST_STEPS else f"each picture is seen {seen:.1f} times"
    from train.methods import method_class

    worth = "" if method_class(recipe.method).needs_encoder else ", and its codes mean little"
    return f"{why}: the model has hardly learnt{worth}; the shipped ones took {SHIPPED_STEPS}"
