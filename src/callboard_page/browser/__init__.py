"""The browser, as the page sees it: the only modules that import `js` and `pyodide`."""
