"""The run folder: who a run is, what it leaves, how it goes on after a kill."""
