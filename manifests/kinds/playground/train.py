"""The smallest run: reads its parameters from the environment and says what it would do."""

import os

print(f"rate {os.environ.get('RATE', '0.1')}, seed {os.environ.get('SEED', '0')}")
