"""What an admin does, on a real store: the order of mounting, switching and unmounting; hostile names; promotions."""

import asyncio
import random
import string
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import LuthierError, RegistryError, ServingError
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import SpecialistStore
from luthier.serving.admin import Admin, follow_promotions
from luthier.serving.canary import Outcome
from luthier.serving.traffic import Traffic


class Kept:
    """Mounts that note what happened; `sql@4` does not fit the base."""

    def __init__(self) -> None:
        self.refs: list[str] = []
        self.done: list[str] = []

    def mounted(self) -> list[str]:
        return self.refs

    async def mount(self, specialist: Specialist) -> None:
        await asyncio.sleep(0)
        if specialist.ref == "sql@4":
            raise ServingError("sql@4: made for another base")
        if specialist.ref not in self.refs:
            self.refs.append(specialist.ref)
            self.done.append(f"+{specialist.ref}")

    async def unmount(self, ref: str) -> None:
        await asyncio.sleep(0)
        self.refs.remove(ref)
        self.done.append(f"-{ref}")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SpecialistStore:
    folder = tmp_path_factory.mktemp("admin")
    found = SpecialistStore(folder / "store")
    for name, number in (("sql", 4), ("chess", 1)):
        for i in range(number):
            (folder / "weights").write_text(f"{name} {i}")
            found.commit(name, {"weights": folder / "weights"}, {"form": "adapter"})
    return found


class Place:
    def __init__(self, store: SpecialistStore, folder: Path) -> None:
        self.store, self.mounts = store, Kept()
        self.traffic = Traffic(folder / "traffic.json")
        self.admin = Admin(store, self.traffic, self.mounts)

    def act(self, **body: Any) -> dict[str, Any]:
        return asyncio.run(self.admin.act(body))


@pytest.fixture
def place(store: SpecialistStore, tmp_path: Path) -> Place:
    return Place(store, tmp_path)


def test_load_switch_roll_back_unload(place: Place) -> None:
    state = place.act(action="load", specialist="sql@1")
    assert state["mounted"] == ["sql@1"] and state["plans"]["sql"]["shares"] == {"sql@1": 1.0}
    place.act(action="load", specialist="sql@2")  # asked for by number alone
    assert place.traffic.plan("sql").specialists == {"sql@1"}
    place.act(action="switch", specialist="sql@2")
    state = place.act(action="switch", specialist="sql@3")
    assert state["plans"]["sql"]["previous"] == ["sql@2"] and state["mounted"] == ["sql@2", "sql@3"]
    assert place.act(action="rollback", name="sql")["plans"]["sql"]["shares"] == {"sql@2": 1.0}
    with pytest.raises(ServingError, match="sql@2 is in use; switch sql"):
        place.act(action="unload", specialist="sql@2")
    assert place.act(action="unload", specialist="sql") == {"mounted": [], "plans": {}}
    assert place.mounts.done == ["+sql@1", "+sql@2", "+sql@3", "-sql@1", "-sql@2", "-sql@3"]


def test_latest_and_words_mean_a_version(place: Place) -> None:
    place.store.promote("sql@2", "stable", force=True, reason="a test")
    assert "sql@2" in place.act(action="load", specialist="sql@stable")["plans"]["sql"]["shares"]
    assert place.act(action="load", specialist="chess")["mounted"] == ["chess@1", "sql@2"]


def test_where_mounting_fails_nothing_has_changed(place: Place) -> None:
    before = place.act(action="load", specialist="sql@3")
    for body in (
        {"action": "switch", "specialist": "sql@4"},
        {"action": "canary", "specialist": "sql", "weight": 0.1},
        {"action": "split", "name": "sql", "weights": {"sql@4": 1}},
        {"action": "switch", "specialist": "sql@9"},
        {"action": "canary", "specialist": "sql@2", "weight": 7},
    ):
        with pytest.raises(LuthierError):
            place.act(**body)
        assert place.admin.state()["plans"] == before["plans"]


def test_a_restart_mounts_what_the_plans_need(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.act(action="load", specialist="sql@1")
    place.act(action="switch", specialist="sql@2")
    place.traffic.shadow("sql", "sql@4", 1.0, 1)  # does not fit
    again = Place(place.store, tmp_path)
    asyncio.run(again.admin.restore())
    assert again.mounts.refs == ["sql@1", "sql@2"] and "sql@4" in caplog.text
    place.traffic.switch("sql", "sql@4")
    with pytest.raises(ServingError, match="another base"):
        asyncio.run(Place(place.store, tmp_path).admin.restore())


def test_canary_split_and_shadow(place: Place) -> None:
    place.act(action="load", specialist="sql@1")
    state = place.act(
        action="canary", specialist="sql@2", weight=0.25, rule={"alpha": 0.05, "signals": ["cut", "failed"]}
    )
    assert state["plans"]["sql"]["counts"] == {
        signal: {"candidate": [0, 0], "baseline": [0, 0]} for signal in ("cut", "failed")
    }
    for _ in range(60):
        place.traffic.observe("sql@1", Outcome())
        place.traffic.observe("sql@2", Outcome("failed"))
    assert place.admin.state()["plans"]["sql"]["shares"] == {"sql@1": 1.0}
    place.act(action="shadow", specialist="sql@3", share=0.5)
    assert place.admin.state()["plans"]["sql"]["shadow"] == "sql@3"
    state = place.act(action="split", name="sql", weights={"sql@1": 1, "sql@2": 1})
    assert state["plans"]["sql"]["shares"] == {"sql@1": 0.5, "sql@2": 0.5}
    state = place.act(action="end_shadow", name="sql")
    assert state["mounted"] == ["sql@1", "sql@2"]
    with pytest.raises(ServingError, match="no version of sql"):
        place.act(action="split", name="sql", weights={"chess@1": 1})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": None},
        {"action": "reload"},
        {"action": "load"},
        {"action": "load", "specialist": 3},
        {"action": "load", "specialist": "sql", "path": "/etc"},
        {"action": "canary", "specialist": "sql@2", "weight": "0.1"},
        {"action": "canary", "specialist": "sql@2", "weight": True},
        {"action": "canary", "specialist": "sql@2", "weight": 0.1, "rule": {"alpha": "x"}},
        {"action": "canary", "specialist": "sql@2", "weight": 0.1, "rule": {"beta": 1}},
        {"action": "canary", "specialist": "sql@2", "weight": 0.1, "rule": {"signals": [["cut"]]}},
        {"action": "split", "name": "sql", "weights": {"sql@1": "all"}},
        {"action": "shadow", "specialist": "sql@2", "answers_per_minute": 1.5},
        {"action": "rollback", "name": "nobody"},
    ],
)
def test_a_wrong_body_is_told(place: Place, body: dict[str, Any]) -> None:
    with pytest.raises(ServingError):
        asyncio.run(place.admin.act(body))
    assert place.traffic.names() == []


