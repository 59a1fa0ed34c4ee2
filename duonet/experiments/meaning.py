"""What a comparison's table means, in two sentences."""

import textwrap
from typing import Any

from duonet.experiments.competition_tables import Difference, against

RIVALS = {
    "baseline": ("the binary baseline", "the baseline"),
    "control": ("its own architecture trained from scratch, the control", "the control"),
}


def verdict(results: dict[str, Any]) -> str:
    """Say whether BinaryDuo is ahead of the baseline and of its control, and what these seeds can show.

    Parameters
    ----------
    results : dict
        The result of `compare`, finished or not.

    Returns
    -------
    str
        Two sentences, each on its own lines; empty if a row is missing.

    Examples
    --------
    >>> shares = {"baseline": 0.8, "binaryduo": 0.82, "control": 0.81}
    >>> print(verdict({"methods": {name: {"accuracy": [share]} for name, share in shares.items()}}))
    With this seed BinaryDuo is 2.00 points ahead of the binary baseline and 1.00 points ahead of its own
    architecture trained from scratch, the control.
    One seed cannot tell such differences from chance: `duonet compare --seeds 3` adds intervals.
    """
    rows = {name: row["accuracy"] for name, row in results["methods"].items()}
    if not {"binaryduo", *RIVALS} <= rows.keys():
        return ""
    by_seed = {name: {"seeds": range(len(shares)), "accuracy": shares} for name, shares in rows.items()}
    leads = {rival: against({"methods": by_seed}, "binaryduo", rival) for rival in RIVALS}
    seeds = min(lead.seeds for lead in leads.values())
    found = " and ".join(f"{_lead(lead)} {RIVALS[rival][0]}{_interval(lead)}" for rival, lead in leads.items())
    if seeds == 1:
        return _lines(
            f"With this seed BinaryDuo is {found}.",
            "One seed cannot tell such differences from chance: `duonet compare --seeds 3` adds intervals.",
        )
    known = [f"{_sign(lead)} than {RIVALS[rival][1]}" for rival, lead in leads.items() if _sign(lead)]
    open_ = [RIVALS[rival][1] for rival, lead in leads.items() if not _sign(lead)]
    parts = [f"show that it is {' and '.join(known)}"] if known else []
    parts += [f"leave open whether it is better than {' or '.join(open_)}"] if open_ else []
    return _lines(f"Over {seeds} seeds BinaryDuo is {found}.", f"These seeds {', and '.join(parts)}.")


def _lines(*sentences: str) -> str:
    return "\n".join(textwrap.fill(sentence, 110) for sentence in sentences)


def _lead(lead: Difference) -> str:
    points = f"{100 * abs(lead.mean):.2f}"
    if float(points) == 0:
        return "level with"
    return f"{points} points {'ahead of' if lead.mean > 0 else 'behind'}"


def _interval(lead: Difference) -> str:
    if lead.seeds < 2:
        return ""
    return f" (95 % interval {100 * (lead.mean - lead.half):.2f} to {100 * (lead.mean + lead.half):.2f})"


def _sign(lead: Difference) -> str:
    """Return the word for the side of 0 on which the whole interval lies, or no word if it contains 0."""
    if abs(lead.mean) <= lead.half:
        return ""
    return "better" if lead.mean > 0 else "worse"
