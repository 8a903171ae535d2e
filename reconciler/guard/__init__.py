"""Policies: what the rules in force say of what a pass would do. Rules in CEL over the plan; what they deny is not done.

::

    values.py    a rule, what it found, and what follows for the plan; pure
    rules.py     which rules are in force: those that are shipped, and the files that the Platform names
    facts.py     what a rule can see of an action, a resource, a project and the plan; pure
    judge.py     rules and facts to findings, and the plan made again with them
    commands.py  what they say of a command: a start, or a way back; reactions.py of what resources call for with others
    remember.py  the specs that were carried out last, for rules that compare
    worker.py    the program that evaluates CEL, apart from everything; cel.py starts it and bounds its time
    cases.py     the tests that files of rules carry
    offline.py   a plan that was written as JSON, as facts

The order of a pass: plan -> judge -> plan again where something is denied -> admit. Inputs of planning are `reconciler/policy.py`."""
