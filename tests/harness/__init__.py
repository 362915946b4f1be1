"""Real clusters of real processes under test, and judges of what their clients were told."""
