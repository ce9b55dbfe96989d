"""The learners that a study trains, as weak and as strong as people use them, with the settings that tuning tries.

The first setting of each is scikit-learn's default, or close to it; tuning tries the first few of the list on a fifth
of an arm's own training rows and fits the best one on all of them. No learner sees another arm's rows, nor a test row.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from datakiln.metrics.tables.columns import Coded
from datakiln.metrics.tables.learners import Encoding, Model
from datakiln.studies import scores
from datakiln.studies.tables import Part, Task

Name = Literal["tree", "forest", "knn", "linear", "mlp", "boosting"]
NAMES: tuple[Name, ...] = ("boosting", "linear", "tree", "knn", "forest", "mlp")
TITLES = {
    "tree": "decision tree", "forest": "random forest", "knn": "k-nearest neighbours",
    "linear": "logistic regression", "mlp": "MLP", "boosting": "boosting",
}  # fmt: skip
SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "tree": tuple({"min_samples_leaf": leaf} for leaf in (5, 20, 1, 50)),
    "forest": tuple(
        {"min_samples_leaf": leaf, "max_features": m} for leaf, m in ((2, "sqrt"), (5, "sqrt"), (2, 0.5), (1, "sqrt"))
    ),
    "knn": tuple({"n_neighbors": k} for k in (15, 5, 50, 1)),
    "linear": tuple({"C": c} for c in (1.0, 0.1, 10.0, 0.01)),
    "mlp": tuple(
        {"hidden_layer_sizes": (w,), "alpha": a} for w, a in ((64, 1e-4), (64, 1e-1), (128, 1e-3), (32, 1e-2))
    ),
    "boosting": tuple(
        {"learning_rate": r, "max_leaf_nodes": m} for r, m in ((0.1, 31), (0.05, 15), (0.1, 8), (0.05, 31))
    ),
}  # fmt: skip
MOST_TUNED = 5000  # rows that tuning learns from: the order of settings is known by then
TITLES_OF_NUMBERS = {**TITLES, "linear": "ridge regression"}


def fit(name: str, task: Task, part: Part, seed: int, tuning: int = 1) -> tuple[Model, dict[str, Any]]:
    """A learner fitted on rows, and the setting it was given.

    Arguments:
        name: One of `NAMES`.
        task: What is learnt.
        part: The rows of one arm.
        seed: Of the learner and of tuning's split.
        tuning: Settings tried; 1 takes the first one.
    """
    tried = SETTINGS[name][: max(tuning, 1)]
    best = tried[0]
    if len(tried) > 1 and len(part) >= 20:
        rows = np.random.default_rng([seed, 3]).permutation(len(part))[: MOST_TUNED + MOST_TUNED // 4]
        cut = max(len(rows) // 5, 1)
        judge, learn = part.take(rows[:cut]), part.take(rows[cut:])
        found = [quality(_fit(name, task, learn, seed, setting), task, judge) for setting in tried]
        best = tried[int(np.nanargmax(found))] if not np.all(np.isnan(found)) else best
    return _fit(name, task, part, seed, best), best


def quality(model: Model, task: Task, part: Part) -> float:
    """ROC-AUC or R2 on the rows set aside; NaN where they have one class only."""
    once = np.ones((1, len(part)), dtype=np.float32)
    if task.classes:
        return float(scores.classification(part.y.astype(np.int64), model.probabilities(part.x), once)["auc"][0])
    return float(scores.regression(part.y, model.values(part.x), once)["r2"][0])


def _fit(name: str, task: Task, part: Part, seed: int, setting: dict[str, Any]) -> Model:
    from sklearn.dummy import DummyClassifier
    from sklearn.exceptions import ConvergenceWarning

    encoding = Encoding.fit("boosting" if name in ("tree", "forest", "boosting") else "linear", part.x)
    if task.classes and len(np.unique(part.y)) == 1:
        estimator: Any = DummyClassifier(strategy="prior")
    else:
        estimator = _estimator(name, task, part, seed, setting, encoding)
    y = part.y.astype(np.int64) if task.classes else part.y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its last step is as good a learner
        estimator.fit(encoding(part.x), y, **({} if part.weight is None else {"sample_weight": part.weight}))
    return Model(encoding, estimator, task.classes)


def _estimator(name: str, task: Task, part: Part, seed: int, setting: dict[str, Any], encoding: Encoding) -> Any:  # noqa: ANN401 (scikit-learn is untyped)
    from sklearn import ensemble, linear_model, neighbors, neural_network, tree
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.preprocessing import StandardScaler

    is_class, rows = task.classes > 0, len(part)
    counts = np.unique(part.y, return_counts=True)[1] if is_class else np.array([rows])
    if name == "tree":
        return (tree.DecisionTreeClassifier if is_class else tree.DecisionTreeRegressor)(**setting, random_state=seed)
    if name == "forest":
        made = ensemble.RandomForestClassifier if is_class else ensemble.RandomForestRegressor
        return made(**setting, random_state=seed, n_jobs=task.cores)
    if name == "knn":
        made = neighbors.KNeighborsClassifier if is_class else neighbors.KNeighborsRegressor
        return made(n_neighbors=min(setting["n_neighbors"], rows), n_jobs=task.cores)
    if name == "linear":
        if is_class:
            return linear_model.LogisticRegression(**setting, max_iter=300, tol=1e-3)
        return linear_model.Ridge(alpha=1.0 / setting["C"])
    if name == "mlp":
        # of few rows a tenth would be too few to stop by, and large batches too few updates
        stops, batch = rows >= 1000 and int(counts.min()) > 1, int(np.clip(rows // 20, 16, 200))
        options = dict(setting, batch_size=max(min(batch, rows * 4 // 5), 1), early_stopping=stops, n_iter_no_change=4)
        options |= {"max_iter": 60 if stops else 150, "random_state": seed}
        if is_class:
            return neural_network.MLPClassifier(**options)
        return TransformedTargetRegressor(neural_network.MLPRegressor(**options), transformer=StandardScaler())
    # scikit-learn's 20 rows a leaf would let a table of forty rows grow no tree at all
    options = {"categorical_features": encoding.is_category, "min_samples_leaf": int(np.clip(rows // 20, 5, 20))}
    options |= {**setting, "random_state": seed, "early_stopping": rows > 10_000 and int(counts.min()) > 1}
    made = ensemble.HistGradientBoostingClassifier if is_class else ensemble.HistGradientBoostingRegressor
    return made(**options)


def importances(model: Model, task: Task, seed: int, most_rows: int = 1000) -> list[float]:
    """How much worse the model gets on test rows when a column is permuted (Breiman, 2001), one value a column.

    In AUC, or in R2; columns in the order of `Task.columns`.
    """
    rows = np.random.default_rng([seed, 5]).permutation(len(task.test))[:most_rows]
    part = task.test.take(rows)
    whole = quality(model, task, part)
    shuffled = np.random.default_rng([seed, 6]).permutation(len(part))
    numbers, codes = part.x.numbers, part.x.codes
    found = []
    for i in range(numbers.shape[1] + codes.shape[1]):
        other_numbers, other_codes = numbers.copy(), codes.copy()
        if i < numbers.shape[1]:
            other_numbers[:, i] = numbers[shuffled, i]
        else:
            other_codes[:, i - numbers.shape[1]] = codes[shuffled, i - numbers.shape[1]]
        found.append(whole - quality(model, task, Part(Coded(other_numbers, other_codes), part.y)))
    return [round(value, 6) for value in found]
