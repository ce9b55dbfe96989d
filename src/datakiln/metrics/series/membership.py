"""The membership battery on series: are sequences recognised that the generator has learnt from?

The unit is the entity: an attacker asks of a patient or a firm, not of a window. The records are windows, scaled column
by column, in their principal components; an entity's score is the mean of its windows', whole entities are dealt to the
halves of `datakiln.metrics.privacy.battery`, and no window is compared with others of its own entity. Of one long
series nothing is claimed: what was held out is later, and whatever drifts would tell it from what was learnt.
"""

from __future__ import annotations

import numpy as np

from datakiln.metrics.base import Figure, MetricError, metric
from datakiln.metrics.pictures.membership import components
from datakiln.metrics.privacy.battery import Audit, play_battery
from datakiln.metrics.privacy.games import LEAST
from datakiln.metrics.privacy.membership import NAMES, figures_of
from datakiln.metrics.privacy.records import Records
from datakiln.metrics.series.sets import SeriesSets


@metric(*NAMES, decides=False)
def membership(data: SeriesSets) -> list[Figure]:
    """The strongest attack of the battery on entities: those trained on against those held out.

    Raises:
        MetricError: There are no entities, or fewer than 20 of a kind with a whole window.
    """
    if not data.owners:
        raise MetricError("one long series has no entities, and later steps differ from earlier ones anyway")
    train, test, made = (part.reshape(len(part), -1) for part in data.scaled())
    members, others = (np.asarray(data.owners[name]) for name in ("train", "test"))
    if data.synthetic is data.test:  # of real windows: those of one half of the unseen entities beside the other's
        kept = others % 2 == 0
        made, test, others = test[kept], test[~kept], others[~kept]
    for kind, found in (("learnt", members), ("held-out", others)):
        count = len(np.unique(found))
        if count < LEAST:
            raise MetricError(f"{count} {kind} entities are fewer than {LEAST}: no attack can be judged")
    known, unknown, synthetic = components(train, test, made)
    owned = [Records(r.space, r.plain, owner) for r, owner in ((known, members), (unknown, others))]
    audit = Audit(owned[0], owned[1], synthetic, seed=data.seed)
    return figures_of(play_battery(audit), len(made), "entities", "windows")
