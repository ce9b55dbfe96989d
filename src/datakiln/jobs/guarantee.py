"""The promise of a run under differential privacy, in words that can be checked against what it did."""

from __future__ import annotations

from datakiln.data.base import GenerativeData
from datakiln.jobs.job import Job
from datakiln.models.gan.adversarial import AdversarialModel
from datakiln.privacy.budget import Privacy
from datakiln.privacy.ledger import Ledger, together
from datakiln.results import Guarantee
from datakiln.spec import NOUNS

NOT_COVERED = (
    "every figure, plot and verdict of this report, result.json, and any evaluation: they were computed on real "
    "examples without noise, so that this report is private; report.public=true leaves out what depends on single ones"
)
NOTE = "The noise comes from the system's secure source and follows no seed: a repeated run differs, and spends again."


def guarantee_of(job: Job) -> Guarantee | None:
    """What was promised and kept; None for a run without differential privacy."""
    data: GenerativeData = job.data
    privacy = data.privacy
    if not privacy.is_on:
        return None
    noun = NOUNS[data.kind]
    ledger = Ledger(privacy.ledger)
    promises = ledger.of(data.provenance.sha256) if privacy.ledger else []
    epsilon, delta = together(promises, privacy.delta)
    own, accountant, rate, noise, covered = _marginals(job) if privacy.mechanism == "marginals" else _gradients(job)
    return Guarantee(
        mechanism=privacy.mechanism,
        epsilon=own,
        delta=privacy.delta,
        unit=f"one {noun}: a person with several {noun}s is protected for each of them, not for all together",
        neighbours=f"two sets that differ by one {noun} added or removed",
        accountant=accountant,
        rate=rate,
        noise=noise,
        together_epsilon=epsilon,
        together_delta=delta,
        runs=len(promises),
        covered=covered,
        not_covered=NOT_COVERED,
        note=NOTE,
    )


def _marginals(job: Job) -> tuple[float, str, None, str, str]:
    made = job.data.released
    assert made is not None
    widths = sorted({len(one.columns) for one in made.measured})
    counts = {width: sum(len(one.columns) == width for one in made.measured) for width in widths}
    told = ", ".join(f"{count} of {width} column{'s' if width > 1 else ''}" for width, count in counts.items())
    deviations = [one.noise for one in made.measured]
    noise = (
        f"discrete Gaussian noise, sampled exactly, on {len(made.measured)} marginals ({told}), of standard deviation "
        f"{min(deviations):.0f} to {max(deviations):.0f} rows a count"
    )
    accountant = f"zero-concentrated, rho = {made.rho:.5g}, by the conversion of Canonne, Kamath and Steinke (2020)"
    covered = (
        "the checkpoints, released.pt, the training log and metrics.csv, and all synthetic rows that are ever drawn: "
        "they are made from the noisy counts and from what privacy.public declares, the number of rows included"
    )
    return job.data.released_cost[0], accountant, None, noise, covered


def _gradients(job: Job) -> tuple[float, str, float, str, str]:
    plan = job.protection.plan
    assert plan is not None
    before, _ = job.data.released_cost
    privacy: Privacy = job.data.privacy
    part = "gradients of the critic alone" if isinstance(job.model, AdversarialModel) else "gradients"
    noise = (
        f"Gaussian noise of {plan.sigma:.4g} times the clip {privacy.clip:g} on sums of {part}, "
        f"{plan.taken} of {plan.steps} steps taken; before training epsilon {before:.3g} went into what the encoding "
        "and the number of examples go by"
    )
    names = {"prv": "privacy random variables (Gopi, Lee and Wutschitz, 2021)", "rdp": "Renyi (Mironov, 2017)"}
    accountant = f"{names[privacy.accountant]}, by Opacus, and basic composition with what went before"
    covered = (
        "the checkpoints, the training log and metrics.csv, and all synthetic examples that are ever drawn: they are "
        "made from noisy gradients, noisy counts and from what is declared"
    )
    return before + job.protection.spent, accountant, plan.rate, noise, covered
