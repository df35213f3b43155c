"""A classifier on codes: python docs/classify.py TRAIN TEST [MODEL]; both hold a folder of pictures per class."""

import sys
from pathlib import Path

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from retrieval import CodeTransformer


def labelled(folder: str) -> tuple[list[Path], list[str]]:
    paths = sorted(path for path in Path(folder).glob("*/*") if path.is_file())
    return paths, [path.parent.name for path in paths]


train, test, *model = sys.argv[1:]
classifier = make_pipeline(CodeTransformer(*model), LogisticRegression(max_iter=1000))
print(f"accuracy {classifier.fit(*labelled(train)).score(*labelled(test)):.3f}")