def hostile(count: int) -> list[str]:
    """Names that a path, a query, a shell or a log could be fooled with."""
    fixed = [
        *(
            "..",
            ".",
            "/",
            "../sql",
            "../../etc/passwd",
            "/etc/passwd",
            "sql/../../x",
            "sql/..",
            "..\\sql",
            "C:\\sql",
        ),
        *(
            "file:///etc/passwd",
            "http://127.0.0.1/x",
            "sql@../3",
            "sql@/etc",
            "sql@3/..",
            "sql@@3",
            "@3",
            "sql@",
        ),
        *(
            "SQL",
            "Sql",
            "%2e%2e%2fsql",
            "sql%00",
            "~",
            "~root/x",
            "$HOME",
            "`id`",
            "$(id)",
            "sql;id",
            "sql|id",
        ),
        *(
            "sql&id",
            "'sql'",
            '"sql"',
            "sql'--",
            "*:*",
            "sql*",
            "?sql",
            "[sql]",
            "{sql}",
            "<sql>",
            "-sql",
            "--help",
        ),
        *("_sql", ".sql", "sql@-1", "sql@1e3", "sql@+3", "sql@\uff13", "\uff53\uff51\uff4c", "sq\u217c"),
        *(
            "",
            " ",
            "sql ",
            " sql",
            "sql\n",
            "sql\x00",
            "sql\r\nX: y",
            "\ud800",
            "\u202esql",
            "' OR '1'='1",
            "a" * 65,
        ),
        *("a" * 10**6, "sql@" + "1" * 10**6, "../" * 1000, "sql@3\n", "sql@\x00"),
    ]
    dice, signs = random.Random(0), string.printable + "ßé🎻\x00\ud800"
    while len(fixed) < count:
        name = "".join(dice.choice(signs) for _ in range(dice.randint(1, 30)))
        fixed.append(f"{name}/{'' if len(fixed) % 2 else 'sql@1'}")
    return fixed


def test_hostile_names_reach_no_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    names = hostile(200)
    assert len(names) == 200

    def never(*_: object) -> None:
        raise AssertionError("a hostile name was looked up")

    monkeypatch.setattr(place.store, "opened", never)
    for name in names:
        for action, key in (("load", "specialist"), ("switch", "specialist"), ("unload", "specialist")):
            with pytest.raises((RegistryError, ServingError)) as refused:
                place.act(action=action, **{key: name})
            assert len(str(refused.value)) < 500
        for body in (
            {"action": "rollback", "name": name},
            {"action": "split", "name": name, "weights": {name: 1}},
        ):
            with pytest.raises((RegistryError, ServingError)):
                asyncio.run(place.admin.act(body))
    assert place.mounts.done == [] and place.traffic.names() == []


def test_a_promotion_is_followed(place: Place) -> None:
    async def follow() -> list[dict[str, float]]:
        found: list[dict[str, float]] = []
        await place.admin.load("sql@1")
        task = asyncio.create_task(
            follow_promotions(place.admin, place.store, place.traffic, poll_seconds=0.01)
        )
        await asyncio.sleep(0.05)
        steps = [
            (lambda: place.store.promote("sql@3", force=True, reason="a test"), "sql@3"),
            (lambda: place.store.promote("chess@1", force=True, reason="not served"), "sql@3"),
            (lambda: place.store.promote("sql@4", force=True, reason="does not fit"), "sql@3"),
            (lambda: place.store.promote("sql@2", force=True, reason="a test"), "sql@2"),
            (lambda: place.store.promote("sql@1", "stable", force=True, reason="another word"), "sql@2"),
            (lambda: place.store.rollback("sql"), "sql@2"),
            (lambda: place.store.rollback("sql"), "sql@3"),
        ]
        for step, expected in steps:
            step()
            for _ in range(100):
                await asyncio.sleep(0.01)
                shares = place.admin.state()["plans"]["sql"]["shares"]
                if list(shares) == [expected] and _ >= 5:
                    break
            found.append(shares)
        task.cancel()
        return found

    assert [list(one) for one in asyncio.run(follow())] == [
        ["sql@3"], ["sql@3"], ["sql@3"], ["sql@2"], ["sql@2"], ["sql@2"], ["sql@3"]
    ]  # fmt: skip
