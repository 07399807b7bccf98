"""The registry: which check holds which sentence of the contract."""

CHECKS = {}     # (element, sentence) to the check's name
ELSEWHERE = {}  # (element, sentence) to "FILE:TEST" of a test outside of this suite
FUNCTIONS = []


def _add(element, sentence, name):
    if (element, sentence) in CHECKS:
        raise ValueError(f"{CHECKS[element, sentence]} and {name} are of one sentence: {sentence}")
    CHECKS[element, sentence] = name


def promise(element, *sentences):
    """Decorates a check with sentences of one element of the proto, word for word."""
    def decorate(check):
        for sentence in sentences:
            _add(element, sentence, check.__name__)
        if not hasattr(check, "sentences"):
            check.sentences = []
            FUNCTIONS.append(check)
        check.sentences += [(element, sentence) for sentence in sentences]
        return check
    return decorate


def elsewhere(test, element, *sentences):
    """These sentences are held by a test that needs more than fake QEMUs: "FILE:SUITE.TEST"."""
    for sentence in sentences:
        _add(element, sentence, test)
        ELSEWHERE[element, sentence] = test


def headline(element, *sentences):
    """These name their element or what a client should do: there is nothing that could fail."""
    for sentence in sentences:
        _add(element, sentence, "(a headline)")
