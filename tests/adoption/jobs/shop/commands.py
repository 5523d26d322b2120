import typer
from sqlalchemy import select

from shop.database import Order, database, pay_order

commands = typer.Typer()


@commands.command()
def pay(order_id: int) -> None:
    item = database.run(pay_order, order_id)
    typer.echo(f"{item} is paid.")


@commands.command()
def show(state: str) -> None:
    async def main() -> None:
        async with database.read_session() as session:
            for item in await session.scalars(select(Order.item).where(Order.state == state)):
                typer.echo(item)

    database.run(main)


if __name__ == "__main__":
    commands()
