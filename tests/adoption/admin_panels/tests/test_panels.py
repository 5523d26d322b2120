"""Pages of admin panels that were made at import: rendered, and edited, in a browser."""

import pytest


@pytest.mark.parametrize("base", ["sqladmin", "sqladmin-engine"])
def test_sqladmin(address: str, page, stored, base: str) -> None:
    """The list shows a product; forms create one and change one, and both are committed."""
    page.goto(f"{address}/{base}/product/list")
    assert "Lamp" in page.inner_text("table")
    page.goto(f"{address}/{base}/product/create")
    page.fill("[name=name]", f"Chair of {base}")
    page.fill("[name=price]", "50")
    page.click("[name=save][value='Save']")
    page.wait_for_url("**/product/list")
    assert f"Chair of {base}" in page.inner_text("table")
    assert f"Chair of {base}" in stored()
    number = 1 + stored().index(f"Chair of {base}")
    page.goto(f"{address}/{base}/product/edit/{number}")
    page.fill("[name=name]", f"Table of {base}")
    page.click("[name=save][value='Save']")
    page.wait_for_url("**/product/list")
    assert f"Table of {base}" in stored()


@pytest.mark.parametrize("base", ["panel", "panel-engine"])
def test_starlette_admin(address: str, page, stored, base: str) -> None:
    """The same in starlette-admin, whose middleware commits after the response was made."""
    page.goto(f"{address}/{base}/product/list")
    page.wait_for_selector("text=Lamp")
    page.goto(f"{address}/{base}/product/create")
    page.fill("[name=name]", f"Sofa of {base}")
    page.fill("[name=price]", "500")
    page.click("button[type=submit]:not([name])")
    page.wait_for_url("**/product/list*")
    assert f"Sofa of {base}" in stored()
    number = 1 + stored().index(f"Sofa of {base}")
    page.goto(f"{address}/{base}/product/edit?pk={number}")
    page.fill("[name=name]", f"Bed of {base}")
    page.click("button[type=submit]:not([name])")
    page.wait_for_url("**/product/list*")
    assert f"Bed of {base}" in stored()
