from __future__ import annotations

from datetime import UTC, datetime

from quantctl.lake.snapshot import Lake

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def test_facts_of_a_writer_that_came_between_are_kept(tmp_path):
    lake, other = Lake(tmp_path), Lake(tmp_path)
    lake.commit({}, txn="first", at=NOW, published=True, facts={"imports": {"a": 1}})
    asked = []

    def facts(known):
        asked.append(dict(known["imports"]))
        if len(asked) == 1:
            other.commit({}, txn="between", at=NOW, published=True, facts={"imports": {"a": 1, "b": 2}})
        return {"imports": known["imports"] | {"c": 3}}

    found = lake.commit({}, txn="last", at=NOW, published=True, facts=facts)
    assert asked == [{"a": 1}, {"a": 1, "b": 2}]
    assert found.manifest.facts["imports"] == {"a": 1, "b": 2, "c": 3}
