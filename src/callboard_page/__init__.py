"""The page: a chat and a board in the browser, in Python, on the reference client.

It runs in Pyodide. Only `callboard_page.browser` knows the browser; everything else is plain Python
that is tested without one.
"""
