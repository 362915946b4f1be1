"""The commands, over a fake cluster that decides with the real state machine."""
