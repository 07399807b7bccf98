"""The registry: which check holds which promise of the contract.

A promise is an element ("Event.sequence", "GetVm") and a label: the number of a guarantee in the
element's comment, or the status that it explains; "" is the rest of the comment.
"""

CHECKS = {}     # (element, label) to the names of its checks
ELSEWHERE = {}  # (element, label) to the "FILE:SUITE.TEST" of its tests outside of this suite
FUNCTIONS = []


def promise(element, *labels):
    """Decorates a check with promises of one element of the proto."""
    def decorate(check):
        if not hasattr(check, "promises"):
            check.promises = []
            FUNCTIONS.append(check)
        for label in labels or ("",):
            CHECKS.setdefault((element, label), []).append(check.__name__)
            check.promises.append((element, label))
        return check
    return decorate


def elsewhere(test, element, *labels):
    """These are held by a test that needs more than fake QEMUs: "FILE:SUITE.TEST", or "FILE:SUITE.ROW" of a table of
    stories. contract.promises compares them with the file, contract.elsewhere runs them."""
    for label in labels or ("",):
        ELSEWHERE.setdefault((element, label), []).append(test)
