"""How much work each column does in one round: some 0.2 seconds of it."""

from typing import Final

TELLS: Final = 400_000
BATCH: Final = 500
ASKS: Final = 10_000
SPAWNS: Final = 10_000
SPAWNED: Final = 100
RING: Final = 100
HOPS: Final = 100_000
CRASHES: Final = 50_000
