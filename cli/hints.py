"""The option or command that helps with an error. The texts of the library name neither."""

from __future__ import annotations

from index.errors import LatentError

HINTS = {  # by the code of the error; names in braces are facts of the error
    "no_index": "create one with: latent index build PHOTOS, or name yours with --index DIR or in LATENT_INDEX",
    "unknown_index": "if you trust it: latent index trust {folder}, or name it with --index {folder}",
    "unnoted_index": "name it with --index {folder}, or a folder for notes of yours in the environment as LATENT_DATA",
    "other_owner": "if you trust that user: latent index trust {folder}",
    "index_mismatch": "choose another index with --index, or build one",
    "other_model": "build another one with --index DIR --model {given}",
    "not_an_index": "try --index {suggestion}",
    "folder_unwritable": "choose another place with --index DIR",
    "vectors_unreachable": "wait until it answers, or search without it: latent index update --vectors faiss",
    "vectors_refused": "repair what is there with: latent index verify --repair, or search without it: latent index "
    "update --vectors faiss",
    "unknown_vectors": "if you trust it: latent index trust {folder}",
    "picture_damaged": "with: latent index verify --repair, then latent index update",
    "pictures_lost": "with: latent index verify --repair, then latent index update",
    "model_changed": "run the command again; start a server of it again",
    "pictures_out_of_reach": "remove it with: latent index remove {path}",
    "note_damaged": "with: latent index verify --repair",
    "facts_damaged": "with: latent index verify --repair, then latent index update --facts",
    "no_copy": "name another with: latent index copy SRC DST",
    "not_indexed": "add new files with: latent index update",
    "archive_not_indexed": "add it with: latent index build {folder}",
    "move_without_folder": "give one with --to DIR",
    "folder_without_move": "leave out --to, or choose --action move",
    "old_plan": "write a new one with: latent dedup find -o PLAN.json",
    "no_user_folder": "name one in the environment as LATENT_DATA",
    "no_model_here": "name its bundle with --model DIR, or an index of that model with another --index",
    "no_cuda": "run the model on the CPU with --device cpu",
    "several_outputs": "say which with --output NAME",
    "no_layout": "say it with --layout nchw or --layout nhwc",
    "no_size": "choose one, such as --size 224",
    "no_dim": "say to how many with --dim N",
    "few_pictures": "name more with --pca, or choose a smaller --dim",
    "no_umap": "or use --layout pca",
    "nothing_to_resume": "leave out --resume to start a new run",
    "checkpoint_damaged": "start again with another -o, or restore the file",
    "run_exists": "continue it with --resume, or choose another -o",
    "run_is_no_run": "choose another -o",
    "run_differs": "leave out that option to continue, or start another run with another -o",
    "comparison_differs": "choose another -o",
    "labels_again": "name them again with --labels",
    "labels_several": "choose one with --labels",
    "labels_refused": "--labels takes folder, filename:REGEX or a CSV file with a column path",
    "label_is_no_number": "leave out --numeric {label}",
    "no_such_label": "--numeric takes a label that the pictures have",
    "needs_encoder": "name one with --encoder NAME, see latent models list",
    "setting_settled": "leave out that option",
    "needs_labels": "give them with --labels",
    "diverged": "set a lower --learning-rate",
    "diverged_resumable": "continue with --resume and a lower --learning-rate",
    "no_classes": "train one that does with: latent train --method cvae-gan --labels folder PHOTOS -o RUN",
}


def with_hint(error: LatentError) -> str:
    """The message of the error and, where there is one, the hint."""
    hint = HINTS.get(error.code, "")
    return f"{error}; {hint.format(**error.facts)}" if hint else str(error)
