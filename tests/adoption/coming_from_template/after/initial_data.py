from after.core.db import database, init_db


async def create_initial_data() -> None:
    async with database.session() as session:
        await init_db(session)


def main() -> None:
    database.run(create_initial_data)


if __name__ == "__main__":
    main()
