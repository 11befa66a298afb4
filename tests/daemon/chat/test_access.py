"""Who is answered: what the configuration says, which has the last word, and what rows add."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.chat import roles
from daemon.chat.access import ADMINS, ALL, Access, Group
from daemon.store.admission import Admissions
from daemon.telegram.types import Chat

GROUP = Chat(-100, "supergroup")
IDS = st.integers(1, 6)
CHATS = st.integers(-6, -1)
ROLES = st.sampled_from(["user", "guest"])


def private(user: int) -> Chat:
    return Chat(user, "private")


BASE = Access(
    frozenset({2}),
    frozenset({-100}),
    1,
    frozenset({3}),
    {-100: Group(members="guest")},
)


def test_roles_are_those_of_the_lists() -> None:
    """And of a group's members, where somebody has none of their own."""
    assert [BASE.role(each, GROUP) for each in (1, 2, 3, 4)] == ["owner", "user", "guest", "guest"]
    assert BASE.role(4, private(4)) == "guest"
    assert BASE.permits(1, private(1))
    assert not BASE.permits(4, private(4))


@given(
    st.frozensets(IDS),
    st.frozensets(IDS),
    st.none() | IDS,
    st.dictionaries(IDS.map(str), ROLES),
)
def test_a_row_adds_to_the_configuration_and_takes_nothing_from_it(
    users: frozenset[int], guests: frozenset[int], owner: int | None, paired: dict[str, str]
) -> None:
    """Who is listed has the role of the list; everybody else who is answered, that of their row."""
    base = Access(users, frozenset(), owner, guests)
    found = base.with_rows(Admissions(paired))
    for each in range(1, 7):
        chat = private(each)
        assert found.permits(each, chat) is (each in base.people or str(each) in paired)
        if each in base.people:
            assert found.role(each, chat) == base.role(each, chat)
        elif str(each) in paired:
            assert found.role(each, chat) == paired[str(each)]


@given(st.frozensets(CHATS), st.dictionaries(CHATS, CHATS))
def test_a_moved_group_stays_allowed_and_nothing_else_becomes_so(
    chats: frozenset[int], moves: dict[int, int]
) -> None:
    """Also where rows go in a circle, which Telegram never tells."""
    found = Access(frozenset(), chats).with_rows(Admissions(moves=moves)).chats
    reached, before = set(chats), set[int]()
    while reached != before:
        before = set(reached)
        reached |= {moves[each] for each in before if each in moves}
    assert found == reached


def test_a_group_of_the_configuration_has_its_rules_whatever_rows_say() -> None:
    """A row adds a group, and takes nothing from one that is listed."""
    found = BASE.with_rows(Admissions(groups={-100: roles.GUEST, -200: roles.GUEST}))
    assert found.chats == BASE.chats | {-200}
    assert found.group(-100) == BASE.group(-100)
    assert found.group(-200).members == roles.GUEST


def test_a_moved_group_is_answered_as_before() -> None:
    """By the rules of its old id, and by what the owner says of the new one."""
    rows = Admissions(moves={-100: -1007}, answers={-1007: ALL})
    assert BASE.with_rows(rows).group(-1007) == Group(ALL, "guest")


def test_administrators_are_asked_for_where_they_alone_are_answered() -> None:
    """And are not known before they were."""
    ruled = BASE.with_rows(Admissions(answers={-100: ADMINS}))
    assert ruled.asks_admins == {-100}
    assert ruled.group(-100).admins is None
    assert BASE.with_rows(Admissions()).asks_admins == frozenset()


def test_a_name_is_the_older_listed_persons() -> None:
    """Somebody who is not listed has no claim to one."""
    known = BASE.with_rows(Admissions(names=(("Ada", 2), ("Eve", 9), ("ada", 1)))).known
    assert known == {"ada": 1}


def test_roles_are_ordered() -> None:
    """What nobody knows is a guest."""
    assert roles.least("owner", "user") == "user"
    assert roles.least("owner", "user", "guest") == "guest"
    assert roles.least("owner", "emperor") == "guest"


def test_commands_are_refused_unless_they_are_the_roles() -> None:
    """The owner's are nobody else's, and a guest's are few."""
    assert roles.may_command("owner", "answer")
    assert not any(roles.may_command(role, "pair") for role in ("user", "guest", "emperor"))
    assert [name for name in ("start", "status", "usage") if roles.may_command("guest", name)] == [
        "start",
        "usage",
    ]
