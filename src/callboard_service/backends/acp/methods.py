"""The methods that an agent may call if the service offers them."""

from typing import Final

READ: Final = "fs/read_text_file"
WRITE: Final = "fs/write_text_file"
CREATE: Final = "terminal/create"
OUTPUT: Final = "terminal/output"
WAIT: Final = "terminal/wait_for_exit"
KILL: Final = "terminal/kill"
RELEASE: Final = "terminal/release"
