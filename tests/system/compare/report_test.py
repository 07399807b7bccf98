#!/usr/bin/python3
"""Checks what tools/compare makes of a record: the verdicts, the table, the picture.

report_test.py [UNITTEST-ARGUMENT...]
"""

import json
import pathlib
import sys
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / 'tools/compare'))

import report  # noqa: E402
from endings import ENDINGS  # noqa: E402

SVG = '{http://www.w3.org/2000/svg}'


def lives(**answers):
    """One ending's answers, the same on both kinds of QEMUs; 'SAID/WHO' or 'SAID'."""
    of_life = {}
    for observer, answer in answers.items():
        said, _, who = answer.partition('/')
        of_life[observer] = {'said': said, 'who': who or None}
    return {life: of_life for life in report.LIVES}


def record():
    return {
        'date': '2026-11-21',
        'versions': {'vmeventd': '0.1.0 (abc)', 'QEMU': '7.2.22'},
        'endings': [
            {'title': 'the guest powers <itself> off', 'truth': 'USER',
             'lives': lives(qmp='USER, guest poweroff/USER', kvmd='file/USER',
                            libvirt='USER, guest poweroff/USER', lifecycle='stopped, shutdown')},
            {'title': 'the guest obeys', 'truth': 'ADMIN',
             'lives': lives(qmp='ADMIN, host powerdown/ADMIN', kvmd='file/USER',
                            libvirt='ADMIN, host powerdown/ADMIN', lifecycle='stopped, shutdown')},
            {'title': 'SIGKILL', 'truth': 'CRASH',
             'lives': lives(qmp='CRASH, qemu killed/CRASH', kvmd='no file/NOT_USER',
                            libvirt='ADMIN, host signal/ADMIN', lifecycle='stopped, failed')},
            {'title': 'nobody looks', 'truth': 'USER',
             'lives': lives(qmp='UNKNOWN, unobserved', kvmd='no file/NOT_USER',
                            libvirt='UNKNOWN, unobserved', lifecycle='nothing')},
        ],
    }


def judgements(observer):
    return [verdict.judgement for verdict in report.judge(record(), 'plain', observer)]


class Verdicts(unittest.TestCase):
    def test_vmeventd_is_right_where_the_class_is_the_truth(self):
        self.assertEqual(judgements('libvirt'),
                         [report.RIGHT, report.RIGHT, report.WRONG, report.NO_ANSWER])

    def test_kvmd_is_right_where_the_file_exists_exactly_at_the_users_ends(self):
        self.assertEqual(judgements('kvmd'),
                         [report.RIGHT, report.WRONG, report.RIGHT, report.WRONG])

    def test_a_name_of_libvirts_that_two_truths_get_is_wrong_for_both(self):
        self.assertEqual(judgements('lifecycle'),
                         [report.WRONG, report.WRONG, report.RIGHT, report.NO_ANSWER])

    def test_nothing_is_no_name(self):
        two = record()
        two['endings'].append({**two['endings'][3], 'truth': 'ADMIN'})
        verdicts = report.judge(two, 'plain', 'lifecycle')
        self.assertEqual([verdict.judgement for verdict in verdicts[3:]], [report.NO_ANSWER] * 2)

    def test_the_summary_counts_what_is_right_and_what_is_missing(self):
        self.assertEqual(report.summary(report.judge(record(), 'plain', 'qmp')),
                         '3 of 4, 1 no answer')
        self.assertEqual(report.summary(report.judge(record(), 'plain', 'kvmd')), '2 of 4')


class Markdown(unittest.TestCase):
    def test_an_ending_is_a_row_with_what_each_said(self):
        self.assertIn('| the guest obeys | ADMIN | ✓ ADMIN, host powerdown | ✗ file '
                      '| ✓ ADMIN, host powerdown | ✗ stopped, shutdown |\n',
                      report.markdown(record()))

    def test_the_last_row_is_the_summary(self):
        self.assertIn('| **right** |  | **3 of 4, 1 no answer** | **2 of 4** '
                      '| **2 of 4, 1 no answer** | **1 of 4, 1 no answer** |\n',
                      report.markdown(record()))

    def test_the_rows_of_a_table_have_as_many_cells(self):
        for table in report.markdown(record()).split('\n\n'):
            if table.startswith('|'):
                self.assertEqual(len({line.count('|') for line in table.splitlines()}), 1, table)

    def test_date_and_versions_are_those_of_the_record(self):
        text = report.markdown(record())
        self.assertIn('on 2026-11-21', text)
        self.assertIn('| QEMU | `7.2.22` |', text)

    def test_what_vmeventd_does_not_get_right_is_listed(self):
        listed = report.markdown(record()).split('## Where vmeventd is not right')[1]
        self.assertIn('vmeventd on libvirt, SIGKILL: ADMIN, host signal (wrong', listed)
        self.assertIn('vmeventd on QMP, nobody looks: UNKNOWN, unobserved', listed)
        self.assertEqual(listed.count('\n- '), 3)


class Picture(unittest.TestCase):
    def setUp(self):
        self.picture = xml.etree.ElementTree.fromstring(report.svg(record()))
        self.cells = self.picture.findall(f'{SVG}rect[@fill]')

    def test_each_answer_is_a_cell_in_the_colour_of_its_verdict(self):
        colours = [cell.get('fill') for cell in self.cells]
        self.assertEqual(len(colours), 16)
        self.assertEqual(colours[8:12], [report.COLOURS[report.RIGHT], report.COLOURS[report.RIGHT],
                                         report.COLOURS[report.WRONG], report.COLOURS[report.RIGHT]])

    def test_everything_lies_within_the_picture(self):
        width, height = (float(self.picture.get(key)) for key in ('width', 'height'))
        for text in self.picture.iter(f'{SVG}text'):
            self.assertLess(float(text.get('x')), width)
            self.assertLess(float(text.get('y')), height)
        for cell in self.cells:
            self.assertLessEqual(float(cell.get('x')) + float(cell.get('width')), width)

    def test_it_has_title_date_and_versions(self):
        texts = [text.text for text in self.picture.iter(f'{SVG}text')]
        self.assertIn('Who ended the VM? What each observer said', texts)
        self.assertIn('2026-11-21 · vmeventd 0.1.0 (abc), QEMU 7.2.22', texts)
        self.assertIn('the guest powers <itself> off', texts)


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
    def test_each_has_a_name_and_a_title_of_its_own(self):
        for values in ([ending.name for ending in ENDINGS], [ending.title for ending in ENDINGS]):
            self.assertEqual(len(set(values)), len(values))

    def test_each_truth_is_a_class(self):
        self.assertEqual({ending.truth for ending in ENDINGS}, {'USER', 'ADMIN', 'CRASH'})


if __name__ == '__main__':
    unittest.main()
