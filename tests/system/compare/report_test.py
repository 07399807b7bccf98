#!/usr/bin/python3
"""Checks that the pages that tools/compare has made are those of the record, and the record that of its endings.

report_test.py [UNITTEST-ARGUMENT...]
"""

import json
import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / 'tools/compare'))

import report  # noqa: E402
from endings import ENDINGS  # noqa: E402


class Committed(unittest.TestCase):
    """docs/internals/comparison.* are what ./dev nightly compare wrote."""

    def setUp(self):
        self.record = json.loads((ROOT / 'docs/internals/comparison.json').read_text(encoding='utf-8'))

    def test_document_and_picture_are_made_from_the_record(self):
        for name, text in (('md', report.markdown(self.record)), ('svg', report.svg(self.record))):
            self.assertEqual((ROOT / f'docs/internals/comparison.{name}').read_text(encoding='utf-8'), text,
                             'run tools/compare/compare.py --render docs')

    def test_the_record_has_every_ending_with_its_truth(self):
        self.assertEqual([(ending['title'], ending['truth']) for ending in self.record['endings']],
                         [(ending.title, ending.truth) for ending in ENDINGS], 'run ./dev nightly compare')


class Endings(unittest.TestCase):
    def test_each_ending_has_a_unique_name_and_title(self):
        for values in ([ending.name for ending in ENDINGS], [ending.title for ending in ENDINGS]):
            self.assertEqual(len(set(values)), len(values))

    def test_each_truth_is_a_class(self):
        self.assertEqual({ending.truth for ending in ENDINGS}, {'USER', 'ADMIN', 'CRASH'})


if __name__ == '__main__':
    unittest.main()
