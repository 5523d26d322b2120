"""Accounts: open, get, and move money between two of them."""

from fastapi import APIRouter, HTTPException
from sqlalchemy import select

from example_app.models import Account, User
from example_app.routes.lookup import get_or_404
from example_app.schemas import AccountCreate, AccountOut, Id, Transfer, TransferOut
from fastapi_asyncdb import DB, ReadDB

router = APIRouter(tags=["accounts"])


@router.post(
    "/accounts",
    status_code=201,
    response_model=AccountOut,
    responses={404: {"description": "No such owner"}},
)
async def open_account(body: AccountCreate, db: DB) -> Account:
    """Open an account with an opening balance."""
    owner = await get_or_404(db, User, body.owner_id)
    account = Account(owner_id=owner.id, balance=body.balance)
    db.add(account)
    await db.flush()
    return account


@router.get(
    "/accounts/{account_id}",
    response_model=AccountOut,
    responses={404: {"description": "No such account"}},
)
async def get_account(account_id: Id, db: ReadDB) -> Account:
    """Get one account."""
    return await get_or_404(db, Account, account_id)


@router.post(
    "/transfers",
    responses={
        404: {"description": "No such account"},
        409: {"description": "Insufficient funds"},
    },
)
async def transfer(body: Transfer, db: DB) -> TransferOut:
    """Move money from one account to another: all of it or nothing."""
    ids = [body.from_account, body.to_account]
    # Each transfer locks in the order of the ids, so that two cannot wait for each other.
    rows = select(Account).where(Account.id.in_(ids)).order_by(Account.id).with_for_update()
    accounts = {account.id: account for account in await db.scalars(rows)}
    for key in ids:
        if key not in accounts:
            raise HTTPException(404, f"There is no account {key}.")
    source, target = (accounts[key] for key in ids)
    if source.balance < body.amount:
        raise HTTPException(409, f"Insufficient funds: account {source.id} has {source.balance}.")
    source.balance -= body.amount
    target.balance += body.amount
    return TransferOut.model_validate({"from_account": source, "to_account": target})
