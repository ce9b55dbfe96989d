"""What `privacy.strict=true` refuses, and the options of the report."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf, flag_override

from datakiln.errors import UserError


def check_strict(cfg: DictConfig) -> None:
    """Refuses validation rows that are trained on from the start: then no figure sees memorising begin.

    Raises:
        UserError: The option and the way out.
    """
    privacy = cfg.get("privacy") or {}
    strict = privacy.get("strict", False)
    if not isinstance(strict, bool):
        raise UserError(f"privacy.strict={strict} must be true or false")
    if strict and cfg.data.get("validation") == "shared":
        why = "trains on the rows that choose the epoch, so that memorising goes unseen"
        raise UserError(f"data.validation=shared {why}; privacy.strict=true refuses it: take apart or refit")


def check_guarantee(cfg: DictConfig) -> None:
    """Beside a guarantee refuses canaries and switches off a curve of real rows, which nobody has paid for.

    Raises:
        UserError: Canaries were asked for.
    """
    mechanism = (cfg.get("privacy") or {}).get("mechanism", "none")
    if mechanism == "none":
        return
    if cfg.data.get("canaries"):
        told = f"data.canaries={cfg.data.canaries} would be paid for as persons are with privacy={mechanism}"
        raise UserError(f"{told}; plant them in a run without it")
    watched = (cfg.get("watch") or {}).get("table")
    if watched and watched.get("membership"):
        with flag_override(cfg, ["readonly", "struct"], [False, False]):
            cfg.watch.table.membership = None


def check_report(cfg: DictConfig) -> None:
    """Refuses an option of the report that is none, and fills in what was not said; raises `UserError`."""
    report = cfg.get("report")
    given = OmegaConf.to_container(report) if OmegaConf.is_config(report) else report or {}
    if not isinstance(given, dict):
        raise UserError(f"report={report} is no option of its own; write report.public=true")
    unknown = sorted(set(map(str, given)) - {"public"})
    if unknown:
        raise UserError(f"report.{unknown[0]} is not known; known: report.public=true")
    if not isinstance(given.get("public", False), bool):
        raise UserError(f"report.public={given['public']} must be true or false")
    with flag_override(cfg, ["readonly", "struct"], [False, False]):
        cfg.report = {"public": bool(given.get("public", False))}
