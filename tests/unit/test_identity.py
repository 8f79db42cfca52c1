import time

from jobs import ids

SECRET = b"0" * 64


def test_an_id_verifies_for_its_owner_and_secret_alone() -> None:
    job_id = ids.new_id(SECRET, "alice")
    assert ids.verifies(SECRET, job_id, "alice")
    assert not ids.verifies(SECRET, job_id, "bob")
    assert not ids.verifies(b"1" * 64, job_id, "alice")


def test_an_altered_or_foreign_id_does_not_verify() -> None:
    job_id = ids.new_id(SECRET)
    for other in (job_id[:-1] + ("0" if job_id[-1] != "0" else "1"), job_id.upper(), job_id[:-1], job_id + "0", "", "../etc"):
        assert not ids.verifies(SECRET, other)


def test_ids_are_uuid7_in_the_order_of_time() -> None:
    first = ids.new_id(SECRET)
    time.sleep(0.002)  # the clock of an id has milliseconds
    second = ids.new_id(SECRET)
    assert first < second
    assert first[12] == "7"
    assert first[16] in "89ab"
    assert abs(int(first[:12], 16) / 1000 - time.time()) < 5


def test_ids_do_not_repeat() -> None:
    assert len({ids.new_id(SECRET) for _ in range(10_000)}) == 10_000
