"""Small projects for the programs to work on: a package with faults of style, pages, a Django site, tests."""

from __future__ import annotations

from pathlib import Path

MODULES = 12

MODULE = '''import os, sys
from . import {before}
x = lambda a : a+1
def function_{number}( first,second = 2 ):
    """Adds."""
    if first == None: return second
    unused = {{ 'a':1,'b' : 2 }}
    return first+second+{number}
class Thing{number}(object):
    """A thing."""
    def method(self , value) :
        """Does."""
        for index in range(len(value)) :
            print( index,value[ index ] )
        return not value == 3
'''

MANAGE = """import os, sys
import multiprocessing

if __name__ == "__main__":
    if "--start-method" in sys.argv:
        at = sys.argv.index("--start-method")
        multiprocessing.set_start_method(sys.argv[at + 1])
        del sys.argv[at : at + 2]
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
"""

SETTINGS = """SECRET_KEY = "key"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
"""

DJANGO_TESTS = """from django.contrib.auth.models import User
from django.test import TestCase


class Users{number}(TestCase):
    def test_is_made(self):
        User.objects.create(username="a")
        self.assertEqual(User.objects.count(), 1)

    def test_is_forgotten(self):
        self.assertEqual(User.objects.count(), 0)

    def test_fails(self):
        self.assertEqual({number} % 4, 0)
"""

TESTS = """import pytest


@pytest.mark.parametrize("number", range(20))
def test_numbers_{module}(number):
    assert number * 2 == number + number
"""

PAGE = """Page {number}
{line}

.. py:function:: function_{number}(first, second)

   Adds; see :py:func:`function_{before}`.

.. code-block:: python

   print(function_{number}(1, 2))
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_all(folder: Path) -> None:
    """All of them."""
    write(folder / "package/__init__.py", '"""A package."""\n')
    toctree = "".join(f"   page_{number}\n" for number in range(MODULES))
    write(folder / "docs/index.rst", f"Pages\n=====\n\n.. toctree::\n\n{toctree}")
    write(folder / "docs/conf.py", "project = 'pages'\nhtml_last_updated_fmt = None\n")
    for number in range(MODULES):
        before = (number - 1) % MODULES
        write(folder / f"package/module_{number}.py", MODULE.format(number=number, before=f"module_{before}"))
        write(folder / f"docs/page_{number}.rst", PAGE.format(number=number, before=before, line="=" * 20))
        write(folder / f"tests/test_{number}.py", TESTS.format(module=number))
    write(folder / "site/manage.py", MANAGE)
    write(folder / "site/settings.py", SETTINGS)
    for number in range(4):
        write(folder / f"site/test_users_{number}.py", DJANGO_TESTS.format(number=number))
