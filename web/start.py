# The first lines of Python that the page runs: the token leaves the address before all else.
import sys

sys.path.insert(0, "code.zip")

from callboard_page.browser.window import address, page

given = address()

from callboard_page import main

await main.run(page(), *given)
