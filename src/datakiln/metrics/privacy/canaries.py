"""How surely made-up rows come back that were planted among the training rows 1, 10 or 100 times.

Each canary is scored like a real row under attack: by its distance to the nearest synthetic row, and by what the model
says of it. It counts as come back if it scores higher than all but one in a hundred of the rows that were made alike
and not planted; so one in a hundred comes back by chance.
"""

from __future__ import annotations

import numpy as np

from datakiln.errors import UserError
from datakiln.metrics.base import EvalData, Figure, metric
from datakiln.metrics.privacy.closest import closest
from datakiln.metrics.privacy.games import LEVEL, auc_of, clopper_pearson
from datakiln.metrics.privacy.records import TableSpace
from datakiln.metrics.tables.columns import encode
from datakiln.metrics.tables.references import Alone
from datakiln.results import Finding, Trial

CHANCE = 0.01


@metric("privacy/canaries", plan=Alone())
def canaries(data: EvalData) -> list[Figure]:
    """Share of the canaries planted once that come back, by the attack to which most of them do; no figure without."""
    from scipy.stats import binom

    there = data.canaries
    if there is None:
        return []
    t = encode(data.schema, (data.train, there.planted, there.control, data.synthetic))
    space = TableSpace.fit(t, list(t.parts[:3]), data.seed)
    made = space(t.parts[3]).space
    near = [-closest(space(part).space, made, 1).distance[:, 0].astype(np.float64) for part in t.parts[1:3]]
    scores, missing = {"distance": near}, []
    for name, scorer in data.scorers.items():
        try:
            found = [scorer(there.planted), scorer(there.control)]
        except UserError as error:
            missing.append(Trial(name, "", {}, {}, str(error)))
            continue
        if all(np.isfinite(part).sum() > 0 for part in found):
            scores[name] = found
    looks = len(scores) * len(np.unique(there.times))
    trials, once, beyond = [], [], []
    for name, (planted, control) in scores.items():
        control = control[np.isfinite(control)]
        cut = np.quantile(control, 1 - CHANCE)
        for times in np.unique(there.times):
            own = planted[there.times == times]
            own = own[np.isfinite(own)]
            if not len(own):
                continue
            hits = int((own > cut).sum())
            low, high = clopper_pearson(hits, len(own), LEVEL / looks)
            auc = auc_of(own, control)[0] if len(own) > 1 else float((own[0] > control).mean())
            back = [hits / len(own), low, high]
            group = f"planted {times} time{'s' if times > 1 else ''}"
            trials.append(Trial(name, group, {"come back": back, "AUC": [auc]}, {"canaries": len(own)}))
            if binom.sf(hits - 1, len(own), CHANCE) * looks < LEVEL:
                beyond.append((int(times), name))
            if times == there.times.min():
                once.append((hits / len(own), name, len(own)))
    value, name, n = max(once)
    least = min((times for times, _ in beyond), default=0)
    told = f"rows planted {least} times or more come back" if beyond else "none comes back more often than by chance"
    if least == 1:
        told = "a row that stands once among the training rows comes back"
    finding: Finding = "leak" if least == 1 else "slight" if beyond else "nothing"
    note = f"{value:.0%} of {n} rows planted once, by {name}; {told}"
    return [Figure("privacy/canaries", value, "lower", n=n, note=note, trials=(*trials, *missing), finding=finding)]
