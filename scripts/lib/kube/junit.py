"""Prints the tests of JUnit reports that ran, with their seconds, and the sum of them; fails if there were none."""

import sys
import xml.etree.ElementTree as xml

passed = failed = 0
for path in sys.argv[1:]:
    for case in xml.parse(path).getroot().iter("testcase"):
        if case.find("skipped") is not None or not case.get("name", "").startswith("[It]"):
            continue
        bad = case.find("failure") is not None or case.find("error") is not None
        passed, failed = passed + (not bad), failed + bad
        print(f"{'FAIL' if bad else 'ok  '} {float(case.get('time', 0)):7.1f} s  {case.get('name')[5:]}")
print(f"{passed} passed, {failed} failed")
sys.exit(0 if passed + failed else 1)
