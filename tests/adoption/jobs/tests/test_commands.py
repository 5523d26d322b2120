from typer.testing import CliRunner

from shop.commands import commands
from shop.database import database
from orders import add_order, state_of


def test_command_pays_an_order():
    order_id = database.run(add_order, "tea")
    ended = CliRunner().invoke(commands, ["pay", str(order_id)])
    assert (ended.exit_code, ended.output) == (0, "tea is paid.\n")
    assert database.run(state_of, order_id) == "paid"
    assert "tea\n" in CliRunner().invoke(commands, ["show", "paid"]).output


def test_command_fails_without_the_order():
    ended = CliRunner().invoke(commands, ["pay", "0"])
    assert ended.exit_code == 1
    assert "No row was found" in str(ended.exception)


async def test_command_in_an_event_loop_says_what_to_do():
    ended = CliRunner().invoke(commands, ["pay", "1"])
    assert "asyncio.to_thread()" in str(ended.exception)
