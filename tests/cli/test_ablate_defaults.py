"""`floatbench ablate` alone does something: the bundled model on the data that every machine has."""

from __future__ import annotations

import pytest

from floatbench.cli.app import main
from floatbench.errors import DataError
from floatbench.training import variants


def test_ablate_without_a_word_scores_both_tables_on_synthetic_data(monkeypatch, capfd):
    asked: list[variants.AblationPlan] = []

    def ablate(plan: variants.AblationPlan, progress) -> variants.Ablated:
        asked.append(plan)
        raise DataError("enough")

    monkeypatch.setattr(variants, "ablate", ablate)
    with pytest.raises(SystemExit) as stopped:
        main(["ablate"])
    assert stopped.value.code == 4 and "enough" in capfd.readouterr().err
    assert (asked[0].protocol, list(asked[0].chosen())) == ("synthetic", ["table 2", "table 3"])
