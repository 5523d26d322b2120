"""The images of docs/cli.md show what the commands print."""

import pytest

from tests.cli.screenshots import IMAGES, SCREENSHOTS, Screenshot, take, words
from tests.support.warm_python import WarmPython


@pytest.mark.parametrize("screenshot", SCREENSHOTS, ids=lambda each: each.name)
def test_images_are_those_of_today(screenshot: Screenshot, python: WarmPython):
    """``python -m tests.cli.screenshots`` renews them after a change of the output."""
    image = (IMAGES / f"cli-{screenshot.name}.svg").read_text()
    assert words(image) == words(take(screenshot, python))
    assert len(image) < 40_000
    assert "http" not in image.replace("http://www.w3.org/2000/svg", "").replace(
        "https://www.textualize.io", ""
    )


def test_every_image_is_shown():
    """The page has all of them, and no others are in the folder."""
    page = (IMAGES.parent / "cli.md").read_text()
    names = {f"cli-{screenshot.name}.svg" for screenshot in SCREENSHOTS}
    assert names == {path.name for path in IMAGES.glob("cli-*.svg")}
    assert all(f"(images/{name})" in page for name in names)
