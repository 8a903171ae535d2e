"""The fault campaign: a real loop over real tools, hundreds of random faults, and a look at the tools themselves after each round.

`python -m tests.campaign --help`; docs/faults.md says what it throws and what must hold."""
