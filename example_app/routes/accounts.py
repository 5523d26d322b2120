"""Accounts: open, get, and move money between two of them."""

from fastapi import APIRouter, HTTPException

from example_app.models import Account
from example_app.repositories import AccountQueries, BankDep
from example_app.schemas import AccountCreate, AccountOut, Id, Transfer, TransferOut
from fastapi_asyncdb import Answer, answer

router = APIRouter(tags=["accounts"])


@router.post(
    "/accounts",
    status_code=201,
    response_model=AccountOut,
    responses={404: {"description": "No such owner"}},
)
async def open_account(body: AccountCreate, bank: BankDep) -> Account:
    """Open an account with an opening balance."""
    await bank.users.get_or_raise(body.owner_id)
    return await bank.accounts.create(body)


@router.get("/accounts/{account_id}", responses={404: {"description": "No such account"}})
async def get_account(account_id: Id, accounts: AccountQueries) -> Answer[AccountOut]:
    """Get one account."""
    statement = accounts.select(Account.id == account_id)
    return await answer(accounts.session, statement, AccountOut)


@router.post(
    "/transfers",
    responses={
        404: {"description": "No such account"},
        409: {"description": "Insufficient funds"},
    },
)
async def transfer(body: Transfer, bank: BankDep) -> TransferOut:
    """Move money from one account to another: all of it or nothing."""
    ids = [body.from_account, body.to_account]
    # Each transfer locks in the order of the ids, so that two cannot wait for each other.
    rows = await bank.accounts.list(Account.id.in_(ids), order_by=Account.id, for_update=True)
    accounts = {account.id: account for account in rows}
    for key in ids:
        if key not in accounts:
            raise HTTPException(404, f"There is no account {key}.")
    source, target = (accounts[key] for key in ids)
    if source.balance < body.amount:
        raise HTTPException(409, f"Insufficient funds: account {source.id} has {source.balance}.")
    source.balance -= body.amount
    target.balance += body.amount
    return TransferOut.model_validate({"from_account": source, "to_account": target})
