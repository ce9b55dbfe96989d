"""What `privacy.strict=true` refuses, and options of the report."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from datakiln.cli.commands import options
from datakiln.cli.private import check_privacy
from datakiln.cli.strict import check_guarantee, check_report, check_strict
from datakiln.errors import UserError


def config(strict, validation="shared", mechanism="none", **more):
    privacy = {"strict": strict, "mechanism": mechanism}
    return OmegaConf.create({"privacy": privacy, "data": {"validation": validation, **more}})


def test_strict_refuses_shared_validation_rows_and_nothing_else():
    with pytest.raises(UserError, match=r"data.validation=shared .*privacy.strict=true refuses it: take apart"):
        check_strict(config(True))
    for cfg in (config(False), config(True, "apart"), config(True, "refit")):
        check_strict(cfg)
    with pytest.raises(UserError, match="privacy.strict=maybe must be true or false"):
        check_strict(config("maybe"))


def test_canaries_and_the_watched_game_stand_beside_no_guarantee():
    check_guarantee(config(False, canaries=8))
    watched = OmegaConf.merge(config(True, mechanism="dp_sgd"), {"watch": {"table": {"membership": {"every": 5}}}})
    check_guarantee(watched)
    assert watched.watch.table.membership is None
    with pytest.raises(UserError, match="data.canaries=8 .* plant them in a run without it"):
        check_guarantee(config(True, mechanism="marginals", canaries=8))


def test_options_of_the_report_are_known():
    for given, public in (({"public": True}, True), ({}, False), (None, False)):
        cfg = OmegaConf.create({"report": given})
        check_report(cfg)
        assert cfg.report.public is public
    cfg = options(["real=a", "report.public=true"], "evaluate")
    check_report(cfg)
    assert cfg.report.public is True
    with pytest.raises(UserError, match="report=public is no option of its own"):
        check_report(OmegaConf.create({"report": "public"}))
    with pytest.raises(UserError, match="report.publc is not known; known: report.public=true"):
        check_report(OmegaConf.create({"report": {"public": True, "publc": True}}))
    with pytest.raises(UserError, match="report.public=yes please must be true or false"):
        check_report(OmegaConf.create({"report": {"public": "yes please"}}))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"epsilon": "low"}, r"privacy.epsilon=low must be a number above 0 and at most 100, or null"),
        ({"delta": 2}, r"privacy.delta=2 must be a number above 0 and below 0.1"),
        ({"mechanism": "dp-sgd"}, r"privacy.mechanism=dp-sgd is not one of .*did you mean 'dp_sgd'"),
        ({"clip": 0, "ledger": "${root}/l"}, r"privacy.clip=0 must be a number above 0"),
    ],
)
def test_a_guarantee_that_cannot_be_is_refused_before_any_data_is_read(options, told):
    with pytest.raises(UserError, match=told):
        check_privacy(OmegaConf.create({"privacy": {"mechanism": "dp_sgd", **options}}))
