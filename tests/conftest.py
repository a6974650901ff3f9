"""What holds for all tests: no setting of the developer's own node leaks in, and Hypothesis keeps to our time."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The machines that run this are shared: how long one example takes says nothing. CI tries the same examples
# on each run, so that it fails for a change and not by chance; developers' runs look for new ones.
settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")

for _name in [name for name in os.environ if name.startswith("SWARMD_")]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the source tree."""
    return Path(__file__).resolve().parent.parent
