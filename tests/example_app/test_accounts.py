"""Accounts of the example application: money moves as a whole or not at all."""

import asyncio

import pytest
from httpx import AsyncClient
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from example_app.main import app
from example_app.models import Account
from fastapi_asyncdb import default_database
from tests.support.http_server import http_server


async def _open(client: AsyncClient, owner: int, balance: int) -> int:
    answer = await client.post("/accounts", json={"owner_id": owner, "balance": balance})
    assert answer.status_code == 201
    account_id: int = answer.json()["id"]
    return account_id


async def _balance(client: AsyncClient, account_id: int) -> int:
    balance: int = (await client.get(f"/accounts/{account_id}")).json()["balance"]
    return balance


async def test_an_account_is_opened_with_a_balance(client: AsyncClient, ada: int) -> None:
    """The opening balance may be nothing, or the largest there is."""
    answer = await client.post("/accounts", json={"owner_id": ada})
    assert (answer.status_code, answer.json()["balance"]) == (201, 0)
    account_id = await _open(client, ada, 10**12)
    found = await client.get(f"/accounts/{account_id}")
    assert found.json() == {"id": account_id, "owner_id": ada, "balance": 10**12}


async def test_an_impossible_balance_is_refused(client: AsyncClient, ada: int) -> None:
    """Cents are whole numbers in bounds, and nothing that merely looks like one."""
    for balance in [-1, 10**12 + 1, 2**63, 1.5, 1.0, True, "1"]:
        answer = await client.post("/accounts", json={"owner_id": ada, "balance": balance})
        assert answer.status_code == 422, balance


async def test_an_account_needs_an_owner(client: AsyncClient) -> None:
    """An owner who is not there is a 404."""
    answer = await client.post("/accounts", json={"owner_id": 7, "balance": 1})
    assert (answer.status_code, answer.json()["detail"]) == (404, "User not found.")


async def test_a_transfer_moves_money(client: AsyncClient, ada: int) -> None:
    """One account has less, the other as much more, down to the last cent."""
    source, target = await _open(client, ada, 100), await _open(client, ada, 5)
    body = {"from_account": source, "to_account": target, "amount": 100}
    answer = await client.post("/transfers", json=body)
    assert answer.status_code == 200
    assert answer.json() == {
        "from_account": {"id": source, "owner_id": ada, "balance": 0},
        "to_account": {"id": target, "owner_id": ada, "balance": 105},
    }
    assert (await _balance(client, source), await _balance(client, target)) == (0, 105)


async def test_insufficient_funds_move_nothing(client: AsyncClient, ada: int) -> None:
    """A cent too much is a 409, and both accounts are as before."""
    source, target = await _open(client, ada, 100), await _open(client, ada, 5)
    body = {"from_account": source, "to_account": target, "amount": 101}
    answer = await client.post("/transfers", json=body)
    assert answer.status_code == 409
    assert answer.json()["detail"] == f"Insufficient funds: account {source} has 100."
    assert (await _balance(client, source), await _balance(client, target)) == (100, 5)


@pytest.mark.parametrize("unknown", ["from_account", "to_account"])
async def test_a_transfer_needs_both_accounts(client: AsyncClient, ada: int, unknown: str) -> None:
    """An unknown account is a 404, and the known one is as before."""
    known = await _open(client, ada, 100)
    body = {"from_account": known, "to_account": known, "amount": 1} | {unknown: known + 1}
    answer = await client.post("/transfers", json=body)
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"There is no account {known + 1}."
    assert await _balance(client, known) == 100


async def test_a_senseless_transfer_is_refused(client: AsyncClient) -> None:
    """The same account twice, an impossible id, nothing or less to move: 422."""
    valid = {"from_account": 1, "to_account": 2, "amount": 1}
    for change in [
        {"to_account": 1},
        {"from_account": 2**31},
        {"amount": 0},
        {"amount": -1},
        {"amount": 2**63},
    ]:
        assert (await client.post("/transfers", json=valid | change)).status_code == 422, change


async def test_simultaneous_transfers_never_overdraw(client: AsyncClient, ada: int) -> None:
    """There is money for ten of forty requests, and ten get it."""
    source, target = await _open(client, ada, 100), await _open(client, ada, 0)
    body = {"from_account": source, "to_account": target, "amount": 10}
    answers = await asyncio.gather(*(client.post("/transfers", json=body) for _ in range(40)))
    assert sorted(answer.status_code for answer in answers) == 10 * [200] + 30 * [409]
    assert (await _balance(client, source), await _balance(client, target)) == (0, 100)


async def test_fifty_transfers_at_once_keep_the_sum(client: AsyncClient, ada: int) -> None:
    """Over HTTP, back and forth between two accounts: no deadlock, no cent lost."""
    first, second = await _open(client, ada, 100), await _open(client, ada, 100)
    there = {"from_account": first, "to_account": second, "amount": 2}
    back = {"from_account": second, "to_account": first, "amount": 1}
    async with http_server(app) as address, AsyncClient(base_url=f"http://{address}") as remote:
        answers = await asyncio.gather(
            *(remote.post("/transfers", json=body) for body in 25 * [there, back])
        )
    assert [answer.status_code for answer in answers] == 50 * [200]
    assert (await _balance(client, first), await _balance(client, second)) == (75, 125)


async def test_the_database_itself_refuses_a_debt(client: AsyncClient, ada: int) -> None:
    """Whatever code writes to the table, a balance below zero fails."""
    account_id = await _open(client, ada, 1)
    with pytest.raises(IntegrityError, match="balance_not_negative"):
        async with default_database.session() as session:
            await session.execute(update(Account).values(balance=-1))
    assert await _balance(client, account_id) == 1


async def test_an_amount_that_is_not_a_number_is_refused(client: AsyncClient, ada: int) -> None:
    """JSON has no NaN and no infinity, and Python's parser accepts both."""
    for amount in ["NaN", "Infinity", "-Infinity", "1e400"]:
        body = f'{{"owner_id": {ada}, "balance": {amount}}}'
        answer = await client.post(
            "/accounts", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422, amount
